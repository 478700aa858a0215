"""What a thing is, by its content: values, functions with what they captured, modules, models.

A stage or a signal is found again by what made it. Whatever cannot be hashed is refused with a
sentence, never left out: two trainings that differ in it would otherwise share one key, and the
second would get the figures of the first.
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
import inspect
import json
import logging
import random
import re
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdbench.base import code
from kdbench.base.code import LIBRARIES, code_of, home, installed
from kdbench.base.errors import BadInput
from kdbench.base.identity import digest, file_digest
from kdbench.base.registry import Registry
from kdbench.data.task import Example
from kdbench.train import cpu
from kdbench.train.objective import Objective
from kdbench.train.signals import LiveSignals, StoredSignals

PLAIN = (str, int, float, bool, type(None))
# What every module has, and below what the training loop sets on an objective: neither decides what
# it computes.
INTERNAL = frozenset(vars(nn.Module())) | {"training"}
LOOPS = ("epoch", "epochs")  # of an objective
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def known_by(value: Any, where: str, seen: tuple[int, ...] = ()) -> Any:
    """`value` as JSON that is the same wherever the same value is made; `BadInput`, which names
    `where`, if there is no such thing.
    """
    if isinstance(value, enum.Enum):
        return [code_of(type(value)), value.name, known_by(value.value, f"{where}.value", seen)]
    if type(value) in PLAIN:
        return value
    if id(value) in seen:
        return ["again", len(seen) - seen.index(id(value))]  # a circle, by its length
    seen = (*seen, id(value))
    for kinds, describe in DESCRIBED:
        if isinstance(value, kinds):
            return describe(value, where, seen)
    if callable(getattr(value, "identity", None)) and not isinstance(value, type):
        return [
            of_class(type(value), where, seen),
            known_by(value.identity(), f"{where}.identity()", seen)
        ]
    if dataclasses.is_dataclass(value) or plain_object(value):
        return [of_class(type(value), where, seen), attributes(value, where, seen)]
    raise BadInput(
        f"{where}: a {type(value).__module__}.{type(value).__qualname__} cannot be hashed, so what "
        f"depends on it "
        "could not be found again by its content; keep what decides in plain values, or give its "
        "class a "
        "method identity() that returns them")


def plain_object(value: Any) -> bool:
    """Is this an instance of somebody's own class, which is what its attributes are? One that
    builds on a class of a library (a file, say) holds more than they show.
    """
    own = [base for base in type(value).__mro__
           if base.__module__ not in ("abc", "typing", "collections.abc") and base is not object]
    return (hasattr(value, "__dict__") or bool(slots_of(value))) and all(
        base.__module__.partition(".")[0] not in LIBRARIES for base in own)


def attributes(value: Any, where: str, seen: tuple[int, ...] = ()) -> dict[str, Any]:
    """All instance attributes; of a field that names a file the file's content."""
    files = {f.name
             for f in dataclasses.fields(value)
             if f.metadata.get("file")} if dataclasses.is_dataclass(value) else set()
    found = {}
    own = {**slots_of(value), **getattr(value, "__dict__", {})}
    for name, each in sorted(own.items()):
        each = Path(each) if name in files and each is not None else each
        found[name] = known_by(each, f"{where}.{name}", seen)
    return found


def slots_of(value: Any) -> dict[str, Any]:
    """What an object keeps outside its `__dict__`, by name; private names as Python writes them."""
    found = {}
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            full = f"_{kind.__name__.lstrip('_')}{name}" if name.startswith(
                "__") and not name.endswith("__") else name
            if full not in ("__dict__", "__weakref__") and hasattr(value, full):
                found[full] = getattr(value, full)
    return found


def with_own(value: Any, inner: Any, plain: tuple[type, ...], where: str, seen: tuple[int,
                                                                                      ...]) -> Any:
    """`inner`, and of an instance of a class of somebody's own also that class and the attributes
    it has beside.
    """
    if type(value) in plain:
        return inner
    return [of_class(type(value), where, seen), inner, attributes(value, where, seen)]


def of_mapping(value: Mapping, where: str, seen: tuple[int, ...]) -> Any:
    pairs = [[known_by(key, f"{where}, a key", seen), known_by(each, f"{where}[{key!r}]", seen)]
             for key, each in value.items()]  # in their order, which a loop over them follows
    if isinstance(value, collections.defaultdict):
        pairs.append(["default", known_by(value.default_factory, f"the default of {where}", seen)])
    plain = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter,
             types.MappingProxyType)
    return with_own(value, [type(value).__name__, pairs], plain, where, seen)


def of_sequence(value: Sequence, where: str, seen: tuple[int, ...]) -> Any:
    items = [known_by(each, f"{where}[{i}]", seen) for i, each in enumerate(value)]
    return with_own(value, items, (list, tuple, collections.deque), where, seen)


def of_set(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    items = ["set", sorted((known_by(each, where, seen) for each in value), key=json.dumps)]
    return with_own(value, items, (set, frozenset), where, seen)


def of_bytes(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    return ["bytes", hashlib.sha256(value).hexdigest()]


def of_array(value: np.ndarray, where: str, seen: tuple[int, ...]) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        return [
            "masked",
            known_by(value.filled(0), where, seen),
            known_by(np.ma.getmaskarray(value), where, seen)
        ]
    if value.dtype.hasobject:
        return ["array", list(value.shape), known_by(value.ravel().tolist(), where, seen)]
    return [
        "array",
        str(value.dtype),
        list(value.shape),
        hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    ]


def of_tensor(value: torch.Tensor, where: str, seen: tuple[int, ...]) -> Any:
    return [
        "tensor",
        str(value.dtype),
        list(value.shape),
        hashlib.sha256(tensor_bytes(value)).hexdigest()
    ]


def tensor_bytes(value: torch.Tensor) -> Any:
    """The elements in memory order, as something that can be hashed."""
    flat = value.detach().to("cpu").contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""


def of_path(value: Path, where: str, seen: tuple[int, ...]) -> Any:
    if not value.is_file():
        raise BadInput(
            f"{where}: {value}: no such file, so its content cannot be hashed; a path itself "
            f"decides nothing"
        )
    return ["file", file_digest(value)]


def of_random(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    state = {
        random.Random: lambda: value.getstate(),
        np.random.Generator: lambda: value.bit_generator.state,
        torch.Generator: lambda: value.get_state()
    }
    read = next(read for kind, read in state.items() if isinstance(value, kind))
    return [type(value).__name__, known_by(read(), where, seen)]


def of_function(value: types.FunctionType, where: str, seen: tuple[int, ...]) -> Any:
    """Its source, its instructions (several lambdas of a file have one name), defaults, the values
    that it captured, its own attributes, and what it reads of its module's globals.
    """
    found: dict[str, Any] = {"function": code_of(value)}
    if not isinstance(found["function"], dict):  # of a library or of the core
        # a library's wrapper around somebody's function
        wrapped = getattr(value, "__wrapped__", None)
        return [found["function"], known_by(wrapped, where, seen)] if wrapped is not None else found
    found["instructions"] = instructions(value.__code__)
    found["defaults"] = known_by([value.__defaults__, value.__kwdefaults__],
                                 f"the defaults of {where}", seen)
    try:
        captured = inspect.getclosurevars(value).nonlocals
    except ValueError:
        raise BadInput(
            f"{where}: captures a variable that has no value yet, so it cannot be hashed; set it "
            f"before"
        ) from None
    found["captured"] = {
        name: known_by(each, f"{name}, which {where} captured", seen)
        for name, each in captured.items()
    }
    found["attributes"] = {
        name: known_by(each, f"{where}.{name}", seen)
        for name, each in sorted(vars(value).items())
    }
    # not of a built-in method, whose version says it
    if isinstance(found["function"].get("code"), str) and not in_a_package(value):
        found["globals"] = globals_read(value, where, seen)
    return found


def globals_read(value: types.FunctionType, where: str, seen: tuple[int, ...]) -> dict[str, Any]:
    """The globals that a function reads, directly or through functions of its own kind. Of a module
    of its own the plain values; registries decide nothing.
    """
    found = {}
    for name in sorted(names_read(value.__code__) & value.__globals__.keys()):
        each = value.__globals__[name]
        if isinstance(each, types.ModuleType):
            top = each.__name__.partition(".")[0]
            if top not in LIBRARIES | {"kdbench"} and not installed(
                    Path(getattr(each, "__file__", None) or ".")):
                found[name] = {
                    key: kept
                    for key, kept in sorted(vars(each).items())
                    if not key.startswith("__") and simple(kept)
                }
        elif not isinstance(each, Registry):
            found[name] = known_by(each, f"the global {name}, which {where} reads", seen)
    return found


def instructions(code: types.CodeType) -> str:
    """Digest of a function's byte code and constants, those of functions inside it included."""
    constants = [
        instructions(each) if isinstance(each, types.CodeType) else repr(each)
        for each in code.co_consts
        if not isinstance(each, frozenset)
    ]
    sets = sorted(
        repr(sorted(map(repr, each))) for each in code.co_consts if isinstance(each, frozenset))
    return digest([code.co_code.hex(), constants, sets, list(code.co_names)])


def names_read(code: types.CodeType) -> set[str]:
    inner = [names_read(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*inner)


def of_method(value: types.MethodType, where: str, seen: tuple[int, ...]) -> Any:
    owner = value.__self__
    return {
        "method": known_by(value.__func__, where, seen),
        "of": known_by(owner, f"the owner of {where}", seen)
    }


def of_partial(value: functools.partial, where: str, seen: tuple[int, ...]) -> Any:
    return {"partial": known_by([value.func, value.args, value.keywords], where, seen)}


def of_tokenizer(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    return tokenizer_content(value)


def of_config(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    return config_content(value)


def of_module(value: nn.Module, where: str, seen: tuple[int, ...]) -> Any:
    return module_content(value, where, seen)


def of_class(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    """A class by its source; one from elsewhere also by what its functions captured and by its own
    values.
    """
    source = code_of(value)
    if not isinstance(value, type) or not isinstance(
            source, dict) or value.__module__.startswith("kdbench.methods."):
        return ["code", source]
    if in_a_package(value) and not issubclass(value, Objective):
        return ["code", source]
    if issubclass(value, enum.Enum):
        return [
            "code", source,
            [[each.name, known_by(each.value, f"{where}.{each.name}", seen)] for each in value]
        ]
    members = {}
    for name, member in sorted(vars(value).items()):
        if name.startswith("__") and not isinstance(member, types.FunctionType):
            continue  # made by Python
        member = unwrapped(member)
        if isinstance(member, types.FunctionType) and member.__code__.co_filename.startswith(
                "<") and name.startswith("__"):
            continue  # that `dataclass` wrote
        descriptor = hasattr(type(member),
                             "__get__") and not isinstance(member, types.FunctionType | type)
        if not name.startswith("_abc") and not (descriptor and of_library(type(member))):
            members[name] = known_by(member, f"{where}.{name}", seen)
    bases = [known_by(base, where, seen) for base in value.__bases__ if base is not object]
    return {"class": source, "members": members, "bases": bases}


def in_a_package(thing: Any) -> bool:
    """Does this come from an installed package? Its files are hashed, and it is taken as it is."""
    path = getattr(sys.modules.get(home(thing)), "__file__", None)
    return path is not None and installed(Path(path))


def unwrapped(member: Any) -> Any:
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


def of_builtin(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    """A function of a library, or a bound method of one of its objects: then with the object."""
    owner = getattr(value, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        return ["code", code_of(value)]
    return ["method", value.__name__, known_by(owner, f"the owner of {where}", seen)]


def of_wrapper(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    return ["cached", known_by(value.__wrapped__, where, seen)]


def of_text(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    return [type(value).__name__, str(value)]


def of_logger(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    return "a logger"  # says things and decides nothing


def of_pattern(value: re.Pattern, where: str, seen: tuple[int, ...]) -> Any:
    return ["pattern", value.pattern, value.flags]


def of_number(value: np.generic, where: str, seen: tuple[int, ...]) -> Any:
    return known_by(value.item(), where, seen)


def of_example(value: Example, where: str, seen: tuple[int, ...]) -> Any:
    inner = ["example", value.key, value.label]
    if type(value) is Example:
        return inner
    return [of_class(type(value), where, seen), inner, attributes(value, where, seen)]


def of_namespace(value: types.SimpleNamespace, where: str, seen: tuple[int, ...]) -> Any:
    return attributes(value, where, seen)


def of_derived(value: Any, where: str, seen: tuple[int, ...]) -> Any:
    """Of a class of its own that is a text or a number."""
    base = next(kind for kind in (str, int, float) if isinstance(value, kind))
    return with_own(value, base(value), (), where, seen)


def transformers_classes() -> tuple[type, type]:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

    return PreTrainedConfig, PreTrainedTokenizerBase


CONFIG, TOKENIZER = transformers_classes()

# The first kind that fits describes a value.
DESCRIBED: tuple[tuple[Any, Any],
                 ...] = ((type, of_class), (Example, of_example), (TOKENIZER, of_tokenizer),
                         (CONFIG, of_config), (nn.Module, of_module), (torch.Tensor, of_tensor),
                         (np.ndarray, of_array), (np.generic, of_number),
                         ((torch.dtype, torch.device, np.dtype, range, complex, slice, type(...),
                           types.UnionType, types.GenericAlias, decimal.Decimal, fractions.Fraction,
                           datetime.date, datetime.time, datetime.timedelta),
                          of_text), ((logging.Logger, logging.LoggerAdapter), of_logger),
                         (Path, of_path), ((random.Random, np.random.Generator, torch.Generator),
                                           of_random), (types.FunctionType,
                                                        of_function), (types.MethodType, of_method),
                         (functools.partial, of_partial), (types.BuiltinFunctionType, of_builtin),
                         (functools._lru_cache_wrapper, of_wrapper), (re.Pattern, of_pattern),
                         ((bytes, bytearray), of_bytes), (types.SimpleNamespace,
                                                          of_namespace), (Mapping, of_mapping),
                         ((set, frozenset), of_set), ((list, tuple, collections.deque),
                                                      of_sequence), ((str, int, float), of_derived),
                         )


# --- models ---------------------------------------------------------------------------------------


def module_content(module: nn.Module, where: str, seen: tuple[int, ...] = ()) -> dict[str, Any]:
    """Class, weights, hooks and attributes of a module and of its parts.

    A library's own module is what its class, configuration and weights make it; of its other
    attributes only plain values are read, such as the share of a dropout.
    """
    parts = {}
    for name, part in module.named_modules():
        place = f"{where}.{name}" if name else where
        # faster, with the same result
        kind = nn.Dropout if type(part) is cpu.Dropout else type(part)
        library = of_library(kind)
        own = {}
        for key, value in sorted(vars(part).items()):
            if key in INTERNAL or (key in LOOPS and isinstance(part, Objective)) or isinstance(
                    value, CONFIG):
                continue
            if library and (key.startswith("_") or not (simple(value) or somebodys(value))):
                continue
            own[key] = known_by(value, f"{place}.{key}", seen)
        parts[name] = [known_by(kind, place, seen), own, hooks_of(part, place, seen)]
    config = getattr(module, "config", None)
    return {"parts": digest(parts), "weights": weights_hash(module),
            "config": config_content(config) if isinstance(config, CONFIG) else None}


def of_library(thing: Any) -> bool:
    return home(thing).partition(".")[0] in LIBRARIES


def somebodys(value: Any) -> bool:
    """Is this a function, or part of one, that no library made?"""
    if isinstance(value, functools.partial):
        return somebodys(
            value.func) or not all(simple(each) for each in (list(value.args), value.keywords))
    if isinstance(value, types.MethodType):
        return somebodys(value.__func__)
    return isinstance(value, types.FunctionType) and not of_library(value)


def hooks_of(part: nn.Module, where: str, seen: tuple[int, ...]) -> list[Any]:
    """The hooks of somebody's own, on a module and on its parameters; those of a library
    (transformers collects hidden states by them) change no value.
    """
    hooks = [hook for name in HOOKS for hook in getattr(part, name, {}).values()]
    for parameter in part.parameters(recurse=False):
        hooks += list((parameter._backward_hooks or {}).values())
    return [
        known_by(hook, f"a hook of {where}", seen)
        for hook in hooks
        if not (isinstance(hook, types.FunctionType | types.MethodType) and not somebodys(hook))
    ]


def simple(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(simple(each) for each in value)
    if isinstance(value, dict):
        return all(simple(key) and simple(each) for key, each in value.items())
    return type(value) in PLAIN


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over all parameters and buffers of a module: names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in sorted({**dict(module.named_parameters()),
                                **dict(module.named_buffers())}.items()):
        found.update(
            json.dumps([name, str(tensor.dtype),
                        list(tensor.shape), tensor.requires_grad]).encode())
        found.update(tensor_bytes(tensor))
    return found.hexdigest()


def config_content(config: Any) -> dict[str, Any]:
    """A model's configuration without what tells where it came from and by which version it was
    saved.
    """
    outside = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
    kept = {key: value for key, value in config.to_dict().items() if key not in outside}
    return json.loads(json.dumps(kept, default=str, sort_keys=True))


def tokenizer_content(tokenizer: Any) -> str:
    """How a tokenizer cuts and numbers texts: its rules, vocabulary and special tokens.

    Truncation and padding are set by whoever calls it and left as they were by the last call, so
    that they are no part.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise BadInput(
            f"{type(tokenizer).__name__}: a tokenizer without tokenizer.json cannot be hashed")
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules["truncation"] = rules["padding"] = None
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return digest([
        rules, special, tokenizer.padding_side, tokenizer.truncation_side,
        list(tokenizer.model_input_names)
    ])


def model_content(model: Any) -> dict[str, Any]:
    """What decides how a `Model` reads a text and goes on learning: module, tokenizer, hidden ids,
    partner.
    """
    return {
        "module": module_content(model.module, f"model {model.name}"),
        "tokenizer": tokenizer_content(model.tokenizer), "hidden_ids": list(model.hidden_ids),
        "partner": model_content(model.partner) if model.partner else None
    }


def objective_content(objective: Objective) -> dict[str, Any]:
    """The code of an objective and of the classes that it builds on, its attributes, its parts with
    their first weights.
    """
    bases = [code_of(base) for base in type(objective).__mro__ if issubclass(base, Objective)]
    return {"code": bases, **module_content(objective, f"objective {type(objective).__name__}")}


def signals_content(signals: Any) -> Any:
    """What a training reads of a teacher: the values themselves where they are stored, else what
    computes them.
    """
    if type(signals) is StoredSignals and vars(signals).keys() <= {
            "key", "rows", "task_kind", "seconds"
    }:
        found = hashlib.sha256(signals.key.encode())
        for kind, rows in sorted(signals.rows.items()):
            for key, row in sorted(rows.items()):
                found.update(f"{kind} {key} {row.dtype} {row.shape}".encode())
                found.update(np.ascontiguousarray(row).tobytes())
        return ["stored", found.hexdigest()]
    if type(signals) is LiveSignals and vars(signals).keys() <= {"key", "teacher"}:
        return [
            "live", signals.key,
            model_content(signals.teacher.model),
            known_by(signals.teacher.own, "the pool")
        ]
    return known_by(signals, "the signals")


code.describe = lambda thing: known_by(thing, "a metric")
