"""The command `augment`: a file of tagged sentences, written again with copies of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.folders import new_file, refuse_source
from kdbench.methods.augmentation import Augmenter, AugmentOptions, Tags, Words

# a sentence as most files have it, without the blank line behind it
SENTENCE = re.compile(r"[^\t\n]+\t[^\t\n]+(?:\n[^\t\n]+\t[^\t\n]+)*")


class Row(NamedTuple):
    """One sentence of a file, with the JSON object that it came in; None where the file has two
    columns.
    """

    words: Words
    tags: Tags
    record: dict[str, Any] | None = None

    def text(self, words: Words, tags: Tags, name: str = "") -> str:
        """These words and tags, the sentence's own or those of its copy `name`, as the file has
        them.
        """
        if self.record is None:
            # word, tab, tag, end of line; one join takes half of the time of one a line
            pieces = ["\n"] * (4 * len(words))
            pieces[::4], pieces[1::4], pieces[2::4] = words, ["\t"] * len(words), tags
            return "".join(pieces) + "\n"
        record = {**self.record, "tokens": words, "ner_tags": tags}
        if name and "id" in record:
            record["id"] = f"{record['id']}+{name}"
        return json.dumps(record) + "\n"


@dataclass(frozen=True)
class Written:
    """How much `augment_file` read and wrote."""

    sentences_read: int
    sentences: int
    mentions_read: int
    mentions: int


def augment_file(source: str | Path, target: str | Path, options: AugmentOptions,
                 seed: int = 0) -> Written:
    """Write the sentences of `source`, each followed by its copies, to `target`, in the same
    format.

    Two columns (`word<TAB>tag`, a blank line after each sentence) or JSON lines (`tokens`,
    `ner_tags`, and `id`, which copies extend by `+label_wise1`). The source is read twice and never
    held; `target` appears only when it is complete. `BadInput` names the file and the line that
    cannot be read.
    """
    source, target = Path(source), Path(target)
    refuse_source(target, source)
    augmenter = Augmenter(options, seed).fit((row.words, row.tags) for row in rows(source))
    sentences_read = sentences = mentions_read = mentions = 0
    with complete_file(target) as out:
        for row in augmenter.kept(rows(source)):
            out.write(row.text(row.words, row.tags))
            in_row = augmenter.mentions(row.tags)
            sentences_read, mentions_read = sentences_read + 1, mentions_read + in_row
            sentences, mentions = sentences + 1, mentions + in_row
            for name, words, tags in augmenter.copies(row.words, row.tags):
                out.write(row.text(words, tags, name))
                sentences += 1
                mentions += in_row if tags is row.tags else augmenter.mentions(tags)
    return Written(sentences_read, sentences, mentions_read, mentions)


def rows(path: Path) -> Iterator[Row]:
    """The sentences of a two-column or JSON-lines file, as a stream (`kdbench.data.readers` holds
    the whole file); `BadInput` names the file, and the line where there is one.
    """
    reading.check_lines(path, reading.STREAM_LIMIT)
    try:
        with path.open(encoding="utf-8-sig") as stream:
            first = next((line for line in stream if line.strip()), None)
            if first is None:
                raise BadInput(
                    f"{path}: no sentence in it; give words with their tags, or JSON lines")
            stream.seek(0)
            read = _json_rows if first.startswith("{") else _column_rows
            yield from read(path, stream)
    except UnicodeDecodeError:
        raise BadInput(f"{path}:{undecodable(path)}: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check the path and its "
                       "permissions") from None


def undecodable(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _column_rows(path: Path, stream: IO[str]) -> Iterator[Row]:
    """The sentences of a two-column file, block by block: half of the time of line by line."""
    number, rest = 1, ""
    for chunk in chain(iter(lambda: stream.read(1 << 16), ""), ["\n\n"]):
        *blocks, rest = (rest + chunk).split("\n\n")
        for block in blocks:
            if SENTENCE.fullmatch(block):
                fields = block.replace("\n", "\t").split("\t")
                yield Row(tuple(fields[::2]), tuple(fields[1::2]))
            else:
                yield from _line_rows(path, number, block.split("\n"))
            number += block.count("\n") + 2


def _line_rows(path: Path, first: int, lines: Iterable[str]) -> Iterator[Row]:
    """The sentences of a block that is no plain sentence: it has further blank lines, lines of
    blanks, or mistakes.
    """
    pairs: list[list[str]] = []
    for number, line in enumerate(chain(lines, [""]), first):
        if line:
            pair = line.split("\t")
            if len(pair) == 2 and pair[0] and pair[1]:
                pairs.append(pair)
                continue
            if line.strip():
                raise BadInput(f"{path}:{number}: {line[:40]!r} is no word with its tag; put one "
                               "tab between the two")
        if pairs:
            words, tags = zip(*pairs, strict=True)
            yield Row(words, tags)
            pairs = []


def _json_rows(path: Path, stream: IO[str]) -> Iterator[Row]:
    """The sentences of a JSON-lines file."""
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            record = reading.parsed(line)
            words, tags = record["tokens"], record["ner_tags"]
            texts = all(isinstance(item, str) for item in (*words, *tags))
            valid = texts and len(words) == len(tags)
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise BadInput(f"{path}:{number}: give one JSON object a line, with tokens and "
                           "ner_tags of one length")
        yield Row(tuple(words), tuple(tags), record)


@contextmanager
def complete_file(target: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of `target` when all of it is written."""
    if not target.parent.is_dir():
        raise BadInput(f"{target}: no folder {target.parent}; create it first")
    try:
        with new_file(target) as out:
            yield out
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror}); give a file in a folder "
                       "of your own") from None
