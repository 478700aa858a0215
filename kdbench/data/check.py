"""What a user should know of a corpus before training on it: sizes, labels, lengths, overlap."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from kdbench.base.errors import BadInput
from kdbench.base.tokenizer_files import tokenizer_of
from kdbench.data import tags
from kdbench.data.corpora import PAIRS, count_mentions, settled, tags_of
from kdbench.data.lengths import (
    PIECES_PER_WORD,
    SPECIAL,
    USUAL_MOST,
    count_cut,
    default_limit,
    estimated,
    limit_in_words,
)
from kdbench.data.task import SPLITS, Data, Example, Task

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# letters and digits; shorter texts ("Methods:", "see above") recur by nature
OVERLAP_CHARACTERS = 25
SHOWN_LABELS = 20
SAMPLES = 3
WIDTH = 100
FILES = {True: "the published files", False: "NOT the published files",
         None: "not comparable with published files"}

Report = dict[str, Any]


def check(task: Task, data: Data, tokenizer_path: str | Path | None = None,
          most: int | None = None) -> Report:
    """The facts of a corpus as plain values (see `render`).

    splits    rows as in the file; mentions (tags), and runs: stretches of words of one entity type;
              groups: units that statistics resample; labels: count of each; words, tokens: lengths
              in words and in tokens of the tokenizer in `tokenizer_path` (with special tokens),
              without one about so many (`kdbench.data.lengths.estimated`); cut: rows beyond the
              length limit, entities: those of which a word is beyond it (tags); repeated: rows
              whose text an earlier row of the split has, and conflicting: of these, with another
              label
    limit     the length limit that a training takes: `max_length`, by which `rule` ("stated" by the
              task, or "p99": see `kdbench.data.lengths.default_limit`); most: what a model can read
              (`most`, or without it 512), longest: tokens of the longest row; estimated: were
              lengths only estimated
    overlap   texts of one split that are in another, the rows of the latter that have them, and how
              many of these rows have a label that the text never has in the former. Texts are
              compared as lower-case letters and digits, at least 25 of them
    samples   three decoded examples of train, of different labels where there are such

    Raises `BadInput` where `tokenizer_path` has no tokenizer.
    """
    task = settled(task, data)
    tokenizer = read_tokenizer(Path(tokenizer_path)) if tokenizer_path else None
    reading = Reading(task, data, tokenizer, most or USUAL_MOST)
    return {
        "task": task.name,
        "kind": task.task_type,  # its name in files
        "data": data.origin,
        "metric": task.metric,
        "published_files": data.published_files,
        "splits": {name: describe_split(task, data, name, reading) for name in SPLITS},
        "limit": reading.limit,
        "published": {"rows": dict(task.rows), "mentions": dict(task.mentions)},
        "overlap": {f"{one}/{other}": overlap(data, one, other) for one, other in PAIRS},
        "samples": [decode(task, data, example) for example in samples(data)],
        "notes": list(data.notes),
    }


# ---- the facts -----------------------------------------------------------------------------------


def describe_split(task: Task, data: Data, name: str, reading: Reading) -> Report:
    """The facts of one split, the values of `splits`."""
    examples = data.split(name)
    runs = sum(count_runs(data, example) for example in examples) if task.tagging else None
    labels_of: dict[str, set] = {}
    repeated = conflicting = 0
    for example in examples:
        if example.key in labels_of:
            repeated += 1
            conflicting += example.label not in labels_of[example.key]
        labels_of.setdefault(example.key, set()).add(example.label)
    return {
        "rows": len(examples), "mentions": count_mentions(data, name), "runs": runs,
        "groups": len({example.unit for example in examples}),
        "labels": count_labels(task, examples), "words": lengths(map(count_words, examples)),
        "tokens": reading.tokens(name),
        "repeated": repeated, "conflicting": conflicting,
    }


def count_runs(data: Data, example: Example) -> int:
    """Stretches of words of one entity type."""
    runs = 0
    before: str | None = None
    for tag in tags_of(data, example):
        entity_type = tags.parts(tag)[1] if tag != "O" else None
        runs += entity_type is not None and entity_type != before
        before = entity_type
    return runs


def count_words(example: Example) -> int:
    """The words of a sentence, or the parts between blanks of a text with its pair."""
    return len(example.words) or len(f"{example.text} {example.pair or ''}".split())


def count_labels(task: Task, examples: Sequence[Example]) -> dict[str, int]:
    """Examples of each class, texts that carry each label, or words of each tag; nothing for
    scores.
    """
    if task.task_type == "regression":
        return {}
    counts: Counter[int] = Counter()
    for example in examples:
        if task.task_type == "multi":
            counts.update(i for i, value in enumerate(example.label) if value)
        else:
            counts.update(example.label if task.tagging else (example.label,))
    return {label: counts[i] for i, label in enumerate(task.labels)}


def lengths(values: Iterator[int]) -> dict[str, float]:
    """Minimum, median, 95th percentile and maximum."""
    ordered = sorted(values) or [0]
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return {"min": ordered[0], "median": median(ordered), "p95": p95, "max": ordered[-1]}


class Reading:
    """The rows of a corpus as a model reads them, exactly or about.

    most   tokens that the model can read
    limit  the length limit: see `check`
    """

    def __init__(self, task: Task, data: Data, tokenizer: Tokenizer | None, most: int):
        self.task, self.data, self.tokenizer = task, data, tokenizer
        self.lengths = {name: self.counts(data.split(name)) for name in SPLITS}
        stated = task.max_length
        limit = default_limit(self.lengths["train"], most) if stated is None else stated
        self.limit: Report = {
            "max_length": min(limit, most), "rule": "p99" if stated is None else "stated",
            "most": most, "longest": max(max(each, default=0) for each in self.lengths.values()),
            "estimated": tokenizer is None,
        }

    def counts(self, examples: Sequence[Example]) -> list[int]:
        """Tokens of each example, special ones included."""
        if self.tokenizer is None:
            return [estimated(count_words(example)) for example in examples]
        return [len(row.ids) for row in self.encoded(self.tokenizer, examples)]

    def encoded(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[Encoding]:
        """Examples in tokens."""
        from kdbench.data.words import spaced, word_prefix  # they load numpy

        inputs: list[Any] = []
        prefix = word_prefix(tokenizer)
        for example in examples:
            text = example.text if example.pair is None else (example.text, example.pair)
            inputs.append(spaced(example.words, prefix) or text)
        return tokenizer.encode_batch(inputs, is_pretokenized=self.task.tagging)

    def tokens(self, name: str) -> Report:
        """Lengths of a split in tokens, and the rows and entities beyond the limit."""
        counts, limit = self.lengths[name], self.limit["max_length"]
        found: Report = {**lengths(iter(counts)), **count_cut(counts, limit), "limit": limit}
        if self.task.tagging:
            found["entities"] = self.entities(name)
        return found

    def entities(self, name: str) -> dict[str, int]:
        """How many entities of a split have a word beyond the limit."""
        cut = total = 0
        examples, limit = self.data.split(name), self.limit["max_length"]
        for example, length in zip(examples, self.lengths[name], strict=True):
            spans = tags.lenient_spans(tags_of(self.data, example))
            total += len(spans)
            if length > limit:
                read = self.words_read(example, limit)
                cut += sum(end > read for _, end, _ in spans)
        return {"cut": cut, "of": total}

    def words_read(self, example: Example, limit: int) -> int:
        """How many words of a sentence are read that is cut at `limit` tokens."""
        if self.tokenizer is None:
            return next(n for n in range(len(example.words), -1, -1) if estimated(n) <= limit)
        self.tokenizer.enable_truncation(limit)
        row, = self.encoded(self.tokenizer, [example])
        self.tokenizer.no_truncation()
        return 1 + max((word for word in row.word_ids if word is not None), default=-1)


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a model folder, or of a tokenizer.json, without a length limit."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise BadInput(f"{path}: no tokenizer.json; give a model folder that has one")
    tokenizer = tokenizer_of(file)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def letters_of(example: Example) -> str:
    """The text as lower-case letters and digits; "" where they are too few to compare."""
    text = "".join(example.words) or example.text + (example.pair or "")
    letters = "".join(filter(str.isalnum, text.lower()))
    return letters if len(letters) >= OVERLAP_CHARACTERS else ""


def overlap(data: Data, one: str, other: str) -> dict[str, int]:
    """How much of split `one` is in split `other`, the values of `overlap`."""
    labels_of: dict[str, set] = {}
    for example in data.split(one):
        if text := letters_of(example):
            labels_of.setdefault(text, set()).add(example.label)
    texts, rows, other_label = set(), 0, 0
    for example in data.split(other):
        text = letters_of(example)
        if text in labels_of:
            texts.add(text)
            rows += 1
            other_label += example.label not in labels_of[text]
    return {"texts": len(texts), "rows": rows, "other_label": other_label}


def samples(data: Data) -> list[Example]:
    """The first examples of train with different labels; of tags and label vectors those that are
    not empty.
    """
    chosen: dict[Any, Example] = {}
    for example in data.train:
        empty = isinstance(example.label, tuple) and not any(example.label)
        if not empty:
            chosen.setdefault(example.label, example)
        if len(chosen) == SAMPLES:
            break
    spare = [example for example in data.train if example not in chosen.values()]
    return [*chosen.values(), *spare][:SAMPLES]


def decode(task: Task, data: Data, example: Example) -> dict[str, str]:
    """Id, text and label for people; an entity is followed by its type in brackets."""

    def name(label: str) -> str:
        return f"{label} ({task.label_names[label]})" if label in task.label_names else label

    text = example.text
    if task.tagging:
        text, label = " ".join(example.words), entities_of(data, example) or "nothing"
    elif task.task_type == "multi":
        held = [name(task.labels[i]) for i, value in enumerate(example.label) if value]
        label = ", ".join(held) or "nothing"
    elif task.task_type == "single":
        label = name(task.labels[example.label])
    else:
        label = f"{example.label:g}"
    pair = {"pair": example.pair} if example.pair else {}
    return {"id": example.id, "text": text, **pair, "label": label}


def entities_of(data: Data, example: Example) -> str:
    """The entities of a sentence, each with its type."""
    entities = []
    for first, end, entity_type in tags.lenient_spans(tags_of(data, example)):
        words = " ".join(example.words[first:end])
        entities.append(f"{words} [{entity_type}]" if entity_type else words)
    return ", ".join(entities)


# ---- for people ----------------------------------------------------------------------------------


def render(report: Mapping[str, Any]) -> str:
    """The report of `check` for people, in at most 100 columns."""
    real = report["data"] == "real"
    origin = "look-alike (generated)"
    if real:
        origin = f"real data, {FILES[report['published_files']]}"
    lines = [f"{report['task']}: {report['kind']}, metric {report['metric']}; {origin}"]
    for note in report["notes"]:
        lines += wrapped(f"note: {note}")
    lines += ["", sizes_table(report), "", lengths_table(report["splits"], report["limit"])]
    lines += wrapped(limit_note(report))
    if report["splits"]["train"]["labels"]:
        lines += ["", *labels_table(report["splits"])]
    lines += ["", overlap_table(report["overlap"])]
    for sample in report["samples"]:
        lines.append("")
        for part in ("id", "text", "pair", "label"):
            if part in sample:
                lines += wrapped(f"{part}: {textwrap.shorten(sample[part], 400)}")
    return "\n".join(lines)


def wrapped(text: str) -> list[str]:
    """`text` in lines of at most 100 columns."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def grid(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; whole numbers get separators, except in the first column."""
    from tabulate import tabulate

    return tabulate(rows, headers=head, tablefmt="simple", intfmt=",", disable_numparse=[0])


def sizes_table(report: Mapping[str, Any]) -> str:
    """A row for each split; columns that no split has are left out."""
    splits = report["splits"]
    columns = []
    for name in ("rows", "mentions", "runs", "groups", "repeated", "conflicting"):
        if any(split[name] is not None for split in splits.values()):
            columns.append(name)
    published = {name: counts for name, counts in report["published"].items() if counts}
    rows = []
    for name, split in splits.items():
        expected = [counts.get(name) for counts in published.values()]
        rows.append([name, *(split[column] for column in columns), *expected])
    return grid(["split", *columns, *(f"published\n{name}" for name in published)], rows)


def lengths_table(splits: Mapping[str, Report], limit: Report) -> str:
    """A row for each split in words, and in tokens."""
    rows = []
    tokens = "tokens, about" if limit["estimated"] else "tokens"
    for unit, shown in (("words", "words"), ("tokens", tokens)):
        for name, split in splits.items():
            found = split[unit]
            cut = f"{found['cut']:,} over {found['limit']:,}" if unit == "tokens" else ""
            rows.append([f"{name}, {shown}", found["min"], found["median"], found["p95"],
                         found["max"], cut])
    return grid(["length", "min", "median", "p95", "max", "cut off"], rows)


def limit_note(report: Mapping[str, Any]) -> str:
    """In words, where texts are cut, how many are, and how far the figures can be trusted."""
    texts = {name: split["tokens"] for name, split in report["splits"].items()}
    entities = {name: split["entities"] for name, split in texts.items() if "entities" in split}
    limits = {**report["limit"], "texts": texts, "entities": entities}
    who = "a model with this tokenizer"
    trust = ""
    if limits["estimated"]:
        who = "a model"
        trust = (f". This is an estimate, {PIECES_PER_WORD:g} tokens a word and {SPECIAL} more: "
                 "--model FOLDER counts")
    return f"{who} {limit_in_words(limits)}{trust}"


def labels_table(splits: Mapping[str, Report]) -> Iterator[str]:
    """A row for each of the first labels, and a line that counts the others."""
    counts = splits["train"]["labels"]
    rows = []
    for label in list(counts)[:SHOWN_LABELS]:
        each = [split["labels"][label] for split in splits.values()]
        rows.append([textwrap.shorten(label, 50), *each])
    yield grid(["label", *splits], rows)
    if len(counts) > SHOWN_LABELS:
        yield f"and {len(counts) - SHOWN_LABELS:,} more labels"


def overlap_table(pairs: Mapping[str, Mapping[str, int]]) -> str:
    """A row for each pair of splits."""
    rows = [[pair, *counts.values()] for pair, counts in pairs.items()]
    head = "same text (25+ letters) in", "texts", "rows of the second", "with another label"
    return grid(head, rows)
