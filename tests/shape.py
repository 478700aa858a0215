"""The shape of the code, in figures that can be compared before and after a change.

    python -m tests.shape [ROOT]

Counts `kdbench/`, `methods/`, `tasks/` and `bench.py` of a working tree. A nested comprehension is one
inside another. A public function is one at module or class level whose name has no leading underscore, in
a class that has none either.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Shape:
    """What was counted in a set of files; lengths in lines."""

    files: dict[str, int] = field(default_factory=dict)
    functions: list[int] = field(default_factory=list)
    lines_over_100: int = 0
    comprehensions: int = 0
    nested: int = 0
    public: int = 0
    undocumented: int = 0
    anys: int = 0

    @property
    def lines(self) -> int:
        return sum(self.files.values())

    def add(self, name: str, text: str) -> None:
        tree = ast.parse(text)
        lines = text.splitlines()
        self.files[name] = len(lines)
        self.lines_over_100 += sum(len(line) > 100 for line in lines)
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                self.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
            elif isinstance(node, COMPREHENSIONS):
                self.comprehensions += 1
                self.nested += any(inner is not node and isinstance(inner, COMPREHENSIONS)
                                   for inner in ast.walk(node))
            elif isinstance(node, ast.Name) and node.id == "Any":
                self.anys += 1
        for function in public_functions(tree):
            self.public += 1
            self.undocumented += ast.get_docstring(function) is None

    def report(self) -> str:
        ordered = sorted(self.functions)
        p95 = ordered[int(0.95 * (len(ordered) - 1))]
        long = {name: lines for name, lines in self.files.items() if lines > 400}
        rows = [
            ("files", f"{len(self.files)}"),
            ("lines", f"{self.lines}"),
            ("files over 400 lines", f"{len(long)}"),
            ("function, median / p95 / max lines",
             f"{statistics.median(ordered):.0f} / {p95} / {ordered[-1]}"),
            ("lines over 100 columns",
             f"{self.lines_over_100} ({100 * self.lines_over_100 / self.lines:.1f} %)"),
            ("comprehensions a 1,000 lines", f"{1000 * self.comprehensions / self.lines:.1f}"),
            ("nested ones a 1,000 lines", f"{1000 * self.nested / self.lines:.1f}"),
            ("public functions without docstring",
             f"{self.undocumented} of {self.public} ({100 * self.undocumented / self.public:.0f} %)"),
            ("Any", f"{self.anys}"),
        ]
        width = max(len(name) for name, _ in rows)
        text = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
        return text + "".join(f"\n  {lines:>4}  {name}" for name, lines in sorted(long.items()))


def public_functions(body: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(body):
        name = getattr(node, "name", "_")
        if isinstance(node, FUNCTIONS) and not name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not name.startswith("_"):
            yield from public_functions(node)


def shape_of(root: Path) -> Shape:
    shape = Shape()
    for path in [root / "bench.py", *sorted(root.glob("kdbench/**/*.py")),
                 *sorted(root.glob("methods/*.py")), *sorted(root.glob("tasks/*.py"))]:
        shape.add(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    return shape


if __name__ == "__main__":
    print(shape_of(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).report())
