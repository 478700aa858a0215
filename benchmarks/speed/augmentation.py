"""Augmentation of BC2GM: nine copies a sentence, from the training file into a file.

Published way: words are drawn with `numpy.random.choice` from Python lists, which are converted to arrays, all of their
tens of thousands of strings, for every single word. Imports no torch, so that its memory is its own.
"""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from texts import Lengths, joined, load
from timing import Bench, Way

from kdbench.base.options import build
from kdbench.data import corpora
from kdbench.methods.augmentation import AugmentOptions
from kdbench.methods.augmentation_files import augment_file, rows

NAMES = ("augmentation",)
WHAT = ("three copies each of label-wise replacement, mention replacement and shuffling, a sentence of BC2GM, file to file; reference: "
        "numpy.random.choice from a list for each word")
SENTENCES, VOCABULARY, SAMPLE = 12_574, 24_000, 30
LENGTHS = Lengths(26, 56, 171)

Sentence = tuple[Sequence[str], Sequence[str]]


class Streamed(Way):
    """The project's `augment_file` on the whole training file."""

    def __init__(self, bench: Bench, folder: tempfile.TemporaryDirectory):
        self.folder, self.source = folder, Path(folder.name) / "train.tsv"
        self.options = build(AugmentOptions, "published", {}, "augment")
        with self.source.open("w") as out:
            for self.steps, (words, tags) in enumerate(sentences(bench), 1):  # noqa: B007
                write(out, words, tags)

    def round(self) -> None:
        augment_file(self.source, Path(self.folder.name) / "ours.tsv", self.options)


class PublishedWay(Way):
    """The notebook's loops on a few sentences; its lists are made of all of them beforehand."""

    def __init__(self, bench: Bench, folder: tempfile.TemporaryDirectory):
        self.folder, everything = folder, list(sentences(bench))
        self.steps = min(SAMPLE, len(everything))
        self.sentences = random.Random(0).sample(everything, self.steps)
        kinds: dict[str, set[str]] = defaultdict(set)
        for words, tags in everything:
            for word, tag in zip(words, tags, strict=True):
                kinds[tag].add(word)
        self.words = {tag: sorted(found) for tag, found in kinds.items()}
        self.mentions = [piece for sentence in everything for piece in segments(*sentence) if piece[1][0] != "O"]

    def round(self) -> None:
        with (Path(self.folder.name) / "reference.tsv").open("w") as out:
            for words, tags in self.sentences:
                write(out, words, tags)
                for _ in range(3):
                    write(out, self.label_wise(words, tags), tags)
                    write(out, *self.mention(words, tags))
                    write(out, *self.shuffled(words, tags))

    def label_wise(self, words: Sequence[str], tags: Sequence[str]) -> list[str]:
        return [np.random.choice(self.words[tag]) if np.random.random() < 0.5 else word for word, tag in zip(words, tags, strict=True)]

    def mention(self, words: Sequence[str], tags: Sequence[str]) -> tuple[list[str], list[str]]:
        pieces = [self.mentions[np.random.randint(len(self.mentions))] if piece[1][0] != "O" and np.random.random() < 0.5 else piece
                  for piece in segments(words, tags)]
        return [word for piece in pieces for word in piece[0]], [tag for piece in pieces for tag in piece[1]]

    def shuffled(self, words: Sequence[str], tags: Sequence[str]) -> tuple[list[str], list[str]]:
        pieces = list(segments(words, tags))
        order = np.random.permutation(len(pieces))
        return [word for i in order for word in pieces[i][0]], [tag for i in order for tag in pieces[i][1]]


def segments(words: Sequence[str], tags: Sequence[str]) -> Iterator[Sentence]:
    """Mentions and the stretches between them."""
    start = 0
    for i in range(1, len(tags) + 1):
        if i == len(tags) or tags[i][0] in "BS" or tags[i - 1][0] in "ES" or (tags[i] == "O") != (tags[i - 1] == "O"):
            yield words[start:i], tags[start:i]
            start = i


def write(out: TextIO, words: Sequence[str], tags: Sequence[str]) -> None:
    for word, tag in zip(words, tags, strict=True):
        out.write(f"{word}\t{tag}\n")
    out.write("\n")


def what(_: str) -> str:
    return WHAT


def sentences(bench: Bench) -> Iterator[Sentence]:
    """BC2GM's training sentences, or generated ones of the same number, lengths and vocabulary; a stream."""
    if bench.data_dir:
        for row in rows(corpora.find_folder("bc2gm_iobes", bench.data_dir) / "train.tsv"):
            yield row.words, row.tags
        return
    data, dice = load("bc2gm_iobes", bench), random.Random(0)
    kinds = VOCABULARY // len({word for example in data.train for word in example.words})
    for example in joined(data, bench.pick(SENTENCES, 40), LENGTHS, lambda words: [1] * len(words)):
        yield [f"{word}{dice.randrange(kinds)}" for word in example.words], [data.labels[i] for i in example.label]


def ways(_: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    folder = tempfile.TemporaryDirectory(prefix="kdbench-speed-")
    return {"ours": lambda: Streamed(bench, folder), "reference": lambda: PublishedWay(bench, folder)}
