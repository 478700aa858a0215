"""The answers of a teacher that is a file, by the text of the examples that they are about.

Several lines about one text are the answers of several voters, and the answer is their mean. What
is wrong with a line is refused with its place. What is sound but of no use (a label that the task
does not have, a span that ends inside of a word), and training texts without an answer, are
counted, and refused above a share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kdbench.base.errors import BadInput
from kdbench.data.answer_options import AnswerOptions
from kdbench.data.answers import Labels, Said, Unusable, said_by
from kdbench.data.readers import shown
from kdbench.data.task import SPLITS, UNLABELLED, Data, Example
from kdbench.data.teacher_lines import Line, key_of
from kdbench.data.word_answers import OVERLAPPED, TagReader, label_of_all

# what a probability is at least before its logarithm is taken, and what that is for a line that has
# its `offset`: it comes from a model, whose probabilities are never 0
FLOOR, LEAST = 1e-12, 1e-300
FIRST = 3  # so many places a message names
DISTRIBUTIONS = ("probabilities", "votes")  # answers of which one example has one


@dataclass(frozen=True)
class Answer:
    """What a file says of one text.

    logits  (C,), of tags (W, C), of a regression (1,); NaN where nothing is said
    weight  what it counts, from 0 to 1: (1,), of tags (W,)
    """

    logits: np.ndarray
    weight: np.ndarray


@dataclass
class Answers:
    """The answers of a file for the examples of a cell.

    name       of the file, for messages: never a path
    task_type  single, multi, regression or tags
    by_key     the answers by `Example.key`
    notes      what was left out and why, in numbers alone
    unsure     answers (tags: of words) below the confidence that is asked for, of `all`
    """

    name: str
    task_type: str
    options: AnswerOptions
    by_key: dict[str, Answer] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unsure: int = 0
    all: int = 0

    def count_unsure(self, answer: Answer, said: Sequence[Said]) -> None:
        """Count what the confidence that is asked for leaves of an answer."""
        if self.options.min_confidence:
            every = answer_of(said, self.task_type, replace(self.options, min_confidence=0.0))
            known = ~np.isnan(every.logits).any(-1)
            self.all += int(known.sum())
            self.unsure += int((known & np.isnan(answer.logits).any(-1)).sum())

    def tell_unsure(self) -> None:
        """Note how many answers are below the confidence; `BadInput` where all are."""
        least, what = self.options.min_confidence, "words" if self.task_type == "tags" else "texts"
        if self.unsure and self.unsure == self.all:
            raise BadInput(f"teacher {self.name}: all of its answers ({self.all:,} {what}) are "
                           f"below --min-confidence {least:g}; give a lower one")
        if self.unsure:
            self.notes.append(f"of {self.all:,} {what}, {self.unsure:,} have an answer below the "
                              f"confidence of {least:g}, which teaches nothing")

    def of(self, example: Example) -> Answer | None:
        """The answer for an example; None where the file has none that teaches."""
        found = self.by_key.get(example.key)
        return None if found is None or np.isnan(found.logits).all() else found

    def missing(self, examples: Iterable[Example]) -> list[Example]:
        """The examples, each text once, for which there is no answer."""
        distinct = {example.key: example for example in examples}
        return [example for key, example in distinct.items() if key not in self.by_key]

    def check_share(self, examples: Sequence[Example], lacking: Sequence[Example]) -> None:
        """`BadInput` where too many of the training examples lack an answer; a note where some do.
        """
        texts = len({example.key for example in examples})
        if not lacking:
            return
        what = f"{len(lacking):,} of {texts:,} training texts have no answer"
        if len(lacking) > self.options.missing * texts:
            ids = ", ".join(example.id for example in lacking[:FIRST])
            raise BadInput(f"teacher {self.name}: {what} (ids {shown(ids, 80)}), more than the "
                           f"share {self.options.missing:g}; answer them, or say --teacher-set "
                           "missing=1 to let them take part with their labels alone")
        note = f"{what}, and take part with their labels alone"
        if note not in self.notes:
            self.notes.append(note)


def answers_of(name: str, lines: tuple[Line, ...], task_type: str, labels: Labels,
               options: AnswerOptions, data: Data, unlabelled: Sequence[Example] = (),
               own_unlabelled: bool = False) -> Answers:
    """The answers of the lines for all examples of `data` and those without labels.

    `BadInput` where a line is wrong, an id is not clear, or too many answers are of no use.
    """
    found = Answers(name, task_type, options)
    reader = None
    if task_type == "tags":
        reader = TagReader(labels, options.spans, label_of_all(lines))
    unusable: dict[str, list[int]] = defaultdict(list)
    used = 0
    examples, by_key = matched(lines, data, unlabelled, own_unlabelled)
    for key, own in by_key.items():
        said = []
        for line in own:
            used += 1
            try:
                said.append(reader.said_by(line, examples[key]) if reader
                            else said_by(line, task_type, labels))
            except Unusable as why:
                unusable[str(why)].append(line.record.line)
        if said:
            found.by_key[key] = answer_of(said, task_type, options)
            found.count_unsure(found.by_key[key], said)
    if not used:
        raise BadInput(f"teacher {name}: none of its {len(lines):,} lines is about a text of the "
                       "task, by text or by id; is this the right file?")
    check_unusable(found, unusable, used)
    found.tell_unsure()
    if reader:
        check_spans(found, reader)
    return found


# ---- which line is about which example -----------------------------------------------------------


def matched(lines: Sequence[Line], data: Data, unlabelled: Sequence[Example],
            own_unlabelled: bool) -> tuple[dict[str, Example], dict[str, list[Line]]]:
    """The examples that have lines, and these lines, both by `Example.key`.

    own_unlabelled  the examples without labels are a file of the user's, whose rows have no ids
    """
    by_text: dict[str, list[Line]] = defaultdict(list)
    by_id: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.key:
            by_text[line.key].append(line)
        else:
            by_id[line.id].append(line)
    for own in by_id.values():
        refuse_repeated(own)
    refuse_counted_from_one(by_id, data)
    examples: dict[str, Example] = {}
    found: dict[str, dict[int, Line]] = defaultdict(dict)
    owners: dict[int, str] = {}
    rows = set(data.rest)
    for split in (*SPLITS, ""):
        for example in data.split(split) if split else (*data.rest, *unlabelled):
            own = list(by_text.get(key_of(example), ()))
            nameless = not split and own_unlabelled and example not in rows
            named = () if nameless else by_id.get(example.id.removeprefix(UNLABELLED), ())
            for line in named:
                if line.split in ("", split or "train"):
                    refuse_unclear(line, owners, example)
                    own.append(line)
            if own:
                examples[example.key] = example
                found[example.key].update((line.record.line, line) for line in own)
    return examples, {key: list(own.values()) for key, own in found.items()}


def refuse_repeated(lines: Sequence[Line]) -> None:
    """`BadInput` where two lines about one id have a distribution each."""
    first: dict[str, int] = {}
    for line in lines:
        if any(name in line.fields for name in DISTRIBUTIONS):
            if line.split in first:
                raise line.record.mistake(f"id {shown(line.id)} is also on line "
                                          f"{first[line.split]}", "give every id one line")
            first[line.split] = line.record.line


def refuse_counted_from_one(by_id: Mapping[str, Sequence[Line]], data: Data) -> None:
    """`BadInput` where the ids of train are numbers from 0, and those of the lines from 1."""
    ids = [example.id.removeprefix(UNLABELLED) for example in (*data.train, *data.rest)]
    count = len(ids)
    if {*ids} == {*map(str, range(count))} and "0" not in by_id and str(count) in by_id:
        raise by_id[str(count)][0].record.mistake(
            f"id {count} is that of no row: the {count:,} rows of train have no ids, and are "
            "counted from 0", "give the first row the id 0, or texts in place of ids")


def refuse_unclear(line: Line, owners: dict[int, str], example: Example) -> None:
    """`BadInput` where a line's id is that of two examples of different texts."""
    owner = owners.setdefault(line.record.line, example.key)
    if owner != example.key:
        raise line.record.mistake(f"id {shown(line.id)} is that of several examples",
                                  "add the text, or `split`: train, dev or test")


# ---- what is of no use ---------------------------------------------------------------------------


def check_unusable(found: Answers, unusable: Mapping[str, Sequence[int]], used: int) -> None:
    """`BadInput` where more of the lines than the option admits could not be used; else a note."""
    count = sum(map(len, unusable.values()))
    if not count:
        return
    reasons = []
    for why, places in sorted(unusable.items(), key=lambda item: -len(item[1]))[:FIRST]:
        reasons.append(f"{why} (line{'s' * (len(places) > 1)} "
                       f"{', '.join(map(str, places[:FIRST]))}{', ...' * (len(places) > FIRST)})")
    if count > found.options.unusable * used:
        raise BadInput(f"teacher {found.name}: {count:,} of {used:,} answers are of no use: "
                       f"{'; '.join(reasons)}; correct them, name labels with --teacher-labels "
                       "FILE=TASK,..., or admit more with --teacher-set unusable=SHARE")
    found.notes.append(f"{count:,} of {used:,} answers are of no use and left out")


def check_spans(found: Answers, reader: TagReader) -> None:
    """`BadInput` where more of the spans than the option admits could not be used; else notes."""
    overlapped = reader.counts.pop(OVERLAPPED, 0)
    if overlapped:
        found.notes.append(f"{overlapped:,} of {reader.spans:,} spans {OVERLAPPED} are left out")
    if not reader.counts:
        return
    counts = ", ".join(f"{count:,} {why}" for why, count in reader.counts.items())
    what = f"{reader.counts.total():,} of {reader.spans:,} spans are of no use"
    if reader.counts.total() > found.options.unusable * reader.spans:
        raise BadInput(f"teacher {found.name}: {what}: {counts} (first: {', '.join(reader.first)})"
                       "; correct them, name labels with --teacher-labels FILE=TASK,..., say "
                       "--teacher-set spans=words where offsets count words, or admit more with "
                       "--teacher-set unusable=SHARE")
    found.notes.append(f"{what}, and their words teach nothing: {counts}")


# ---- from what lines say to an answer ------------------------------------------------------------


def answer_of(said: Sequence[Said], task_type: str, options: AnswerOptions) -> Answer:
    """The answer of one or several lines about one text."""
    values = mean_of([one.values for one in said])
    if task_type == "regression":
        sure = math.fsum(one.confidence for one in said) / len(said)
        if sure < options.min_confidence:
            values = np.full(1, np.nan)
        return Answer(values, np.ones(1))
    unsure = confidence(values, task_type) < options.min_confidence
    weight = np.ones(values.shape[:-1] or 1)
    if options.weight == "agreement":
        weight = np.nan_to_num(np.reshape(agreement(values, task_type), weight.shape)).clip(0, 1)
    offset = said[0].offset if len(said) == 1 and not options.smoothing else None
    logits = logarithms(smoothed(values, task_type, options.smoothing), task_type,
                        FLOOR if offset is None else LEAST)
    if offset is not None and task_type != "multi":
        logits = logits + (offset[:, None] if logits.ndim == 2 else offset)
    logits[unsure] = np.nan
    return Answer(logits, weight)


def mean_of(values: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over voters, of each word over those that say something of it; the order of the
    voters decides nothing.
    """
    if len(values) == 1:
        return values[0].copy()
    stack = np.stack(values)
    known = ~np.isnan(stack)
    total = np.sort(np.where(known, stack, 0), axis=0).sum(axis=0)
    counts = known.sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def confidence(values: np.ndarray, task_type: str) -> np.ndarray:
    """The probability of the most probable label, of each word; with several labels the mean over
    them of that of yes or no.
    """
    if task_type == "multi":
        return np.asarray(np.maximum(values, 1 - values).mean(-1))
    return np.asarray(values.max(-1))


def agreement(values: np.ndarray, task_type: str) -> np.ndarray:
    """1 - H(p) / log C, of each word; with several labels the mean over them of 1 - H(p) / log 2.
    """
    if task_type == "multi":
        two = np.stack([values, 1 - values], -1)
        return np.asarray(agreement(two, "single").mean(-1))
    p = np.clip(values, LEAST, None)
    return np.asarray(1 + (values * np.log(p)).sum(-1) / math.log(max(values.shape[-1], 2)))


def smoothed(values: np.ndarray, task_type: str, share: float) -> np.ndarray:
    """The values with a share of their probability spread evenly."""
    classes = 2 if task_type == "multi" else values.shape[-1]
    return (1 - share) * values + share / classes if share else values


def logarithms(values: np.ndarray, task_type: str, floor: float) -> np.ndarray:
    """Logits whose softmax (several labels: whose sigmoid) is `values`, none below `floor`."""
    logits = np.log(np.maximum(values, floor))
    if task_type == "multi":
        logits = logits - np.log(np.maximum(1 - values, floor))
    return logits
