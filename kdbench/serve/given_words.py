"""Sentences that are cut into words already, for `predict --words`.

A sentence on the command line or on a line of a file:

    ["took", "TNF-α", "."]               a JSON list
    {"tokens": ["took", "TNF-α", "."]}   a JSON object, as the training files have it (or `words`)
    took TNF-α .                         words with blanks between

A file of one word a line: no line has two words, and a blank line (or none) ends a sentence. Of
lines with tabs, as in CoNLL files, the first column is the word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kdbench.base import reading
from kdbench.base.errors import BadInput

Words = list[str]
TAG = re.compile(r"O|[BIESLUM]-\S+")


def given_words(texts: Sequence[str], path: Path | None, task_type: str) -> list[Words]:
    """The words of the sentences of a command line, or else of a file; `BadInput` as below."""
    if path is not None:
        return words_of_file(path, task_type)
    return words_of_texts(texts, task_type)


def words_of_texts(texts: Sequence[str], task_type: str) -> list[Words]:
    """The words of sentences on the command line; `BadInput` where they are for no tagger."""
    _check(task_type)
    return [_words(text, f"text {number}") for number, text in enumerate(texts, 1)]


def words_of_file(path: str | Path, task_type: str) -> list[Words]:
    """The words of the sentences of a file.

    Raises `BadInput` where the student is no tagger, the file cannot be read, a line of JSON has no
    words, or there are none at all.
    """
    _check(task_type)
    path = Path(path).expanduser()
    lines = reading.lines(path)
    if has_blank_columns(lines):
        raise BadInput(f"{path}: has columns with blanks between, a word and its tag; leave out "
                       "--words, and the words are read from it")
    if is_vertical(lines):
        sentences = _sentences(lines)
    else:
        sentences = [_words(line, f"{path}, line {number}")
                     for number, line in enumerate(lines, 1) if line.strip()]
    if not sentences:
        raise BadInput(f"{path}: holds no words")
    return sentences


def is_vertical(lines: Sequence[str]) -> bool:
    """Is it one word a line: lines of two or more columns, or single words with blank lines
    between them?
    """
    found = [line.strip() for line in lines if line.strip()]
    if any(line.startswith(("[\"", "{\"")) for line in found):
        return False
    if any("\t" in line for line in found):
        return True
    single = all(len(line.split()) == 1 for line in found)
    return single and len(found) > 1


def has_blank_columns(lines: Sequence[str]) -> bool:
    """Is it a word and its tag a line, with blanks between, as in CoNLL-2003?"""
    rows = [line.split() for line in lines if line.strip()]
    if any("\t" in line for line in lines) or len({len(row) for row in rows}) != 1:
        return False
    return len(rows[0]) > 1 and all(TAG.fullmatch(row[-1]) for row in rows)


def _sentences(lines: Sequence[str]) -> list[Words]:
    sentences: list[Words] = [[]]
    for line in lines:
        if line.strip():
            sentences[-1].append(line.strip().split("\t")[0].strip())
        elif sentences[-1]:
            sentences.append([])
    return [sentence for sentence in sentences if sentence]


def is_words(value: object) -> bool:
    """Whether a value of JSON is the words of a sentence: a list of texts, not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _words(text: str, where: str) -> Words:
    """The words of one sentence; `where` names it in messages."""
    if not text.lstrip().startswith(("[\"", "{\"", "[ \"", "{ \"")):
        words = text.split()
        if not words:
            raise BadInput(f"{where}: holds no words")
        return words
    try:
        value = reading.parsed(text)
    except ValueError as error:
        raise BadInput(f"{where}: not valid JSON ({error}); give [\"one\", \"word\"]") from error
    if isinstance(value, dict):
        value = value.get("tokens", value.get("words"))
    if not is_words(value) or not all(word.strip() for word in value):
        raise BadInput(f"{where}: no list of words; give [\"one\", \"word\"], or an object with "
                       "`tokens`")
    return value


def _check(task_type: str) -> None:
    if task_type != "tags":
        raise BadInput("--words is for taggers, and this student gives texts labels; leave it out")
