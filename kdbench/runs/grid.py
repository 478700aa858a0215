"""A suite's cells through an engine: in this process, in worker processes, or as Ray tasks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kdbench.base import reading
from kdbench.base.errors import BadInput, Broken
from kdbench.base.progress import Overall, say
from kdbench.runs import ray_engine, store, whereabouts
from kdbench.runs.cell import Cell, LeftOut, known_weights
from kdbench.runs.planning import load_data, plan_suite
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record
from kdbench.runs.suite import Suite
from kdbench.runs.workers import run_workers


@dataclass(frozen=True)
class Engine:
    """Where and how cells run.

    name       local or ray
    workers    cells at a time (on each machine)
    isolate    each cell in a process of its own; None: where a suite runs on a GPU, as a process
               that dies takes its memory with it
    fail_fast  stop at the first cell that fails
    address    of a Ray cluster; without it, a local one is started
    """

    name: str = "local"
    workers: int = 1
    isolate: bool | None = None
    fail_fast: bool = False
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise BadInput(f"workers: {self.workers} is no number of cells at a time; give 1 or "
                           "more")


def run_suite(suite: Suite, planned: Sequence[Cell | LeftOut], runner: Runner,
              engine: Engine) -> list[Record]:
    """The records of all cells. What is missing counts as failed and what does not apply as
    skipped; neither is written.
    """
    engine = settled(engine, suite, runner)
    cells = [cell for cell in planned if isinstance(cell, Cell)]
    left_out = [cell for cell in planned if isinstance(cell, LeftOut)]
    missing = [cell.missing for cell in left_out if cell.missing]
    if not cells and missing:
        raise BadInput(f"suite {suite.name}: {missing[0]} (--dry-run lists all that is missing)")
    overall = Overall(len(cells), sum(runner.finished(cell) is not None for cell in cells))
    records = run_cells(cells, runner, engine, overall, single=suite.single)
    if is_first():
        check_there(runner.folder, records)
        remember_data(runner, cells, records)
    if is_first() and not suite.single:
        say(f"suite {suite.name}: {len(records)} cells, {overall.worked} of them run now, in "
            f"{overall.spent()}")
    return records + [cell.record for cell in left_out]


def run_cells(cells: Sequence[Cell], runner: Runner, engine: Engine, overall: Overall, *,
              single: bool = False) -> list[Record]:
    """The records of cells through an engine.

    single  of one configuration, where what is wrong with it ends the run
    """
    if engine.name == "ray":
        return ray_engine.run_ray(cells, runner, engine.address, engine.workers, overall,
                                  engine.fail_fast)
    if engine.isolate or engine.workers > 1:
        return run_workers(cells, runner, engine.workers, overall, engine.fail_fast)
    return run_here(cells, runner, overall, engine.fail_fast, single=single)


def remember_data(runner: Runner, cells: Sequence[Cell], records: Sequence[Record]) -> None:
    """Note where the data of finished cells lie now, whoever ran them and when."""
    by_id = {cell.id: cell for cell in cells}
    for record in records:
        if record["status"] == "done" and record["id"] in by_id:
            whereabouts.remember(runner.folder, by_id[record["id"]], record)


def check_there(folder: Path, records: Sequence[Record]) -> None:
    """`Broken` where records that were written or found are no longer there at the end."""
    places = [store.path_of(folder, one["id"], one["cell"]["task"]) for one in records]
    gone = [place for place in places if not place.is_file()]
    if gone:
        raise Broken(f"results folder {folder}: {len(gone)} of {len(records)} records are no "
                     f"longer there ({gone[0].name}): they were deleted or moved while this ran; "
                     "give the same command again")


def settled(engine: Engine, suite: Suite, runner: Runner) -> Engine:
    """The engine with `isolate` decided; `BadInput` where it does not go with torchrun."""
    given = os.environ.get("WORLD_SIZE", "1")
    if reading.whole_number(given) is None:
        raise BadInput(f"WORLD_SIZE={given!r}: no number of processes; torchrun sets it, so leave "
                       "it out")
    several = int(given) > 1
    if several and (engine.isolate or engine.workers > 1 or engine.name == "ray"):
        raise BadInput(
            "torchrun gives each cell several processes; leave --isolate, --workers and --engine "
            "ray out")
    if engine.isolate is not None:
        return engine
    on_gpu = runner.device != "cpu" and torch.accelerator.is_available()
    return replace(engine, isolate=on_gpu and not several and not suite.single)


def is_first() -> bool:
    """Is this the first process of torchrun, which speaks for all, or the only one?"""
    return os.environ.get("RANK", "0") == "0"


def run_here(cells: Sequence[Cell], runner: Runner, overall: Overall, fail_fast: bool, *,
             single: bool) -> list[Record]:
    """The records of cells that run in this process, in order.

    What is wrong with a single run ends it, and what is wrong with a cell of a suite fails that
    cell alone.
    """
    run_one = runner.one if single else runner.attempt
    records: dict[int, Record] = {}
    for number in runner.turns(cells):
        cached = runner.finished(cells[number]) is not None
        records[number] = run_one(cells[number], overall.label(number + 1))
        if not cached:
            overall.end()
        if fail_fast and records[number]["status"] == "failed":
            break
    return [records[number] for number in sorted(records)]


def run(method: str, task: str, *, seeds: Sequence[int] = (0,),
        results_dir: str | Path = "results/local", device: str = "auto", overwrite: bool = False,
        controls: bool = True, **request: Any) -> Record | list[Record]:
    """Run one configuration with its controls; returns the method's record (a list for several
    seeds).

    `request` takes the fields of `Request`: teacher, student, variant, options, data_dir, ...; any
    other name is a setting of the protocol (`epochs`, `batch_size`, `max_train_examples`, ...).
    """
    load_data.cache_clear()  # files may have changed since this process read them
    known_weights.cache_clear()
    fields = {name: value for name, value in request.items()
              if name in Request.__dataclass_fields__ and name != "settings"}
    settings = {name: value for name, value in request.items() if name not in fields}
    if fields.get("data_dir"):
        fields["data_dir"] = Path(fields["data_dir"])
    suite = Suite.of(Request(method, task, settings=settings, seeds=tuple(seeds),
                             controls=controls, **fields))
    planned = plan_suite(suite, device=device)
    runner = Runner(Path(results_dir), device=device, overwrite=overwrite)
    records = run_suite(suite, planned, runner, Engine())
    own = [record for cell, record in zip(planned, records, strict=True)
           if isinstance(cell, Cell) and cell.role == "method"]
    return own[0] if len(own) == 1 else own
