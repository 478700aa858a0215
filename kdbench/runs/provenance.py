"""Where a record comes from: the project's commit, versions, hardware. Never a path or a host
name.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kdbench import __version__
from kdbench.base.machine import peak_resident_mb, processor
from kdbench.base.places import PACKAGE

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy",
            "onnxruntime")
ROOT = PACKAGE.parent  # of a clone


def collect(device: str, threads: int) -> dict[str, Any]:
    """Project, versions and hardware of this process."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "kdbench": __version__, **commit(), "python": platform.python_version(),
        "packages": versions, "system": platform.system(), "machine": platform.machine(),
        "processor": processor(), "accelerator": accelerator(device), "cores": os.cpu_count(),
        "threads": threads, "device": device,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def commit() -> dict[str, Any]:
    """The clone's commit and whether files that decide results differ from it."""

    def git(*words: str) -> str:
        # a lock could be left behind where the size of files is limited
        command = ["git", "--no-optional-locks", "-C", str(ROOT), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    if not (ROOT / "bench.py").is_file():
        return {"commit": None, "dirty": None}
    try:
        code = ("kdbench", "methods", "tasks", "bench.py")
        dirty = bool(git("status", "--porcelain", "--", *code))
        return {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def accelerator(device: str) -> dict[str, Any] | None:
    """Name and software of an accelerator; None for a CPU."""
    import torch

    if device == "cpu":
        return None
    module = torch.get_device_module(device)
    return {
        "name": module.get_device_name(), "capability": list(module.get_device_capability()),
        "cuda": torch.version.cuda, "driver": driver(),
        "cudnn": torch.backends.cudnn.version() if device == "cuda" else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def driver() -> str | None:
    """The version of NVIDIA's driver on Linux."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return None


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB (resident, or on the GPU where one is used)."""
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    if device is not None and (most := torch.get_device_module(device).max_memory_allocated()):
        return round(most / 1e6, 1)
    return peak_resident_mb()


def describe_error(error: BaseException, hide: tuple[str, ...] = ()) -> dict[str, str]:
    """An exception for a record: type, message and traceback, without local paths."""

    def clean(text: str) -> str:
        for path in sorted({*hide, str(ROOT), str(Path.home()), sys.prefix}, key=len, reverse=True):
            if len(path) > 1:
                text = text.replace(path, "...")
        return text

    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{short(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
    return {
        "type": type(error).__name__, "message": clean(str(error)), "traceback": "\n".join(where)
    }


def short(filename: str) -> str:
    """A source file by its place in the project or in its package."""
    path = Path(filename)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    parts = path.parts
    if "site-packages" not in parts:
        return path.name
    return "/".join(parts[parts.index("site-packages") + 1:])
