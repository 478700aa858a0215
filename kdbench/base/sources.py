"""Code by the hash of its source: plugins, scripts and notebooks, which have no version.

A file is hashed together with the files beside it that it imports; its place does not matter.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import sys
import types
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.base.identity import digest
from kdbench.base.places import PACKAGE

# A record states the versions of these packages, so that their code is not hashed.
LIBRARIES = frozenset({
    "accelerate", "datasets", "huggingface_hub", "numpy", "pandas", "safetensors", "scipy",
    "seqeval", "sklearn", "tokenizers", "torch", "transformers",
}) | sys.stdlib_module_names

# The hash of the source of a class or function when it was first hashed. A module that is loaded
# again makes new classes, which are hashed again.
SEEN: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()


def home(thing: object) -> str:
    """The module that defines a class or function.

    Of a function its `__module__` is not used: `functools.wraps` gives it that of another.
    """
    if isinstance(thing, types.FunctionType):
        return thing.__globals__.get("__name__") or "builtins"
    return getattr(thing, "__module__", None) or "builtins"


def is_of_a_library(module: str) -> bool:
    """Whether a module belongs to one of `LIBRARIES`."""
    return module.partition(".")[0] in LIBRARIES


def installed(path: Path) -> bool:
    """Whether `path` lies among installed packages or in Python's own library."""
    parts = path.parts
    if "site-packages" in parts or "dist-packages" in parts or path.suffix == ".zip":
        return True
    return path.resolve().is_relative_to(Path(inspect.__file__).resolve().parent)


def source_hash(module: str, thing: object) -> str:
    """Hash of the source of `thing`, as it was when its module was imported or when it was first
    hashed.

    Raises `BadInput` where there is no source.
    """
    loaded = sys.modules.get(module)
    if at_import := getattr(loaded, "__kdbench_source__", None):
        return at_import
    try:
        if thing in SEEN:
            return SEEN[thing]
    except TypeError:  # of a type that a weak dictionary does not take
        pass
    path = getattr(loaded, "__file__", None)
    if path and Path(path).is_file():
        source = file_hash(Path(path).resolve())
    else:
        source = digest(source_of(thing))
    if isinstance(thing, type | types.FunctionType):
        SEEN[thing] = source
    return source


def source_of(thing: object) -> str:
    """The source of what no file defines, as a notebook's class; `BadInput` where there is none."""
    try:
        linecache.checkcache()
        return inspect.getsource(thing)  # type: ignore[arg-type]  # it raises what is handled here
    except (OSError, TypeError):
        name = getattr(thing, "__qualname__", thing)
        raise BadInput(
            f"{name!s}: its source cannot be found, so what it trains could not be found again by "
            "its content; put it into a file and load that with --plugin") from None


def file_hash(path: Path, more: Sequence[Path] = ()) -> str:
    """Hash of a Python file and of the user's own files that it imports, directly or not.

    more  files that are known to belong to it: what it imported when it ran
    """
    roots = [path.parent, *import_roots(path)]
    waiting, seen = [path, *more], {path, *more}
    hashes = []
    while waiting:
        current = waiting.pop()
        content = current.read_bytes()
        hashes.append([current.name, hashlib.sha256(content).hexdigest()])
        for other in imported_beside(current, content, roots) if current.suffix == ".py" else ():
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest([first, sorted(entry for entry in hashes if entry != [path.name, first])])


def import_roots(path: Path) -> list[Path]:
    """Folders that `path` can import from and that hold no installed packages; the root of its own
    package.
    """
    folders = [Path(entry).resolve() for entry in sys.path if entry and not installed(Path(entry))]
    package = path.parent
    while (package / "__init__.py").is_file():
        package = package.parent
    folders = list(dict.fromkeys([*folders, package]))
    return [folder for folder in folders if folder != PACKAGE.parent and folder.is_dir()]


def imported_beside(path: Path, content: bytes, roots: Sequence[Path]) -> Iterator[Path]:
    """The files that `path` imports and that belong to no library.

    They are looked for in its folder, its package, and `roots`. Raises `BadInput` where `path` is
    no Python file.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{path}: is no Python file ({error})") from None
    for node in ast.walk(tree):
        relative = isinstance(node, ast.ImportFrom) and node.level
        folders = [path.parents[relative - 1]] if relative else [path.parent, *roots]
        for name in imported_names(node):
            top = name.partition(".")[0]
            if top == "kdbench":
                continue
            # a file beside it may have the name of a library
            for folder in dict.fromkeys(folders[:1] if top in LIBRARIES else folders):
                yield from files_of(folder, name.strip(".").split("."))


def imported_names(node: ast.AST) -> list[str]:
    """The modules that a node of a syntax tree may import, by dotted name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = [node.module] if node.module else []
        return module + [".".join([*module, alias.name]) for alias in node.names]
    if isinstance(node, ast.Call):
        function = ast.unparse(node.func)
        if function.endswith(("import_module", "__import__")):
            constants = [word.value for word in node.args if isinstance(word, ast.Constant)]
            return [value for value in constants if isinstance(value, str)]
    return []


def files_of(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The files that an import of the module of these name parts would run, from `folder`."""
    for depth in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if candidate.is_file():
                yield candidate.resolve()
