"""The cache of trained stages and teacher signals: folders and files found by their keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from kdbench.base.checksums import (
    damage_of_files,
    facts_of_files,
    files_of,
    read_object,
    sealed,
)
from kdbench.base.errors import one_line
from kdbench.base.folders import damage, new_folder
from kdbench.base.holders import held
from kdbench.base.identity import file_digest
from kdbench.models.load import Model
from kdbench.train.objective import Objective
from kdbench.train.weights import cpu_state, load_weights, misfit, save_weights

# of a stage.json, what the lab reads
FACTS: dict[str, type | tuple[type, ...]] = {
    "seconds": (int, float), "steps": int, "accumulate": int, "history": list,
}


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


def damage_of_stage(folder: Path, module: nn.Module, objective: Objective) -> str:
    """Why a trained stage cannot be taken; empty for one that is whole and fits both modules.

    A crash of the machine can leave half of it, and somebody can change it.
    """
    names = ["model.safetensors"]
    if has_parameters(objective):
        names.append("objective.safetensors")
    try:
        facts = read_object(folder / "stage.json")
        if wrong := damage_of_facts(facts, folder.name) or damage_of_files(facts, folder):
            return wrong
        if wrong := damage_of_sums(facts, folder, names):
            return wrong
        wrong = misfit(module, folder / "model.safetensors")
        if not wrong and has_parameters(objective):
            wrong = misfit(objective, folder / "objective.safetensors")
        return wrong
    except (OSError, ValueError) as error:
        return one_line(error)


def damage_of_facts(facts: Mapping[str, Any], key: str) -> str:
    """What is wrong with what a stage.json says, besides its checksums."""
    if facts.get("key") != key:
        return "stage.json is of another stage"
    for name, types in FACTS.items():
        value = facts.get(name)
        if not isinstance(value, types) or isinstance(value, bool):
            return f"stage.json has no usable {name}"
    return ""


def damage_of_sums(facts: Mapping[str, Any], folder: Path, names: Sequence[str]) -> str:
    """What is wrong with the weights by `sha256` of stage.json, which older versions write alone.

    names  the files that must be there
    """
    sums, known = facts.get("sha256"), files_of(facts)
    if not isinstance(sums, dict) or not set(names) <= sums.keys():
        return "stage.json has no checksum of the weights"
    for name, sha256 in sums.items():
        path = folder / Path(name).name
        if wrong := damage(path):
            return f"{name}: {wrong}"
        if name not in known and file_digest(path) != sha256:
            return f"{name} is not what its checksum says"
    return ""


def has_parameters(objective: Objective) -> bool:
    """Does the objective have learned parts?"""
    return next(objective.parameters(), None) is not None


def write_stage(folder: Path, model: Model, objective: Objective, facts: Mapping[str, Any]) -> None:
    """Write a trained stage in place of what `folder` held: model, tokenizer, learned parts of the
    objective, and stage.json with `facts` and checksums.

    The caller holds the stage's lock, so that what a killed process has left can go.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with new_folder(folder) as part:
        model.module.save_pretrained(part, state_dict=cpu_state(model.module))
        # once more, with tied weights as `load_weights` wants them
        save_weights(model.module, part / "model.safetensors")
        model.tokenizer.save_pretrained(part)
        if has_parameters(objective):
            save_weights(objective, part / "objective.safetensors")
        write_facts(part, facts)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write stage.json: `facts`, with size and checksum of every file that is there.

    Left out is labels.json, which has its own: runs that share the stage write it anew.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths if path.name != "labels.json"]
    files = facts_of_files(folder, names)
    # what older versions read
    sums = {name: file["sha256"] for name, file in files.items() if name.endswith(".safetensors")}
    (folder / "stage.json").write_text(json.dumps(sealed({**facts, "sha256": sums}, files)))


def read_stage(folder: Path, module: nn.Module, objective: Objective) -> dict[str, Any]:
    """Load a stage's weights into `module` and `objective`; returns its stage.json."""
    load_weights(module, folder / "model.safetensors")
    if has_parameters(objective):
        load_weights(objective, folder / "objective.safetensors")
    facts: dict[str, Any] = read_object(folder / "stage.json")
    return facts
