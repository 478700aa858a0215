"""Python files as syntax trees: what a file defines and imports, in a form that can be hashed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path


def shape(node: object) -> list | str:
    """A syntax tree as nested lists.

    Comments, docstrings, type hints of functions and positions are left out. It is written out
    here because `ast.dump` differs between versions of Python.
    """
    if isinstance(node, list):
        return [shape(item) for item in node]
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    if not isinstance(node, ast.AST):
        return repr(node)
    tree: list = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        is_hint = name == "annotation" and isinstance(node, ast.arg)
        if is_hint or name in ("ctx", "type_comment", "returns"):
            continue
        if name == "body" and isinstance(value, list):
            value = without_docstring(value)
        if value is not None and value != []:
            tree.append([name, shape(value)])
    return tree


def without_docstring(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The statements that are more than a text."""
    return [statement for statement in body if not is_text(statement)]


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a text and nothing else, as a docstring is."""
    return (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str))


class Module:
    """One source file.

    definitions  name at top level -> the statements that define it
    imported     local name -> (module, name there; "" for the module itself)
    blocks       the functions and classes among the definitions, each with its name
    ours         what it imports from modules of the project: local name, module, name there
    """

    def __init__(self, path: Path):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for statement in tree.body:
            for name in defined(statement):
                self.definitions.setdefault(name, []).append(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    local = alias.asname or alias.name.partition(".")[0]
                    self.imported[local] = (alias.name if alias.asname else local, "")
        self.blocks = [(name, statement) for name, all_of_it in self.definitions.items()
                       for statement in all_of_it
                       if isinstance(statement, ast.FunctionDef | ast.ClassDef)]
        self.ours = [(name, origin, original)
                     for name, (origin, original) in self.imported.items()
                     if original and origin.partition(".")[0] == "kdbench"]


@cache
def module_of(path: Path) -> Module:
    """The file at `path`, parsed once."""
    return Module(path)


def defined(statement: ast.stmt) -> list[str]:
    """The names that a statement at top level defines.

    ``<module>`` stands for a statement that runs and names nothing, as a call that registers.
    """
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return names_in(statement.targets)
    if isinstance(statement, ast.AnnAssign | ast.AugAssign):
        return names_in([statement.target])
    if isinstance(statement, ast.Import | ast.ImportFrom) or is_text(statement):
        return []
    return ["<module>"]


def names_in(nodes: Iterable[ast.AST]) -> list[str]:
    """The names that these nodes use, in their order, as often as they do."""
    names = []
    for node in nodes:
        names += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    return names
