"""What has to work on an accelerator, each case on the pretend one; run in a process of its own.

    python tests/pretend_cases.py                     # all cases: one line each, the failures at the end
    python tests/pretend_cases.py 'step: ve_kd*'      # some, by pattern
    python tests/pretend_cases.py --steps 've_kd*'    # what a step of these runs waits for and copies
    python tests/pretend_cases.py --json NAME ...     # for `test_pretend_device.py`
    python tests/pretend_cases.py --real cuda 'run: *' 'again: *' 'resume: *' 'export: *'   # on a real one

A device cannot be taken back from torch, so no other test may run in this process. Cases:

    device: ...    the pretend device itself
    run: ...       a method from data to record: training, signals, scores, saving, latency
    step: ...      no step of that run waits for the device or copies from pageable memory
    again: ...     the last training once more, all before it from the shelf: the same weights
    ahead: ...     the same weights as with batches that are built in their step
    resume: ...    killed in the last training, and gone on from the checkpoint: the same weights
    ...            the rest, by what it is about: export, memory, precision, latency
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CASES: dict[str, Callable[[], None]] = {}


def case(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(function: Callable[[], None]) -> Callable[[], None]:
        CASES[name] = function
        return function

    return keep


# ---- the device itself ---------------------------------------------------------------------------


def raises(call: Callable[[], Any], words: str) -> None:
    try:
        call()
    except RuntimeError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"nothing was raised; expected an error with {words!r}")


@case("device: torch names it the accelerator, and accelerate chooses it")
def known() -> None:
    import torch
    from accelerate import Accelerator

    assert torch.accelerator.current_accelerator(check_available=True).type == device.NAME
    assert torch.get_device_module(device.NAME) is device.module
    assert Accelerator().device.type == device.NAME


@case("device: tensors of the CPU beside its own are refused")
def mixing() -> None:
    import torch

    here, there = torch.ones(2, 3), torch.ones(2, 3, device=device.NAME)
    words = "same device"
    raises(lambda: there + here, words)
    raises(lambda: here + there, words)
    raises(lambda: torch.cat([there, here]), words)
    raises(lambda: there.add_(here), words)
    raises(lambda: torch.nn.functional.linear(there, here), words)
    raises(lambda: torch.nn.functional.embedding(torch.tensor([0]), there), words)
    raises(lambda: there.gather(1, torch.zeros(2, 1, dtype=torch.int64)), words)
    raises(lambda: torch.nn.LSTM(3, 2)(there), words)
    assert (there + torch.tensor(1.0)).cpu().equal(here + 1)  # a number may come from anywhere
    assert there[torch.tensor([0])].cpu().equal(here[:1])  # and an index


@case("device: results are the CPU's, gradients and views too")
def arithmetic() -> None:
    import torch

    def compute(place: str) -> list[torch.Tensor]:
        x = torch.arange(12.0).reshape(3, 4).to(place).requires_grad_()
        y = (x.t() @ x)[1:].softmax(-1).masked_fill(torch.eye(4, device=place)[1:] > 0, 0)
        y[:, 0].sum().backward()
        z = x.detach().clone()
        z[1] = 5
        z.view(-1)[2:4].mul_(2)
        found = z.nonzero()
        return [y.detach(), x.grad, z, found, z.sort(-1, descending=True)[1]]

    for one, other in zip(compute("cpu"), compute(device.NAME), strict=True):
        assert other.device.type == device.NAME and one.equal(other.cpu())


@case("device: a module that moves keeps its parameters and their ties")
def moved() -> None:
    import copy

    import torch

    module = torch.nn.ModuleList([torch.nn.Embedding(3, 4), torch.nn.Linear(4, 3)])
    module[1].weight = module[0].weight
    weight = module[0].weight
    module.to(device.NAME)
    assert module[0].weight is module[1].weight is weight and weight.device.type == device.NAME
    copied = copy.deepcopy(module)
    assert copied[0].weight is copied[1].weight is not weight
    with torch.no_grad():
        copied[0].weight.zero_()
    assert weight.abs().sum() > 0
    assert module.to("cpu")[0].weight is weight and weight.device.type == "cpu"


@case("device: its random numbers are its own")
def random_numbers() -> None:
    import torch

    def draws() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(3, device=device.NAME), torch.rand(3)

    torch.manual_seed(3)
    first, host = draws()
    torch.manual_seed(3)
    for _ in range(5):
        torch.rand(3, device=device.NAME)
    assert torch.rand(3).equal(host)  # whatever the device has drawn
    torch.manual_seed(3)
    torch.rand(9)
    assert draws()[0].equal(first)
    state = device.module.get_rng_state()
    second = draws()[0]
    device.module.set_rng_state(state)
    assert draws()[0].equal(second) and not second.equal(first)
    raises(lambda: torch.rand(3, device=device.NAME, generator=torch.Generator()), "generator")


@case("device: autocast has a type for each operator")
def autocast_lists() -> None:
    import torch
    import torch.nn.functional as F

    x = torch.ones(2, 4, device=device.NAME)
    low = x.bfloat16()
    found = {}
    with torch.autocast(device.NAME, dtype=torch.bfloat16):
        found["matmul"], found["linear"] = x @ x.t(), F.linear(x, x)
        found["attention"] = F.scaled_dot_product_attention(x[None], x[None], x[None])
        found["layer_norm"] = F.layer_norm(low, (4,))
        found["softmax"], found["sum"], found["exp"] = low.softmax(-1), low.sum(), low.exp()
        found["cross_entropy"] = F.cross_entropy(low, torch.zeros(2, 4, device=device.NAME))
        found["as asked"] = low.sum(dtype=torch.bfloat16)
        found["widest"] = torch.addcmul(low, x, x)
        found["all low"] = torch.addcmul(low, low, low)
        found["in no list"] = low.relu()
        raises(lambda: F.binary_cross_entropy(x, x), "unsafe to autocast")
    lows = {name for name, value in found.items() if value.dtype is torch.bfloat16}
    assert lows == {"matmul", "linear", "attention", "as asked", "all low", "in no list"}, lows
    assert {value.dtype for value in found.values()} == {torch.bfloat16, torch.float32}


@case("device: an LSTM is the CPU's, its weights in one buffer, in fp16 under autocast")
def recurrent() -> None:
    import torch

    torch.manual_seed(0)
    x, layer = torch.randn(2, 5, 3), torch.nn.LSTM(3, 4, batch_first=True)
    layer(x)[0].square().sum().backward()
    expected = [parameter.grad.clone() for parameter in layer.parameters()]
    layer.zero_grad()
    layer.to(device.NAME)
    storages = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    assert len(storages) == 1
    layer(x.to(device.NAME))[0].square().sum().backward()
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad.cpu(), gradient)
    with torch.autocast(device.NAME, dtype=torch.bfloat16):
        assert layer(x.to(device.NAME))[0].dtype is torch.float16


@case("device: memory is counted, and runs out on demand")
def memory_counted() -> None:
    import torch

    before = device.memory.allocated
    kept = torch.zeros(100, device=device.NAME)
    assert device.memory.allocated == before + 400
    view = kept[10:]
    del kept
    assert device.memory.allocated == before + 400
    device.module.reset_peak_memory_stats()
    view = view + 1
    assert device.memory.peak == before + 760 and device.memory.allocated == before + 360
    del view
    assert device.memory.allocated == before

    def ask() -> Any:
        return torch.zeros(100, device=device.NAME)

    with device.memory.short(limit=before + 399):
        raises(ask, "out of memory")
    with device.memory.short(after=2):
        ask()
        raises(ask, "out of memory")
        ask()
    with device.memory.short(after=1, error=device.no_memory_for_cublas):
        raises(ask, "CUBLAS_STATUS_ALLOC_FAILED")


@case("device: waits and copies are counted by file and line")
def counted() -> None:
    import torch

    x = torch.ones(3, device=device.NAME)
    quiet: dict[str, Callable[[], Any]] = {
        "arithmetic": lambda: (x + 1).softmax(0).sum() * torch.tensor(2.0),
        "pinned": lambda: torch.ones(3).pin_memory().to(device.NAME, non_blocking=True),
        "made there": lambda: torch.arange(3, device=device.NAME)}
    waits = {
        "item": lambda: float(x.sum()), "if": lambda: bool(x.sum() > 0), "cpu": lambda: x.cpu(),
        "mask": lambda: x[x > 0], "nonzero": lambda: x.nonzero(), "list": lambda: x[[0, 1]],
        "pageable": lambda: torch.ones(3).to(device.NAME), "equal": lambda: torch.equal(x, x),
        "blocking": lambda: torch.ones(3).pin_memory().to(device.NAME),
        "made here": lambda: torch.tensor([1.0], device=device.NAME)}
    for name, call in quiet.items():
        with device.watch() as seen:
            call()
        assert not seen.stalls(), (name, seen.stalls())
    for name, call in waits.items():
        with device.watch() as seen:
            call()
        assert seen.waits, name
    with device.watch() as seen:
        here = sys._getframe().f_lineno + 1
        float(x.sum())
    assert seen.stalls() == f"   1 x tests/pretend_cases.py:{here} item"


# ---- methods -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One method in one mode, and what it trains."""

    name: str
    method: str
    task: str = "chemprot"
    student: str = "tiny-student"
    variant: str = "corrected"
    precision: str = "fp32"
    options: tuple[tuple[str, Any], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    unlabelled: str = ""


QUICK = (("pretrain_epochs", 1), ("new_tokens", 20), ("min_frequency", 2), ("pretrain_batch", 8))
EMR, TAGS = "emr", "bc2gm_iobes"


def run_of(name: str, method: str, task: str = "chemprot", student: str = "tiny-student",
           variant: str = "corrected", **options: Any) -> Run:
    given = dict(QUICK) if method in ("adapt", "ve_kd") else {}
    return Run(name, method, task, student, variant, options=tuple({**given, **options}.items()))


BILSTM = "pretend:bilstm"  # registered by `prepare`: the BiLSTM, small
SMALL = {"embedding_size": 32, "hidden": 32, "head": 16}  # what ner_kd makes of one

MODES = [
    run_of("finetune", "finetune"),
    run_of("finetune, several labels", "finetune", "hoc"),
    run_of("finetune, regression", "finetune", "biosses"),
    run_of("finetune, bilstm", "finetune", student=BILSTM),
    run_of("logit_kd", "logit_kd"),
    replace(run_of("logit_kd, live", "logit_kd"), settings=(("signal_memory", 0.0),)),
    run_of("logit_kd, several labels", "logit_kd", "hoc"),
    run_of("logit_kd, tags", "logit_kd", TAGS),
    run_of("logit_kd, bilstm", "logit_kd", student=BILSTM),
    run_of("adapt", "adapt"),
    run_of("ve_kd", "ve_kd"),
    run_of("ve_kd, squared error", "ve_kd", a_mse=1.0),
    run_of("ve_kd, published", "ve_kd", variant="published"),
    run_of("doktra", "doktra"),
    replace(run_of("doktra, live", "doktra"), settings=(("signal_memory", 0.0),)),
    run_of("doktra, distributions", "doktra", transfer="kld"),
    run_of("doktra, two schedules", "doktra", second_schedule=True),
    run_of("doktra, published", "doktra", variant="published"),
    run_of("doktra, bilstm", "doktra", student=BILSTM),
    run_of("dsg_kd", "dsg_kd", EMR),
    replace(run_of("dsg_kd, live", "dsg_kd", EMR), settings=(("signal_memory", 0.0),)),
    run_of("dsg_kd, scores", "dsg_kd", EMR, attn_kind="scores"),
    run_of("dsg_kd, no attention", "dsg_kd", EMR, beta=0.0),
    run_of("dsg_kd, other direction", "dsg_kd", EMR, direction="general_to_domain"),
    run_of("dsg_kd, base", "dsg_kd", EMR, mode="base"),
    run_of("dsg_kd, ensemble", "dsg_kd", EMR, mode="ensemble"),
    run_of("dsg_kd, published", "dsg_kd", EMR, variant="published"),
    run_of("ner_kd", "ner_kd", TAGS),
    replace(run_of("ner_kd, live", "ner_kd", TAGS), settings=(("signal_memory", 0.0),)),
    run_of("ner_kd, joint", "ner_kd", TAGS, stages="joint", attention="probabilities"),
    run_of("ner_kd, logits alone", "ner_kd", TAGS, layer_losses="no", augment=()),
    run_of("ner_kd, labels alone", "ner_kd", TAGS, distillation=False),
    run_of("ner_kd, published", "ner_kd", TAGS, variant="published"),
    run_of("ner_kd, bilstm", "ner_kd", TAGS, BILSTM, **SMALL),
    run_of("ner_kd, bilstm on bert's embedding", "ner_kd", TAGS, BILSTM, embedding="bert", **SMALL),
    run_of("dkd", "dkd"),
    run_of("dist", "dist"),
    run_of("dist, tags", "dist", TAGS),
    run_of("pkd", "pkd", student="tiny:bert"),
    run_of("annealing_kd", "annealing_kd"),
    run_of("pretrained_kd", "pretrained_kd"),
    run_of("tinybert", "tinybert", student="cut:1"),
    run_of("tinybert, tags", "tinybert", TAGS, "cut:1"),
    run_of("minilm", "minilm", student="cut:1"),
    run_of("recipe", "recipe", student="cut:1"),
    run_of("recipe, tags", "recipe", TAGS, "cut:1", text="relations"),
    run_of("glmd", "glmd", student="cut:1"),
    run_of("glmd, masked positions", "glmd", TAGS, "cut:1", positions="masked", task_masks=0.15, share=0.5, head="embedding"),
    run_of("static", "static"),
    run_of("static, frozen vectors", "static", learn_vectors=False),
]
# all modes in fp32, the main ones under autocast as well
UNDER_AUTOCAST = ("finetune", "finetune, bilstm", "logit_kd", "logit_kd, tags", "adapt", "ve_kd", "doktra",
                  "dsg_kd", "dsg_kd, ensemble", "ner_kd", "ner_kd, bilstm", "dist", "tinybert", "minilm",
                  "recipe", "glmd", "static")
RUNS = [replace(mode, name=f"{mode.name}, {precision}", precision=precision)
        for mode in MODES for precision in ("fp32", "bf16")
        if precision == "fp32" or mode.name in UNDER_AUTOCAST]
# one of each way to train; the others differ in their losses alone
RESUMED = ("finetune, fp32", "finetune, bilstm, fp32", "logit_kd, bf16", "ve_kd, fp32", "doktra, fp32",
           "dsg_kd, fp32", "ner_kd, fp32", "ner_kd, bilstm, fp32")

# whatever can lie on the shelf: a teacher, signals of each kind, a student of an earlier stage
REPEATED = ("logit_kd, fp32", "ve_kd, fp32", "doktra, fp32", "dsg_kd, fp32", "dsg_kd, ensemble, fp32",
            "ner_kd, fp32", "ner_kd, joint, fp32", "ner_kd, bilstm, fp32")

# each way to time a student; the others are not timed
TIMED = ("finetune, fp32", "finetune, bilstm, fp32", "finetune, bf16", "dsg_kd, ensemble, fp32")

SETTINGS = {"max_steps": 3, "epochs": 2, "batch_size": 8, "max_length": 32, "latency": "off"}


class Kill(BaseException):
    """Stands in for SIGKILL inside one process."""


@dataclass
class Steps:
    """What the steps of one training did, by its stage."""

    stage: str
    seen: list[Any] = field(default_factory=list)


@dataclass
class Done:
    """A run, or how it failed; its steps either way."""

    folder: Path
    steps: list[Steps]
    record: dict[str, Any]
    error: BaseException | None = None

    @property
    def student(self) -> Path:
        return self.folder / "models" / self.record["artefact"]

    def whole(self) -> Done:
        if self.error is not None:
            raise self.error
        return self


class Watcher:
    """Replaces `Trainer.one_step`: counts what a step does, and can kill the process in one."""

    def __init__(self) -> None:
        from kdbench.train.fit import Trainer

        self.own = Trainer.one_step
        self.trainings: list[Steps] = []
        self.dies_at: tuple[int, int] | None = None  # (training, step)
        self.trainer: Any = None
        watcher = self

        def one_step(trainer: Any, *given: Any) -> None:
            watcher.step(trainer, *given)

        Trainer.one_step = one_step

    def step(self, trainer: Any, *given: Any) -> None:
        if trainer is not self.trainer:
            self.trainer = trainer
            self.trainings.append(Steps(trainer.stage))
        if self.dies_at == (len(self.trainings), trainer.step):
            raise Kill
        with device.watch() as seen:
            self.own(trainer, *given)
        self.trainings[-1].seen.append(seen)

    def begin(self, dies_at: tuple[int, int] | None = None) -> None:
        self.trainings, self.dies_at, self.trainer = [], dies_at, None


@cache
def lookalike(task: str) -> Any:
    """Two batches of the task's look-alike; its domain text takes seconds to write."""
    from kdbench.tasks.lookalikes import LOOKALIKES

    data = LOOKALIKES[task](train=16, dev=8, test=8)
    return replace(data, domain_text=data.domain_text[:24])


def small(task: str, *_: Any) -> Any:
    """In place of `load_data`."""
    from kdbench.base.registry import TASKS

    return TASKS.get(task), lookalike(task), None


def execute(run: Run, folder: Path, dies_at: tuple[int, int] | None = None, profile: bool = False,
            **settings: Any) -> Done:
    from kdbench.runs.planning import plan
    from kdbench.runs.request import Request
    from kdbench.runs.runner import Runner

    watcher.begin(dies_at)
    given = {**SETTINGS, "precision": run.precision, **dict(run.settings), **settings}
    if run.name in TIMED:
        given["latency"] = "quick"
    unlabelled = None
    if run.unlabelled:
        folder.mkdir(parents=True, exist_ok=True)
        unlabelled = folder / "texts.txt"
        unlabelled.write_text(run.unlabelled)
    request = Request(run.method, run.task, "tiny:bert", run.student, run.variant, dict(run.options),
                      given, unlabelled=unlabelled, controls=False)
    done = Done(folder, watcher.trainings, {})
    try:
        (cell,) = plan(request)
        done.record, _ = Runner(folder, profile=profile).execute(cell, "")
    except (Kill, Exception) as error:
        done.error = error
    return done


results = Path()  # by `prepare`
finished: dict[str, Done] = {}


def undisturbed(run: Run) -> Done:
    if run.name not in finished:
        finished[run.name] = execute(run, results / str(len(finished)))
    return finished[run.name]


def weights(done: Done) -> dict[str, bytes]:
    return {str(path.relative_to(done.student)): path.read_bytes()
            for path in sorted(done.student.rglob("*.safetensors"))}


def runs(run: Run) -> None:
    """The record is whole, and the saved student answers on the CPU what it answers here."""
    import numpy as np

    from kdbench.serve.serving import open_artefact

    done = undisturbed(run).whole()
    assert done.record["status"] == "done", done.record
    if run.name in TIMED:
        assert done.record["latency"]["device"].startswith(device.NAME)
    assert done.record["content"]["device"] == device.NAME
    texts = lookalike(run.task).test[:4]
    here, there = (open_artefact(done.student, "torch", device=place) for place in ("cpu", device.NAME))
    encoded = here.encode(texts)
    if hasattr(encoded[0], "type_ids") and not here.labels.members:
        tokens, types = [row.ids for row in encoded], [row.type_ids for row in encoded]
        for one, other in zip(here.logits(tokens, types), there.logits(tokens, types), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def steps(run: Run) -> None:
    done = undisturbed(run)
    if not done.steps and done.error is not None:
        raise done.error
    stalls = [f"{training.stage}, step {number}:\n{seen.stalls()}" for training in done.steps
              for number, seen in enumerate(training.seen) if number == len(training.seen) - 1 and seen.stalls()]
    assert not stalls, "the host waits for the device, or copies from pageable memory\n" + "\n".join(stalls)


def again(run: Run) -> None:
    done = undisturbed(run).whole()
    before = weights(done)
    shutil.rmtree(done.student)
    repeated = execute(run, done.folder).whole()
    assert repeated.record["score"] == done.record["score"] and weights(repeated) == before


def resumes(run: Run) -> None:
    done = undisturbed(run).whole()
    folder = done.folder.with_name(f"{done.folder.name}-killed")
    trainings = len(done.steps)
    killed = execute(run, folder, dies_at=(trainings, 2), checkpoint_seconds=0.0)
    if not isinstance(killed.error, Kill):
        killed.whole()
        raise AssertionError("the run came to its end before it was killed")
    second = execute(run, folder, checkpoint_seconds=0.0).whole()
    assert sum(len(training.seen) for training in second.steps) == 1  # it did go on from there
    assert weights(second) == weights(done)


for made in RUNS:
    CASES[f"run: {made.name}"] = partial(runs, made)
    CASES[f"step: {made.name}"] = partial(steps, made)
for made in RUNS:
    if made.name in REPEATED:
        CASES[f"again: {made.name}"] = partial(again, made)
for made in RUNS:
    if made.name in RESUMED:
        CASES[f"resume: {made.name}"] = partial(resumes, made)


def in_their_step(run: Run) -> None:
    """Batches that are built in their step, signals that go up with them: the weights are the same."""
    from kdbench.train import feeding, resident

    done = undisturbed(run).whole()
    own = feeding.Feed.__init__, resident.free_memory

    def without_thread(feed: Any, *given: Any, **more: Any) -> None:
        own[0](feed, *given, **{**more, "ahead": False})
        assert not isinstance(feed.signals, resident.OnDevice)

    feeding.Feed.__init__, resident.free_memory = without_thread, lambda _: 0
    try:
        other = execute(run, done.folder.with_name(f"{done.folder.name}-in step")).whole()
    finally:
        feeding.Feed.__init__, resident.free_memory = own
    assert weights(other) == weights(done)


# what a collate, a stored or a live signal may do to a batch
AHEAD = ("logit_kd, tags, fp32", "logit_kd, live, fp32", "ve_kd, fp32", "dsg_kd, fp32", "ner_kd, fp32", "ner_kd, joint, fp32")
for made in RUNS:
    if made.name in AHEAD:
        CASES[f"ahead: {made.name}"] = partial(in_their_step, made)


def named(name: str) -> Run:
    return next(run for run in RUNS if run.name == name)


# ---- what a student is taken away as -------------------------------------------------------------


def exports(name: str) -> None:
    from kdbench.serve.export import export

    run = named(name)
    done = undisturbed(run).whole()
    texts = lookalike(run.task).test[:4]
    out = done.folder / "export"
    rows = export(done.student, out, ("safetensors", "onnx"), sample_texts=texts)  # on the CPU, as `bench.py export`
    assert [row["kind"] for row in rows] == ["safetensors", "onnx"]
    assert all(row["largest_difference"] < 1e-3 for row in rows), rows


for made_name in ("finetune, fp32", "finetune, bilstm, fp32", "dsg_kd, fp32", "dsg_kd, ensemble, fp32"):
    CASES[f"export: {made_name}"] = partial(exports, made_name)


# ---- memory --------------------------------------------------------------------------------------


class Shortage:
    """Lets memory run out once, at an allocation inside a call of `owner.name`."""

    def __init__(self, owner: Any, name: str, after: int = 1, error: Any = None):
        self.owner, self.name, self.after = owner, name, after
        self.error, self.failed = error or device.no_memory_left, False

    def __enter__(self) -> Shortage:
        self.own = getattr(self.owner, self.name)
        shortage = self

        def call(*given: Any, **named: Any) -> Any:
            if shortage.failed:
                return shortage.own(*given, **named)
            shortage.failed = True
            with device.memory.short(after=shortage.after, error=shortage.error):
                return shortage.own(*given, **named)

        setattr(self.owner, self.name, call)
        return self

    def __exit__(self, *_: Any) -> None:
        setattr(self.owner, self.name, self.own)


@case("memory: a training that ran out of memory ends as one in two parts from the start")
def retry_is_clean() -> None:
    from kdbench.train import fit

    run = named("finetune, fp32")
    parts = execute(run, results / "in two parts", accumulate=2).whole()
    with Shortage(fit, "clip", after=5):  # all gradients are there
        retried = execute(run, results / "out of memory").whole()
    assert retried.record["cost"]["stages"][-1]["accumulate"] == 2
    assert weights(retried) == weights(parts), "other weights than in two parts from the start"


def known_as_memory(error: Any) -> None:
    from kdbench.train import fit

    with Shortage(fit, "clip", after=5, error=error):
        done = execute(named("finetune, fp32"), results / error.__name__)
    done.whole()
    assert done.record["cost"]["stages"][-1]["accumulate"] == 2


CASES["memory: CUBLAS_STATUS_ALLOC_FAILED is out of memory"] = lambda: known_as_memory(device.no_memory_for_cublas)
CASES["memory: an AcceleratorError of memory is out of memory"] = lambda: known_as_memory(device.no_memory_at_driver)


@case("memory: an evaluation that ran out of memory leaves the training's batch as it is")
def evaluation() -> None:
    from kdbench.train.lab import Lab

    with Shortage(Lab, "predict", after=20):
        done = execute(named("finetune, fp32"), results / "evaluation").whole()
    assert done.record["cost"]["stages"][-1]["accumulate"] == 1, "the training went on in two parts"


@case("memory: signals that ran out of memory are computed in smaller batches")
def signals_memory() -> None:
    from kdbench.train.signals import Teacher

    with Shortage(Teacher, "__call__", after=20):
        execute(named("logit_kd, fp32"), results / "signals").whole()


@case("memory: a checkpoint takes none of the device's")
def checkpoint_memory() -> None:
    from kdbench.train.fit import Trainer

    own, grown = Trainer.checkpoint, []

    def checkpoint(trainer: Any) -> None:
        device.module.reset_peak_memory_stats()
        before = device.memory.allocated
        own(trainer)
        grown.append((device.memory.peak - before) / sum(p.nbytes for p in trainer.trainee.parameters()))

    Trainer.checkpoint = checkpoint
    try:
        execute(named("finetune, fp32"), results / "checkpoints", checkpoint_seconds=0.0).whole()
    finally:
        Trainer.checkpoint = own
    assert max(grown) < 0.1, f"{max(grown):.2f} of the weights' bytes at a time"


# ---- precision -----------------------------------------------------------------------------------


@case("precision: auto takes no emulated bf16")
def emulated() -> None:
    from kdbench.train.lab import Lab

    wide = SimpleNamespace(module=SimpleNamespace(config=SimpleNamespace(hidden_size=768)))
    lab = SimpleNamespace(settings=SimpleNamespace(precision="auto"),
                          accelerator=SimpleNamespace(device=SimpleNamespace(type=device.NAME)))
    assert Lab.bf16(lab, wide)
    device.module.bf16 = False
    try:
        assert not Lab.bf16(lab, wide), "a T4 would emulate bf16"
    finally:
        device.module.bf16 = True


@case("precision: fp32 in place of bf16 is said, in the record and once to the user")
def fallback_said() -> None:
    import contextlib
    import io

    from kdbench.base.progress import forget_said
    from kdbench.train import scoring

    said, width = io.StringIO(), scoring.WIDE
    device.module.bf16, scoring.WIDE = False, 8
    forget_said()
    try:
        with contextlib.redirect_stderr(said):
            done = execute(replace(named("logit_kd, fp32"), precision="auto"), results / "without bf16").whole()
    finally:
        device.module.bf16, scoring.WIDE = True, width
    note = "Pretend T4 has no bf16 of its own"
    assert said.getvalue().count(note) == 1 and sum(note in one for one in done.record["notes"]) >= 2, done.record["notes"]
    assert not any(note in one for one in undisturbed(named("logit_kd, fp32")).whole().record["notes"])


@case("signals: those that do not fit go up in 16 bits under autocast, and the record says so")
def rounded_signals() -> None:
    from kdbench.train import resident

    own, resident.free_memory = resident.free_memory, lambda _: 0
    try:
        low, whole = (execute(named(f"logit_kd, {kind}"), results / f"signals in {kind}").whole() for kind in ("bf16", "fp32"))
    finally:
        resident.free_memory = own
    assert any("went up as fp16" in note for note in low.record["notes"]), low.record["notes"]
    assert not any("went up" in note for note in whole.record["notes"])


@case("blocks: VE-KD's are as large as the device's memory allows, and give what small ones give")
def large_blocks() -> None:
    import torch

    from kdbench.methods import divergences
    from kdbench.methods.divergences import Divergences

    found, made, memory = [], Divergences.block, divergences.total_memory
    divergences.total_memory = lambda _: 2**33
    ours, theirs = torch.randn(2, 8, 300000).unbind(0)
    for small in (False, True):
        z = ours.to(device.NAME).requires_grad_()
        if small:
            Divergences.block = staticmethod(lambda _: 2**20)
        try:
            with device.watch() as seen:
                kl, mse = Divergences.apply(z, theirs.to(device.NAME), 2.0)
            (kl + 1e-3 * mse).backward()
        finally:
            Divergences.block = staticmethod(made)
            divergences.total_memory = memory
        found.append((kl.cpu(), mse.cpu(), z.grad.cpu(), sum(seen.operators.values())))
    for one, other in zip(found[0][:3], found[1][:3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
    assert found[0][3] < found[1][3], "as many operators as with small blocks"


@case("precision: an LSTM in bf16 computes in no fp16 without a scaled loss")
def lstm_precision() -> None:
    import torch

    from kdbench.models import bilstm

    seen = []
    own = bilstm.Layer.forward

    def forward(layer: Any, *given: Any) -> Any:
        made = own(layer, *given)
        seen.append(made.dtype)
        return made

    bilstm.Layer.forward = forward
    try:
        execute(named("finetune, bilstm, bf16"), results / "lstm in bf16")
    finally:
        bilstm.Layer.forward = own
    assert seen and torch.float16 not in seen, set(seen)


# ---- the rest ------------------------------------------------------------------------------------


@case("data: texts without labels beside a task of several labels")
def unlabelled_multi() -> None:
    run = replace(named("logit_kd, several labels, fp32"), unlabelled="a cell grows\nand another one\n")
    execute(run, results / "unlabelled").whole()


@case("provenance: the record names the accelerator")
def named_accelerator() -> None:
    from kdbench.runs import provenance

    assert "Pretend accelerator" in json.dumps(provenance.collect(device.NAME, 1)), "no name of the accelerator"


@case("profile: a phase ends when the device is done")
def profile() -> None:
    done = execute(named("finetune, fp32"), results / "profile", profile=True).whole()
    waits = [key for training in done.steps for seen in training.seen for key in seen.waits]
    assert any("synchronize" in key for key in waits), "the phases' seconds are those of the host alone"


@case("latency: every shape has run before it is timed")
def warm_up() -> None:
    from kdbench.serve import measure
    from kdbench.serve.serving import open_artefact

    done = undisturbed(named("finetune, fp32")).whole()
    artefact = open_artefact(done.student, "torch", device=device.NAME)
    ran: set[tuple[int, ...]] = set()
    cold: set[tuple[int, ...]] = set()
    own, stopwatch = artefact.forward, measure.stopwatch

    def clock(call: Any, item: Any) -> float:
        batches = [item] if isinstance(item, dict) else [batch for _, batch in item]
        cold.update({batch["input_ids"].shape for batch in batches} - ran)
        call(item)
        return 1.0

    def forward(inputs: Any) -> Any:
        ran.add(inputs["input_ids"].shape)
        return own(inputs)

    artefact.forward, measure.stopwatch = forward, lambda _: clock
    plan = measure.Protocol("quick", warm_up=3, least=12, seconds=0.0, most_seconds=9.0, processes=1)
    try:
        measure.measure(artefact, [" ".join(["word"] * n) for n in range(1, 13)], plan)
    finally:
        measure.stopwatch = stopwatch
    assert not cold, f"{len(cold)} shapes were timed at their first run"


@case("latency: onnxruntime that fell back to the CPU is refused")
def fallen_back() -> None:
    import onnxruntime

    from kdbench.base.errors import BadInput
    from kdbench.serve.export import export
    from kdbench.serve.serving import open_artefact

    done = undisturbed(named("finetune, fp32")).whole()
    out = done.folder / "onnx"
    export(done.student, out, ("onnx",), sample_texts=lookalike("chemprot").test)
    own = onnxruntime.InferenceSession, onnxruntime.get_available_providers
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    onnxruntime.get_available_providers = lambda: both
    # what it does where the provider is there and its libraries do not load: it warns, and goes on
    onnxruntime.InferenceSession = lambda path, options, providers: own[0](
        path, options, providers=["CPUExecutionProvider"])
    try:
        # onnxruntime knows CUDA alone
        for name in (f"{device.NAME}:0", "cuda:0"):
            artefact = open_artefact(out / "onnx", "onnxruntime", device=name)
    except BadInput:
        return
    finally:
        onnxruntime.InferenceSession, onnxruntime.get_available_providers = own
    raise AssertionError(f"it answers on {artefact.session.get_providers()} and says {artefact.device}")


# ---- the process ---------------------------------------------------------------------------------


class Unwatched:
    """On a real device nothing is counted."""

    def stalls(self) -> str:
        return ""


def real_device(name: str) -> Any:
    """A device of this machine in place of the pretend one."""
    import contextlib

    import torch

    return SimpleNamespace(NAME=name, module=torch.get_device_module(name),
                           watch=lambda: contextlib.nullcontext(Unwatched()))


def prepare(real: str = "") -> None:
    """Install the device, then import the project."""
    global device, results, watcher
    results = Path(tempfile.mkdtemp(prefix="pretend-"))
    here = Path(__file__).resolve().parent
    os.environ["KDBENCH_DEBUG"] = "1"  # errors come as they are
    os.environ["TMPDIR"] = tempfile.tempdir = str(results)  # the lock of measurements lies there
    sys.path[:0] = [str(here), str(here.parent)]
    if real:
        device = real_device(real)
    else:
        import pretend_device

        device = pretend_device
        device.install()
        device.known_to_libraries()
    from kdbench.base import progress
    from kdbench.base.registry import Entry
    from kdbench.models.zoo import MODELS, Recipe
    from kdbench.runs import planning
    from kdbench.serve import measure
    from kdbench.tasks import lookalikes

    sizes = {"embedding_size": 32, "hidden_size": 32, "classifier_size": 16}
    MODELS.add(Entry(BILSTM, Recipe(config={"type": "kdbench_bilstm", **sizes}, lr=1e-3)))

    planning.load_data = small
    lookalikes.DOMAIN = 48  # texts
    brief = measure.Protocol("quick", warm_up=1, least=2, seconds=0.0, most_seconds=0.05, processes=1)
    measure.PROTOCOLS["quick"] = brief
    progress.Progress.at = progress.Progress.end = lambda *_, **__: None
    watcher = Watcher()


def report(error: BaseException) -> str:
    """An error as one reads it: what, then where in the project, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    here = [f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames
            if "/torch/" not in frame.filename]
    return f"{type(error).__name__}: {error}\n" + "\n".join(here[-8:])


def attempt(name: str) -> dict[str, Any]:
    begun = time.perf_counter()
    error = ""
    try:
        CASES[name]()
    except (Kill, Exception) as failure:
        error = report(failure)
    return {"case": name, "seconds": round(time.perf_counter() - begun, 2), "error": error}


def table(patterns: list[str]) -> None:
    """For every training of these runs: operators, waits and copies of its last step."""
    for run in RUNS:
        if not any(fnmatch.fnmatchcase(run.name, pattern) for pattern in patterns):
            continue
        done = undisturbed(run)
        for training in done.steps:
            seen = training.seen[-1]
            pinned = sum(seen.uploads.values()) - sum(seen.pageable.values())
            print(f"{run.name} | {training.stage} | {sum(seen.operators.values())} operators, "
                  f"{sum(seen.casts.values())} casts, "
                  f"{sum(seen.waits.values())} waits, {sum(seen.downloads.values())} downloads, "
                  f"{pinned} pinned, {sum(seen.pageable.values())} pageable")
            for place, count in (seen.waits + seen.pageable).most_common():
                print(f"      {count} x {place}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=["*"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--real", default="", metavar="DEVICE")
    given = parser.parse_args()
    prepare(given.real)
    if given.steps:
        table(given.cases)
        return 0
    chosen = [name for name in CASES if any(
        name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in given.cases)]
    failed = []
    for name in chosen:
        found = attempt(name)
        if given.json:
            print(json.dumps(found), flush=True)
            continue
        print(f"{'FAILED' if found['error'] else 'ok':6} {found['seconds']:6.2f} s  {name}", flush=True)
        if found["error"]:
            failed.append(found)
    for found in failed:
        print(f"\n{found['case']}\n{found['error']}")
    shutil.rmtree(results, ignore_errors=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
