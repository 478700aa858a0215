"""A suite's cells through an engine: in this process, in worker processes, or as Ray tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kdbench import store
from kdbench.errors import BadInput, Skip
from kdbench.progress import clock, say
from kdbench.registry import load_plugins
from kdbench.runner import Job, Request, Runner, plan
from kdbench.suite import Planned, Suite


@dataclass(frozen=True)
class Cell:
    """A job of the suite, and the request and seed that another process finds it by."""

    request: Request
    seed: int
    job: Job | None
    planned: Planned
    missing: str = ""  # why it cannot run, where it cannot


def request_of(cell: Planned, data_dir: Path | None) -> Request:
    fields = dict(cell.fields)
    unlabelled = fields.pop("unlabelled", None)
    return Request(settings=dict(cell.settings), data_dir=data_dir, unlabelled=Path(unlabelled) if unlabelled else None, **fields)


def cells(suite: Suite, data_dir: Path | None, seeds: Sequence[int] | None = None) -> list[Cell]:
    """All jobs of a suite with their controls, each once; what cannot run says why."""
    if suite.data == "lookalike":
        data_dir = None
    found: dict[str, Cell] = {}
    for planned in suite.cells:
        request = request_of(planned, data_dir)
        for seed in seeds or planned.seeds:
            if suite.data == "real" and data_dir is None:
                note = f"data of {request.task}: give --data-dir; `bench.py prepare {request.task}` fetches what is public"
                found[f"{planned.label} {seed}"] = Cell(request, seed, None, planned, note)
                continue
            try:
                for job in plan(request, [seed], controls=suite.controls):
                    if job.cell.id not in found or job.role == "method":
                        found[job.cell.id] = Cell(request, seed, job, planned)
            except (BadInput, Skip) as reason:
                found[f"{planned.label} {seed}"] = Cell(request, seed, None, planned, str(reason))
    return list(found.values())


def missing_models(request: Request) -> list[str]:
    """Hub models that are not in the local cache, each with the way to get it."""
    from huggingface_hub import try_to_load_from_cache

    from kdbench.models import resolve

    lacking = []
    for name in (request.teacher, request.student):
        try:
            source = resolve(name)
        except BadInput as error:
            lacking.append(str(error))
            continue
        hub = source.hub or (source.base.hub if source.base else "")
        if hub and not isinstance(try_to_load_from_cache(hub, "config.json"), str):
            lacking.append(f"model {name}: `hf download {hub}`")
    return lacking


def dry_run(suite: Suite, all_cells: Sequence[Cell], folder: Path) -> str:
    """What would run: cells, what is finished, what is missing, and how long it may take by earlier records."""
    seconds: dict[tuple[str, str, str], list[float]] = {}
    if folder.is_dir():
        for record in store.records(folder):
            if record["status"] == "done":
                cell = record["cell"]
                seconds.setdefault((cell["method"], cell["task"], cell["student"]), []).append(record["cost"]["wall_seconds"])
    lines = [f"suite {suite.name}: {suite.about}"]
    if suite.cpu_hours:
        lines.append(f"expected: {suite.cpu_hours:g} CPU-hours")
    left, unknown_time, missing = 0.0, 0, {}
    for cell in all_cells:
        lacking = [cell.missing] if cell.missing else missing_models(cell.request)
        name = cell.job.cell.label if cell.job else f"{cell.planned.label}, seed {cell.seed}"
        if cell.job and store.find(folder, cell.job.cell.id, cell.job.task.name):
            state = "finished"
        elif lacking:
            state = "missing"
            missing.update(dict.fromkeys(lacking))
        else:
            state = "to run"
            key = (cell.job.cell.method, cell.job.cell.task, cell.job.cell.student) if cell.job else ("", "", "")
            if key in seconds:
                left += sum(seconds[key]) / len(seconds[key])
            else:
                unknown_time += 1
        lines.append(f"  {state:<9} {name}")
    lines += ["missing:", *(f"  {line}" for line in missing)] if missing else []
    lines.append(f"{len(all_cells)} cells; about {clock(left)} by earlier records"
                 + (f", {unknown_time} of them never run here before" if unknown_time else ""))
    return "\n".join(lines)


def run(suite: Suite, all_cells: Sequence[Cell], runner: Runner, *, engine: str = "local", workers: int = 1, isolate: bool = False,
        fail_fast: bool = False, ray_address: str | None = None) -> list[dict[str, Any]]:
    """Records of all cells, in order; what cannot run is recorded as skipped with its reason."""
    begun = time.monotonic()
    jobs = [cell for cell in all_cells if cell.job is not None]
    skipped = [cell for cell in all_cells if cell.job is None]
    for cell in skipped:
        say(f"skipped: {cell.planned.label}, seed {cell.seed}: {cell.missing}")
    if engine == "ray":
        from kdbench.ray_engine import run_ray

        records = run_ray(jobs, runner, ray_address, workers)
    elif isolate or workers > 1:
        records = run_workers(jobs, runner, workers, fail_fast)
    else:
        records = []
        for number, cell in enumerate(jobs, 1):
            spent = time.monotonic() - begun
            left = f", about {clock(spent / (number - 1) * (len(jobs) - number + 1))} left" if number > 1 else ""
            assert cell.job is not None
            record = runner.one(cell.job, f"[{number}/{len(jobs)}{left}] ")
            records.append(record)
            if fail_fast and record.get("status") == "failed":
                break
    say(f"suite {suite.name}: {len(records)} cells in {clock(time.monotonic() - begun)}")
    return records


def run_workers(jobs: Sequence[Cell], runner: Runner, workers: int, fail_fast: bool) -> list[dict[str, Any]]:
    """Each cell in a process of its own, `workers` at a time, with the cores and GPUs shared out."""
    devices = torch.cuda.device_count() if runner.device != "cpu" else 0
    threads = max(1, (os.cpu_count() or 1) // workers)
    records: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool:
        slots = list(range(workers))

        def one(number: int, cell: Cell) -> dict[str, Any]:
            if fail_fast and any(record["status"] == "failed" for record in records):
                return {}
            slot = slots.pop()
            try:
                environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
                if devices:
                    environment["CUDA_VISIBLE_DEVICES"] = str(slot % devices)
                record = in_process(cell, runner, environment, f"[{number}/{len(jobs)}] ")
            finally:
                slots.append(slot)
            records.append(record)
            return record

        done = list(pool.map(one, range(1, len(jobs) + 1), jobs))
    return [record for record in done if record]


def in_process(cell: Cell, runner: Runner, environment: dict[str, str], label: str) -> dict[str, Any]:
    """Run one cell in a child; a child that dies without a record becomes a failed one."""
    assert cell.job is not None
    if (record := runner.finished(cell.job)) is not None:
        return record
    with tempfile.NamedTemporaryFile("w", suffix=".json") as stream:
        json.dump(message(cell, runner, label), stream)
        stream.flush()
        child = subprocess.run([sys.executable, "-m", "kdbench.grid", stream.name], env=environment)
    record = store.find(runner.folder, cell.job.cell.id, cell.job.task.name)
    if record is None or (child.returncode and record["status"] == "done"):
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        record = runner.header(cell.job)
        record["error"] = {"type": "WorkerDied", "message": f"the worker ended with {how} and left no record", "traceback": ""}
        record["cost"], record["curves"] = {"teacher_seconds": 0, "student_seconds": 0, "wall_seconds": 0, "stages": []}, []
        store.write(runner.folder, record)
    return record


def message(cell: Cell, runner: Runner, label: str) -> dict[str, Any]:
    """What a worker has to know, as JSON."""
    assert cell.job is not None
    request = asdict(cell.request)
    for name in ("data_dir", "unlabelled"):
        request[name] = str(request[name]) if request[name] else None
    request["files"] = {k: str(v) for k, v in request["files"].items()}
    return {"request": request, "seed": cell.seed, "id": cell.job.cell.id, "results_dir": str(runner.folder), "device": runner.device,
            "overwrite": runner.overwrite, "label": label, "profile": runner.profile}


def work(told: dict[str, Any]) -> dict[str, Any]:
    """A worker's part: plan the request again, run the one cell with that id, return its record."""
    load_plugins()
    given = told["request"]
    request = Request(**{**given, "data_dir": Path(given["data_dir"]) if given["data_dir"] else None,
                         "unlabelled": Path(given["unlabelled"]) if given["unlabelled"] else None,
                         "files": {k: Path(v) for k, v in given["files"].items()}})
    job = next(job for job in plan(request, [told["seed"]]) if job.cell.id == told["id"])
    runner = Runner(Path(told["results_dir"]), device=told["device"], overwrite=told["overwrite"], profile=told["profile"])
    return runner.one(job, told["label"])


if __name__ == "__main__":
    work(json.loads(Path(sys.argv[1]).read_text()))
