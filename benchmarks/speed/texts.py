"""The text that both ways read: of a real corpus where its folder is given, else generated, of the same lengths."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from math import exp, log
from typing import Any

from timing import Bench

from kdbench.base.registry import TASKS
from kdbench.data import corpora
from kdbench.data.task import Data, Example, LoadOptions

Tagged = tuple[str, Any]  # a word with its tag, None where the task has no tags


@dataclass(frozen=True)
class Lengths:
    """Tokens a text: log-normal by median and 95th percentile, within bounds."""

    median: int
    p95: int
    most: int
    least: int = 6

    def draw(self, dice: random.Random) -> int:
        length = self.median * exp(dice.gauss(0, log(self.p95 / self.median) / 1.645))
        return min(max(round(length), self.least), self.most)


def load(task: str, bench: Bench, settings: Any = None) -> Data:
    """The corpus from the user's folder, or its look-alike."""
    return corpora.load(TASKS.get(task), LoadOptions(bench.data_dir, settings=settings))


def words_of(example: Example) -> list[Tagged]:
    if example.words:
        return list(zip(example.words, example.label, strict=True))
    return [(word, None) for word in f"{example.text} {example.pair or ''}".split()]


def strings(data: Data) -> list[str]:
    """The training texts, to train a tokenizer on."""
    return [" ".join(word for word, _ in words_of(example)) for example in data.train]


def drawn(data: Data, count: int, lengths: Lengths, size: Callable[[Sequence[str]], list[int]]) -> tuple[Example, ...]:
    """`count` training examples: the corpus's own, drawn by a fixed seed, or generated text joined to `lengths`."""
    if data.origin == "lookalike":
        return tuple(joined(data, count, lengths, size))
    return tuple(random.Random(0).sample(data.train, min(count, len(data.train))))


def joined(data: Data, count: int, lengths: Lengths, size: Callable[[Sequence[str]], list[int]]) -> Iterator[Example]:
    """`count` texts of `lengths`, cut out of the corpus's texts in a row; labels are drawn.

    size  tokens of each of some words
    """
    dice = random.Random(0)
    stream = cycle([pair for example in data.train for pair in words_of(example)])
    vocabulary = sorted({word for example in data.train for word, _ in words_of(example)})
    tokens = dict(zip(vocabulary, size(vocabulary), strict=True))
    for number in range(count):
        pairs = list(taken(stream, lengths.draw(dice) - 2, tokens))  # [CLS] and [SEP] make up the rest
        words = tuple(word for word, _ in pairs)
        if data.train[0].words:
            yield Example(str(number), words=words, label=tuple(tag for _, tag in pairs))
        else:
            yield Example(str(number), text=" ".join(words), label=dice.randrange(len(data.labels)))


def taken(stream: Iterator[Tagged], room: int, tokens: dict[str, int]) -> Iterator[Tagged]:
    while room > 0:
        pair = next(stream)
        room -= tokens[pair[0]]
        yield pair


def two_labels(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The same texts with one of two labels each."""
    dice = random.Random(0)
    return tuple(replace(example, label=dice.randrange(2)) for example in examples)
