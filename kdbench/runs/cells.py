"""The cells of a suite: what each one is and lacks, and how this or another process runs one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput, Skip, one_line
from kdbench.base.progress import say
from kdbench.runs import store
from kdbench.runs.plugins import load_plugins
from kdbench.runs.runner import REST, Job, Request, Runner, plan
from kdbench.runs.suite import Planned, Suite


@dataclass(frozen=True)
class Cell:
    """A job of the suite, and the request and seed that another process finds it by.

    Without a job it cannot run: `missing` is something to be got (data, a model), `reason` says why
    it does not apply.
    """

    request: Request
    seed: int
    job: Job | None
    planned: Planned
    missing: str = ""
    reason: str = ""

    @property
    def label(self) -> str:
        f = self.planned.fields
        return self.job.cell.label if self.job else (f"{f['method']} on {f['task']}, "
                                                     f"{self.request.student}, seed {self.seed}")


def request_of(cell: Planned, data_dir: Path | None) -> Request:
    fields = dict(cell.fields)
    unlabelled = fields.pop("unlabelled", None)
    return Request(settings=dict(cell.settings), data_dir=data_dir,
                   unlabelled=Path(unlabelled) if unlabelled else None, **fields)


def cells_of(suite: Suite, data_dir: Path | None, seeds: Sequence[int] | None = None,
             device: str = "auto", download: bool = True) -> list[Cell]:
    """All jobs of a suite with their controls, each once; what cannot run says why."""
    if suite.data == "lookalike":
        data_dir = None
    found: dict[str, Cell] = {}
    for planned in suite.cells:
        request = request_of(planned, data_dir)
        for seed in seeds or planned.seeds:
            name = f"{planned.fields} {planned.settings} {seed}"
            if suite.data == "real" and data_dir is None:
                note = (f"data of {request.task}: give --data-dir; `bench.py prepare "
                        f"{request.task}` fetches it or says how to get it")
                found[name] = Cell(request, seed, None, planned, missing=note)
                continue
            try:
                for job in plan(request, [seed], controls=planned.controls, device=device,
                                download=download):
                    if job.cell.id not in found or job.role == "method":
                        found[job.cell.id] = Cell(request, seed, job, planned)
            except BadInput as error:
                found[name] = Cell(request, seed, None, planned, missing=one_line(error))
            except Skip as reason:
                found[name] = Cell(request, seed, None, planned, reason=one_line(reason))
    return list(found.values())


def missing_models(request: Request) -> list[str]:
    """Models that are not on this machine, each with the way to get it."""
    from huggingface_hub import try_to_load_from_cache

    from kdbench.models.sources import resolve

    lacking = []
    for name in (request.teacher, request.student):
        try:
            source = resolve(name)
        except BadInput as error:
            lacking.append(one_line(error))
            continue
        hub = source.hub or (source.base.hub if source.base else "")
        if hub and not isinstance(try_to_load_from_cache(hub, "config.json"), str):
            lacking.append(
                f"model {name}: `hf download {hub}`, or its folder in the folder that "
                f"KDBENCH_MODELS names"
            )
    return lacking


def left_out_record(cell: Cell) -> dict[str, Any]:
    """What tables say of a cell that could not even be planned."""
    fields = cell.planned.fields
    described = {
        "method": fields["method"], "task": fields["task"],
        "variant": fields.get("variant", "corrected"), "teacher": cell.request.teacher,
        "student": cell.request.student, "seed": cell.seed, "options": fields["options"],
        "task_options": fields.get("task_options", {}), "settings": cell.planned.settings
    }
    error = {"type": "BadInput", "message": cell.missing, "traceback": ""} if cell.missing else None
    return {
        "format": store.FORMAT, "id": f"{cell.label}",
        "status": "failed" if cell.missing else "skipped", "role": "method",
        "reason": cell.reason or None, "cell": described, "data": {}, "error": error
    }




def attempt(cell: Cell, runner: Runner, label: str) -> dict[str, Any]:
    """The cell's record; bad input that shows only now (a model that is not there) fails this cell
    alone.
    """
    assert cell.job is not None
    try:
        return runner.one(cell.job, label)
    except BadInput as error:
        if runner.accelerator.num_processes > 1:  # the first one alone may write
            raise
        say(f"{label}failed: {one_line(error)}")
        return failure(cell.job, runner, "BadInput", one_line(error))


def failure(job: Job, runner: Runner, error_type: str, message: str) -> dict[str, Any]:
    """Write a failed record for a cell that left none, unless another runner has finished it
    meanwhile.
    """
    record = runner.header(job)
    record["error"] = {"type": error_type, "message": message, "traceback": ""}
    record["cost"], record["curves"] = {
        "teacher_seconds": 0, "student_seconds": 0, "wall_seconds": 0, "stages": []
    }, []
    with runner.lock(job):
        if (finished := runner.finished(job)) is not None:
            return finished
        store.write(runner.folder, record)
    return record


def message(cell: Cell, runner: Runner, label: str, cpus: int) -> dict[str, Any]:
    """What a worker has to know, as JSON."""
    assert cell.job is not None
    request = asdict(cell.request)
    for name in ("data_dir", "unlabelled"):
        request[name] = local(request[name]) if request[name] else None
    request["files"] = {k: local(v) for k, v in request["files"].items()}
    return {
        "request": request, "seed": cell.seed, "id": cell.job.cell.id,
        "results_dir": local(runner.folder), "device": runner.device, "overwrite": runner.overwrite,
        "renew": runner.renew, "label": label, "profile": runner.profile, "tracker": runner.tracker,
        "threads": runner.threads or cpus, "environment": {
            name: value
            for name, value in os.environ.items()
            if name.startswith("KDBENCH_")
        }
    }


def local(path: Path) -> str:
    """`path` as another process finds it."""
    return str(path) if str(path) == REST else str(path.absolute())


def work(told: dict[str, Any]) -> dict[str, Any]:
    """A worker's part: plan the request again, run the one cell with that id, return its record."""
    os.environ.update(told["environment"])
    load_plugins()
    given = told["request"]
    request = Request(
        **{
            **given, "data_dir": Path(given["data_dir"]) if given["data_dir"] else None,
            "unlabelled": Path(given["unlabelled"]) if given["unlabelled"] else None,
            "files": {k: Path(v)
                      for k, v in given["files"].items()}
        })
    job = next((job for job in plan(request, [told["seed"]], device=told["device"])
                if job.cell.id == told["id"]), None)
    if job is None:
        raise BadInput(
            f"{request.method} on {request.task}: data, models, code or the kind of device are not "
            f"the same here as where "
            "the suite was started (where only the workers have GPUs, start it with --device cuda)")
    given = {
        name: told[name]
        for name in ("device", "overwrite", "renew", "threads", "profile", "tracker")
    }
    runner = Runner(Path(told["results_dir"]), **given)
    return attempt(Cell(request, told["seed"], job, Planned({}, {}, ())), runner, told["label"])
