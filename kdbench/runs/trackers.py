"""Loss terms and dev scores of every epoch to TensorBoard or Weights & Biases, through accelerate;
off by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.train.spec import Cell

TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}  # the package that each needs


def check(tracker: str) -> None:
    """`BadInput` where the tracker's package is not installed."""
    from accelerate.tracking import get_available_trackers

    if tracker not in [str(found) for found in get_available_trackers()]:
        raise BadInput(
            f"--tracker {tracker}: its package is not installed; pip install {TRACKERS[tracker]}")


@contextmanager
def following(accelerator: Any, tracker: str | None, cell: Cell) -> Iterator[None]:
    """One run of the tracker for one cell: named by it, and closed behind it."""
    if tracker is None:
        yield
        return
    folder = f"{cell.task}/{cell.method}-seed{cell.seed}-{cell.id}"
    project = "kdbench" if tracker == "wandb" else folder
    accelerator.init_trackers(project, init_kwargs={"wandb": {"name": f"{cell.label} ({cell.id})"}})
    try:
        yield
    finally:
        for open_tracker in accelerator.trackers:
            open_tracker.finish()
        accelerator.trackers = []
