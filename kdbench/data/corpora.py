"""The corpus of a task, from the user's data folder: find its files, read them, compare them with
the published ones.

Without a data folder a task has its embedded look-alike. A folder that lacks the task is an error,
and the look-alike never takes its place: a table must not show generated text where its reader
expects the corpus.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.data import tags
from kdbench.data.readers import Source, read
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task

DEPTH = 3  # levels below the data folder that are searched
PAIRS = (("train", "dev"), ("train", "test"), ("dev", "test"))  # of splits

# The metrics of a task whose type is known only from its data (`--task files`); the first is the
# one that tables show.
METRICS = {
    "single": ("macro_f1", "accuracy", "micro_f1"),
    "multi": ("micro_f1",),
    "tags": ("entity_f1",),
    "regression": ("pearson",),
}


def load(task: Task, options: LoadOptions) -> Data:
    """The data of `task`; its look-alike where neither a folder nor files are given.

    Raises `BadInput` where the folder lacks the task, a file is wrong, or a split repeats another
    byte for byte.
    """
    if options.data_dir is None and not options.files:
        if task.lookalike is None:
            remedy = task.how_to_get or "give --data-dir"
            raise BadInput(f"task {task.name} has no data of its own; {remedy}")
        return replace(task.lookalike(seed=options.seed), origin="lookalike")
    data = task.load(options)
    for one, other in PAIRS:
        if one in data.sha256 and data.sha256[one] == data.sha256.get(other):
            raise BadInput(f"task {task.name}: the {one} and {other} files are byte-identical; "
                           "give each split its own file")
    return replace(data, published_files=are_published(task, data))


def settled(task: Task, data: Data) -> Task:
    """`task` with what it leaves to its data: labels, tag scheme, and where it has no type also
    type and metrics.
    """
    task_type = task.task_type or task_type_of(data.train or data.dev)
    if task_type == "tags":
        task = replace(task, scheme=tags.scheme_of(data.labels))
    if not task.task_type:
        task = replace(task, task_type=task_type, metric=METRICS[task_type][0],
                       metrics=METRICS[task_type])
    return replace(task, labels=data.labels)


def task_type_of(examples: Sequence[Example]) -> str:
    """The type of task whose labels these are, a key of `TASK_TYPES`."""
    label = examples[0].label
    if examples[0].words:
        return "tags"
    if isinstance(label, tuple):
        return "multi"
    return "regression" if isinstance(label, float) else "single"


def are_published(task: Task, data: Data) -> bool | None:
    """Whether these are the published files; None where that cannot be known.

    A checksum decides where the published file's is known. Elsewhere other counts mean that the
    files are not the published ones, and equal counts prove nothing.
    """
    if not task.sha256:
        return None
    unknown = False
    for split, checksum in data.sha256.items():
        if checksum in task.sha256.values():
            continue
        if split in task.sha256:
            return False
        rows, mentions = data.rows[split], count_mentions(data, split)
        expected = task.rows.get(split, rows), task.mentions.get(split, mentions)
        if expected != (rows, mentions):
            return False
        unknown = True
    return None if unknown else True


def count_mentions(data: Data, split: str) -> int | None:
    """Entities in the gold tags of a split; None without tags.

    In a corpus that writes B- on every labelled word these are the labelled words.
    """
    examples = data.split(split)
    if not examples or not examples[0].words:
        return None
    return sum(len(tags.lenient_spans(tags_of(data, example))) for example in examples)


def tags_of(data: Data, example: Example) -> list[str]:
    """The gold tags of an example, in words."""
    return [data.labels[i] for i in example.label]


def find_folder(name: str, data_dir: Path) -> Path:
    """The folder of task `name`: `data_dir` itself or one at most three levels down.

    Case does not matter, and the folder may be called ``name_hf``, as in a common distribution of
    these corpora. A link that leads out of the data folder is not followed. Of several folders the
    first that holds a file is taken, the shallowest first, then by name.
    """
    if not data_dir.is_dir():
        raise BadInput(f"data folder {data_dir}: no such folder")
    wanted = (name.lower(), f"{name.lower()}_hf")
    candidates = [data_dir] if data_dir.resolve().name.lower() in wanted else []
    level = [data_dir]
    for _ in range(DEPTH):
        below = [child for folder in level for child in _children(folder)]
        level = [folder for folder in below if _inside(folder, data_dir)]
        candidates += [folder for folder in level if folder.name.lower() in wanted]
    if not candidates:
        raise BadInput(
            f"data folder {data_dir} has no folder named {name} (searched {DEPTH} levels down); "
            f"`bench.py prepare {name}` gets it or says how; without a data folder the look-alike "
            "is used")
    return next(filter(_has_files, candidates), candidates[0])


def _has_files(folder: Path) -> bool:
    return any(os.path.isfile(folder / name) for name in _names(folder))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:  # a folder that may not be listed counts as empty
        return []


def _children(folder: Path) -> list[Path]:
    return [folder / name for name in _names(folder) if os.path.isdir(folder / name)]


def _inside(path: Path, data_dir: Path) -> bool:
    """Whether `path` lies in the data folder after every link is followed."""
    # not Path.resolve, which raises for a loop of links
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(data_dir))


def find_file(folder: Path, data_dir: Path, names: Sequence[str]) -> Path | None:
    """The first of `names` that the folder has; None where it has none.

    Raises `BadInput` where it is a link that leads out of the data folder.
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

    files     by split, the names that its file may have; the first that is there is taken
    reader    the examples of one file
    labels    class names or tags
    optional  splits whose file may be missing; they are empty then
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


def split(examples: Sequence[Example], share: float, seed: int,
          name: str = "dev") -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(the rest, about `share` of the examples), drawn by `seed` for the split `name`.

    Whole groups are drawn, so that no document is on both sides. Raises `BadInput` for a single
    group.
    """
    sizes = Counter(example.unit for example in examples)
    groups = list(sizes)
    if len(groups) < 2:
        raise BadInput(f"train is a single document, so no {name} set can be split from it; give "
                       f"--{name}")
    # dev was the first split that was drawn
    random.Random(f"{seed}/{'split' if name == 'dev' else name}").shuffle(groups)
    drawn: set[str] = set()
    size = 0
    for group in groups[:-1]:
        if size >= share * len(examples):
            break
        drawn.add(group)
        size += sizes[group]
    sides: tuple[list[Example], list[Example]] = ([], [])
    for example in examples:
        sides[example.unit in drawn].append(example)
    return tuple(sides[0]), tuple(sides[1])
