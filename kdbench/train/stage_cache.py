"""The cache of trained stages and teacher signals: folders and files found by their keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from kdbench.base.folders import new_folder
from kdbench.base.holders import held
from kdbench.base.identity import file_digest
from kdbench.models.load import Model
from kdbench.train.objective import Objective
from kdbench.train.weights import cpu_state, load_weights, save_weights


@dataclass
class StageCache:
    """Where trained stages and teacher signals are kept; shared by all cells of a results folder.

    not_before  a time (seconds since the epoch): what was made before it is made anew, once
                (`--overwrite`)
    """

    folder: Path
    not_before: float = 0.0

    def is_current(self, path: Path) -> bool:
        """Is this file or folder there, and not made before `not_before`?"""
        return path.exists() and path.stat().st_mtime >= self.not_before

    def stage(self, key: str) -> Path:
        """The folder of a trained stage."""
        return self.folder / "models" / key

    @property
    def signals(self) -> Path:
        """The folder of the teachers' signals."""
        return self.folder / "signals"

    def lock(self, key: str) -> FileLock:
        """The lock that whoever makes a stage or a signal holds."""
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock")


    def held(self, key: str, what: str) -> AbstractContextManager[None]:
        """Hold the lock of `key` for `what`; where another process has it, say who and wait."""
        return held(self.lock(key), what)


def is_cached(folder: Path) -> bool:
    """Is a trained stage there, and whole? A crash of the machine can leave half of it, and
    somebody can change it.
    """
    try:
        facts = json.loads((folder / "stage.json").read_text())
        sums = facts["sha256"]
        same = all(file_digest(folder / Path(name).name) == sha for name, sha in sums.items())
        return facts["key"] == folder.name and bool(sums) and same
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def has_parameters(objective: Objective) -> bool:
    """Does the objective have learned parts?"""
    return next(objective.parameters(), None) is not None


def write_stage(folder: Path, model: Model, objective: Objective, facts: Mapping[str, Any]) -> None:
    """Write a trained stage in place of what `folder` held: model, tokenizer, learned parts of the
    objective, and stage.json with `facts` and checksums.

    The caller holds the stage's lock, so that what a killed process has left can go.
    """
    for leftover in (folder, *folder.parent.glob(f".{folder.name}.*.partial")):
        shutil.rmtree(leftover, ignore_errors=True)
    with new_folder(folder) as part:
        model.module.save_pretrained(part, state_dict=cpu_state(model.module))
        # once more, with tied weights as `load_weights` wants them
        save_weights(model.module, part / "model.safetensors")
        model.tokenizer.save_pretrained(part)
        if has_parameters(objective):
            save_weights(objective, part / "objective.safetensors")
        sums = {path.name: file_digest(path) for path in sorted(part.glob("*.safetensors"))}
        (part / "stage.json").write_text(json.dumps({**facts, "sha256": sums}))


def read_stage(folder: Path, module: nn.Module, objective: Objective) -> dict[str, Any]:
    """Load a stage's weights into `module` and `objective`; returns its stage.json."""
    load_weights(module, folder / "model.safetensors")
    if has_parameters(objective):
        load_weights(objective, folder / "objective.safetensors")
    return json.loads((folder / "stage.json").read_text())
