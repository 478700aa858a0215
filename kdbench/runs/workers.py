"""Cells in other processes: what a process is told, and a pool of processes on this machine."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from kdbench.base import stopping
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Broken, guarded
from kdbench.base.progress import Overall
from kdbench.base.visible import neutral_streams
from kdbench.runs import store
from kdbench.runs.cell import Cell
from kdbench.runs.planning import plan
from kdbench.runs.plugins import load_plugins
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record

RUNNER = ("device", "overwrite", "renew", "threads", "profile", "tracker")  # arguments of a Runner


def message(cell: Cell, runner: Runner, label: str, cpus: int) -> dict[str, Any]:
    """What a worker has to know, as JSON."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("KDBENCH_")}
    return {
        "request": replace(cell.request, seeds=(cell.seed,)).to_json(), "id": cell.id,
        "label": label, "environment": environment,
        "results_dir": str(runner.folder.absolute()),
        "stages": str(runner.stages.absolute()) if runner.stages else None,
        **{name: getattr(runner, name) for name in RUNNER},
        "threads": runner.threads or cpus, "cpus": cpus, "requeue": stopping.requeue(),
    }


def work(message: dict[str, Any]) -> Record:
    """A worker's part: plan the request again, run the one cell with that id, return its record."""
    os.environ.update(message["environment"])
    load_plugins()
    request = Request.from_json(message["request"])
    planned = {cell.id: cell for cell in plan(request, device=message["device"])}
    if message["id"] not in planned:
        raise BadInput(
            f"{request.method} on {request.task}: data, models, code or the type of the device "
            "are not the same here as where the suite was started (where only the workers have "
            "GPUs, start it with --device cuda)")
    torch.set_num_threads(message["cpus"])  # at most, where each cell chooses its own
    share_memory(message.get("device_share", 1))
    stages = message.get("stages")
    runner = Runner(Path(message["results_dir"]), stages=Path(stages) if stages else None,
                    **{name: message[name] for name in RUNNER})
    return runner.attempt(planned[message["id"]], message["label"])


def share_memory(cells: int) -> None:
    """Let this process have one part in `cells` of its GPU's memory, so that no cell takes what
    another one on the same GPU needs.
    """
    if cells > 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(1 / cells)


# --- a pool ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """A cell in a process: its number, the slot of the pool, the record that was there before."""

    process: BaseProcess
    number: int
    slot: int
    before: Record | None


class Pool:
    """Processes that run a cell each, with the cores and GPUs of this machine shared out.

    They are forked from one that has imported everything and done nothing, so that a cell starts at
    once.
    """

    def __init__(self, cells: Sequence[Cell], runner: Runner, workers: int, overall: Overall):
        self.cells, self.runner, self.workers, self.overall = cells, runner, workers, overall
        self.context = multiprocessing.get_context("forkserver")
        tagged = any(cell.task.task_type == "tags" for cell in cells)
        # a second of imports that each cell of tags would take
        self.context.set_forkserver_preload(
            ["kdbench.runs.forked", *(["seqeval.metrics"] if tagged else [])])
        self.devices = visible_devices() if runner.device != "cpu" else []
        self.free = list(range(workers))  # slots
        self.running: dict[int, Running] = {}  # by the sentinel of the process

    def start(self, number: int) -> None:
        """Start a process for a cell, in a free slot."""
        cell, slot = self.cells[number], self.free.pop()
        text = message(cell, self.runner, self.overall.label(number + 1),
                       cpus_of(cell, self.workers))
        if self.devices:
            device = slot % len(self.devices)
            text["environment"]["CUDA_VISIBLE_DEVICES"] = self.devices[device]
            # the slots of that device
            text["device_share"] = len(range(device, self.workers, len(self.devices)))
        if self.workers > 1:  # one rewritten line cannot serve several
            text["environment"]["TERM"] = "dumb"
        process = self.process(json.dumps(text))
        before = store.find(self.runner.folder, cell.id, cell.task.name)
        self.running[process.sentinel] = Running(process, number, slot, before)

    def process(self, text: str) -> BaseProcess:
        """A process that has started. Where the server that forks them has been killed, the first
        try fails, and the second one starts the server anew.
        """
        tries = 2
        while True:
            process = self.context.Process(target=worker, args=(text,), daemon=True)
            try:
                process.start()
                return process
            except (EOFError, OSError) as error:
                tries -= 1
                if not tries:
                    raise Broken(f"no process for a cell can be started ({error}); give the same "
                                 "command again") from error

    def ended(self) -> Iterator[tuple[int, Record]]:
        """Wait for a process to end; the number and record of each cell that has ended."""
        # of an empty list, `wait` would wait for ever
        with doing(""):  # the processes speak for themselves
            ready = wait(list(self.running)) if self.running else []
        for sentinel in [each for each in self.running if each in ready]:
            ended = self.running.pop(sentinel)
            ended.process.join()
            self.free.append(ended.slot)
            self.overall.end()
            code = ended.process.exitcode or 0
            yield ended.number, outcome(self.cells[ended.number], self.runner, code, ended.before)


    def stop(self) -> None:
        """End what still runs, each at its next step with a checkpoint."""
        for each in self.running.values():
            each.process.terminate()
        for each in self.running.values():
            each.process.join()
        self.running.clear()


def run_workers(cells: Sequence[Cell], runner: Runner, workers: int, overall: Overall,
                fail_fast: bool) -> list[Record]:
    """The records of cells that run in processes of their own, `workers` at a time."""
    pool = Pool(cells, runner, workers, overall)
    records: dict[int, Record] = {}
    waiting = list(range(len(cells)))
    try:
        while waiting or pool.running:
            while waiting and pool.free:
                number = next_number(waiting, cells, runner)
                waiting.remove(number)
                if (record := runner.finished(cells[number])) is not None:
                    records[number] = record
                else:
                    pool.start(number)
            for number, record in pool.ended():
                records[number] = record
                if fail_fast and record["status"] == "failed":
                    waiting.clear()
    finally:
        pool.stop()  # where this was interrupted
    return [records[number] for number in sorted(records)]


def next_number(waiting: Sequence[int], cells: Sequence[Cell], runner: Runner) -> int:
    """The next cell to start: the first that no other runner has at the moment, if there is one.

    Two runners of one suite would otherwise go in step, each waiting for the other's cell.
    """
    for number in waiting:
        if not runner.busy(cells[number]):
            return number
    return waiting[0]


def visible_devices() -> list[str]:
    """The GPUs of this process, by the names that CUDA_VISIBLE_DEVICES takes."""
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def cpus_of(cell: Cell, workers: int) -> int:
    """Cores for one cell: as the suite says, else a worker's share of this machine's."""
    return int(cell.request.resources.get("cpus", max(1, (os.cpu_count() or 1) // workers)))


def outcome(cell: Cell, runner: Runner, exit_code: int, before: Record | None) -> Record:
    """The record that a worker left; where it left none (`before` is what was there), a failed
    one.
    """
    record = store.find(runner.folder, cell.id, cell.task.name)
    if record is not None and record != before:
        return record
    if exit_code == 0:  # run anew to the very same record
        assert record is not None
        return record
    cause = f"exit code {exit_code}; its own line says why"
    if exit_code < 0:
        cause = f"signal {-exit_code}"
    return runner.failure(cell, store.WORKER_DIED,
                          f"the worker left no record and ended with {cause}")


def worker(text: str) -> None:
    """A worker process from start to end."""

    def run_one() -> None:
        told = json.loads(text)
        stopping.listen(told["requeue"])
        stopping.end_with_parent()
        with doing(f"{told['label']}preparing"):
            try:
                work(told)
            except stopping.Stopped as stop:  # the runner says it, once for all
                sys.exit(stop.code)

    with neutral_streams():
        code = guarded(run_one)
    sys.exit(code)
