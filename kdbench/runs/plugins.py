"""Plugins: files, and installed packages, that register methods, tasks, models or metrics."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from importlib.abc import Loader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kdbench.base.errors import BadInput, one_line
from kdbench.base.places import NO_PACKAGES
from kdbench.base.progress import say
from kdbench.base.registry import Registry
from kdbench.base.sources import LIBRARIES, file_hash, installed
from kdbench.score.metrics import METRICS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def load_plugin(path: str | Path) -> str:
    """Import a file that registers methods, tasks, models or metrics; returns the name of its
    module.

    The file is hashed before it runs, so that what it trains is known by the code that really ran.
    It is known by its whole path: two plugins may have one name.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"plugin {path}: no such file")
    path = path.resolve()
    name = f"kdbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    source = file_hash(path)
    if name in sys.modules:
        check_unchanged(path, sys.modules[name])
        return name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"plugin {path}: not a Python file; give one that ends with .py")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__kdbench_source__"] = source  # read by `kdbench.base.code` while it runs
    sys.modules[name] = module  # dataclasses and multiprocessing look the module up by name
    names, loaded = registered(), set(sys.modules)
    try:
        execute(spec.loader, module, path)
        if registered() == names:
            raise BadInput(
                f"plugin {path}: it registers nothing; put @METHODS.register(\"name\") over its "
                f"method, or add an Entry "
                "to TASKS or MODELS")
    except BadInput:
        del sys.modules[name]
        raise
    more = own_files(set(sys.modules) - loaded)
    module.__dict__.update(__kdbench_files__=more, __kdbench_source__=file_hash(path, more))
    return name


def execute(loader: Loader, module: ModuleType, path: Path) -> None:
    """Run the file of a plugin; what it raises becomes `BadInput`."""
    try:
        loader.exec_module(module)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(f"plugin {path}: {type(error).__name__}: {error}") from error


def check_unchanged(path: Path, module: ModuleType) -> None:
    """`BadInput` where a plugin, or a file that it imports, is not what was loaded."""
    facts = module.__dict__
    if facts["__kdbench_source__"] != file_hash(path, facts["__kdbench_files__"]):
        raise BadInput(
            f"plugin {path}: it, or a file that it imports, changed after it was loaded; start "
            f"anew")


def own_files(names: set[str]) -> list[Path]:
    """The files of those of these modules that no library installed: what a plugin brought along,
    however it found them.
    """
    found: set[Path] = set()
    for name in names:
        path = getattr(sys.modules.get(name), "__file__", None) or ""
        package = name.partition(".")[0]
        foreign = package in LIBRARIES or package == "kdbench" or installed(Path(path))
        if path.endswith(".py") and not foreign:
            own = Path(path).resolve()
            # a module in an archive has no file of its own: the archive is the file
            found.update(place for place in (own, *own.parents) if place.is_file())
    return sorted(found)


def registered() -> list[str]:
    """All that the registries hold, and the metrics."""
    names = [f"{registry.noun} {name}" for registry in Registry.all for name in registry.names()]
    return names + list(METRICS)


def load_plugins() -> None:
    """Import the files that KDBENCH_PLUGINS names, and what installed packages offer under the
    entry-point group ``kdbench``, unless KDBENCH_NO_PLUGINS is set.
    """
    from importlib.metadata import entry_points

    for path in filter(None, os.environ.get("KDBENCH_PLUGINS", "").split(os.pathsep)):
        load_plugin(path)
    if os.environ.get(NO_PACKAGES):
        return
    for point in entry_points(group="kdbench"):
        load_entry_point(point)


def load_entry_point(point: EntryPoint) -> None:
    """Import what an installed package offers; one that is broken is named, and passed over.

    Nobody asked for it in this command, which may have nothing to do with it.
    """
    try:
        point.load()
    except (Exception, SystemExit) as error:
        package = point.dist.name if point.dist is not None else point.value
        say(f"plugin {point.name} of the package {package} is passed over: "
            f"{type(error).__name__}: {one_line(error)[:300]}")
