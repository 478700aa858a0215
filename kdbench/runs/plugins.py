"""Plugins: files, and installed packages, that register methods, tasks, models or metrics."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.base.registry import Registry
from kdbench.base.sources import LIBRARIES, file_hash, installed
from kdbench.score.metrics import METRICS


def load_plugin(path: str | Path) -> str:
    """Import a file that registers methods, tasks or models.

    Returns the name of its module. Its hash is taken before it runs, so that what it trains is
    known by the code that really ran. A file is known by its whole path: two plugins may have one
    name.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"plugin {path}: no such file")
    path = path.resolve()
    name = f"kdbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    source = file_hash(path)
    if name in sys.modules:
        if sys.modules[name].__dict__["__kdbench_source__"] != file_hash(
                path, sys.modules[name].__dict__["__kdbench_files__"]):
            raise BadInput(
                f"plugin {path}: it, or a file that it imports, changed after it was loaded; start "
                f"anew"
            )
        return name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"plugin {path}: not a Python file; give one that ends with .py")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__kdbench_source__"] = source  # for what asks while it runs
    sys.modules[name] = module  # dataclasses and multiprocessing look the module up by name
    before, loaded = registered(), set(sys.modules)
    try:
        spec.loader.exec_module(module)
    except BadInput:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise BadInput(f"plugin {path}: {type(error).__name__}: {error}") from error
    if registered() == before:
        del sys.modules[name]
        raise BadInput(
            f"plugin {path}: it registers nothing; put @METHODS.register(\"name\") over its "
            f"method, or add an Entry "
            "to TASKS or MODELS")
    more = own_files(set(sys.modules) - loaded)
    module.__dict__.update(__kdbench_files__=more, __kdbench_source__=file_hash(path, more))
    return name


def own_files(names: set[str]) -> list[Path]:
    """The files of those of these modules that no library installed: what a plugin brought along,
    however it found them.
    """
    found = []
    for name in names:
        path = getattr(sys.modules.get(name), "__file__", None)
        if path and path.endswith(".py") and name.partition(
                ".")[0] not in LIBRARIES | {"kdbench"} and not installed(Path(path)):
            own = Path(path).resolve()
            # an archive holds files that are none
            found += [place for place in (own, *own.parents) if place.is_file()]
    return sorted(set(found))


def registered() -> list[str]:
    """All that registries hold, and the metrics, which are a dictionary."""
    return [f"{registry.noun} {name}" for registry in Registry.all
            for name in registry.names()] + list(METRICS)


def load_plugins() -> None:
    """Import the files that KDBENCH_PLUGINS names, and what installed packages offer under the
    entry-point group ``kdbench``.
    """
    from importlib.metadata import entry_points

    for path in filter(None, os.environ.get("KDBENCH_PLUGINS", "").split(os.pathsep)):
        load_plugin(path)
    for point in entry_points(group="kdbench"):
        point.load()
