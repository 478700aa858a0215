"""A suite's cells as Ray tasks, on a cluster or on a local one that is started here.

A task is one cell with what it needs of a machine (cores, a GPU or a part of one, memory). Ray
places it, and starts it again elsewhere where its worker is lost; what had been trained by then is
found again. Where the results folder is in sight of the worker (this machine, a shared file
system), the worker uses it, and all share teachers and signals; elsewhere each machine has a folder
of its own, and records and predictions travel back to the driver's.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput, Broken
from kdbench.base.identity import digest
from kdbench.base.progress import Overall, say
from kdbench.runs import store
from kdbench.runs.cells import Cell, failure, message, work
from kdbench.runs.runner import Runner

RETRIES = 3  # of a cell whose worker was lost
MEMORY_GB = 2.0  # of a cell where the suite says nothing: enough for small encoders


def installed() -> bool:
    return importlib.util.find_spec("ray") is not None


def run_ray(jobs: Sequence[Cell], runner: Runner, address: str | None, workers: int,
            overall: Overall, fail_fast: bool = False) -> list[dict[str, Any]]:
    """Records of `jobs`, in order; `workers` cells at a time on each machine. Without an address a
    local cluster is started.
    """
    if not installed():
        raise BadInput("--engine ray: Ray is not installed; pip install kdbench[ray]")
    import ray

    start(ray, address, workers)
    seen = runner.folder / "locks" / f"{uuid.uuid4().hex}.driver"
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()
    records: dict[int, dict[str, Any]] = {}
    try:
        running = {}
        for number, cell in enumerate(jobs):
            assert cell.job is not None
            if (record := runner.finished(cell.job)) is not None:
                records[number] = record
            else:
                running[submit(ray, cell, runner, workers, overall.label(number + 1),
                               seen)] = number
        while running:
            done, _ = ray.wait(list(running))
            number = running.pop(done[0])
            job = jobs[number].job
            assert job is not None
            try:
                records[number], arrays = ray.get(done[0])
            except ray.exceptions.RayError as error:
                records[number] = failure(job, runner, "WorkerDied", str(error).partition("\n")[0])
            else:
                if arrays is not None:  # made out of our sight
                    store.write(runner.folder, records[number], arrays)
            overall.end()
            say(f"{overall.label(number + 1)}{job.cell.label}: {records[number]['status']}")
            if fail_fast and records[number]["status"] == "failed":
                break
    finally:
        seen.unlink(missing_ok=True)
        ray.shutdown()
    return [records[number] for number in sorted(records)]


def start(ray: Any, address: str | None, workers: int) -> None:
    """Connect to the cluster at `address`, or start a local one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # a machine in training is slow to start
    for patience in ("RAY_agent_register_timeout_ms", "RAY_worker_register_timeout_seconds"):
        os.environ.setdefault(patience, "120000" if patience.endswith("_ms") else "120")
    local = {} if address else {
        "include_dashboard": False, "num_cpus": max(workers,
                                                    os.cpu_count() or 1)
    }
    try:
        ray.init(address=address, logging_level=logging.WARNING, **local)
    except Exception as error:  # Ray raises bare ones too
        reason = str(error).strip().partition("\n")[0]
        if address:
            raise BadInput(f"--ray-address {address}: {reason}") from error
        raise Broken(f"--engine ray: no local cluster could be started: {reason}") from error


def submit(ray: Any, cell: Cell, runner: Runner, workers: int, label: str, seen: Path) -> Any:
    """The reference of the cell's task."""
    assert cell.job is not None
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = needs(cell.planned.resources, machines, workers, gpu=runner.device != "cpu")
    told = {**message(cell, runner, label, asked["CPU"]), "seen": str(seen.absolute()),
            "elsewhere": digest(str(runner.folder.absolute()))}
    return ray.remote(run_cell).options(num_cpus=asked["CPU"], num_gpus=asked["GPU"],
                                        memory=asked["memory"], max_retries=RETRIES,
                                        name=cell.job.cell.label).remote(told)


def needs(asked: dict[str, float], machines: Sequence[dict[str, float]], workers: int,
          gpu: bool) -> dict[str, Any]:
    """CPU cores, GPUs and memory (bytes) of one cell: as the suite says, else one of `workers`
    shares of the smallest machine.

    `BadInput` where no machine has as much, for which Ray would wait for ever.
    """
    def share(name: str) -> float:
        return min(
            (machine[name] for machine in machines if machine.get(name)), default=0.0) / workers

    found = {
        "CPU": int(asked.get("cpus", max(1, share("CPU")))),
        "GPU": float(asked.get("gpus", min(1.0, share("GPU")))) if gpu and share("GPU") else 0.0,
        "memory": int(asked["memory_gb"] *
                      1e9 if "memory_gb" in asked else min(MEMORY_GB * 1e9, share("memory"))),
    }
    if not any(
            all(machine.get(name, 0.0) >= amount
                for name, amount in found.items())
            for machine in machines):
        raise BadInput(
            f"--engine ray: a cell wants {found['CPU']} cores, {found['GPU']:g} GPUs and "
            f"{found['memory'] / 1e9:.1f} GB, and "
            "no machine of the cluster has them; lower `resources` in the suite")
    return found


def run_cell(told: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A task: the cell's record, and its arrays where the driver has to write both."""
    os.environ["TERM"] = "dumb"
    import numpy as np

    if Path(told["seen"]).is_file():
        return work(told), None
    folder = Path.home() / ".cache" / "kdbench" / told["elsewhere"]
    record = work({**told, "results_dir": str(folder)})
    path = store.path_of(folder, record["id"], record["cell"]["task"]).with_suffix(".npz")
    if not path.is_file():
        return record, {}
    with np.load(path, allow_pickle=False) as arrays:
        return record, dict(arrays)
