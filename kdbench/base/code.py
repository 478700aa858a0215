"""Which code made a figure: versions of what is built in, hashes of everything else.

A figure is stale when the code behind it means something else now. For built-in code that is a
number, `version = N` on a method and `VERSIONS` for the core, so that ids survive a move of files.
A number can be forgotten, so `code.json` keeps a digest of the syntax tree beside it: where the two
do not agree any more, the digest itself takes the place of the number (code that somebody edited
has figures of its own), and a test fails until the number is raised or the change is confirmed as
one of form:

    python -m kdbench.base.code            # what changed
    python -m kdbench.base.code --confirm  # the digests of today's code, beside today's numbers

Code from elsewhere (plugins, scripts, notebooks) has no number: it is known by the hash of its file
and of the files beside it that it imports.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import linecache
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.identity import digest
from kdbench.base.places import PACKAGE
from kdbench.base.registry import METHODS

ROOT = PACKAGE
KEPT = Path(__file__).with_name("code.json")

# Raise a number when a change to its files changes what they compute.
VERSIONS = {"training": 1, "scoring": 1}
CORE = {
    "training":
        ("train.losses", "train.objective", "train.mlm", "train.batching", "train.textfile",
         "train.fit", "train.signals", "train.lab", "train.cpu", "base.identity", "models.load",
         "models.bilstm", "models.gelu_head", "models.vocabulary", "models.zoo",
         ), "scoring": ("score.metrics", "data.tags", "runs.cell", "runs.planning", "runs.runner"),
}
CORE_FILES = frozenset(name for names in CORE.values() for name in names)
# How a function of a metric is described; `kdbench.train.content` adds what it captured.
describe: Callable[[Any], Any] = lambda thing: code_of(thing)  # noqa: E731
# What these packages define is theirs: their versions stand in a record's provenance.
LIBRARIES = frozenset({
    "accelerate", "datasets", "huggingface_hub", "numpy", "pandas", "safetensors", "scipy",
    "seqeval", "sklearn", "tokenizers", "torch", "transformers",
}) | sys.stdlib_module_names


# --- syntax trees ---------------------------------------------------------------------------------


def shape(node: Any) -> Any:
    """A syntax tree as nested lists, without comments, docstrings, type hints of functions and
    positions.

    Written out here, as `ast.dump` differs between versions of Python.
    """
    if isinstance(node, list):
        return [shape(item) for item in node]
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, repr(node.value)]
    if not isinstance(node, ast.AST):
        return repr(node)
    found: list[Any] = [type(node).__name__]
    for name in node._fields:
        value = getattr(node, name, None)
        if name in ("ctx", "type_comment", "returns") or (isinstance(node, ast.arg)
                                                          and name == "annotation"):
            continue
        if name == "body" and isinstance(value, list):
            value = without_docstring(value)
        if value is not None and value != []:
            found.append([name, shape(value)])
    return found


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    return [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
                                    and isinstance(s.value.value, str))]


class Module:
    """One source file: its definitions at top level by name, and where its imported names come
    from.
    """

    def __init__(self, path: Path):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.definitions: dict[str, list[ast.AST]] = {}
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

    def bindings(self, statements: list[ast.AST]) -> list[list[str]]:
        """What the imported names among those used stand for, so that a swapped import shows: the
        package and the name there.

        The core's and the methods' own under their own names are left out, as their definitions are
        looked at where they are, and they may move.
        """
        found = []
        for name in sorted(names_in(statements) & self.imported.keys()):
            module, original = self.imported[name]
            package, _, rest = module.partition(".")
            ours = package == "kdbench" and (rest.startswith("methods") or rest in CORE_FILES)
            if not (ours and name == original):
                found.append(
                    [name, package if original else module, original, "" if ours else "elsewhere"])
        return found


def defined(statement: ast.stmt) -> list[str]:
    """The names that a statement at top level defines; calls that register something have one of
    their own.
    """
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [
            node.id
            for target in targets
            for node in ast.walk(target)
            if isinstance(node, ast.Name)
        ]
    if isinstance(statement, ast.Import | ast.ImportFrom) or not without_docstring([statement]):
        return []
    return ["<module>"]


@cache
def module_of(path: Path) -> Module:
    return Module(path)


def core_file(name: str) -> Path:
    """The file of `kdbench.WING.NAME`, given `WING.NAME`."""
    return ROOT.joinpath(*name.split(".")).with_suffix(".py")


def core_digest(part: str) -> str:
    """Digest of all that the files of one part of the core define, whatever the files are
    called.
    """
    found = []
    for name in CORE[part]:
        source = module_of(core_file(name))
        for definition, statements in source.definitions.items():
            found.append([
                definition, [shape(statement) for statement in statements],
                source.bindings(statements)
            ])
    return digest(sorted(found, key=json.dumps))


def method_file(module: str) -> Path | None:
    """The file of `kdbench.methods.NAME`; None for any other module."""
    package, _, name = module.rpartition(".")
    if package != "kdbench.methods":
        return None
    folders = (ROOT.parent / "methods", ROOT / "methods")  # in a clone, and installed
    return next((path for folder in folders if (path := folder / f"{name}.py").is_file()), None)


def reached_digest(module: str, name: str) -> str:
    """Digest of a definition of a method's file and of all that it uses, directly or not, of the
    methods' files.

    What it uses of the core is known by the core's version.
    """
    waiting, seen, found = [(module, name)], set(), []
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        if whole := method_file(".".join(place)):  # the module itself is what was imported
            waiting += [(".".join(place), each) for each in module_of(whole).definitions]
        if (path := method_file(place[0])) is None:
            continue
        source = module_of(path)
        statements = source.definitions.get(place[1])
        if statements is None:
            if place[1] in source.imported:
                waiting.append(source.imported[place[1]])
            continue
        found.append(
            [place[1], [shape(statement) for statement in statements],
             source.bindings(statements)])
        for used in names_in(statements):
            waiting.append(source.imported.get(used, (place[0], used)))
        waiting.append((place[0], "<module>"))
    return digest(sorted(found, key=json.dumps))


def names_in(statements: list[ast.AST]) -> set[str]:
    return {
        node.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name)
    }


# --- what is kept beside the numbers --------------------------------------------------------------


@cache
def kept() -> dict[str, dict[str, Any]]:
    """By part of the core and by method: its version and the digest that goes with it."""
    return json.loads(KEPT.read_text(encoding="utf-8"))


def places() -> dict[str, tuple[str, str]]:
    """By built-in method, the module and name of its class; imports none of them."""
    found = {}
    for entry in METHODS.entries():
        if isinstance(entry.where, str):
            module, _, name = entry.where.partition(":")
            found[entry.name] = (module, name)
    return found


def core(part: str) -> int | str:
    """The version of a part of the core; a digest where the code is not that of the version, or
    where something in it was replaced after it was imported.
    """
    plain = unpatched(part)
    foreign = replaced(CORE[part])
    return digest([plain, foreign]) if foreign else plain


@cache
def unpatched(part: str) -> int | str:
    found = core_digest(part)
    return VERSIONS[part] if kept().get(part) == {"version": VERSIONS[part], "digest": found
                                                  } else found


def replaced(names: Sequence[str]) -> list[Any]:
    """What in these files of the core is not what their source says any more: functions, classes
    and their methods that were put in the place of others, and imported names that mean something
    else.
    """
    found: list[Any] = []
    for name in names:
        if (module := sys.modules.get(f"kdbench.{name}")) is None:
            continue
        found += foreign_in(module, module_of(core_file(name)))
    return found


def foreign_in(module: Any, source: Module) -> Iterator[Any]:
    for name, statements in source.definitions.items():
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                own = getattr(module, name, None)
                yield from foreign(own, statement, module, name)
    for name, (origin, original) in source.imported.items():
        there = sys.modules.get(origin)
        here = getattr(module, name, None)
        ours = original and origin.partition(".")[0] == "kdbench" and there is not None
        if ours and here is not None and here is not getattr(there, original, here):
            yield [module.__name__, name, described(here)]


def foreign(thing: Any, statement: ast.AST, module: Any, name: str) -> Iterator[Any]:
    """`thing`, where it is not what `statement` defines; of a class also those of its methods that
    are not.
    """
    if isinstance(statement, ast.FunctionDef):
        plain = inspect.unwrap(thing) if statement.decorator_list and callable(thing) else thing
        if getattr(getattr(plain, "__code__", None), "co_filename", "") != module.__file__:
            yield [module.__name__, name, described(thing)]
        return
    if not isinstance(thing, type) or thing.__module__ != module.__name__:
        yield [module.__name__, name, described(thing)]
        return
    assert isinstance(statement, ast.ClassDef)
    written = {inner.name: inner for inner in statement.body if isinstance(inner, ast.FunctionDef)}
    for member_name, member in vars(thing).items():
        for attribute in ("__func__", "fget", "func"):
            member = getattr(member, attribute, member)
        if member_name in written:
            yield from foreign(member, written[member_name], module, f"{name}.{member_name}")
        elif isinstance(member, types.FunctionType) and strange(member, module):
            yield [module.__name__, f"{name}.{member_name}", described(member)]


def strange(member: types.FunctionType, module: Any) -> bool:
    """Does a method that its class does not write come from elsewhere? Data classes, enumerations
    and torch add their own.
    """
    made_by_python = member.__code__.co_filename in (module.__file__, "<string>")
    return not made_by_python and home(member).partition(".")[0] not in LIBRARIES


def described(thing: Any) -> Any:
    """A replacement by its source alone: what it holds may be anything."""
    if isinstance(thing, type | types.FunctionType):
        return code_of(thing)
    return [
        type(thing).__qualname__,
        described(thing.func) if isinstance(thing, functools.partial) else ""
    ]


def built_in(name: str) -> int | str:
    """The version of a built-in method; a digest where the code is not that of the version, or
    where something in a method's file was replaced after it was imported.
    """
    plain = built_in_unpatched(name)
    others: list[Any] = []
    for loaded in sorted(module for module in sys.modules if method_file(module)):
        others += foreign_in(sys.modules[loaded], module_of(method_file(loaded) or KEPT))
    return digest([plain, others]) if others else plain


@cache
def built_in_unpatched(name: str) -> int | str:
    module, attribute = places()[name]
    found, stated = reached_digest(module, attribute), stated_version(module, attribute)
    return stated if kept().get(name) == {"version": stated, "digest": found} else found


def stated_version(module: str, name: str) -> int:
    """`version = N` of a method's class, read from its file without importing it."""
    path = method_file(module)
    assert path is not None
    for statement in module_of(path).definitions[name]:
        for line in getattr(statement, "body", ()):
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "version":
                return int(ast.literal_eval(line.value))
    return 1


def current() -> dict[str, dict[str, Any]]:
    """What `code.json` says when it is up to date."""
    found: dict[str, dict[str, Any]] = {}
    for part, version in VERSIONS.items():
        found[part] = {"version": version, "digest": core_digest(part)}
    for name, (module, attribute) in places().items():
        found[name] = {
            "version": stated_version(module, attribute),
            "digest": reached_digest(module, attribute)
        }
    return found


def outdated() -> list[str]:
    """One line for each version whose digest is not that of today's code."""
    lines = []
    for name, now in current().items():
        before = kept().get(name)
        if before == now:
            continue
        if before and before["version"] == now["version"]:
            lines.append(
                f"{name}: the code changed and its version is still {now['version']}; raise the "
                f"version where "
                "figures change, then `python -m kdbench.base.code --confirm`")
        else:
            lines.append(
                f"{name}: version {now['version']} has no digest yet; `python -m kdbench.base.code "
                f"--confirm`"
            )
    return lines + [
        f"{name}: is gone; `python -m kdbench.base.code --confirm`"
        for name in kept().keys() - current().keys()
    ]


# --- code from anywhere ---------------------------------------------------------------------------


def home(thing: Any) -> str:
    """The module that a class or function really comes from: `functools.wraps` gives a function
    another's name.
    """
    if isinstance(thing, types.FunctionType):
        return thing.__globals__.get("__name__") or "builtins"
    return getattr(thing, "__module__", None) or "builtins"


def code_of(thing: Any) -> Any:
    """What a class or function is known by: nothing for libraries and the core, whose versions
    stand elsewhere; versions or a digest for what the methods' files define; its name and the hash
    of its file for all else.

    Raises `BadInput` where there is no source to hash.
    """
    module = home(thing)
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if module.partition(".")[0] in LIBRARIES:
        return f"{module}.{name}"
    if module.partition(".")[0] == "kdbench" and not module.startswith(
        ("kdbench.methods.", "kdbench.tasks.")):
        return name
    if method_file(module) is not None:
        owners = {owner: built_in(owner) for owner, place in places().items() if place[0] == module}
        top = name.partition(".")[0]
        return {"name": name, "code": owners or reached_digest(module, top)}
    return {"name": name, "code": source_hash(module, thing)}


def file_hash(path: Path, more: Sequence[Path] = ()) -> str:
    """Hash of a Python file and of the files of its own that it imports, directly or not. Their
    place does not matter.

    more  files that are known to belong to it: what it imported when it ran
    """
    roots = [path.parent, *own_roots(path)]
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
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest([own, sorted(entry for entry in hashes if entry != [path.name, own])])


def own_roots(path: Path) -> list[Path]:
    """Folders that `path` can import from and that hold nobody's installed packages; the root of
    its own package.
    """
    found = [Path(entry).resolve() for entry in sys.path if entry and not installed(Path(entry))]
    package = path.parent
    while (package / "__init__.py").is_file():
        package = package.parent
    return [
        folder for folder in dict.fromkeys([*found, package])
        if folder != ROOT.parent and folder.is_dir()
    ]


def installed(path: Path) -> bool:
    """Does this lie among installed packages, or in Python's own library?"""
    parts = path.parts
    if "site-packages" in parts or "dist-packages" in parts or path.suffix == ".zip":
        return True
    return path.resolve().is_relative_to(Path(inspect.__file__).resolve().parent)


def imported_beside(path: Path, content: bytes, roots: Sequence[Path]) -> Iterator[Path]:
    """The files that `path` imports and that are no library's: from its folder, its package, or
    `roots`.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{path}: is no Python file ({error})") from None
    for node in ast.walk(tree):
        folders = [path.parent, *roots]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                folders = [path.parents[node.level - 1]]
            own = [node.module] if node.module else []
            names = own + [".".join([*own, alias.name]) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")):
            names = [
                word.value
                for word in node.args
                if isinstance(word, ast.Constant) and isinstance(word.value, str)
            ]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if top != "kdbench":  # a file beside it may have the name of a library
                for folder in dict.fromkeys(folders[:1] if top in LIBRARIES else folders):
                    yield from files_of(folder, name.strip(".").split("."))


def files_of(folder: Path, parts: list[str]) -> Iterator[Path]:
    for depth in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        for candidate in (place.with_suffix(".py"), place / "__init__.py"):
            if candidate.is_file():
                yield candidate.resolve()


# By class or function: the hash of its source when it was first seen. A module that is loaded anew
# makes new ones.
SEEN: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def source_hash(module: str, thing: Any) -> str:
    """Hash of the source that `thing` was made from: as it was when its module was imported, or
    when it was first seen.
    """
    loaded = sys.modules.get(module)
    if remembered := getattr(loaded, "__kdbench_source__", None):
        return remembered
    try:
        if thing in SEEN:
            return SEEN[thing]
    except TypeError:  # of a kind that cannot be kept so
        pass
    path = getattr(loaded, "__file__", None)
    if path and Path(path).is_file():
        found = file_hash(Path(path).resolve())
    else:
        try:
            linecache.checkcache()
            found = digest(inspect.getsource(thing))
        except (OSError, TypeError):
            raise BadInput(
                f"{getattr(thing, '__qualname__', thing)!s}: its source cannot be found, so what "
                f"it trains could not "
                "be found again by its content; put it into a file and load that with --plugin"
            ) from None
    if isinstance(thing, type | types.FunctionType):
        SEEN[thing] = found
    return found


def method_code(cls: type) -> Any:
    """What decides a method's procedure: its own code and that of the methods that it builds on, by
    name.
    """
    found = []
    for base in cls.__mro__:
        if base is object or base.__module__.partition(
                ".")[0] in LIBRARIES or base.__module__ == "kdbench.train.method":
            continue
        owner = next((name for name, place in places().items()
                      if place == (base.__module__, base.__qualname__)), None)
        found.append({owner: built_in(owner)} if owner else code_of(base))
    return found[0] if len(found) == 1 else found


def main(words: list[str]) -> int:
    if "--confirm" in words:
        KEPT.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    lines = outdated()
    print("\n".join(lines) or "every version has the digest of today's code")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
