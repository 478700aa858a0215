"""Signals for a cell: what its teachers say of the examples, from the cache or computed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from kdbench.base import code
from kdbench.base.activity import doing
from kdbench.base.errors import Skip
from kdbench.base.identity import digest
from kdbench.base.progress import Progress, say
from kdbench.data.task import Example
from kdbench.data.windows import Reading
from kdbench.models.load import Model
from kdbench.train import signals
from kdbench.train.answering import Answering, signals_of
from kdbench.train.content import content_of, model_content
from kdbench.train.live_texts import of_texts
from kdbench.train.scoring import Scoring
from kdbench.train.signals import Pool, Signals, StoredSignals, Teacher
from kdbench.train.stage_cache import StageCache
from kdbench.train.windows import text_batches, texts_of, texts_read


class Teaching(Scoring):
    """The part of a lab that asks teachers for signals; the attributes are the lab's."""

    cache: StageCache
    stages: list[dict[str, Any]]
    teachers: dict[str, Teacher | None]

    def signals(self, teacher: Model | Answering, names: Sequence[str] = ("logits",), *,
                examples: Sequence[Example] | None = None, pool: Pool | None = None,
                live: bool = False, whole: bool = False, max_length: int | None = None,
                hidden_states: bool = False, attentions: bool = False) -> Signals:
        """The teacher's signals for `examples` (default: the training examples), stored by content.

        names  built in (see `kdbench.train.signals.built_in_pool`), or else what `pool` gives
        pool   `pool(outputs, batch)` gives the signals that are not built in. Its source and
               whatever it captured (of a bound method: its object) decide the key, so let it
               capture what it needs and no more
        live   compute them for every batch as it comes: for what depends on the batch or is too
               large to keep
        whole  keep all of them, whatever memory they take
        max_length  tokens at which the texts are cut (default: as the teacher reads the task's)
        hidden_states, attentions  what the pool reads of the teacher's outputs
        """
        examples = self.data.train if examples is None else examples
        if not isinstance(teacher, Model):
            return self.answered(teacher, names, examples)
        frozen = self._frozen(teacher, names, pool, hidden_states, attentions, max_length)
        label = f"{teacher.name}: {'+'.join(names)}"
        key = self.signals_key(frozen, examples)
        what = f"{self.label}{teacher.name}, signals"
        with self.cache.held(f"signals-{key}", what), doing(what):
            stored = None if live else self._stored_signals(key, names)
            if stored is not None:
                self.teachers.setdefault(label, None)
                # once, or it would be paid for twice
                if not any(stage["key"] == key for stage in self.stages):
                    self.stages.append(signal_stage(key, stored.seconds, cached=True))
                return stored
            begun = time.monotonic()
            computed = self._computed_signals(frozen, examples, key, live, whole)
            seconds = time.monotonic() - begun
            if isinstance(computed, StoredSignals):
                computed.seconds = seconds
                signals.save(computed, self.cache.signals)
        self.stages.append(signal_stage(key, seconds, cached=False))
        self.teachers[label] = frozen
        return computed

    def answered(self, teacher: Answering, names: Sequence[str],
                 examples: Sequence[Example]) -> Signals:
        """The logits of a teacher that only answers; `Skip` where anything else is asked for."""
        if tuple(names) != ("logits",):
            raise Skip(f"teacher {teacher.name} only answers: it has logits, and no "
                       f"{', '.join(names)}")
        return signals_of(self, teacher, examples)

    def stored_logits(self, model: Model, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        """The logits of a model by `Example.key`: (C,), of tags (W, C), NaN of a word cut off."""
        signals = self.signals(model, examples=examples, whole=True)
        assert isinstance(signals, StoredSignals)
        return signals.rows["logits"]

    def _frozen(self, model: Model, names: Sequence[str], pool: Pool | None = None,
                hidden_states: bool = False, attentions: bool = False,
                max_length: int | None = None) -> Teacher:
        model.module.to(self.accelerator.device)
        read = self.reading(model) if max_length is None else Reading(max_length)
        return Teacher(model, names, self.task.task_type, read.max_length, read.windows,
                       device=self.accelerator.device, autocast=lambda: self.autocast(model),
                       pool=pool, hidden_states=hidden_states, attentions=attentions)

    def _stored_signals(self, key: str, names: Sequence[str]) -> StoredSignals | None:
        """What the cache has under `key`; None where any file is missing, damaged or too old."""
        folder = self.cache.signals
        files = [signals.signal_file(folder, key, name) for name in names]
        if not all(self.cache.is_current(path) for path in files):
            return None
        stored = signals.load(folder, key, names, self.task.task_type)
        if stored is None:
            say(f"{self.label}stored signals {key} are damaged; from the beginning")
            for path in files:
                path.unlink(missing_ok=True)
        return stored

    def _computed_signals(self, teacher: Teacher, examples: Sequence[Example], key: str,
                          live: bool, whole: bool = False) -> Signals:
        """The signals themselves, or what computes them for each batch."""
        s = self.settings
        texts = len({e.key for e in examples})
        progress = Progress(f"{self.label}{teacher.model.name}, signals", texts, "texts",
                            enabled=self.accelerator.is_main_process)
        # a training that reads only some of the examples has them computed as they come
        known = s.max_steps is not None and s.batch_tokens is None
        few = known and (s.max_steps or 0) * s.batch_size < len(examples)
        budget = 0 if few else s.signal_memory * 1e9
        budget = math.inf if whole else budget
        computed = signals.compute(teacher, examples, key, budget, live, progress.at)
        progress.end()
        return of_texts(computed)

    def signals_key(self, teacher: Teacher, examples: Sequence[Example]) -> str:
        """Hash of all that decides signals: the teacher, the texts and how they are cut, the pool,
        the precision.
        """
        # a pool of a method's own sees the labels too
        read: list[Any] = sorted({e.key for e in examples})
        if teacher.pool is not None:
            read = [(e.key, e.label) for e in examples]
        return digest(
            {
                "code": code.core("training"),
                "teacher": model_content(teacher.model),
                "examples": digest(read),
                "task_type": self.task.task_type,
                "max_length": teacher.max_length,
                **({"windows": asdict(teacher.windows)} if teacher.windows else {}),
                "pool": content_of(teacher.pool, "the pool"),
                "attentions": teacher.attentions,
                "bf16": self.bf16(teacher.model),
                "device": self.accelerator.device.type,
            },
            24)

    def vectors(self, model: Model, examples: Sequence[Example]) -> np.ndarray:
        """(N, H) the last layer's first position of each text, before any pooler.

        The same as the signal `cls` (of several windows their mean), but not kept, and no stage
        with a cost.
        """
        frozen = self._frozen(model, ("cls",))
        corpus = frozen.corpus(examples)
        rows: dict[int, np.ndarray] = {}
        for indices in text_batches(corpus, signals.BATCH):
            values = texts_read(frozen, corpus, indices, signals.BATCH)["cls"]
            rows.update(zip(texts_of(corpus, indices), values, strict=True))
        return np.stack([rows[i] for i in range(len(examples))])


def signal_stage(key: str, seconds: float, *, cached: bool) -> dict[str, Any]:
    """What the record says of signals; cached ones have the cost of when they were computed."""
    return {
        "name": "signals", "role": "teacher", "seconds": round(seconds, 3), "steps": 0,
        "cached": cached, "key": key
    }
