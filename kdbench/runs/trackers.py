"""Loss terms and dev scores of every epoch to TensorBoard or Weights & Biases, through accelerate;
off by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdbench.base.errors import BadInput
from kdbench.runs.cell import Cell

if TYPE_CHECKING:
    from accelerate import Accelerator

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}  # the package that each needs


def check(tracker: str) -> None:
    """`BadInput` where the tracker's package is not installed."""
    from accelerate.tracking import get_available_trackers

    if tracker not in [str(found) for found in get_available_trackers()]:
        raise BadInput(
            f"--tracker {tracker}: its package is not installed; pip install {TRACKERS[tracker]}")


@contextmanager
def following(accelerator: Accelerator, tracker: str | None, cell: Cell) -> Iterator[None]:
    """One run of the tracker for one cell: it has the name of the cell, and is closed after it."""
    if tracker is None:
        yield
        return
    folder = f"{cell.task.name}/{cell.method_name}-seed{cell.seed}-{cell.id}"
    project = "kdbench" if tracker == "wandb" else folder
    accelerator.init_trackers(project, init_kwargs={"wandb": {"name": f"{cell.label} ({cell.id})"}})
    try:
        yield
    finally:
        for open_tracker in accelerator.trackers:
            open_tracker.finish()
        accelerator.trackers = []
