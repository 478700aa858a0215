"""How long a text each model of a cell reads, and how much of the data that cuts off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from accelerate import Accelerator
from transformers import PreTrainedTokenizerFast

from kdbench.base.progress import say_once
from kdbench.data.lengths import anything_cut, count_cut, default_limit, limit_in_words
from kdbench.data.task import SPLITS, Data, Example, Task
from kdbench.data.windows import Reading, Windows
from kdbench.models.load import Model
from kdbench.models.zoo import position_limit
from kdbench.score import metrics
from kdbench.train.batching import CHUNK, Corpus
from kdbench.train.spec import Settings
from kdbench.train.windows import count_cut_pairs, windows_of

Limits = dict[str, Any]
UNCUT = 1_000_000  # tokens, more than any text has


class WholeTexts(Corpus):
    """Examples encoded by one model's tokenizer, however long they are."""

    def _encode(self, tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example],
                limit: int) -> None:
        super()._encode(tokenizer, examples, UNCUT)


class Limiting:
    """The part of a lab that knows length limits; the attributes are the lab's."""

    task: Task
    data: Data
    settings: Settings
    accelerator: Accelerator
    _limits: dict[tuple[int, int], tuple[Limits, PreTrainedTokenizerFast]]

    def limit(self, model: Model) -> int:
        """Tokens at which this model's texts are cut, special ones included.

        It is what the settings state. Without that it is the 99th percentile of the training texts
        in the tokens of this model (of those without a label, where none has one), up to the
        model's own limit.
        """
        found = self.limits(model)["max_length"]
        return found if self.settings.max_length is None else self.settings.max_length

    def windows(self, model: Model) -> Windows | None:
        """How this model's texts are read where they are longer; None: they are cut."""
        if self.settings.long == "cut":
            return None
        return windows_of(model, self.limit(model), self.settings, self.task.tagging)

    def reading(self, model: Model) -> Reading:
        """How much of a text this model reads."""
        return Reading(self.limit(model), self.windows(model))

    def limits(self, model: Model) -> Limits:
        """The length limit of a model and what it cuts, as a record has it.

        name        of the model
        max_length  tokens; rule: "stated" or "p99"; most: the model's own limit
        longest     tokens of the longest text
        texts       by split, how many are `cut`, `of` how many
        entities    likewise, those of which a word is not read; None without tags
        windows     stride and pooling of longer texts, and by split how many `texts` are so read;
                    missing where texts are cut
        """
        own = position_limit(model.module.config.to_dict())
        key = id(model.tokenizer), own
        if key not in self._limits:
            # the tokenizer stays alive, as its identity is the key
            self._limits[key] = self._measured(model, own), model.tokenizer
            self._tell(self._limits[key][0])
        return {**self._limits[key][0], "name": model.name}

    def _measured(self, model: Model, own: int) -> Limits:
        lengths = {split: self._lengths(model, self.data.split(split)) for split in SPLITS}
        stated = self.settings.max_length
        of_train = lengths["train"] or self._lengths(model, self.data.rest)
        limit = default_limit(of_train, own) if stated is None else min(stated, own)
        tagging = self.task.task_type == "tags"
        entities = {split: self._entities(model, split, lengths[split], limit)
                    for split in SPLITS if lengths[split] and tagging}
        found = {
            "name": model.name, "max_length": limit, "most": own,
            "rule": "p99" if stated is None else "stated",
            "longest": max((max(each) for each in lengths.values() if each), default=0),
            "texts": {split: count_cut(each, limit) for split, each in lengths.items() if each},
            "entities": entities if tagging else None,
        }
        if windows := windows_of(model, limit, self.settings, tagging):
            return self._in_windows(found, model, windows, lengths)
        return found

    def _in_windows(self, limits: Limits, model: Model, windows: Windows,
                    lengths: Mapping[str, Sequence[int]]) -> Limits:
        """The limits of a model that reads long texts in windows: cut are pairs alone whose first
        text leaves no room for windows of the second.
        """
        limit = limits["max_length"]
        counts = {}
        for split, counted in limits["texts"].items():
            examples = zip(self.data.split(split), lengths[split], strict=True)
            long = [example for example, length in examples if length > limit]
            cut = count_cut_pairs(model, long, limit, windows)
            counts[split] = {"windows": len(long) - cut, "of": counted["of"]}
            counted["cut"] = cut
        for counted in (limits["entities"] or {}).values():
            counted["cut"] = 0
        return {**limits, "windows": {**asdict(windows), "texts": counts}}

    def _tell(self, limits: Limits) -> None:
        """Tell the user, once, of a limit that nobody stated, or that cuts texts."""
        worth_it = limits["texts"] and (limits["rule"] == "p99" or anything_cut(limits["texts"]))
        if worth_it and self.accelerator.is_main_process:
            say_once(f"{limits['name']} {limit_in_words(limits)}")

    def _lengths(self, model: Model, examples: Sequence[Example]) -> list[int]:
        """Tokens of each example, uncut."""
        found: list[int] = []
        for part in parts(examples):
            found += WholeTexts(model, part, UNCUT, self.task.task_type,
                                len(self.data.labels)).lengths
        return found

    def _entities(self, model: Model, split: str, lengths: Sequence[int],
                  limit: int) -> dict[str, int]:
        """How many gold entities of a split have a word of which nothing is read."""
        examples, outside = self.data.split(split), self.data.labels.index("O")
        cut = [i for i, length in enumerate(lengths) if length > limit]
        corpus = Corpus(model, [examples[i] for i in cut], limit, "tags", len(self.data.labels))
        word_ids = dict(zip(cut, corpus.word_ids or (), strict=True))
        read = []
        for i, example in enumerate(examples):  # one piece a word, where the text is read whole
            read.append(word_ids.get(i, list(range(len(example.words)))))
        tags = [np.full(len(ids), outside) for ids in read]
        words = metrics.word_tags(tags, read, [len(example.words) for example in examples], outside)
        lost = metrics.beyond_limit(self.data.labels, examples, words)
        return {"cut": lost["entities"], "of": lost["all_entities"]}


def parts(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """The examples, so many at a time that their tokens take little memory."""
    for start in range(0, len(examples), CHUNK):
        yield examples[start:start + CHUNK]
