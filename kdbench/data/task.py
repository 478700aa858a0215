"""What a task is: examples, their labels, the metric, and the facts that a table must state.

Nothing here imports torch, numpy or pandas: `list`, `show` and `check` start at once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base.identity import digest
from kdbench.base.registry import METHODS
from kdbench.data.word_rules import WordRule, learned

if TYPE_CHECKING:
    from kdbench.data.rows import Rows, Wanted

SPLITS = ("train", "dev", "test")
UNLABELLED = "unlabelled-"  # before the id of an example without a label
# texts (groups, where there are any) of one's own that must hold a word before it may be kept
LEAST_TEXTS = 5
TASK_TYPES = {
    "single": "one label a text",
    "multi": "any number of labels a text",
    "regression": "one number a text",
    "tags": "one tag a word",
}


@dataclass(frozen=True)
class Example:
    """One text with its label.

    `label` is an index into the task's labels (single), a tuple of 0/1 as long as the labels
    (multi), a float (regression), a tuple of tag indices as long as `words` (tags), or None where
    unlabelled. `group` is what statistics resample: a PMID, a document, a patient, else the example
    itself. Beside `words`, `text` is what they were cut from, where the corpus has it.
    """

    id: str
    text: str = ""
    pair: str | None = None
    words: tuple[str, ...] = ()
    label: Any = None
    group: str = ""

    @cached_property
    def key(self) -> str:
        """Content hash of what a model reads; a teacher's stored signals are found by it."""
        if self.words:
            parts: tuple[str, ...] = ("w", *self.words)
        elif self.pair is None:
            parts = ("t", self.text)
        else:
            parts = ("p", self.text, self.pair)
        return hashlib.sha1("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


    @property
    def unit(self) -> str:
        """What statistics resample: the example's group, or its id where it has none."""
        return self.group or self.id


def example_content(example: Example) -> list[object]:
    """All fields of an example, as values that can be hashed."""
    return [example.id, example.text, example.pair, example.words, example.label, example.group]


@dataclass(frozen=True)
class Data:
    """A loaded corpus. `labels` are class names, or tags (`O`, `B-GENE`, ...) with `O` first."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    origin: str = "real"  # or "lookalike"
    sha256: Mapping[str, str] = field(default_factory=dict)
    # are the files the published ones? None: nothing to compare with
    published_files: bool | None = None
    domain_text: tuple[str, ...] = ()  # unlabelled sentences; look-alikes bring their own
    notes: tuple[str, ...] = ()
    # training examples without a label; where they lost theirs, the digest of all before
    # (`few_labels`)
    rest: tuple[Example, ...] = ()
    drawn_from: str = ""
    # how files were read, for further ones (`kdbench.data.rows`); JSON can hold it
    reading: Mapping[str, Any] = field(default_factory=dict)

    def split(self, name: str) -> tuple[Example, ...]:
        """The examples of one of `SPLITS`."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]

    @property
    def rows(self) -> dict[str, int]:
        """The number of examples by split."""
        return {name: len(self.split(name)) for name in SPLITS}

    @property
    def own_text(self) -> bool:
        """May these be notes that nobody else has? They are neither generated nor verified to be
        the files of a published corpus.
        """
        return self.origin != "lookalike" and self.published_files is not True

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digests of the corpus, whatever files it came from: by split, of all fields of its rows
        in order; of the labels; of the unlabelled text; of training examples without a label, if
        any; where few labels were drawn, of the whole training split.
        """
        digests = {}
        for name in SPLITS:
            digests[name] = digest(list(map(example_content, self.split(name))), 24)
        if self.rest or self.drawn_from:
            digests["rest"] = digest(list(map(example_content, self.rest)), 24)
        if self.drawn_from:
            digests["drawn_from"] = self.drawn_from
        return {**digests, "labels": digest(self.labels, 24),
                "domain": digest(self.domain_text, 24)}

    @cached_property
    def word_rule(self) -> WordRule:
        """Of tagged words, the rule by which the training texts were cut into them (those of dev,
        where no training text has tags).
        """
        return learned(self.train or self.dev)

    def limited(self, train: int | None, dev: int | None, seed: int = 0) -> Data:
        """The same data with at most `train` and `dev` examples.

        They are drawn by `seed` and stay in the order of the file.
        """

        def draw(examples: tuple[Example, ...], most: int | None, name: str) -> tuple[Example, ...]:
            if most is None or most >= len(examples):
                return examples
            kept = sorted(random.Random(f"{seed}/{name}").sample(range(len(examples)), most))
            return tuple(examples[i] for i in kept)

        return replace(self, train=draw(self.train, train, "train"), dev=draw(self.dev, dev, "dev"))


@dataclass(frozen=True)
class Recipe:
    """Published settings of one method on one task.

    values   settings of the protocol, by name
    source   where they are from
    sources  by name (`--set NAME` for an option), where single ones are from that have another
             source
    options  options of the method, by name
    note     what a reader has to know before calling them published
    """

    values: Mapping[str, Any]
    source: str
    sources: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A corpus with its protocol and its facts.

    By keyword only: most fields are strings, and two in each other's place would not be noticed.

    `load(options)` returns `Data`; `lookalike(seed)` returns generated data. `metric` names
    the one figure that tables show (see `kdbench.score.metrics`), `metrics` all that records keep.
    """

    name: str
    task_type: str
    about: str
    metric: str
    load: Callable[[LoadOptions], Data]
    lookalike: Callable[..., Data] | None = None
    metrics: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()  # empty: read from the data
    label_names: Mapping[str, str] = field(default_factory=dict)  # spelled out, for people
    scheme: str = "IOB"  # tags: IO, IOB or IOBES
    negative: tuple[str, ...] = ()  # labels that micro-F1 leaves out
    unit: str = "example"  # what statistics resample, in words
    # what they are, "abstracts" (biomedical), "notes" (clinical) or "other"; empty: not known
    texts: str = ""
    citation: str = ""
    licence: str = ""
    source: str = ""
    published: tuple[tuple[str, float], ...] = ()  # (system, score) as published for this metric
    rows: Mapping[str, int] = field(default_factory=dict)  # expected sizes
    mentions: Mapping[str, int] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    # by method, or `METHOD NAME=VALUE` for one whose options say so; the baseline's are for all
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    # tokens, the limit that its paper or recipe states; None: by the training texts
    # (`kdbench.data.lengths.default_limit`)
    max_length: int | None = None
    # the task's own options (a dataclass of `kdbench.base.options.option` fields)
    options: type | None = None
    how_to_get: str = ""  # where registration or a download is needed
    # reads a file for a student that is there, of task `files` (see `kdbench.data.rows`)
    read_rows: Callable[[Path, Wanted], Rows] | None = None

    def recipe(self, method: str, options: Mapping[str, Any] | None = None) -> Recipe | None:
        """The published settings of `method` on this task, or else those of the baseline.

        options  of the method, as given: what is published for one value of them comes first
        """
        modes = [f"{method} {name}={value}" for name, value in (options or {}).items()]
        names = [*modes, method, METHODS.baseline().name]
        return next((self.recipes[name] for name in names if name in self.recipes), None)

    @property
    def tagging(self) -> bool:
        """Whether every word has a label."""
        return self.task_type == "tags"


@dataclass(frozen=True)
class LoadOptions:
    """Where and how to read. `data_dir` is the user's folder (already checked to exist)."""

    data_dir: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)  # task `files`: train, dev, test
    settings: Any = None  # an instance of the task's own options class
    seed: int = 0
