"""A suite's cells through an engine: in this process, in worker processes, or as Ray tasks."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from kdbench.base.errors import BadInput, guarded, one_line
from kdbench.base.progress import Overall, clock, say
from kdbench.runs import ray_engine, store, trackers
from kdbench.runs.cells import (
    Cell,
    attempt,
    failure,
    left_out_record,
    message,
    missing_models,
    work,
)
from kdbench.runs.runner import Runner
from kdbench.runs.suite import Suite

# --- before ---------------------------------------------------------------------------------------


def dry_run(suite: Suite, all_cells: Sequence[Cell], folder: Path, engine: str = "local",
            tracker: str | None = None) -> str:
    """What would run: cells with the figures published for them, what is finished, what is missing,
    and how long it may take.
    """
    times = seconds_by_kind(folder)
    lines = [f"suite {suite.name}: {' '.join(suite.about.split())}"]
    for hours, where in ((suite.cpu_hours, "CPU-hours on two cores"), (suite.gpu_hours,
                                                                       "GPU-hours")):
        if hours:
            lines.append(f"expected: {hours:g} {where} (an estimate)")
    left, unknown_time, missing, states = 0.0, 0, {}, Counter[str]()
    for cell in all_cells:
        lacking = [] if cell.reason else list(
            dict.fromkeys([*filter(None, [cell.missing]), *missing_models(cell.request)]))
        if cell.reason:
            state = "skipped"
        elif cell.job and (store.find(folder, cell.job.cell.id, cell.job.task.name)
                           or {}).get("status") in store.FINISHED:
            state = "finished"
        elif lacking:
            state = "missing"
            missing.update(dict.fromkeys(lacking))
        else:
            state = "to run"
            kind = duration_key(cell.job.cell.described()) if cell.job else None
            left += times.get(kind, 0.0)
            unknown_time += kind not in times
        states[state] += 1
        control = cell.job is not None and cell.job.role != "method"
        told = "" if control else "".join(
            f", {name}={value}" for name, value in cell.planned.chosen.items())
        figures = () if control else cell.planned.published
        beside = "".join(
            f"; published: {figure['metric']} "
            f"{figure['value']:g}{f' ({over})' if (over := figure.get('over')) else ''}"
            for figure in figures)
        lines.append(
            f"  {state:<9} {cell.label}{told}{f': {cell.reason}' if cell.reason else ''}{beside}")
    if engine == "ray":
        missing.update(
            {} if ray_engine.installed() else {"extra ray: `pip install kdbench[ray]`": None})
    if tracker:
        try:
            trackers.check(tracker)
        except BadInput as error:
            missing[one_line(error)] = None
    lines += ["missing:", *(f"  {line}" for line in missing)] if missing else []
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    known = f"about {clock(left)} by earlier records" if unknown_time < states[
        "to run"] else "no earlier record tells how long"
    some = f", which know none of {unknown_time} of them" if 0 < unknown_time < states[
        "to run"] else ""
    lines.append(f"{len(all_cells)} cells: {counts}" +
                 (f"; to run: {known}{some}" if states["to run"] else ""))
    return "\n".join(lines)


def duration_key(cell: dict[str, Any]) -> tuple[str, str, str]:
    """Cells of one kind take about equally long."""
    return cell["method"], cell["task"], cell["student"]


def seconds_by_kind(folder: Path) -> dict[tuple[str, str, str] | None, float]:
    """Mean seconds of the finished cells of `folder`, by their kind."""
    found: dict[tuple[str, str, str] | None, list[float]] = {}
    for record in store.records(folder) if folder.is_dir() else ():
        if record["status"] == "done":
            found.setdefault(duration_key(record["cell"]),
                             []).append(record["cost"]["wall_seconds"])
    return {kind: sum(seconds) / len(seconds) for kind, seconds in found.items()}


# --- running --------------------------------------------------------------------------------------


def run(suite: Suite, all_cells: Sequence[Cell], runner: Runner, *, engine: str = "local",
        workers: int = 1, isolate: bool | None = None, fail_fast: bool = False,
        ray_address: str | None = None) -> list[dict[str, Any]]:
    """Records of all cells. What is missing counts as failed and what does not apply as skipped;
    neither is written.

    isolate  each cell in a process of its own; default: on a GPU, where a process that dies takes
             its memory with it
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and (isolate or workers > 1 or engine == "ray"):
        raise BadInput(
            "torchrun gives each cell several processes; leave --isolate, --workers and --engine "
            "ray out"
        )
    if isolate is None:
        isolate = not several and runner.device != "cpu" and torch.cuda.is_available()
    jobs = [cell for cell in all_cells if cell.job is not None]
    left_out = [cell for cell in all_cells if cell.job is None]
    if not jobs and (lacking := [cell.missing for cell in left_out if cell.missing]):
        raise BadInput(f"suite {suite.name}: {lacking[0]} (--dry-run lists all that is missing)")
    overall = Overall(len(jobs),
                      sum(runner.finished(cell.job) is not None for cell in jobs if cell.job))
    if engine == "ray":
        records = ray_engine.run_ray(jobs, runner, ray_address, workers, overall, fail_fast)
    elif isolate or workers > 1:
        records = run_workers(jobs, runner, workers, overall, fail_fast)
    else:
        made: dict[int, dict[str, Any]] = {}
        for number in runner.turns([cell.job for cell in jobs if cell.job]):
            job = jobs[number].job
            cached = job is not None and runner.finished(job) is not None
            made[number] = attempt(jobs[number], runner, overall.label(number + 1))
            if not cached:
                overall.end()
            if fail_fast and made[number]["status"] == "failed":
                break
        records = [made[number] for number in sorted(made)]
    if not several or os.environ.get("RANK") == "0":
        say(f"suite {suite.name}: {len(records)} cells, {overall.worked} of them run now, in "
            f"{overall.spent()}"
            )
    return records + [left_out_record(cell) for cell in left_out]


# --- worker processes -----------------------------------------------------------------------------


def run_workers(jobs: Sequence[Cell], runner: Runner, workers: int, overall: Overall,
                fail_fast: bool) -> list[dict[str, Any]]:
    """Each cell in a process of its own, `workers` at a time, with the cores and GPUs shared out.

    The processes are forked from one that has imported everything and done nothing, so that a cell
    starts at once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kdbench.runs.runner", "accelerate"])
    devices = visible_devices() if runner.device != "cpu" else []
    free = list(range(workers))
    running: dict[Any, tuple[Any, int, int, dict[str, Any] | None]] = {}
    records: dict[int, dict[str, Any]] = {}
    waiting = list(range(len(jobs)))
    while waiting or running:
        while waiting and len(running) < workers:
            number = waiting.pop(0)
            job = jobs[number].job
            assert job is not None
            if (record := runner.finished(job)) is not None:
                records[number] = record
                continue
            slot = free.pop()
            told = message(jobs[number], runner, overall.label(number + 1),
                           cpus_of(jobs[number], workers))
            told["environment"].update(
                {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {})
            if workers > 1:  # one rewritten line cannot serve several
                told["environment"]["TERM"] = "dumb"
            process = context.Process(target=worker, args=(json.dumps(told),), daemon=True)
            process.start()
            running[process.sentinel] = process, number, slot, store.find(
                runner.folder, job.cell.id, job.task.name)
        for sentinel in wait(list(running)) if running else ():  # of nothing it would wait for ever
            process, number, slot, before = running.pop(sentinel)
            process.join()
            free.append(slot)
            overall.end()
            records[number] = outcome(jobs[number], runner, process.exitcode, before)
            if fail_fast and records[number]["status"] == "failed":
                waiting.clear()
    return [records[number] for number in sorted(records)]


def visible_devices() -> list[str]:
    """The GPUs of this process, by the names that CUDA_VISIBLE_DEVICES takes."""
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def cpus_of(cell: Cell, workers: int) -> int:
    """Cores for one cell: as the suite says, else a worker's share of this machine's."""
    return int(cell.planned.resources.get("cpus", max(1, (os.cpu_count() or 1) // workers)))


def outcome(cell: Cell, runner: Runner, exit_code: int,
            before: dict[str, Any] | None) -> dict[str, Any]:
    """The record that a worker left; where it left none (`before` is what was there), a failed
    one.
    """
    assert cell.job is not None
    record = store.find(runner.folder, cell.job.cell.id, cell.job.task.name)
    if record is not None and record != before:
        return record
    if exit_code == 0:  # run anew to the very same record
        assert record is not None
        return record
    how = f"signal {-exit_code}" if exit_code < 0 else (f"exit code {exit_code}; its own line says "
                                                        f"why")
    return failure(cell.job, runner, "WorkerDied",
                   f"the worker left no record and ended with {how}")


def worker(told: str) -> None:
    """A worker process from start to end."""
    def obey() -> None:
        work(json.loads(told))

    sys.exit(guarded(obey))
