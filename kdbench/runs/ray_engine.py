"""A suite's cells as Ray tasks, on a cluster or on a local one that is started here.

A task is one cell with what it needs of a machine (cores, a GPU or a part of one, memory). Ray
places it. Where a worker is lost, Ray starts the cell again elsewhere, and what had been trained by
then is found again. A worker that can read the driver's results folder (on the same machine, or on
a shared file system) uses it, and all such workers share teachers and signals. Any other machine
has a folder of its own, and sends records and predictions back to the driver.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Broken
from kdbench.base.identity import digest
from kdbench.base.progress import Overall, say
from kdbench.runs import store
from kdbench.runs.cell import Cell
from kdbench.runs.runner import Runner
from kdbench.runs.store import Record
from kdbench.runs.workers import message, work

RETRIES = 3  # of a cell whose worker was lost
MEMORY_GB = 2.0  # of a cell where the suite says nothing: enough for small encoders


def installed() -> bool:
    """Is Ray on this machine?"""
    return importlib.util.find_spec("ray") is not None


def run_ray(cells: Sequence[Cell], runner: Runner, address: str | None, workers: int,
            overall: Overall, fail_fast: bool = False) -> list[Record]:
    """The records of `cells`, in order; `workers` cells at a time on each machine. Without an
    address a local cluster is started.
    """
    if not installed():
        raise BadInput("--engine ray: Ray is not installed; pip install kdbench[ray]")
    import ray

    start(ray, address, workers)
    marker = runner.folder / "locks" / f"{uuid.uuid4().hex}.driver"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    records: dict[int, Record] = {}
    try:
        running = {}
        for number, cell in enumerate(cells):
            if (record := runner.finished(cell)) is not None:
                records[number] = record
            else:
                task = submit(ray, cell, runner, workers, overall.label(number + 1), marker)
                running[task] = number
        while running:
            with doing(f"{len(records):,} of {len(cells):,} cells are finished, waiting for Ray"):
                (task,), _ = ray.wait(list(running))
            number = running.pop(task)
            records[number] = collect(ray, task, cells[number], runner)
            overall.end()
            say(f"{overall.label(number + 1)}{cells[number].label}: {records[number]['status']}")
            if fail_fast and records[number]["status"] == "failed":
                break
    finally:
        marker.unlink(missing_ok=True)
        ray.shutdown()
    return [records[number] for number in sorted(records)]


def collect(ray: Any, task: Any, cell: Cell, runner: Runner) -> Record:
    """The record that a task returns; it is written here where the worker could not do it."""
    try:
        record, arrays = ray.get(task)
    except ray.exceptions.RayError as error:
        return runner.failure(cell, store.WORKER_DIED, str(error).partition("\n")[0])
    if arrays is not None:  # written on another machine
        store.write(runner.folder, record, arrays)
    return record


def start(ray: Any, address: str | None, workers: int) -> None:
    """Connect to the cluster at `address`, or start a local one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # a machine in training is slow to start
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "120")
    local: dict[str, Any] = {}
    if not address:
        local = {"include_dashboard": False, "num_cpus": max(workers, os.cpu_count() or 1)}
    try:
        ray.init(address=address, logging_level=logging.WARNING, **local)
    except Exception as error:  # Ray raises bare ones too
        reason = str(error).strip().partition("\n")[0]
        if address:
            raise BadInput(f"--ray-address {address}: {reason}") from error
        raise Broken(f"--engine ray: no local cluster could be started: {reason}") from error


def submit(ray: Any, cell: Cell, runner: Runner, workers: int, label: str, marker: Path) -> Any:
    """Start the task of a cell; returns its reference.

    marker  a file of the driver: a worker that sees it uses the driver's results folder
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    share = needs(cell.request.resources, machines, workers, gpu=runner.device != "cpu")
    text = {**message(cell, runner, label, share["CPU"]), "marker": str(marker.absolute()),
            "cache_name": digest(str(runner.folder.absolute()))}
    task = ray.remote(run_cell).options(num_cpus=share["CPU"], num_gpus=share["GPU"],
                                        memory=share["memory"], max_retries=RETRIES,
                                        name=cell.label)
    return task.remote(text)


def needs(resources: dict[str, float], machines: Sequence[dict[str, float]], workers: int,
          gpu: bool) -> dict[str, Any]:
    """CPU cores, GPUs and memory (bytes) of one cell: as the suite says, else one of `workers`
    shares of the smallest machine.

    `BadInput` where no machine has as much, as Ray would wait for ever.
    """

    def share(name: str) -> float:
        return min((each[name] for each in machines if each.get(name)), default=0.0) / workers

    cpus = resources.get("cpus", max(1, share("CPU")))
    gpus = resources.get("gpus", min(1.0, share("GPU"))) if gpu and share("GPU") else 0.0
    memory = min(MEMORY_GB * 1e9, share("memory"))
    if "memory_gb" in resources:
        memory = resources["memory_gb"] * 1e9
    found = {"CPU": int(cpus), "GPU": float(gpus), "memory": int(memory)}
    if not any(has_all(machine, found) for machine in machines):
        raise BadInput(
            f"--engine ray: a cell wants {found['CPU']} cores, {found['GPU']:g} GPUs and "
            f"{found['memory'] / 1e9:.1f} GB, and "
            "no machine of the cluster has them; lower `resources` in the suite")
    return found


def has_all(machine: dict[str, float], share: dict[str, Any]) -> bool:
    """Has a machine all that one cell needs?"""
    return all(machine.get(name, 0.0) >= amount for name, amount in share.items())


def run_cell(text: dict[str, Any]) -> tuple[Record, dict[str, Any] | None]:
    """A task: the cell's record, and its arrays where the driver has to write both."""
    os.environ["TERM"] = "dumb"

    if Path(text["marker"]).is_file():
        return work(text), None
    folder = Path.home() / ".cache" / "kdbench" / text["cache_name"]
    record = work({**text, "results_dir": str(folder), "stages": None})
    path = store.path_of(folder, record["id"], record["cell"]["task"]).with_suffix(".npz")
    if not path.is_file():
        return record, {}
    return record, reading.arrays(path)
