"""Size and latency of a trained student as it would be served.

The full protocol reports medians over fresh processes (this module's `--worker`), as the timings
within one process share its memory layout and its place on the cores.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Broken
from kdbench.base.folders import MEMBERS
from kdbench.base.machine import measuring, peak_resident_mb, processor
from kdbench.base.places import PACKAGE
from kdbench.base.registry import unknown
from kdbench.base.visible import visible
from kdbench.serve.export import disk_megabytes
from kdbench.serve.labels import labels_of
from kdbench.serve.serving import Artefact, default_threads, open_artefact, served
from kdbench.serve.texts import Text, plain_text

if TYPE_CHECKING:
    import torch
    from torch import nn

    from kdbench.models.load import Model
    from kdbench.serve.encoded import EncodedTexts
    from kdbench.serve.labels import Limit
    from kdbench.serve.serving import Work

FIXED = 128  # tokens of the second latency, comparable across tasks
BATCH = 32  # texts at once, for throughput
TEXTS = 100  # timed ones, evenly spread over those given, so that their lengths are the task's
WAIT_SECONDS = 30  # of a quick measurement for the machine, before it goes on beside a training
BUSY_SECONDS = 600  # that the machine is then taken to be busy for
_VAIN = [-float("inf")]  # when this process last waited in vain

Call = Callable[[Any], Any]
Clock = Callable[[Call, Any], float]  # milliseconds of one call


@dataclass(frozen=True)
class Protocol:
    """How often a call is repeated.

    It is called `warm_up` times untimed, then timed at least `least` times and for at least
    `seconds`, but for no longer than `most_seconds`; all that in each of `processes`.
    """

    name: str
    warm_up: int
    least: int
    seconds: float
    most_seconds: float
    processes: int


PROTOCOLS = {
    "full": Protocol("full", warm_up=10, least=100, seconds=2.0, most_seconds=float("inf"),
                     processes=3),
    "quick": Protocol("quick", warm_up=10, least=50, seconds=0.0, most_seconds=1.0, processes=1),
}


def size(module: nn.Module | Model, folder: str | Path | None = None) -> dict[str, float]:
    """Parameters, how many of them are trained, and MB (10^6 bytes) of the saved weights.

    A shared parameter counts once.

    module  a module, or a model with its partner
    folder  of the saved weights; without one the megabytes are what the tensors would take there
    """
    modules = [member.module for member in getattr(module, "members", ())] or [module]
    every = {id(p): p for part in modules for p in part.parameters()}
    parameters = list(every.values())
    tensors: dict[int, int] = {}  # bytes by address
    for part in modules:
        for tensor in part.state_dict().values():
            tensors[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "megabytes": disk_megabytes(folder) if folder else round(sum(tensors.values()) / 1e6, 3),
    }


def latency(source: str | Path | Model, texts: Sequence[Text], protocol: str = "full", *,
            max_length: Limit = 512, backend: str | None = None, threads: int | None = None,
            device: str | torch.device = "cpu") -> dict[str, Any]:
    """Latency at batch 1 and throughput at batch 32, alone on this machine (see `measuring`).

    source    a student's folder (safetensors or an ONNX export), or a model in memory, read up to
              `max_length` tokens
    texts     real inputs of the task; up to 100, evenly spread over those given, are timed
    protocol  "full": medians over 3 fresh processes, each with 10 calls to warm up and then at
              least 100 calls and 2 s. "quick": this process alone, with 10 calls to warm up and
              then 50 calls or 1 s; noisier
    threads   of the backend; default `OMP_NUM_THREADS`, else the cores that this process may use.
              In the quick protocol a model in memory keeps those of its process

    Returns
        p50_ms, p95_ms    one text at its own length, all its windows where it has several
        p50_128_ms        at 128 tokens; None for a model that reads fewer
        throughput_per_s  texts a second at batch 32
        tokenise_ms       median of one text; no other figure includes it
        p50_ms_each       the p50_ms of each process
        protocol          its name, and whether the machine did other work meanwhile
        tokens            median length of the timed texts (of all their windows), max_length:
                          where they were cut or divided
        processes, timed (calls in a process), threads, device, processor, backend, lengths

    On a GPU a call ends with its logits on the host and is timed by CUDA events. Raises `BadInput`
    for an unknown protocol, a folder without a student or no texts, `Broken` where a process fails.
    """
    if protocol not in PROTOCOLS:
        raise BadInput(unknown("latency protocol", protocol, PROTOCOLS))
    if not texts:
        raise BadInput("latency: no texts to time; give some of the task's")
    plan = PROTOCOLS[protocol]
    spread = np.linspace(0, len(texts) - 1, min(TEXTS, len(texts))).round().astype(int)
    sample = [plain_text(texts[i]) for i in spread]
    opening: dict[str, Any] = {
        "backend": backend, "threads": threads or default_threads(), "device": str(device),
    }
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | Path):
            opening["folder"] = str(Path(source).expanduser())
        elif plan.processes > 1:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kdbench-")))
            opening.update(folder=str(write_model(source, max_length, folder)),
                           device=str(source.module.device))
        alone = stack.enter_context(measuring_soon(plan, f"latency of {name_of(source)}"))
        before = core_seconds()
        if plan.processes > 1:
            job = json.dumps({**opening, "texts": sample, "plan": asdict(plan)})
            each = [fresh_process(job, opening["threads"]) for _ in range(plan.processes)]
        elif isinstance(source, str | Path):
            each = [measure(open_artefact(**opening), sample, plan)]
        else:
            each = [measure(served(source, max_length), sample, plan)]
        name = plan.name
        if not alone:
            name += ", beside training"
        elif crowded(before, core_seconds()):
            name += ", beside other work"
    return {**summary(each, plan), "protocol": name, "processor": processor()}


def summary(each: list[dict[str, Any]], plan: Protocol) -> dict[str, Any]:
    """The figures of all processes as one: the median of every time and rate."""
    result: dict[str, Any] = {}
    for name, first in each[0].items():
        values = [one[name] for one in each]
        result[name] = round(statistics.median(values), 4) if isinstance(first, float) else first
    result["p50_ms_each"] = [round(one["p50_ms"], 4) for one in each]
    return {**result, "protocol": plan.name, "processes": len(each), "lengths": "task"}


def measure(artefact: Artefact, texts: Sequence[Text], plan: Protocol) -> dict[str, Any]:
    """The figures of this process."""
    reader = artefact.encode if artefact.labels.stride is None else artefact.read
    tokenise = timed(lambda text: reader([text]), texts, replace(plan, seconds=0.0),
                     wall_ms)
    read = artefact.read(texts)
    clock = stopwatch(artefact)
    on_cpu = artefact.device == "cpu"
    if not on_cpu:  # a GPU chooses its kernels when it first sees a shape
        plan = replace(plan, warm_up=max(plan.warm_up, len(texts)))
    singles = [artefact.work(read, [i], artefact.together) for i in range(len(texts))]
    single = timed(computed, singles, plan, clock)
    p50, p95 = np.percentile(single, (50, 95)).tolist()
    at_128 = None
    if artefact.limit >= FIXED:
        fixed = artefact.stretched([row.ids for row in artefact.encode(texts)], FIXED)
        at_128 = float(np.median(timed(artefact.forward, [fixed], plan, clock)))
    # a batch takes up to 32 times as long as a text, so fewer calls are as exact
    few = replace(plan, warm_up=2 if on_cpu else len(texts), least=min(plan.least, 10))
    spent = timed(computed, batches_of(artefact, read), few, clock)
    return {
        "p50_ms": p50, "p95_ms": p95, "p50_128_ms": at_128,
        "throughput_per_s": 1000 * BATCH * len(spent) / sum(spent),
        "tokenise_ms": float(np.median(tokenise)), "timed": len(single),
        "tokens": int(np.median([length(artefact, read, i) for i in range(len(texts))])),
        "max_length": artefact.reads,
        "threads": artefact.threads, "device": artefact.device, "backend": artefact.backend,
    }


def computed(work: Work) -> None:
    """Run what a text, or 32 of them, take."""
    for artefact, batch in work:
        artefact.forward(batch)


def length(artefact: Artefact, read: EncodedTexts, text: int) -> int:
    """Tokens of a text; of one in windows, of all of them."""
    if read.members:
        return sum(length(artefact, own, text) for own in read.members)
    return sum(artefact.length(read.tokens[row]) for row in read.rows(text))


def batches_of(artefact: Artefact, read: EncodedTexts) -> list[Work]:
    """Full batches of texts of like lengths, as a service that collects requests makes them.

    Where there are fewer than 32 texts they are repeated.
    """
    count = len(read.examples)
    texts = sorted(list(range(count)) * (BATCH // count + 1),
                   key=lambda text: length(artefact, read, text))
    return [artefact.work(read, texts[i:i + BATCH], BATCH)
            for i in range(0, len(texts) - BATCH + 1, BATCH)]


def timed(call: Call, items: Sequence[Any], plan: Protocol, clock: Clock) -> list[float]:
    """Milliseconds of each timed `call`, on the items in turn."""
    for i in range(plan.warm_up):
        call(items[i % len(items)])
    spent: list[float] = []
    begun = time.perf_counter()
    while len(spent) < plan.least or time.perf_counter() - begun < plan.seconds:
        spent.append(clock(call, items[len(spent) % len(items)]))
        if time.perf_counter() - begun > plan.most_seconds:
            break
    return spent


def wall_ms(call: Call, item: Any) -> float:
    """Milliseconds of one call by the wall clock."""
    begun = time.perf_counter()
    call(item)
    return 1000 * (time.perf_counter() - begun)


def stopwatch(artefact: Artefact) -> Clock:
    """CUDA events for PyTorch on a GPU, else the wall clock.

    ONNX Runtime returns only when the logits are on the host.
    """
    if artefact.backend != "torch" or artefact.device == "cpu":
        return wall_ms
    import torch

    module = torch.get_device_module(artefact.device)

    def event_ms(call: Call, item: Any) -> float:
        begun, ended = module.Event(enable_timing=True), module.Event(enable_timing=True)
        module.synchronize()
        begun.record()
        call(item)
        ended.record()
        ended.synchronize()
        return begun.elapsed_time(ended)

    return event_ms


# ---- fresh processes -----------------------------------------------------------------------------


def fresh_process(job: str, threads: int) -> dict[str, Any]:
    """The figures of `job`, measured by a process of its own."""
    root = str(PACKAGE.parent)
    variables = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "kdbench.serve.measure", "--worker"]
    done = subprocess.run(command, input=job, env=variables, capture_output=True, text=True)
    last_words = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == 2:
        raise BadInput(last_words)
    if done.returncode:
        raise Broken(f"the measuring process failed: {last_words}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory(folder: str | Path, text: Text, threads: int | None = None) -> float:
    """The most memory, in MB of 10^6 bytes, of a fresh process that loads a student and answers one
    text; libraries included.
    """
    threads = threads or default_threads()
    job = json.dumps({"folder": str(Path(folder).expanduser()), "threads": threads,
                      "texts": [plain_text(text)], "plan": None})
    return fresh_process(job, threads)["peak_mb"]


def memory(artefact: Artefact, texts: Sequence[Text]) -> dict[str, float]:
    """The peak of this process, once it has answered."""
    artefact.answers(artefact.read(texts))
    return {"peak_mb": peak_resident_mb()}


def worker() -> int:
    """Read a job as JSON from standard input and print its figures as one JSON line.

    Returns the exit code.
    """
    job = json.load(sys.stdin)
    texts, plan = job.pop("texts"), job.pop("plan")
    try:
        artefact = open_artefact(**job)
        found = measure(artefact, texts, Protocol(**plan)) if plan else memory(artefact, texts)
        print(json.dumps(found))
    except BadInput as error:
        print(visible(str(error)), file=sys.stderr)
        return 2
    return 0


def write_model(model: Model, max_length: Limit, folder: Path) -> Path:
    """Write `model` as a folder to serve, each member of an ensemble into a folder of its own.

    max_length  tokens that it reads, or what gives them for each member
    """
    if model.partner is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, member in zip(MEMBERS, model.members, strict=True):
            write_model(member, max_length, folder / name)
        labels_of(model, max_length).write(folder)
        return folder
    from kdbench.train.weights import cpu_state  # an ONNX student starts without torch

    model.module.save_pretrained(folder, state_dict=cpu_state(model.module))
    model.tokenizer.save_pretrained(folder)
    labels_of(model, max_length).write(folder)
    return folder


# ---- one at a time -------------------------------------------------------------------------------


@contextlib.contextmanager
def measuring_soon(plan: Protocol, what: str) -> Iterator[bool]:
    """`measuring()`, with an end to the waiting where only one process is timed.

    Yields whether the lock is held. The full protocol waits as long as it takes. Who has waited in
    vain does not wait again for a while: of many shapes each would.
    """
    from filelock import Timeout

    with contextlib.ExitStack() as stack:
        alone = True
        patience = WAIT_SECONDS if time.monotonic() > _VAIN[0] + BUSY_SECONDS else 0
        try:
            stack.enter_context(measuring(-1 if plan.processes > 1 else patience, what))
        except Timeout:
            alone = False
            _VAIN[0] = time.monotonic() if patience else _VAIN[0]
        stack.enter_context(doing(f"{what}, {plan.name} protocol"))
        yield alone


def name_of(source: str | Path | Model) -> str:
    """What is measured, in a word: a model's name, or the name of a folder."""
    return Path(source).name if isinstance(source, str | Path) else source.name


def core_seconds() -> tuple[float, float, float]:
    """Seconds of all cores at work, of all cores idle, and of work for this process and its
    children; since the machine or the process began.
    """
    import psutil

    cores, own = psutil.cpu_times(), os.times()
    idle = cores.idle + getattr(cores, "iowait", 0.0)
    # the seconds of guests are also in the user's
    twice = getattr(cores, "guest", 0.0) + getattr(cores, "guest_nice", 0.0)
    own_work = own.user + own.system + own.children_user + own.children_system
    return sum(cores) - idle - twice, idle, own_work


def crowded(before: tuple[float, float, float], after: tuple[float, float, float]) -> bool:
    """Whether other work took time from the measurement between two `core_seconds`.

    That is more than a quarter of a core, on a machine with less than half a core idle.
    """
    import psutil

    work, idle, own = (b - a for a, b in zip(before, after, strict=True))
    seconds = (work + idle) / (psutil.cpu_count() or 1)
    return seconds > 0 and (work - own) / seconds > 0.25 and idle / seconds < 0.5


def reset_peak_memory() -> None:
    """Set back the peak that `kdbench.runs.provenance.peak_memory_mb` reports.

    The peak of the process can be set back on Linux alone.
    """
    torch = sys.modules.get("torch")
    device = torch.accelerator.current_accelerator(check_available=True) if torch else None
    if torch is not None and device is not None:
        torch.get_device_module(device).reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    sys.exit(worker())
