"""What a value is, by its content: plain values, collections, arrays, files and objects.

A stage or a signal is found again by what made it. What cannot be hashed is refused with a
sentence and never left out: two trainings that differ in it would otherwise share one key, and the
second would get the figures of the first.

`content_of` is where to begin. Each type registers how it is described (`describe`); functions and
classes do so in `content_code.py`, models in `content.py`.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import json
import logging
import random
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdbench.base.code import LIBRARIES, code_of
from kdbench.base.errors import BadInput
from kdbench.base.identity import file_digest
from kdbench.data.task import Example

PLAIN = (str, int, float, bool, type(None))
PLAIN_MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter,
                  types.MappingProxyType)
PLAIN_SEQUENCES = (list, tuple, collections.deque)

Json = Any  # what `json.dumps` takes
Seen = tuple[int, ...]  # the ids of the objects around a value, outermost first


def content_of(value: object, where: str, seen: Seen = ()) -> Json:
    """`value` as JSON that is the same wherever the same value is made.

    `BadInput`, which names `where`, if there is no such JSON.
    """
    if isinstance(value, enum.Enum):
        inner = content_of(value.value, f"{where}.value", seen)
        return [code_of(type(value)), value.name, inner]
    if type(value) in PLAIN:
        return value
    if id(value) in seen:
        return ["again", len(seen) - seen.index(id(value))]  # a circle, by its length
    return describe(value, where, (*seen, id(value)))


@functools.singledispatch
def describe(value: Any, where: str, seen: Seen) -> Json:
    """The content of a value of a type that has no description of its own: an object with a method
    `identity`, a dataclass, or an instance of a plain class.
    """
    if callable(getattr(value, "identity", None)):
        inner = content_of(value.identity(), f"{where}.identity()", seen)
        return [describe(type(value), where, seen), inner]
    if dataclasses.is_dataclass(value) or is_plain_object(value):
        return [describe(type(value), where, seen), attributes(value, where, seen)]
    raise BadInput(
        f"{where}: a {type(value).__module__}.{type(value).__qualname__} cannot be hashed, so what "
        "depends on it could not be found again by its content; keep what decides in plain values, "
        "or give its class a method identity() that returns them")


def is_plain_object(value: object) -> bool:
    """Is this an instance of a user's own class, so that its attributes say all?

    One that builds on a class of a library (a file, say) holds more than they show.
    """
    if not hasattr(value, "__dict__") and not slots_of(value):
        return False
    return all(not is_from_a_library(base) for base in type(value).__mro__)


def is_from_a_library(base: type) -> bool:
    """Is this base class a library's? Abstract base classes are not counted."""
    if base is object or base.__module__ in ("abc", "typing", "collections.abc"):
        return False
    return base.__module__.partition(".")[0] in LIBRARIES


def attributes(value: object, where: str, seen: Seen) -> dict[str, Json]:
    """All instance attributes; of a field that names a file the file's content."""
    files = file_fields(value)
    found = {}
    for name, each in sorted({**slots_of(value), **getattr(value, "__dict__", {})}.items()):
        if name in files and each is not None:
            each = Path(each)
        found[name] = content_of(each, f"{where}.{name}", seen)
    return found


def file_fields(value: object) -> set[str]:
    """The fields of a dataclass that name files."""
    if not dataclasses.is_dataclass(value):
        return set()
    return {each.name for each in dataclasses.fields(value) if each.metadata.get("file")}


def slots_of(value: object) -> dict[str, Any]:
    """What an object keeps outside its `__dict__`, by name; private names as Python writes them."""
    found = {}
    for cls in type(value).__mro__:
        for name in slot_names(cls):
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def slot_names(cls: type) -> Iterator[str]:
    """The slots that a class itself declares."""
    names = vars(cls).get("__slots__", ())
    for name in (names,) if isinstance(names, str) else names:
        private = name.startswith("__") and not name.endswith("__")
        yield f"_{cls.__name__.lstrip('_')}{name}" if private else name


def is_simple(value: object) -> bool:
    """Is this a plain value, or a list, tuple or dictionary of plain values?"""
    if isinstance(value, list | tuple):
        return all(is_simple(each) for each in value)
    if isinstance(value, dict):
        return all(is_simple(key) and is_simple(each) for key, each in value.items())
    return type(value) in PLAIN


# --- collections ----------------------------------------------------------------------------------


def with_class(value: object, inner: Json, plain: Sequence[type], where: str, seen: Seen) -> Json:
    """`inner`; of an instance of a user's own class also that class and its attributes."""
    if type(value) in plain:
        return inner
    return [describe(type(value), where, seen), inner, attributes(value, where, seen)]


@describe.register
def of_mapping(value: Mapping, where: str, seen: Seen) -> Json:
    """The pairs in their order, which a loop over them follows."""
    pairs = []
    for key, each in value.items():
        pairs.append([content_of(key, f"{where}, a key", seen),
                      content_of(each, f"{where}[{key!r}]", seen)])
    if isinstance(value, collections.defaultdict):
        default = content_of(value.default_factory, f"the default of {where}", seen)
        pairs.append(["default", default])
    return with_class(value, [type(value).__name__, pairs], PLAIN_MAPPINGS, where, seen)


@describe.register(list)
@describe.register(tuple)
@describe.register(collections.deque)
def of_sequence(value: Sequence, where: str, seen: Seen) -> Json:
    """The elements in their order."""
    items = [content_of(each, f"{where}[{i}]", seen) for i, each in enumerate(value)]
    return with_class(value, items, PLAIN_SEQUENCES, where, seen)


@describe.register(set)
@describe.register(frozenset)
def of_set(value: set | frozenset, where: str, seen: Seen) -> Json:
    """The elements, sorted."""
    items = sorted((content_of(each, where, seen) for each in value), key=json.dumps)
    return with_class(value, ["set", items], (set, frozenset), where, seen)


@describe.register
def of_namespace(value: types.SimpleNamespace, where: str, seen: Seen) -> Json:
    """Its attributes."""
    return attributes(value, where, seen)


@describe.register
def of_example(value: Example, where: str, seen: Seen) -> Json:
    """Text and label, whatever the example is called."""
    return with_class(value, ["example", value.key, value.label], (Example,), where, seen)


# --- arrays, numbers, texts -----------------------------------------------------------------------


@describe.register
def of_array(value: np.ndarray, where: str, seen: Seen) -> Json:
    """Type, shape and bytes; of a masked array also the mask."""
    if isinstance(value, np.ma.MaskedArray):
        values = content_of(value.filled(0), where, seen)
        return ["masked", values, content_of(np.ma.getmaskarray(value), where, seen)]
    if value.dtype.hasobject:
        return ["array", list(value.shape), content_of(value.ravel().tolist(), where, seen)]
    sha256 = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return ["array", str(value.dtype), list(value.shape), sha256]


@describe.register
def of_tensor(value: torch.Tensor, where: str, seen: Seen) -> Json:
    """Type, shape and bytes."""
    sha256 = hashlib.sha256(tensor_bytes(value)).hexdigest()
    return ["tensor", str(value.dtype), list(value.shape), sha256]


def tensor_bytes(value: torch.Tensor) -> bytes | memoryview:
    """The elements in memory order, as something that can be hashed."""
    flat = value.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""


@describe.register(bytes)
@describe.register(bytearray)
def of_bytes(value: bytes | bytearray, where: str, seen: Seen) -> Json:
    """Their hash."""
    return ["bytes", hashlib.sha256(value).hexdigest()]


# `np.str_` and `np.bytes_` are also Python's own types
@describe.register(np.generic)
@describe.register(np.str_)
@describe.register(np.bytes_)
def of_numpy_scalar(value: np.generic, where: str, seen: Seen) -> Json:
    """The Python value that it stands for."""
    return content_of(value.item(), where, seen)


@describe.register(str)
@describe.register(int)
@describe.register(float)
def of_derived(value: str | int | float, where: str, seen: Seen) -> Json:
    """An instance of a user's own class that is a text or a number."""
    base = next(each for each in (str, int, float) if isinstance(value, each))
    return with_class(value, base(value), (), where, seen)


@describe.register(torch.dtype)
@describe.register(torch.device)
@describe.register(np.dtype)
@describe.register(range)
@describe.register(complex)
@describe.register(slice)
@describe.register(type(...))
@describe.register(types.UnionType)
@describe.register(types.GenericAlias)
@describe.register(decimal.Decimal)
@describe.register(fractions.Fraction)
@describe.register(datetime.date)
@describe.register(datetime.time)
@describe.register(datetime.timedelta)
def of_printed(value: object, where: str, seen: Seen) -> Json:
    """A value that its text says in full."""
    return [type(value).__name__, str(value)]


@describe.register
def of_pattern(value: re.Pattern, where: str, seen: Seen) -> Json:
    """A regular expression."""
    return ["pattern", value.pattern, value.flags]


# --- files, loggers, random generators ------------------------------------------------------------


@describe.register
def of_path(value: Path, where: str, seen: Seen) -> Json:
    """The content of the file that it names."""
    if not value.is_file():
        raise BadInput(f"{where}: {value}: no such file, so its content cannot be hashed; a path "
                       "itself decides nothing")
    return ["file", file_digest(value)]


@describe.register(logging.Logger)
@describe.register(logging.LoggerAdapter)
def of_logger(value: object, where: str, seen: Seen) -> Json:
    """The same for all: what is logged decides nothing."""
    return "a logger"


@describe.register
def of_random(value: random.Random, where: str, seen: Seen) -> Json:
    """The state of Python's generator."""
    return [type(value).__name__, content_of(value.getstate(), where, seen)]


@describe.register
def of_numpy_random(value: np.random.Generator, where: str, seen: Seen) -> Json:
    """The state of a generator of numpy."""
    return [type(value).__name__, content_of(value.bit_generator.state, where, seen)]


@describe.register
def of_torch_random(value: torch.Generator, where: str, seen: Seen) -> Json:
    """The state of a generator of torch."""
    return [type(value).__name__, content_of(value.get_state(), where, seen)]
