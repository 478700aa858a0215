"""Short runs of every method on embedded text: losses by step, and what a step waits for."""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

STEPS = 20
BATCH = 8

PRETRAINING = {"pretrain_epochs": 1, "new_tokens": 20, "min_frequency": 2, "pretrain_batch": BATCH}
SMALL = {"embedding_size": 32, "hidden": 32, "head": 16}

# name: method, task, student, options
RUNS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "finetune": ("finetune", "chemprot", "tiny-student", {}),
    "finetune, several labels": ("finetune", "hoc", "tiny-student", {}),
    "finetune, regression": ("finetune", "biosses", "tiny-student", {}),
    "finetune, tags": ("finetune", "bc2gm_iobes", "tiny-student", {}),
    "finetune, bilstm": ("finetune", "bc2gm_iobes", "bilstm", {}),
    "logit_kd": ("logit_kd", "chemprot", "tiny-student", {}),
    "logit_kd, tags": ("logit_kd", "bc2gm_iobes", "tiny-student", {}),
    "adapt": ("adapt", "gad", "tiny-student", PRETRAINING),
    "ve_kd": ("ve_kd", "gad", "tiny-student", PRETRAINING),
    "doktra": ("doktra", "chemprot", "tiny-student", {}),
    "dsg_kd": ("dsg_kd", "emr", "tiny-student", {}),
    "dsg_kd, ensemble": ("dsg_kd", "emr", "tiny-student", {"mode": "ensemble"}),
    "ner_kd": ("ner_kd", "bc2gm_iobes", "tiny-student", {}),
    "ner_kd, bilstm": ("ner_kd", "bc2gm_iobes", "bilstm", SMALL),
}


def losses(given: argparse.Namespace) -> dict[str, Any]:
    """The loss of every step in fp32 without dropout, by run and stage."""
    from kdbench.train.fit import Trainer

    own_init, own_step = Trainer.__init__, Trainer.forward_and_backward
    seen: dict[str, list[float]] = {}

    def init(trainer: Any, *args: Any, **named: Any) -> None:
        own_init(trainer, *args, **named)
        without_dropout(trainer.trainee)

    def step(trainer: Any, batch: Any, counts: Any) -> Any:
        from kdbench.train.objective import loss_of

        terms = own_step(trainer, batch, counts)
        seen.setdefault(trainer.stage, []).append(float(loss_of(terms, counts)))
        return terms

    Trainer.__init__, Trainer.forward_and_backward = init, step  # type: ignore[method-assign]
    torch.set_float32_matmul_precision("highest")
    return by_run(given, seen, precision="fp32")


def waits(given: argparse.Namespace) -> dict[str, Any]:
    """Synchronising calls in the last step of each training, in the precision that is chosen.

    CUDA alone tells them; elsewhere the counts are empty.
    """
    from kdbench.train.fit import Trainer

    own = Trainer.one_step
    seen: dict[str, Any] = {}
    told = given.device.startswith("cuda")

    def step(trainer: Any, *args: Any) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if told:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                own(trainer, *args)
            finally:
                if told:
                    torch.cuda.set_sync_debug_mode("default")
        places = Counter(f"{Path(one.filename).name}:{one.lineno}" for one in caught
                         if "synchroniz" in str(one.message).lower())
        seen[trainer.stage] = dict(places)

    Trainer.one_step = step  # type: ignore[method-assign]
    return by_run(given, seen, precision="auto", max_steps=4)


def by_run(given: argparse.Namespace, seen: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """What `seen` holds after each run; a run that fails says so."""
    from kdbench.base import progress

    progress.Progress.at = progress.Progress.end = lambda *_, **__: None  # type: ignore
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="kdbench-gpu-") as folder:
        for number, (name, run) in enumerate(RUNS.items()):
            seen.clear()
            try:
                execute(run, Path(folder) / str(number), given.device, settings)
                found[name] = dict(seen)
            except Exception as error:  # the other runs are worth having
                found[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
    return found


def execute(run: tuple[str, str, str, dict[str, Any]], folder: Path, device: str,
            settings: dict[str, Any]) -> None:
    """One run of a method, from data to record."""
    from kdbench.runs.planning import plan
    from kdbench.runs.request import Request
    from kdbench.runs.runner import Runner

    method, task, student, options = run
    given = {"max_steps": STEPS, "epochs": 1, "batch_size": BATCH, "max_length": 48,
             "max_train_examples": STEPS * BATCH, "max_dev_examples": 16, "latency": "off", **settings}
    request = Request(method, task, "tiny:bert", student, options=options, settings=given,
                      controls=False)
    (cell,) = plan(request, device=device)
    runner = Runner(folder, device=device)
    record = runner.one(cell)
    if record["status"] != "done":
        raise RuntimeError(record.get("error", record["status"]))


def without_dropout(module: nn.Module) -> None:
    """Set every dropout of `module` to zero: modules, LSTMs, and shares that a forward reads."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, value in list(vars(part).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)
