"""Length limits: the default one, how many texts it cuts, and how that is said.

Lengths are in tokens of a model's own tokenizer, special ones included.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdbench.data.task import SPLITS

STEP = 8  # a limit is a multiple of this
WITHOUT_TEXTS = 128  # the limit where there are no texts to take it from
# BERT's pieces in a word of biomedical text between blanks, punctuation with it: a stand-in until
# a tokenizer counts
PIECES_PER_WORD = 1.6
SPECIAL = 2  # tokens around a text, in that stand-in
USUAL_MOST = 512  # tokens that BERT and most models after it can read

LONG = ("cut", "windows")  # what becomes of texts beyond the limit
POOLING = ("mean", "max")  # how windows make one answer

Counts = Mapping[str, Mapping[str, int]]  # by split: how many are `cut`, `of` how many


def default_limit(lengths: Sequence[int], most: int) -> int:
    """The 99th percentile of these lengths, rounded up to a multiple of 8; at most `most`.

    It is the least length that 99 % of the texts do not exceed.
    """
    if not lengths:
        return min(WITHOUT_TEXTS, most)
    ordered = sorted(lengths)
    needed = -(-99 * len(ordered) // 100)  # texts, rounded up in whole numbers
    return min(rounded_up(ordered[needed - 1]), most)


def rounded_up(length: int) -> int:
    """The next multiple of 8."""
    return STEP * math.ceil(length / STEP)


def estimated(words: int) -> int:
    """About how many tokens a text of so many words has (`PIECES_PER_WORD`)."""
    return math.ceil(PIECES_PER_WORD * words) + SPECIAL


def count_cut(lengths: Sequence[int], limit: int) -> dict[str, int]:
    """How many of these lengths are beyond `limit`."""
    return {"cut": sum(length > limit for length in lengths), "of": len(lengths)}


# ---- in words ------------------------------------------------------------------------------------


def limit_in_words(limits: Mapping[str, Any]) -> str:
    """A record's `limits` of one model in words: the limit, what it cuts, and what to do."""
    rule = ""
    if limits["rule"] == "p99":
        rule = " (the 99th percentile of the training texts)"
        if limits["max_length"] == limits["most"]:
            rule = " (the most that it can)"
    said = f"reads up to {limits['max_length']:,} tokens{rule}: {cut_in_words(limits['texts'])}"
    said += windows_in_words(limits.get("windows"))
    if not anything_cut(limits["texts"]):
        return said
    if limits.get("entities"):
        said += f", and of entities {shares(limits['entities'])}"
    return f"{said}; {remedy(limits)}"


def cut_in_words(texts: Counts) -> str:
    """How many texts of each split are cut."""
    return f"of texts {shares(texts)} are cut" if anything_cut(texts) else "0 texts are cut"


def windows_in_words(windows: Mapping[str, Any] | None) -> str:
    """How many texts of each split are read in windows, and in which; empty where none is."""
    if windows is None or not any(each["windows"] for each in windows["texts"].values()):
        return ""
    found = [f"{each['windows']:,} of {each['of']:,} {split}"
             for split, each in windows["texts"].items()]
    return (f"; longer ones are read in windows that share {windows['stride']:,} tokens: "
            f"{', '.join(found)}")


def shares(counts: Counts) -> str:
    """The counts of every split: `12 of 800 train, 0 of 100 dev, 3 of 100 test`."""
    found = [f"{counts[split]['cut']:,} of {counts[split]['of']:,} {split}"
             for split in SPLITS if split in counts]
    return ", ".join(found)


def anything_cut(texts: Counts) -> bool:
    """Is a text of any split cut?"""
    return any(counts["cut"] for counts in texts.values())


def remedy(limits: Mapping[str, Any]) -> str:
    """What to do about texts that are cut."""
    longest, most = limits["longest"], limits["most"]
    if "windows" in limits:
        return ("they are pairs whose first text leaves the second no room: exchange the two, or "
                "raise --max-length")
    if limits["max_length"] >= most:
        return ("the model can read no more at once: --long windows reads all of it, or take a "
                "model with a longer limit")
    if longest <= most:
        return f"--max-length {min(rounded_up(longest), most)} reads all of them whole"
    return (f"--max-length {most} is the most that the model can read at once, and the longest "
            f"text has {longest:,}: --long windows reads all of it")
