"""What one line of a teacher's file says of a text, as a probability of each label.

    single      `probabilities` {label: p}, `votes` {label: n}, `label` with or without
                `confidence`, or `labels`, one of each annotator
    multi       `probabilities` {label: p}, each by itself; `votes` {label: n} `of` n voters;
                `labels`, those that hold, with or without `confidence`
    regression  `score`, or `scores`, of which the mean is taken

The first of these fields that a line has counts. A label that is given with confidence c has
probability c, and the others share 1 - c alike. Tags are in `word_answers.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kdbench.data.readers import shown
from kdbench.data.teacher_lines import Line

# so far from 1 a sum of probabilities may be, as people round them: it is divided by then. What a
# program writes in full stays as it is.
ROUNDED, EXACT = 0.05, 1e-6
LARGEST = 1e300


class Unusable(Exception):
    """An answer that is sound and cannot be used here: why, in words without the text."""


@dataclass(frozen=True)
class Labels:
    """The labels of a task as a file may write them.

    names    of the task, in its order
    renamed  what the file calls some of them
    """

    names: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def index(self, name: str) -> int:
        """The place of a label: by its name, else by one that differs in case alone; `Unusable`
        where the task has no such label.
        """
        name = self.renamed.get(name, name)
        if name in self.names:
            return self.names.index(name)
        alike = [i for i, own in enumerate(self.names) if own.casefold() == name.casefold()]
        if len(alike) != 1:
            raise Unusable(f"the label {shown(name, 40)}, which the task does not have")
        return alike[0]


@dataclass(frozen=True)
class Said:
    """What lines say of one text.

    values      probabilities: (C,), of tags (W, C), NaN of a word of which nothing is said; of a
                regression the value (1,)
    offset      what the logarithms lack of the logits of the model that wrote the line, log Σ exp
                z: one number, of tags one a word; None where the line does not say it
    confidence  of a regression, as the line says it
    """

    values: np.ndarray
    offset: np.ndarray | None = None
    confidence: float = 1.0


def said_by(line: Line, task_type: str, labels: Labels) -> Said:
    """What a line says of a text.

    Raises `BadInput` where it is no sound answer, `Unusable` where the task lacks the label.
    """
    if task_type == "regression":
        return Said(np.array([score_of(line)]), confidence=confidence_of(line, 1.0))
    of_type = {"single": single, "multi": multi}
    values = of_type[task_type](line, labels)
    offset = None
    if line.fields.get("offset") is not None and "probabilities" in line.fields:
        offset = np.array([line.record.number("offset")])
    return Said(values, offset)


# ---- one label a text ----------------------------------------------------------------------------


def single(line: Line, labels: Labels) -> np.ndarray:
    """(C,) probabilities that sum to 1."""
    if "probabilities" in line.fields:
        return summing_to_one(line, numbers_of(line, "probabilities", labels))
    if "votes" in line.fields:
        return shares(line, numbers_of(line, "votes", labels))
    if is_list(line, "labels"):
        return voted(line, labels)
    if "label" in line.fields:
        chosen = labels.index(name_of(line, line.fields["label"]))
        return with_confidence(line, chosen, len(labels.names))
    raise nothing_said(line, "probabilities, votes or label")


def summing_to_one(line: Line, values: np.ndarray, where: str = "") -> np.ndarray:
    """Probabilities (C,) as a distribution; `BadInput` where they are none."""
    total = math.fsum(values)
    if values.max() > 1 + EXACT or abs(total - 1) > ROUNDED:
        raise line.record.mistake(f"the probabilities{where} sum to {total:.4g}",
                                  "give probabilities that sum to 1, or votes")
    return values if abs(total - 1) <= EXACT else values / total


def shares(line: Line, votes: np.ndarray) -> np.ndarray:
    """(C,) the share of the votes that each label has."""
    if not votes.sum() > 0:
        raise line.record.mistake("nobody voted", "give at least one vote, or leave the line out")
    return votes / math.fsum(votes)


def voted(line: Line, labels: Labels) -> np.ndarray:
    """(C,) the share of a list of labels that each label has."""
    votes = np.zeros(len(labels.names))
    for name in line.fields["labels"]:
        votes[labels.index(name_of(line, name))] += 1
    return shares(line, votes)


def with_confidence(line: Line, chosen: int, classes: int) -> np.ndarray:
    """(C,) the confidence of a line for one label, the rest for the others alike."""
    confidence = confidence_of(line, 1.0)
    values = np.full(classes, (1 - confidence) / max(classes - 1, 1))
    values[chosen] = confidence
    return values


# ---- any number of labels ------------------------------------------------------------------------


def multi(line: Line, labels: Labels) -> np.ndarray:
    """(C,) the probability of each label by itself."""
    if "probabilities" in line.fields:
        values = numbers_of(line, "probabilities", labels)
        if values.max() > 1 + EXACT:
            raise line.record.mistake(f"a probability is {values.max():.4g}",
                                      "give numbers from 0 to 1")
        return values.clip(max=1)
    if "votes" in line.fields:
        votes, voters = numbers_of(line, "votes", labels), number_at(line, "of")
        if not 0 < voters >= votes.max():
            raise line.record.mistake(f"{votes.max():g} votes of {voters:g}",
                                      "`of` is the number of voters")
        return votes / voters
    if is_list(line, "labels") or "label" in line.fields:
        confidence = confidence_of(line, 1.0)
        values = np.full(len(labels.names), 1 - confidence)
        for name in line.fields.get("labels", [line.fields.get("label")]):
            values[labels.index(name_of(line, name))] = confidence
        return values
    raise nothing_said(line, "probabilities, votes with `of`, or labels")


# ---- numbers -------------------------------------------------------------------------------------


def score_of(line: Line) -> float:
    """The number of a line; of several their mean."""
    if "scores" in line.fields:
        scores = line.fields["scores"]
        if not isinstance(scores, list) or not scores:
            raise line.record.mistake(f"scores is {shown(scores)}, not a list of numbers",
                                      "give at least one number, or `score`")
        return math.fsum(finite(line, "scores", score) for score in scores) / len(scores)
    for name in ("score", "label"):
        if name in line.fields:
            return number_at(line, name)
    raise nothing_said(line, "score or scores")


def number_at(line: Line, name: str) -> float:
    """A field that is a finite number."""
    if name not in line.fields:
        raise line.record.mistake(f"no field {name!r}", "give a number")
    return finite(line, name, line.fields[name])


def finite(line: Line, name: str, value: object) -> float:
    """`value`, which must be a finite number of JSON."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < LARGEST else math.inf
    if not math.isfinite(number):
        raise line.record.mistake(f"{name} is {shown(value)}, not a finite number", "give a number")
    return number


def numbers_of(line: Line, name: str, labels: Labels) -> np.ndarray:
    """(C,) the numbers of a table {label: number}, none of them below 0; 0 for a label that is not
    there.
    """
    table = line.fields[name]
    if not isinstance(table, dict) or not table:
        raise line.record.mistake(f"{name} is {shown(table)}, not a table of labels and numbers",
                                  "give {label: number, ...}")
    values = np.zeros(len(labels.names))
    for label, value in table.items():
        number = finite(line, f"{name} of {shown(label, 40)}", value)
        if number < 0:
            raise line.record.mistake(f"{name} of {shown(label, 40)} is {number:g}",
                                      "give numbers from 0 on")
        if number:
            values[labels.index(label)] += number
    return values


def confidence_of(line: Line, usual: float) -> float:
    """The confidence of a line; `usual` where it says none."""
    if line.fields.get("confidence") is None:
        return usual
    confidence = number_at(line, "confidence")
    if not 0 <= confidence <= 1:
        raise line.record.mistake(f"confidence is {confidence:g}", "give a number from 0 to 1")
    return confidence


def is_list(line: Line, name: str) -> bool:
    """Has the line a list of this name?"""
    return isinstance(line.fields.get(name), list)


def name_of(line: Line, value: object) -> str:
    """A label as text; whole numbers are read as their text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise line.record.mistake(f"a label is {shown(value)}, not text", "give a label's name")
    return value


def nothing_said(line: Line, wanted: str) -> Exception:
    """The error of a line that answers nothing."""
    there: Sequence[str] = [str(name) for name in line.fields]
    return line.record.mistake(f"no answer among its fields ({shown(', '.join(there), 80)})",
                               f"give {wanted}")
