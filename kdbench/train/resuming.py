"""Checkpoints of the training loop, from which a killed run goes on to the same weights."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdbench.base import reading
from kdbench.base.checksums import KEY, damage_of_files, facts_of_files, read_object, sealed
from kdbench.base.errors import one_line
from kdbench.base.folders import sync, sync_below, write_text
from kdbench.base.progress import say
from kdbench.train import processes
from kdbench.train.training import Selection
from kdbench.train.weights import load_weights, misfit, save_weights

# of a checkpoint, beside its tensors
STATE = ("epoch", "batch_number", "step", "history", "dev", "counted", "seconds", "compilation")


class Resumable:
    """The part of a trainer that writes and reads checkpoints; the attributes are the trainer's."""

    accelerator: Accelerator
    device: torch.device
    folder: Path | None
    label: str
    trainee: nn.Module
    optimizer: torch.optim.Optimizer
    selection: Selection
    best_state: dict[str, Tensor] | None
    sums: dict[str, Tensor]
    step: int
    rank: int

    def checkpoint(self) -> None:
        """Write the full state beside the last one, then point at it: a kill at any moment leaves
        one that is whole, and so does a crash of the machine, as it is on the disk by then.

        Of several processes all take part: what each has added up goes into one sum.
        """
        assert self.folder is not None
        sums = self.global_sums()
        if not self.accelerator.is_main_process:
            return
        name = f"step-{self.step}"
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        save_weights(self.trainee, place / "trainee.safetensors")
        save_file({**self.tensors(), **sums}, place / "state.safetensors")
        if self.best_state is not None:
            best = {name: value.clone() for name, value in self.best_state.items()}
            save_file(best, place / "best.safetensors")
        state = {name: getattr(self, name) for name in STATE}
        state |= {"selection": asdict(self.selection), "key": self.folder.name}
        files = facts_of_files(place, [path.name for path in place.glob("*.safetensors")])
        (place / "state.json").write_text(json.dumps(sealed(state, files)))
        sync_below(place)
        write_text(self.folder / "latest", name)
        sync(self.folder)  # or a crash could leave the pointer to one that is removed here
        for old in self.folder.glob("step-*"):
            if old.name != name:
                shutil.rmtree(old, ignore_errors=True)

    def tensors(self) -> dict[str, Tensor]:
        """Optimiser moments and random state, as tensors by name in the CPU's memory: a GPU may
        have no room for copies.
        """
        tensors = {"rng": torch.get_rng_state()}
        if self.device.type != "cpu":
            module = torch.get_device_module(self.device)
            tensors["rng_device"] = module.get_rng_state(self.device)
        for number, parameter in enumerate(self.trainee.parameters()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{number}.{name}"] = value.detach().to("cpu", copy=True)
        return tensors

    def global_sums(self) -> dict[str, Tensor]:
        """The epoch's sums so far, over all processes."""
        own = [float(value) for value in self.sums.values()]
        summed = processes.summed(self.accelerator, own)
        return {f"sum.{name}": torch.tensor(value, dtype=torch.float64)
                for name, value in zip(self.sums, summed, strict=True)}

    def resume(self) -> None:
        """Go on from the last checkpoint, where there is one and it is whole. A damaged one is told
        of, once, and removed.
        """
        if self.folder is None or not os.path.lexists(self.folder / "latest"):
            return
        try:
            place = self.last_checkpoint(self.folder)
            state = self.state_of(place)
        except (OSError, ValueError) as error:
            if self.accelerator.is_main_process:
                say(f"{self.label}: the checkpoint is damaged ({one_line(error)}); "
                    "from the beginning")
                shutil.rmtree(self.folder, ignore_errors=True)
            return
        load_weights(self.trainee, place / "trainee.safetensors")
        self.take_tensors(load_file(place / "state.safetensors"))
        if (place / "best.safetensors").is_file():
            self.best_state = load_file(place / "best.safetensors")
        for name in STATE:
            setattr(self, name, state.get(name, getattr(self, name)))
        self.selection = Selection(**state["selection"])

    def last_checkpoint(self, folder: Path) -> Path:
        """The folder of the last checkpoint; `ValueError` where the pointer names none."""
        name = reading.text(folder / "latest", 1000)
        if not re.fullmatch(r"step-\d+", name):
            raise ValueError("`latest` names no checkpoint")
        return folder / name

    def state_of(self, place: Path) -> dict[str, Any]:
        """The state.json of a checkpoint whose files are what was written; else `ValueError`.

        With its checksums every number and tensor in it is one that this very training wrote.
        """
        state = read_object(place / "state.json")
        if KEY not in state:
            raise ValueError("state.json has no checksums")
        if state.get("key") != place.parent.name:
            raise ValueError("it is of another training")
        if wrong := damage_of_files(state, place) or misfit(self.trainee,
                                                            place / "trainee.safetensors"):
            raise ValueError(wrong)
        return state

    def take_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        for number, parameter in enumerate(self.trainee.parameters()):
            moments = with_prefix(tensors, f"adam.{number}.")
            if moments:
                self.optimizer.state[parameter] = self.on_device(moments)
        self.sums = self.on_device(with_prefix(tensors, "sum."))
        if self.rank:  # the main process has all of it
            self.sums = {name: torch.zeros_like(value) for name, value in self.sums.items()}
        torch.set_rng_state(tensors["rng"].cpu())
        if "rng_device" in tensors:
            module = torch.get_device_module(self.device)
            module.set_rng_state(tensors["rng_device"].cpu(), self.device)

    def on_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors on the device; a file cannot be loaded to each ("cpu:0" is none to it)."""
        return {name: value.to(self.device) for name, value in tensors.items()}


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items()
            if name.startswith(prefix)}
