"""Which code made a figure: versions of what is built in, hashes of everything else.

A figure is out of date when the code behind it means something else now. Built-in code has a
number, `version = N` on a method and `VERSIONS` for the core, so that ids stay the same when code
moves to another file. A number can be forgotten. So `code.json` keeps a digest of the syntax trees
beside each number. Where the code has another digest, that digest stands in place of the number:
edited code has figures of its own. A test fails until the number is raised, or the change is
confirmed as one of form:

    python -m kdbench.base.code            # what changed
    python -m kdbench.base.code --confirm  # the digests of today's code, beside today's numbers

Code from elsewhere has no number; see `kdbench.base.sources`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from kdbench.base.identity import digest
from kdbench.base.places import PACKAGE
from kdbench.base.registry import METHODS
from kdbench.base.sources import LIBRARIES as LIBRARIES  # the wings above import it from here
from kdbench.base.sources import home, is_of_a_library, source_hash
from kdbench.base.sources import installed as installed
from kdbench.base.syntax import Module, module_of, names_in, shape

KEPT = Path(__file__).with_name("code.json")

# Raise a number when a change to its files changes what they compute.
VERSIONS = {"training": 1, "scoring": 1}
CORE = {
    "training": (
        "train.losses", "train.objective", "train.mlm", "train.batching", "train.textfile",
        "train.training", "train.fit", "train.resuming", "train.feeding", "train.resident",
        "train.compiling", "train.processes", "train.signals", "train.teaching", "train.lab",
        "train.stage_cache", "train.weights", "train.memory", "train.prediction", "train.scoring",
        "train.cpu", "train.masks", "train.limits", "train.agreement", "train.answering",
        "train.windows", "train.live_texts", "base.identity", "data.words", "data.lengths",
        "data.windows", "data.answer_options", "data.answers", "data.teacher_answers",
        "data.teacher_lines", "data.word_answers", "models.sources", "models.heads", "models.rows",
        "models.tag_rows", "models.merged", "models.tokenizer", "models.load", "models.sizes",
        "models.layers", "models.bilstm", "models.vocabulary", "models.zoo", "models.encoders",
        "models.teachers",
    ),
    "scoring": (
        "score.metrics", "score.scoring", "score.counts", "score.tagging", "data.tags",
        "runs.cell", "runs.planning", "runs.runner", "runs.packing", "runs.teacher_plans",
        "runs.teacher_rows",
    ),
}
CORE_FILES = frozenset(CORE["training"] + CORE["scoring"])

Version = int | str  # a number, or the digest of code that is not that of its number


# --- digests of syntax trees ----------------------------------------------------------------------


def core_file(name: str) -> Path:
    """The file of `kdbench.WING.NAME`, given `WING.NAME`."""
    return PACKAGE.joinpath(*name.split(".")).with_suffix(".py")


def method_file(module: str) -> Path | None:
    """The file of `kdbench.methods.NAME`; None for any other module."""
    package, _, name = module.rpartition(".")
    if package != "kdbench.methods":
        return None
    for folder in (PACKAGE.parent / "methods", PACKAGE / "methods"):  # in a clone, and installed
        path = folder / f"{name}.py"
        if path.is_file():
            return path
    return None


def core_digest(part: str) -> str:
    """Digest of all definitions in the files of one part of the core; file names do not matter."""
    definitions = []
    for name in CORE[part]:
        source = module_of(core_file(name))
        for definition in source.definitions:
            definitions.append(described_definition(source, definition))
    return digest(sorted(definitions, key=json.dumps))


def described_definition(source: Module, name: str) -> list:
    """A definition as it is hashed: its name, its syntax trees and its imported names."""
    statements = source.definitions[name]
    return [name, [shape(statement) for statement in statements], bindings(source, statements)]


def bindings(source: Module, statements: Sequence[ast.stmt]) -> list[list[str]]:
    """The imported names that these statements use, each with its package and its name there.

    They make a digest change with an import. Definitions of the core and of methods under their own
    names are left out: they are hashed in their own file, and may move to another.
    """
    imported = []
    for name in sorted(set(names_in(statements)) & source.imported.keys()):
        module, original = source.imported[name]
        package, _, rest = module.partition(".")
        ours = package == "kdbench" and (rest.startswith("methods") or rest in CORE_FILES)
        if not (ours and name == original):
            top = package if original else module
            imported.append([name, top, original, "" if ours else "elsewhere"])
    return imported


def reached_digest(module: str, name: str) -> str:
    """Digest of a definition in a method's file and of all definitions in methods' files that it
    uses, directly or not.

    What it uses of the core is known by the core's version.
    """
    waiting, seen, definitions = [(module, name)], set(), []
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
        definitions.append(described_definition(source, place[1]))
        for used in names_in(statements):
            waiting.append(source.imported.get(used, (place[0], used)))
        waiting.append((place[0], "<module>"))
    return digest(sorted(definitions, key=json.dumps))


# --- versions, and the digests that belong to them ------------------------------------------------


@cache
def kept() -> dict[str, dict[str, Any]]:
    """By part of the core and by method: its version and the digest that belongs to it."""
    return json.loads(KEPT.read_text(encoding="utf-8"))


def places() -> dict[str, tuple[str, str]]:
    """By built-in method, the module and name of its class; imports none of them."""
    classes = {}
    for entry in METHODS.entries():
        if isinstance(entry.where, str):
            module, _, name = entry.where.partition(":")
            classes[entry.name] = (module, name)
    return classes


def core(part: str) -> Version:
    """The version of a part of the core.

    A digest where the code is not that of the version, or where something in it was replaced after
    it was imported.
    """
    plain = unpatched(part)
    foreign = replaced(CORE[part])
    return digest([plain, foreign]) if foreign else plain


@cache
def unpatched(part: str) -> Version:
    """The version of a part of the core by its files alone."""
    found = core_digest(part)
    current = {"version": VERSIONS[part], "digest": found}
    return VERSIONS[part] if kept().get(part) == current else found


def built_in(name: str) -> Version:
    """The version of a built-in method.

    A digest where the code is not that of the version, or where something in a method's file was
    replaced after it was imported.
    """
    plain = built_in_unpatched(name)
    others: list = []
    for loaded in sorted(module for module in sys.modules if module.startswith("kdbench.methods.")):
        if path := method_file(loaded):
            others += replaced_in(sys.modules[loaded], module_of(path))
    return digest([plain, others]) if others else plain


@cache
def built_in_unpatched(name: str) -> Version:
    """The version of a built-in method by its files alone."""
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
    versions: dict[str, dict[str, Any]] = {}
    for part, version in VERSIONS.items():
        versions[part] = {"version": version, "digest": core_digest(part)}
    for name, (module, attribute) in places().items():
        versions[name] = {
            "version": stated_version(module, attribute),
            "digest": reached_digest(module, attribute),
        }
    return versions


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
                "version where figures change, then `python -m kdbench.base.code --confirm`")
        else:
            lines.append(f"{name}: version {now['version']} has no digest yet; "
                         "`python -m kdbench.base.code --confirm`")
    for name in kept().keys() - current().keys():
        lines.append(f"{name}: is gone; `python -m kdbench.base.code --confirm`")
    return lines


# --- what was replaced after it was imported ------------------------------------------------------


def replaced(names: Sequence[str]) -> list:
    """What in these files of the core is no longer what their source says.

    These are functions, classes and methods that others took the place of, and imported names that
    mean something else.
    """
    foreign: list = []
    for name in names:
        if (module := sys.modules.get(f"kdbench.{name}")) is not None:
            foreign += replaced_in(module, module_of(core_file(name)))
    return foreign


def replaced_in(module: types.ModuleType, source: Module) -> Iterator[list]:
    """The replacements in one loaded file: its module, their names and what they are."""
    for name, statement in source.blocks:
        yield from replacements(getattr(module, name, None), statement, module, name)
    for name, origin, original in source.ours:
        there = sys.modules.get(origin)
        here = getattr(module, name, None)
        known = there is not None and here is not None
        if known and here is not getattr(there, original, here):
            yield [module.__name__, name, described(here)]


def replacements(thing: object, statement: ast.FunctionDef | ast.ClassDef,
                 module: types.ModuleType, name: str) -> Iterator[list]:
    """`thing`, where it is not what `statement` defines; of a class also its replaced methods."""
    if isinstance(statement, ast.FunctionDef):
        plain = inspect.unwrap(thing) if statement.decorator_list and callable(thing) else thing
        if getattr(getattr(plain, "__code__", None), "co_filename", "") != module.__file__:
            yield [module.__name__, name, described(thing)]
        return
    if not isinstance(thing, type) or thing.__module__ != module.__name__:
        yield [module.__name__, name, described(thing)]
        return
    methods = methods_of(statement)
    for member_name, member in vars(thing).items():
        for attribute in ("__func__", "fget", "func"):
            member = getattr(member, attribute, member)
        if member_name in methods:
            yield from replacements(member, methods[member_name], module, f"{name}.{member_name}")
        elif isinstance(member, types.FunctionType) and is_foreign(member, module):
            yield [module.__name__, f"{name}.{member_name}", described(member)]


@cache
def methods_of(statement: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The methods that a class's source defines."""
    return {inner.name: inner for inner in statement.body if isinstance(inner, ast.FunctionDef)}


def is_foreign(method: types.FunctionType, module: types.ModuleType) -> bool:
    """Whether a method that its class's source does not define comes from elsewhere.

    Data classes, enumerations and torch add methods of their own, which do not count.
    """
    made_by_python = method.__code__.co_filename in (module.__file__, "<string>")
    return not made_by_python and not is_of_a_library(home(method))


def described(thing: object) -> Any:
    """A replacement by its source alone: what it holds may be anything."""
    if isinstance(thing, type | types.FunctionType):
        return code_of(thing)
    inner = described(thing.func) if isinstance(thing, functools.partial) else ""
    return [type(thing).__qualname__, inner]


# --- code from anywhere ---------------------------------------------------------------------------


def code_of(thing: object) -> Any:
    """What a class or function is known by.

    Its name alone for libraries and the core, whose versions are recorded elsewhere. Its name and a
    version or digest for what the methods' files define. Its name and the hash of its file for all
    else. Raises `BadInput` where there is no source to hash.
    """
    module = home(thing)
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if is_of_a_library(module):
        return f"{module}.{name}"
    added = module.startswith(("kdbench.methods.", "kdbench.tasks."))
    if module.partition(".")[0] == "kdbench" and not added:
        return name
    if method_file(module) is not None:
        owners = {owner: built_in(owner) for owner, place in places().items() if place[0] == module}
        top = name.partition(".")[0]
        return {"name": name, "code": owners or reached_digest(module, top)}
    return {"name": name, "code": source_hash(module, thing)}


# How a function of a metric is described; `kdbench.train.content` adds what it captured.
describe: Callable[[object], Any] = code_of


def method_code(cls: type) -> Any:
    """What decides a method's procedure: its own code and that of the methods that it builds on, by
    name.
    """
    codes = []
    for base in cls.__mro__:
        interface = base is object or base.__module__ == "kdbench.train.method"
        if interface or is_of_a_library(base.__module__):
            continue
        owner = name_of(base)
        codes.append({owner: built_in(owner)} if owner else code_of(base))
    return codes[0] if len(codes) == 1 else codes


def name_of(cls: type) -> str | None:
    """The built-in method that a class is, by name."""
    for name, place in places().items():
        if place == (cls.__module__, cls.__qualname__):
            return name
    return None


def main(words: Sequence[str]) -> int:
    """Print what changed, or keep today's digests with `--confirm`; returns the exit code."""
    if "--confirm" in words:
        KEPT.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    lines = outdated()
    print("\n".join(lines) or "every version has the digest of today's code")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
