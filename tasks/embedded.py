"""The embedded look-alikes by task name; the first call imports their generators."""

from __future__ import annotations

from functools import partial

from kdbench.data.task import Data


def _generate(name: str, **settings: int) -> Data:
    from kdbench.tasks.lookalikes import LOOKALIKES

    return LOOKALIKES[name](**settings)


def lookalike(name: str) -> partial[Data]:
    """``generate(seed=0, train=..., dev=..., test=...)`` of task `name`."""
    return partial(_generate, name)
