"""Signals of texts in windows, computed as they come: a window gets those of its whole text."""

from __future__ import annotations

from kdbench.data.windows import by_text
from kdbench.train.objective import Batch
from kdbench.train.signals import BATCH, LiveSignals, Signals, StoredSignals
from kdbench.train.windows import WindowedCorpus, texts_read


class LiveTexts:
    """Signals of the texts of each batch as it comes, where the teacher reads them in windows.

    It has `add` alone, so that a batch gets them in its step.
    """

    seconds = 0.0  # their cost is part of the training's

    def __init__(self, signals: LiveSignals, corpus: WindowedCorpus):
        self.key, self.teacher, self.corpus = signals.key, signals.teacher, corpus
        self.rows: dict[str, list[int]] = {}
        for own in by_text(corpus.of):  # a text can be several examples
            self.rows.setdefault(corpus.examples[own[0]].key, own)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the signals."""
        return self.teacher.names

    def add(self, batch: Batch) -> None:
        """Run the teacher on all windows of the texts of `batch`."""
        keys = list(dict.fromkeys(example.key for example in batch.examples))
        rows = [row for key in keys for row in self.rows[key]]
        found = texts_read(self.teacher, self.corpus, rows, BATCH)
        values = {name: dict(zip(keys, each, strict=True)) for name, each in found.items()}
        StoredSignals(self.key, values, self.teacher.task_type).add(batch)


def of_texts(signals: StoredSignals | LiveSignals) -> Signals:
    """The same signals; of texts in windows, live ones are those of whole texts."""
    if isinstance(signals, LiveSignals):
        corpus = signals.corpus
        if isinstance(corpus, WindowedCorpus) and corpus.divided:
            return LiveTexts(signals, corpus)
    return signals
