"""Timing two ways of doing one thing against each other: interleaved, in one process, on the same text."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOW = 20.0  # seconds a step; such a one is run twice and not warmed up
SECONDS = 40.0  # that a comparison may take once it has its least number of rounds
ROUNDS = 3, 7  # least and most


@dataclass(frozen=True)
class Bench:
    """What a comparison runs on: the user's corpora (None: embedded text of the same lengths) and the device.

    quick  everything tiny, one round: shows that it runs, and no figure of it means anything
    """

    data_dir: Path | None = None
    quick: bool = False
    device: str = "auto"

    def pick(self, full: Any, quick: Any) -> Any:
        return quick if self.quick else full


class Way:
    """One way of doing it: `round` does `steps` steps of the work."""

    steps: int = 1

    def warm(self) -> None:
        """A few steps that are not timed; left out where one takes so long that it does not matter."""

    def prepare(self) -> None:
        """What a round needs beforehand and is not timed."""

    def round(self) -> None:
        raise NotImplementedError

    def seconds(self) -> float:
        """A round's wall clock."""
        return seconds(self.round)

    def facts(self) -> dict[str, Any]:
        """Further entries of the comparison's row."""
        return {}


def seconds(call: Callable[[], None]) -> float:
    """Wall clock of `call`, up to the end of what it started on a GPU."""
    synchronise()
    begun = time.perf_counter()
    call()
    synchronise()
    return time.perf_counter() - begun


def synchronise() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(ways: Mapping[str, Way], quick: bool) -> dict[str, list[float]]:
    """Milliseconds a step of every way, one entry a round; each round runs every way once, in turn."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    least, most = (1, 1) if quick else ROUNDS
    begun = time.perf_counter()
    for number in range(most):
        for name, way in ways.items():
            if len(spent[name]) == 2 and min(spent[name]) > 1000 * SLOW:
                continue
            if number == 0:
                way.warm()
            way.prepare()
            spent[name].append(1000 * way.seconds() / way.steps)
        if number + 1 >= least and time.perf_counter() - begun > SECONDS:
            break
    return spent


def ratios(reference: list[float], ours: list[float]) -> list[float]:
    """How many times faster ours is, a pair a round; a slow reference's last run stands for those it was spared."""
    return [reference[min(i, len(reference) - 1)] / own for i, own in enumerate(ours)]


def compare(ours: list[float], reference: list[float]) -> dict[str, float]:
    pairs = ratios(reference, ours)
    return {"ours_ms": round(statistics.median(ours), 4), "reference_ms": round(statistics.median(reference), 4),
            "ratio": round(statistics.median(pairs), 3), "ratio_min": round(min(pairs), 3), "ratio_max": round(max(pairs), 3)}


def peak_mb() -> float:
    """The most memory that this process has held so far, in MB: on the GPU where it uses one, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(most * scale / 1e6, 1)
