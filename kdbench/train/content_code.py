"""What a function or a class is, by its content: its source, and the values that it reads.

See `content_values.py` for what is described and why.
"""

from __future__ import annotations

import enum
import functools
import inspect
import sys
import types
from pathlib import Path
from typing import Any

from kdbench.base.code import LIBRARIES, code_of, home, installed
from kdbench.base.errors import BadInput
from kdbench.base.identity import digest
from kdbench.base.registry import Registry
from kdbench.train.content_values import Json, Seen, content_of, describe, is_simple
from kdbench.train.objective import Objective

CACHED = type(functools.lru_cache(lambda: None))


def is_library_code(thing: object) -> bool:
    """Does a library define this function or class?"""
    return home(thing).partition(".")[0] in LIBRARIES


def is_own_code(value: object) -> bool:
    """Is this a function, or part of one, that no library made?"""
    if isinstance(value, functools.partial):
        simple = all(is_simple(each) for each in (list(value.args), value.keywords))
        return is_own_code(value.func) or not simple
    if isinstance(value, types.MethodType):
        return is_own_code(value.__func__)
    return isinstance(value, types.FunctionType) and not is_library_code(value)


def is_packaged(thing: object) -> bool:
    """Does this come from an installed package? Its files are hashed, and it is taken as it is."""
    path = getattr(sys.modules.get(home(thing)), "__file__", None)
    return path is not None and installed(Path(path))


# --- functions ------------------------------------------------------------------------------------


@describe.register
def of_function(value: types.FunctionType, where: str, seen: Seen) -> Json:
    """Its source, its instructions (several lambdas of a file have one name), defaults, the values
    that it captured, its own attributes, and what it reads of its module's globals.
    """
    source = code_of(value)
    if not isinstance(source, dict):  # of a library or of the core
        # a library's wrapper around a user's function
        wrapped = getattr(value, "__wrapped__", None)
        return [source, content_of(wrapped, where, seen)] if wrapped is not None else source
    found: dict[str, Json] = {"function": source}
    found["instructions"] = instructions(value.__code__)
    found["defaults"] = content_of([value.__defaults__, value.__kwdefaults__],
                                   f"the defaults of {where}", seen)
    found["captured"] = captured(value, where, seen)
    found["attributes"] = {name: content_of(each, f"{where}.{name}", seen)
                           for name, each in sorted(vars(value).items())}
    # not of a built-in method, whose version says it
    if isinstance(source.get("code"), str) and not is_packaged(value):
        found["globals"] = globals_read(value, where, seen)
    return found


def captured(value: types.FunctionType, where: str, seen: Seen) -> dict[str, Json]:
    """The variables around a function that it reads, by name."""
    try:
        variables = inspect.getclosurevars(value).nonlocals
    except ValueError:
        raise BadInput(f"{where}: captures a variable that has no value yet, so it cannot be "
                       "hashed; set it before") from None
    found = {}
    for name, each in variables.items():
        found[name] = content_of(each, f"{name}, which {where} captured", seen)
    return found


def globals_read(value: types.FunctionType, where: str, seen: Seen) -> dict[str, Json]:
    """The globals that a function reads, directly or through functions inside it. Of a module of
    the user's own the plain values; registries decide nothing.
    """
    found: dict[str, Json] = {}
    for name in sorted(names_read(value.__code__) & value.__globals__.keys()):
        each = value.__globals__[name]
        if isinstance(each, types.ModuleType):
            if is_own_module(each):
                found[name] = plain_values(each)
        elif not isinstance(each, Registry):
            found[name] = content_of(each, f"the global {name}, which {where} reads", seen)
    return found


def is_own_module(module: types.ModuleType) -> bool:
    """Is this module the user's own: no library's, none of the core, not installed?"""
    if module.__name__.partition(".")[0] in LIBRARIES | {"kdbench"}:
        return False
    return not installed(Path(getattr(module, "__file__", None) or "."))


def plain_values(module: types.ModuleType) -> dict[str, Json]:
    """The plain values among a module's globals."""
    return {name: value for name, value in sorted(vars(module).items())
            if not name.startswith("__") and is_simple(value)}


def instructions(code: types.CodeType) -> str:
    """Digest of a function's byte code and constants, those of functions inside it included."""
    constants, sets = [], []
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            constants.append(instructions(each))
        elif isinstance(each, frozenset):  # whose order differs between processes
            sets.append(repr(sorted(map(repr, each))))
        else:
            constants.append(repr(each))
    return digest([code.co_code.hex(), constants, sorted(sets), list(code.co_names)])


def names_read(code: types.CodeType) -> set[str]:
    """The names of globals and attributes in a function's code and in functions inside it."""
    names = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            names |= names_read(each)
    return names


@describe.register
def of_method(value: types.MethodType, where: str, seen: Seen) -> Json:
    """The function, and the object that it is bound to."""
    owner = content_of(value.__self__, f"the owner of {where}", seen)
    return {"method": content_of(value.__func__, where, seen), "of": owner}


@describe.register
def of_partial(value: functools.partial, where: str, seen: Seen) -> Json:
    """The function and what is filled in."""
    return {"partial": content_of([value.func, value.args, value.keywords], where, seen)}


@describe.register
def of_builtin(value: types.BuiltinFunctionType, where: str, seen: Seen) -> Json:
    """A function of a library, or a bound method of one of its objects: then with the object."""
    owner = getattr(value, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        return ["code", code_of(value)]
    return ["method", value.__name__, content_of(owner, f"the owner of {where}", seen)]


@describe.register(CACHED)
def of_cached(value: Any, where: str, seen: Seen) -> Json:
    """The function behind `functools.cache`."""
    return ["cached", content_of(value.__wrapped__, where, seen)]


# --- classes --------------------------------------------------------------------------------------


@describe.register
def of_class(value: type, where: str, seen: Seen) -> Json:
    """A class by its source; a user's own also by what its functions captured and by its values."""
    source = code_of(value)
    if not isinstance(source, dict) or value.__module__.startswith("kdbench.methods."):
        return ["code", source]
    if is_packaged(value) and not issubclass(value, Objective):
        return ["code", source]
    if issubclass(value, enum.Enum):
        names = [[each.name, content_of(each.value, f"{where}.{each.name}", seen)]
                 for each in value]
        return ["code", source, names]
    members = {}
    for name, member in sorted(vars(value).items()):
        member = unwrapped(member)
        if not is_written_by_python(name, member):
            members[name] = content_of(member, f"{where}.{name}", seen)
    bases = [content_of(base, where, seen) for base in value.__bases__ if base is not object]
    return {"class": source, "members": members, "bases": bases}


def is_written_by_python(name: str, member: object) -> bool:
    """Is this member of a class made by Python, a dataclass or a library, and not written there?"""
    if name.startswith("_abc"):
        return True
    if isinstance(member, types.FunctionType):
        return name.startswith("__") and member.__code__.co_filename.startswith("<")
    if name.startswith("__"):
        return True
    is_descriptor = hasattr(type(member), "__get__") and not isinstance(member, type)
    return is_descriptor and is_library_code(type(member))


def unwrapped(member: object) -> object:
    """The function behind a class method, static method, property or cached property; of a partial
    method all of it.
    """
    if isinstance(member, classmethod | staticmethod):
        return member.__func__
    if isinstance(member, property):
        return [member.fget, member.fset]
    if isinstance(member, functools.cached_property):
        return member.func
    if isinstance(member, functools.partialmethod):
        return [member.func, member.args, member.keywords]
    return member
