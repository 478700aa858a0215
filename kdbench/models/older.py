"""Models whose weights are PyTorch's own files (`.bin`, `.pt`), as those of most encoders are.

They are read by torch's restricted loader, and kept as safetensors in a cache: a pickle of anything
but tensors is refused, and nothing in it runs. What is loaded, and checked before, is the folder in
the cache; what the model is known by are the files it came from.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from kdbench.base.activity import doing
from kdbench.base.errors import BadInput
from kdbench.base.folders import damage
from kdbench.base.identity import digest, file_digest
from kdbench.base.progress import say
from kdbench.models.convert import PARTS, convert

CACHE = "KDBENCH_CACHE"
WEIGHTS = ("pytorch_model.bin", PARTS, "model.bin", "model.pt", "pytorch_model.pt")
# beside the weights, what decides a folder that is made of them
BESIDE = (".json", ".txt", ".model")
VERSION = 1  # of how folders are made; another one makes them anew


def older_weights(folder: Path) -> list[Path]:
    """The files of weights of a folder without safetensors: one, or the index and its parts; none
    where there are no such files.
    """
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.safetensors.index.json")):
        return []
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()][:1]
    if found and found[0].name == PARTS:
        found += sorted(folder.glob("pytorch_model-*.bin"))
    return found


def loadable(folder: Path) -> Path:
    """`folder`; or, where its weights are PyTorch's own, a folder of the cache that has them as
    safetensors. It is made at the first call.

    `BadInput` where they are no weights of the model that config.json describes.
    """
    weights = older_weights(folder)
    if not weights:
        return folder
    beside = [path for path in folder.iterdir() if path.suffix in BESIDE and path.is_file()]
    with doing(f"reading the weights of {folder.name}"):
        key = digest({path.name: file_digest(path) for path in (*weights, *beside)} |
                     {"version": VERSION}, 24)
    made = cache() / key
    made.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(made.with_name(f"{key}.lock")):
        if not is_whole(made):
            shutil.rmtree(made, ignore_errors=True)
            with doing(f"reading {weights[0].name} of {folder.name}"):
                report = convert(weights[0], made, head=False)
            for note in report["notes"]:
                say(f"{folder.name}: {note}")
    return made


def is_whole(made: Path) -> bool:
    """Is this folder of the cache there, its weights not cut off?"""
    weights = made / "model.safetensors"
    return weights.is_file() and not damage(weights)


def cache() -> Path:
    """The folder of models made of others: KDBENCH_CACHE, or kdbench's in the user's cache."""
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get(CACHE) or Path(usual) / "kdbench")
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{CACHE}: {folder} is no folder; name another")
    return folder / "weights"
