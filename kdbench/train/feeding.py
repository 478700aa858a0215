"""From indices to batches on the device; built ahead of the step in a thread where that pays.

A GPU waits for the host: while a step is launched, the next batches are read, their signals looked
up, collated and pinned. On a CPU the thread takes the cores from the step, so it is off there: 100
steps of a tiny student on two busy cores took 2.5 s without it and 3.0 to 3.3 s with it.

Weights are the same either way, bit by bit. The thread does only what depends on the examples: a
`collate` that is not marked by `objective.early` runs in the step itself, where it may draw random
numbers and read what the steps before it have changed. So does whatever reads a GPU.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import torch

from kdbench.base.progress import Phases
from kdbench.train.batching import Corpus, pinned
from kdbench.train.objective import Batch, Objective, is_early
from kdbench.train.resident import resident
from kdbench.train.signals import Signals

DEPTH = 2  # batches that are built before they are asked for

Item = TypeVar("Item")
Made = TypeVar("Made")


class Ahead(Generic[Item, Made]):
    """`make(item)` of each item in order, a few of them computed ahead by one thread.

    An error of `make` is raised by the `take` of its item.
    """

    def __init__(self, make: Callable[[Item], Made], items: Sequence[Item], depth: int = DEPTH):
        self.lock = threading.Lock()  # held while the thread makes one
        self._make, self._left = make, deque(items)
        self._made: deque[Future[Made]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kdbench-batches")
        for _ in range(depth):
            self._start_next()

    def _start_next(self) -> None:
        if self._left:
            self._made.append(self._thread.submit(self._locked, self._left.popleft()))

    def _locked(self, item: Item) -> Made:
        with self.lock:
            return self._make(item)

    def take(self) -> Made:
        """The next one, in order."""
        made = self._made.popleft()
        self._start_next()
        return made.result()

    def close(self) -> None:
        """Wait for the one that is being made, forget the others, and end the thread."""
        self._left.clear()
        self._thread.shutdown(cancel_futures=True)


class Feed:
    """The batches of one training.

    ahead  build them in a thread (default: on an accelerator)
    low    signals that do not fit on the device go up in 16 bits: the step computes under autocast
    """

    def __init__(self, corpus: Corpus, objective: Objective, signals: Signals | None, *,
                 accumulate: int, device: torch.device, world: int = 1, rank: int = 0,
                 low: bool = False, ahead: bool | None = None, phases: Phases | None = None):
        self.corpus, self.objective, self.accumulate = corpus, objective, accumulate
        self.device, self.world, self.rank = device, world, rank
        self.phases = phases or Phases()
        # can all of a batch be made by what depends on its examples alone?
        self.early = is_early(objective) and (signals is None or hasattr(signals, "read"))
        on_accelerator = device.type != "cpu"
        self.signals: Any = signals
        if on_accelerator and self.early:
            self.signals = resident(signals, device, low)
        self.in_thread = on_accelerator if ahead is None else ahead
        self.ahead: Ahead[list[int], list[Batch]] | None = None

    # --- in order -------------------------------------------------------------------------------

    def begin(self, batches: Sequence[list[int]]) -> None:
        """Start to build these, which `parts` is going to ask for one by one."""
        self.end()
        if self.in_thread:
            self.ahead = Ahead(self.built, batches)

    def end(self) -> None:
        """Build no more."""
        if self.ahead is not None:
            self.ahead.close()
        self.ahead = None

    def parts(self, indices: list[int]) -> list[Batch]:
        """This process's share of the batch on the device, in parts."""
        if self.ahead is None:
            built = self.built(indices, self.phases)
        else:
            with self.phases("data"):
                built = self.ahead.take()
        return [self.finished(batch) for batch in built]

    def paused(self) -> threading.Lock:
        """A context in which the thread builds nothing: tokenizers serve one thread at a time."""
        return self.ahead.lock if self.ahead is not None else threading.Lock()

    # --- one batch ------------------------------------------------------------------------------

    def built(self, indices: list[int], phases: Phases | None = None) -> list[Batch]:
        """What of a batch depends on its examples alone, on the CPU; each part is as wide as its
        widest on any process.
        """
        phases = phases or Phases()  # of a thread no seconds are taken
        pieces = min(self.accumulate, max(len(indices) // self.world, 1))
        batches = []
        for number in range(pieces):
            whole = indices[number::pieces]
            width = max(self.corpus.lengths[i] for i in whole)
            with phases("data"):
                batch = self.corpus.batch(whole[self.rank::self.world], width)
            batches.append(self.collated(batch, phases) if self.early else batch)
        return batches

    def collated(self, batch: Batch, phases: Phases) -> Batch:
        """The batch with all that the host knows, in memory from which it is copied at once."""
        if self.signals is not None:
            with phases("teacher"):
                self.signals.read(batch)
        with phases("data"):
            self.objective.collate(batch)
            return self.pinned(batch)

    def finished(self, batch: Batch) -> Batch:
        """The batch on the device."""
        if self.early:
            with self.phases("data"):
                batch = batch.to(self.device)
            if self.signals is not None:
                with self.phases("teacher"):
                    self.signals.complete(batch)
            return batch
        if self.signals is not None:
            with self.phases("teacher"):
                self.signals.add(batch)
        with self.phases("data"):
            self.objective.collate(batch)
            return self.pinned(batch).to(self.device)

    def pinned(self, batch: Batch) -> Batch:
        """The batch in page-locked memory, where the device is no CPU."""
        return batch if self.device.type == "cpu" else pinned(batch)
