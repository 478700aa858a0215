"""From a task and the user's data folder to `Data`: found, read, checksummed, compared with the
published files.

No folder given means the embedded look-alike. A folder that lacks the task is an error, never the
look-alike: a table must not show generated text where its reader expects the corpus.
"""

from __future__ import annotations

import os
import random
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.data import tags
from kdbench.data.readers import Source, read
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task

DEPTH = 3  # levels below the data folder that are searched
PAIRS = (("train", "dev"), ("train", "test"), ("dev", "test"))

# The metric of a task whose kind is known only from its data (`--task files`), with the others that
# are kept.
METRICS = {
    "single": ("macro_f1", "accuracy", "micro_f1"),
    "multi": ("micro_f1",),
    "tags": ("entity_f1",),
    "regression": ("pearson",),
}


def load(task: Task, options: LoadOptions) -> Data:
    """The data of `task`: its look-alike where no folder and no files are given, else what is
    there.

    Raises `BadInput` where the folder lacks the task, a file is wrong, or a split repeats another
    byte for byte.
    """
    if options.data_dir is None and not options.files:
        if task.lookalike is None:
            raise BadInput(
                f"task {task.name} has no data of its own; {task.how_to_get or 'give --data-dir'}")
        return task.lookalike(seed=options.seed)
    data = task.load(options)
    for one, other in PAIRS:
        if one in data.sha256 and data.sha256[one] == data.sha256.get(other):
            raise BadInput(f"task {task.name}: the {one} and {other} files are byte-identical; "
                           "give each split its own file")
    return replace(data, published_files=are_published(task, data))


def settled(task: Task, data: Data) -> Task:
    """`task` with what it leaves to its data: labels, scheme, and for one without a kind also kind
    and metric.
    """
    task_type = task.task_type or task_type_of(data.train)
    if task_type == "tags":
        task = replace(task, scheme=tags.scheme_of(data.labels))
    if not task.task_type:
        task = replace(task, task_type=task_type, metric=METRICS[task_type][0],
                       metrics=METRICS[task_type])
    return replace(task, labels=data.labels)


def task_type_of(examples: Sequence[Example]) -> str:
    """The kind of task whose labels these are."""
    label = examples[0].label
    if examples[0].words:
        return "tags"
    return "multi" if isinstance(label,
                                 tuple) else "regression" if isinstance(label, float) else "single"


def are_published(task: Task, data: Data) -> bool | None:
    """Are these the published files? None where that cannot be known.

    A checksum decides where the published file's is known; else counts that differ say no, and
    equal ones nothing.
    """
    if not task.sha256:
        return None
    unknown = False
    for split, checksum in data.sha256.items():
        if checksum in task.sha256.values():
            continue
        rows, mentions = data.rows[split], count_mentions(data, split)
        if split in task.sha256 or task.rows.get(split, rows) != rows or task.mentions.get(
                split, mentions) != mentions:
            return False
        unknown = True
    return None if unknown else True


def count_mentions(data: Data, split: str) -> int | None:
    """Entities in the gold tags of a split (for ebmnlp: labelled words, each carrying its B-); None
    without tags.
    """
    examples = data.split(split)
    if not examples or not examples[0].words:
        return None
    return sum(
        len(tags.lenient_spans([data.labels[i] for i in example.label])) for example in examples)


def find_folder(name: str, data_dir: Path) -> Path:
    """The folder of task `name` in `data_dir`: itself or at most three levels down.

    Case does not matter, LinkBERT's ending ``_hf`` is allowed, and a link that leads out of the
    data folder is not followed. Of several the first (shallowest, then by name) that holds a file
    is taken.
    """
    if not data_dir.is_dir():
        raise BadInput(f"data folder {data_dir}: no such folder")
    wanted = (name.lower(), f"{name.lower()}_hf")
    found = [data_dir] if data_dir.resolve().name.lower() in wanted else []
    level = [data_dir]
    for _ in range(DEPTH):
        level = [
            child for folder in level for child in _children(folder) if _inside(child, data_dir)
        ]
        found += [folder for folder in level if folder.name.lower() in wanted]
    if not found:
        raise BadInput(
            f"data folder {data_dir} has no folder named {name} (searched {DEPTH} levels down); "
            f"`bench.py prepare {name}` gets it or says how; without a data folder the look-alike "
            f"is used"
        )
    return next((folder for folder in found if any(
        os.path.isfile(folder / name) for name in _names(folder))), found[0])


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:  # a folder that may not be listed has nothing for us
        return []


def _children(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder) if os.path.isdir(folder / name)]


def _inside(path: Path, data_dir: Path) -> bool:
    """Does `path` lie in the data folder after every link is followed? (realpath: a loop of links
    is no error yet)
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(data_dir))


def find_file(folder: Path, data_dir: Path, names: Sequence[str]) -> Path | None:
    """The first of `names` that the folder has; `BadInput` where it leads out of the data
    folder.
    """
    for name in names:
        path = folder / name
        if os.path.lexists(path):
            if not _inside(path, data_dir):
                raise BadInput(
                    f"{path} leads out of the data folder {data_dir}; copy the file into it")
            return path
    return None


def read_splits(name: str, options: LoadOptions, files: Mapping[str, Sequence[str]],
                reader: Callable[[Source], Sequence[Example]], labels: Sequence[str],
                optional: Sequence[str] = ()) -> Data:
    """The corpus of task `name` in the data folder.

    `files` has the names each split's file may have (the first that is there is taken), `reader`
    reads one file; a split in `optional` may be missing and is then empty.
    """
    assert options.data_dir is not None
    folder = find_folder(name, options.data_dir)
    examples: dict[str, tuple[Example, ...]] = dict.fromkeys(SPLITS, ())
    checksums: dict[str, str] = {}
    for split, names in files.items():
        path = find_file(folder, options.data_dir, names)
        if path is None and split in optional:
            continue
        if path is None:
            raise BadInput(f"{folder} has no {split} file (looked for {', '.join(names)}); "
                           f"`bench.py prepare {name}` gets it or says how")
        source = read(path)
        examples[split] = tuple(reader(source))
        checksums[split] = source.sha256
    return Data(examples["train"], examples["dev"], examples["test"], tuple(labels),
                sha256=checksums)


def split(examples: Sequence[Example], share: float,
          seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(the rest, about `share` of the examples), drawn by `seed` group by group: no document is on
    both sides.
    """
    groups = list(dict.fromkeys(example.group or example.id for example in examples))
    if len(groups) < 2:
        raise BadInput("train is a single document, so no dev set can be split from it; give --dev")
    random.Random(f"{seed}/split").shuffle(groups)
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.group or example.id] = sizes.get(example.group or example.id, 0) + 1
    drawn: set[str] = set()
    size = 0
    for group in groups[:-1]:
        if size >= share * len(examples):
            break
        drawn.add(group)
        size += sizes[group]
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        sides[(example.group or example.id) in drawn].append(example)
    return tuple(sides[0]), tuple(sides[1])


# letters and digits; shorter texts ("Methods:", "see above") recur by nature
OVERLAP_CHARACTERS = 25
SHOWN_LABELS = 20


def check(task: Task, data: Data, tokenizer_path: str | Path | None = None) -> dict[str, Any]:
    """What a reader should know of a corpus before training on it, as plain values (see
    `render_check`).

    splits    rows as in the file; mentions (tags), and runs: stretches of words of one entity type;
              groups: units that statistics resample; labels: count of each; words, tokens: lengths
              in words and in tokens of the tokenizer in `tokenizer_path` (with special tokens;
              `cut`: rows beyond the task's length limit); repeated: rows whose text is in the split
              before, and conflicting: of these, with another label
    overlap   texts of one split that are in another, the rows of the latter that have them, and how
              many of these rows have a label that the text never has in the former. Texts are
              compared as lower-case letters and digits, at least 25 of them
    samples   three decoded examples of train, of different labels where there are such
    """
    task = settled(task, data)
    tokenizer = _tokenizer(tokenizer_path) if tokenizer_path else None
    return {
        "task": task.name,
        "kind": task.task_type,
        "data": data.origin,
        "metric": task.metric,
        "published_files": data.published_files,
        "splits": {name: _describe_split(task, data, name, tokenizer) for name in SPLITS},
        "published": {"rows": dict(task.rows), "mentions": dict(task.mentions)},
        "overlap": {f"{one}/{other}": _overlap(data, one, other) for one, other in PAIRS},
        "samples": [_decode(task, example) for example in _samples(data)],
        "notes": list(data.notes),
    }


def _describe_split(task: Task, data: Data, name: str, tokenizer: Any) -> dict[str, Any]:
    examples = data.split(name)
    runs = None
    if task.task_type == "tags":
        entity_types = [tags.parts(tag)[1] if tag != "O" else None for tag in data.labels]
        runs = sum(_runs([entity_types[i] for i in example.label]) for example in examples)
    seen: dict[str, set] = {}
    repeated = conflicting = 0
    for example in examples:
        if example.key in seen:
            repeated += 1
            conflicting += example.label not in seen[example.key]
        seen.setdefault(example.key, set()).add(example.label)
    return {
        "rows": len(examples), "mentions": count_mentions(data, name), "runs": runs,
        "groups": len({example.group or example.id
                       for example in examples}), "labels": _label_counts(task, examples),
        "words": _lengths([
            len(e.words) or len(f"{e.text} {e.pair or ''}".split()) for e in examples
        ]), "tokens": _token_lengths(task, examples, tokenizer) if tokenizer else None,
        "repeated": repeated, "conflicting": conflicting,
    }


def _runs(entity_types: Sequence[str | None]) -> int:
    return sum(entity_type is not None and (i == 0 or entity_types[i - 1] != entity_type)
               for i, entity_type in enumerate(entity_types))


def _label_counts(task: Task, examples: Sequence[Example]) -> dict[str, int]:
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
            counts.update(example.label if task.task_type == "tags" else (example.label,))
    return {label: counts[i] for i, label in enumerate(task.labels)}


def _lengths(values: Sequence[int]) -> dict[str, float]:
    ordered = sorted(values) or [0]
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return {"min": ordered[0], "median": median(ordered), "p95": p95, "max": ordered[-1]}


def _tokenizer(path: str | Path) -> Any:
    from tokenizers import Tokenizer

    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise BadInput(f"{path}: no tokenizer.json; give a model folder that has one")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise BadInput(
            f"{file}: not a tokenizer ({str(error).splitlines()[0]}); save the tokenizer anew"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _token_lengths(task: Task, examples: Sequence[Example], tokenizer: Any) -> dict[str, float]:
    inputs: list[Any] = [
        list(e.words) if e.words else e.text if e.pair is None else (e.text, e.pair)
        for e in examples
    ]
    lengths = [
        len(found.ids)
        for found in tokenizer.encode_batch(inputs, is_pretokenized=task.task_type == "tags")
    ]
    return {
        **_lengths(lengths), "cut": sum(length > task.max_length for length in lengths),
        "limit": task.max_length
    }


def _plain(example: Example) -> str | None:
    """The text as lower-case letters and digits, or None where too few are left."""
    text = "".join(example.words) or example.text + (example.pair or "")
    letters = "".join(filter(str.isalnum, text.lower()))
    return letters if len(letters) >= OVERLAP_CHARACTERS else None


def _overlap(data: Data, one: str, other: str) -> dict[str, int]:
    first: dict[str, set] = {}
    for example in data.split(one):
        if (text := _plain(example)) is not None:
            first.setdefault(text, set()).add(example.label)
    shared = [(text, example.label)
              for example in data.split(other)
              if (text := _plain(example)) in first and text]
    return {"texts": len({text for text, _ in shared}), "rows": len(shared),
            "other_label": sum(label not in first[text] for text, label in shared)}


def _samples(data: Data) -> list[Example]:
    """The first examples of train with different labels; for tags and label vectors, ones that have
    something.
    """
    chosen: dict[Any, Example] = {}
    for example in data.train:
        empty = isinstance(example.label, tuple) and not any(example.label)
        if not empty:
            chosen.setdefault(example.label, example)
        if len(chosen) == 3:
            break
    spare = [example for example in data.train if example not in chosen.values()]
    return [*chosen.values(), *spare][:3]


def _decode(task: Task, example: Example) -> dict[str, str]:
    """Id, text and label for people; entities stand in brackets with their type."""

    def name(label: str) -> str:
        return f"{label} ({task.label_names[label]})" if label in task.label_names else label

    text = example.text
    if task.task_type == "tags":
        written = [task.labels[i] for i in example.label]
        label = ", ".join(f"{' '.join(example.words[a:b])}" +
                          (f" [{entity_type}]" if entity_type else "")
                          for a, b, entity_type in tags.lenient_spans(written)) or "nothing"
        text = " ".join(example.words)
    elif task.task_type == "multi":
        label = ", ".join(
            name(task.labels[i]) for i, value in enumerate(example.label) if value) or "nothing"
    else:
        label = name(
            task.labels[example.label]) if task.task_type == "single" else f"{example.label:g}"
    return {
        "id": example.id, "text": text,
        **({"pair": example.pair} if example.pair else {}), "label": label
    }


def render_check(report: Mapping[str, Any]) -> str:
    """The report of `check` for people, in at most 100 columns."""
    return "\n".join(_render(report))


def _render(report: Mapping[str, Any]) -> Iterator[str]:
    from tabulate import tabulate

    splits = report["splits"]

    def grid(rows: Sequence[Sequence[Any]], *head: str) -> str:
        return tabulate(rows, headers=head, tablefmt="simple", intfmt=",", disable_numparse=[0])

    files = {
        True: "the published files", False: "NOT the published files",
        None: "not comparable with published files"
    }
    real = report["data"] == "real"
    origin = f"real data, {files[report['published_files']]}" if real else "look-alike (generated)"
    yield f"{report['task']}: {report['kind']}, metric {report['metric']}; {origin}"
    for note in report["notes"]:
        yield from textwrap.wrap(f"note: {note}", 100, subsequent_indent="  ")
    columns = ["rows", "mentions", "runs", "groups", "repeated", "conflicting"]
    columns = [
        name for name in columns if any(split[name] is not None for split in splits.values())
    ]
    published = {what: counts for what, counts in report["published"].items() if counts}
    yield ""
    yield grid([[
        name, *(split[column]
                for column in columns), *(counts.get(name)
                                          for counts in published.values())
    ]
                for name, split in splits.items()], "split", *columns,
               *(f"published\n{what}" for what in published))
    yield ""
    lengths = [[f"{name}, {unit}", *(split[unit][key] for key in ("min", "median", "p95", "max")),
                f"{split[unit]['cut']:,} over {split[unit]['limit']}" if unit == "tokens" else ""]
               for unit in ("words", "tokens") for name, split in splits.items() if split[unit]]
    yield grid(lengths, "length", "min", "median", "p95", "max", "cut off")
    counts = splits["train"]["labels"]
    if counts:
        yield ""
        yield grid(
            [[textwrap.shorten(label, 50), *(split["labels"][label]
                                             for split in splits.values())]
             for label in list(counts)[:SHOWN_LABELS]], "label", *splits)
        if len(counts) > SHOWN_LABELS:
            yield f"and {len(counts) - SHOWN_LABELS:,} more labels"
    yield ""
    yield grid([[pair, *found.values()] for pair, found in report["overlap"].items()],
               "same text (25+ letters) in", "texts", "rows of the second", "with another label")
    for sample in report["samples"]:
        yield ""
        for part in ("id", "text", "pair", "label"):
            if part in sample:
                yield from textwrap.wrap(f"{part}: {textwrap.shorten(sample[part], 400)}", 100,
                                         subsequent_indent="  ")
