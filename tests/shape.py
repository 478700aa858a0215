"""The shape of the code, in figures that can be compared before and after a change.

    python -m tests.shape [ROOT]          # the figures
    python -m tests.shape [ROOT] --where  # and where what should go is: one line each

Counts `kdbench/`, `methods/`, `tasks/` and `bench.py` of a working tree.

Nested comprehension: one that lies inside another, be it in the element, a condition or the
iterable, directly or as a part of a call or a lambda there. Three levels count as two.

Public function: a function or method whose name, and whose classes' names, have no leading
underscore; also one under an `if` or a `try` at the level of the module or class. What a function
defines inside itself is not public. A property counts as its getter; setters, deleters and
`@overload` stubs do not count.

Documented: with a docstring of its own, or an override of a method that a base class in the counted
files documents, as `help()` shows that one. Base classes of libraries are not read, so that an
override of theirs (`forward` of a torch module) needs its own docstring.
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
NOT_COUNTED = ("setter", "deleter", "overload")  # decorators of what shares a name


@dataclass(frozen=True)
class Function:
    """A public function; `owner` is the class it is a method of."""

    file: str
    line: int
    owner: str
    name: str
    docstring: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.owner}{'.' * bool(self.owner)}{self.name}"


@dataclass
class Shape:
    """What was counted in a set of files; lengths in lines."""

    files: dict[str, int] = field(default_factory=dict)
    functions: list[int] = field(default_factory=list)
    lines_over_100: int = 0
    comprehensions: int = 0
    nested: list[str] = field(default_factory=list)  # file:line
    public: list[Function] = field(default_factory=list)
    bases: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # by file and class
    anys: int = 0

    @property
    def lines(self) -> int:
        return sum(self.files.values())

    @property
    def undocumented(self) -> list[Function]:
        return [function for function in self.public if not self.is_documented(function)]

    def add(self, name: str, text: str) -> None:
        """Count one file."""
        tree = ast.parse(text)
        lines = text.splitlines()
        self.files[name] = len(lines)
        self.lines_over_100 += sum(len(line) > 100 for line in lines)
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                self.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
            elif isinstance(node, COMPREHENSIONS):
                self.comprehensions += 1
            elif isinstance(node, ast.Name) and node.id == "Any":
                self.anys += 1
            elif isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                self.bases[name, node.name] = bases
        self.nested += [f"{name}:{node.lineno}: nested comprehension" for node in nested(tree)]
        self.public += public_functions(tree, name)

    def is_documented(self, function: Function) -> bool:
        """Whether `function`, or the method that it overrides, has a docstring."""
        if function.docstring or not function.owner:
            return function.docstring
        inherited = self.ancestors(function.file, function.owner)
        return any(other.docstring and other.name == function.name
                   and (other.file, other.owner) in inherited for other in self.public)

    def ancestors(self, file: str, owner: str) -> set[tuple[str, str]]:
        """The base classes of a class that are in the counted files, by file and name.

        A name that several files define is taken from the class's own file, else left out.
        """
        found: set[tuple[str, str]] = set()
        waiting = [(file, owner)]
        while waiting:
            here = waiting.pop()
            for base in self.bases.get(here, ()):
                places = [(here[0], base)]
                if places[0] not in self.bases:
                    places = [place for place in self.bases if place[1] == base]
                if len(places) == 1 and places[0] not in found:
                    found.add(places[0])
                    waiting.append(places[0])
        return found

    def report(self) -> str:
        """The figures as a table, with the files over 400 lines."""
        ordered = sorted(self.functions)
        p95 = ordered[int(0.95 * (len(ordered) - 1))]
        long = {name: lines for name, lines in self.files.items() if lines > 400}
        missing, public = len(self.undocumented), len(self.public)
        rows = [
            ("files", f"{len(self.files)}"),
            ("lines", f"{self.lines}"),
            ("files over 400 lines", f"{len(long)}"),
            ("function, median / p95 / max lines",
             f"{statistics.median(ordered):.0f} / {p95} / {ordered[-1]}"),
            ("lines over 100 columns",
             f"{self.lines_over_100} ({100 * self.lines_over_100 / self.lines:.1f} %)"),
            ("comprehensions a 1,000 lines", f"{1000 * self.comprehensions / self.lines:.1f}"),
            ("nested ones a 1,000 lines", f"{1000 * len(self.nested) / self.lines:.1f}"),
            ("public functions without docstring",
             f"{missing} of {public} ({100 * missing / public:.0f} %)"),
            ("Any", f"{self.anys}"),
        ]
        width = max(len(name) for name, _ in rows)
        text = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
        return text + "".join(f"\n  {lines:>4}  {name}" for name, lines in sorted(long.items()))

    def places(self) -> list[str]:
        """Where the nested comprehensions and the missing docstrings are."""
        return [*self.nested, *(f"{function}: no docstring" for function in self.undocumented)]


def nested(node: ast.AST, inside: bool = False) -> Iterator[ast.AST]:
    """The comprehensions below `node` that lie inside another."""
    for child in ast.iter_child_nodes(node):
        is_one = isinstance(child, COMPREHENSIONS)
        if is_one and inside:
            yield child
        yield from nested(child, inside or is_one)


def public_functions(body: ast.AST, file: str, owner: str = "") -> Iterator[Function]:
    """The public functions and methods below a module, a class, or an `if` or `try` there."""
    for node in ast.iter_child_nodes(body):
        if isinstance(node, FUNCTIONS):
            decorators = [ast.unparse(each).rpartition(".")[2] for each in node.decorator_list]
            if not node.name.startswith("_") and not set(decorators) & set(NOT_COUNTED):
                docstring = ast.get_docstring(node) is not None
                yield Function(file, node.lineno, owner, node.name, docstring)
        elif isinstance(node, ast.ClassDef):
            if not node.name.startswith("_"):
                yield from public_functions(node, file, node.name)
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from public_functions(node, file, owner)


def shape_of(root: Path) -> Shape:
    """The shape of the working tree in `root`."""
    shape = Shape()
    for path in [root / "bench.py", *sorted(root.glob("kdbench/**/*.py")),
                 *sorted(root.glob("methods/*.py")), *sorted(root.glob("tasks/*.py"))]:
        shape.add(str(path.relative_to(root)), path.read_text(encoding="utf-8"))
    return shape


def main(words: list[str]) -> None:
    """Print the figures, and with `--where` the places."""
    roots = [word for word in words if word != "--where"]
    shape = shape_of(Path(roots[0] if roots else "."))
    print(shape.report())
    if "--where" in words:
        print("\n".join(shape.places()))


if __name__ == "__main__":
    main(sys.argv[1:])
