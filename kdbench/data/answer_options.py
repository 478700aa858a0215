"""What may be said of a teacher that is a file of answers, on the command line and in a suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.base.options import build, option, written

# They decide what is refused and no figure: no part of an identity.
LIMITS = ("missing", "unusable")


@dataclass(frozen=True)
class AnswerOptions:
    """How the answers of a file are read, and which of them teach."""

    min_confidence: float = option(
        0.0, "answers below it teach nothing: the probability of the most probable label (several "
        "labels: the mean over labels of that of yes or no; tags: of each word; regression: the "
        "`confidence` of the line)", minimum=0, maximum=1)
    smoothing: float = option(
        0.0, "share of the probability that is spread evenly over all labels", minimum=0,
        maximum=0.5)
    weight: str = option(
        "equal", "what an answer counts: all alike, or by how much its voters agree, 1 - H(p) / "
        "log C", choices=("equal", "agreement"))
    spans: str = option(
        "auto", "tags: offsets of spans count characters or words; auto: words where a line has "
        "words and no text, else characters", choices=("auto", "characters", "words"))
    missing: float = option(
        0.05, "share of the training texts that may lack an answer", minimum=0, maximum=1)
    unusable: float = option(
        0.05, "share of the answers (tags: of the spans) that may be unusable: labels that the "
        "task does not have, spans that end inside of a word", minimum=0, maximum=1)


def answer_options(given: Mapping[str, Any]) -> AnswerOptions:
    """The options of a teacher that is a file; `BadInput` with all mistakes."""
    options: AnswerOptions = build(AnswerOptions, "corrected", given, "the teacher's file")
    return options


def deciding(options: AnswerOptions) -> str:
    """The options that decide a result and are not at their default, as NAME=VALUE."""
    parts = []
    for field in dataclasses.fields(AnswerOptions):
        value = getattr(options, field.name)
        if field.name not in LIMITS and value != field.default:
            parts.append(f"{field.name}={written(value)}")
    return " ".join(parts)
