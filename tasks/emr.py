"""Emergency notes: DSG-KD's layout of its private corpus, and the public stand-in `ktas_ed`.

DSG-KD reads the text from `X_train.csv` (column ER_DHX) and the label from `y_train.csv` (column
LABEL), row by row, and drops rows where either is missing. One file with both columns (`train.csv`,
or `data.csv`, which is split here) is read as well.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.base.options import option
from kdbench.data import corpora
from kdbench.data.readers import Record, Source, read, table
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task
from kdbench.tasks.blurb_seqcls import load_single
from kdbench.tasks.embedded import lookalike
from kdbench.tasks.recipes import DSG_KD

MEASURES = ("f1_at_rate", "accuracy_at_rate", "recall_at_rate", "precision_at_rate", "auroc",
            "auprc", "brier")
EMR_LABELS = ("0", "1")
NAMES = {"train": ("train",), "dev": ("val", "dev", "valid"), "test": ("test",)}
MISSING = ("", "nan")  # as pandas writes and reads a missing cell


@dataclass(frozen=True)
class EmrOptions:
    """Which column is what."""

    text_column: str = option("ER_DHX", "column of the note", source="code")
    label_column: str = option("LABEL", "column of the label, 0 or 1 (an emergency)", source="code")
    group_column: str = option(
        "", "column of the patient or visit, which statistics resample; without one, the note")


def read_notes(texts: Sequence[Record], labels: Sequence[Record],
               settings: EmrOptions) -> tuple[list[Example], int]:
    """The notes that have text and label, and how many had not. `labels` may be the same rows as
    `texts`.
    """
    if len(texts) != len(labels):
        raise BadInput(f"{texts[0].source.path} has {len(texts)} rows but {labels[0].source.path} "
                       f"has {len(labels)}; they must agree row by row")
    examples, dropped = [], 0
    for row, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if text is not label:
            _same_row(text, label)
        note, answer = text.value(settings.text_column), label.value(settings.label_column).strip()
        if note.strip().lower() in MISSING or answer.lower() in MISSING:
            dropped += 1
            continue
        if answer not in ("0", "1", "0.0", "1.0"):
            raise label.mistake(f"{settings.label_column} is {answer!r}",
                              "give 1 (an emergency) or 0")
        group = text.text(settings.group_column) if settings.group_column else str(row)
        examples.append(Example(id=str(row), text=note, label=int(float(answer)), group=group))
    return examples, dropped


def _same_row(text: Record, label: Record) -> None:
    """`BadInput` where a column that both files have (a row index, a patient number) differs:
    nothing else shows that the labels are shifted.
    """
    for name in text.fields.keys() & label.fields.keys():
        if text.fields[name] != label.fields[name]:
            raise label.mistake(
                f"{name} is {label.fields[name]!r} but {text.fields[name]!r} in "
                f"{text.source.path.name}", "bring the rows of the two files into one order")


def load_emr(options: LoadOptions) -> Data:
    """The notes of every split from the user's folder `emr`; a single `data.csv` is split here."""
    assert options.data_dir is not None
    settings: EmrOptions = options.settings or EmrOptions()
    folder = corpora.find_folder("emr", options.data_dir)
    find = partial(corpora.find_file, folder, options.data_dir)
    splits: dict[str, tuple[Example, ...]] = {}
    checksums, dropped = {}, {}
    for split, names in NAMES.items():
        sources = [read(file) for file in _files_of(names, find)]
        if not sources:
            break
        records = [table(source, ",") for source in sources]
        examples, dropped[split] = read_notes(records[0], records[-1], settings)
        splits[split] = tuple(examples)
        checksums[split] = _joint(sources)
    one = find(["data.csv"])
    if not splits and one:
        return _split_one(read(one), settings, options.seed)
    missing = next((split for split in SPLITS if split not in splits), None)
    if missing:
        name = NAMES[missing][0]
        data_csv = ", data.csv" if missing == "train" else ""
        raise BadInput(f"{folder} has no {missing} files (looked for X_{name}.csv with "
                       f"y_{name}.csv, {name}.csv{data_csv}); give the notes of every split")
    notes = [f"{split}: {count:,} rows without text or label dropped"
             for split, count in dropped.items() if count]
    return Data(splits["train"], splits["dev"], splits["test"], EMR_LABELS, sha256=checksums,
                notes=tuple(notes))


def _files_of(names: Sequence[str], find: Callable[[list[str]], Path | None]) -> list[Path]:
    """Of one split: the file of texts and that of labels, or the one with both columns, or none."""
    texts = find([f"X_{name}.csv" for name in names])
    labels = find([f"y_{name}.csv" for name in names])
    both = find([f"{name}.csv" for name in names])
    if texts and labels:
        return [texts, labels]
    return [both] if both else []


def _joint(sources: Sequence[Source]) -> str:
    """One checksum for the file or files of a split."""
    if len(sources) == 1:
        return sources[0].sha256
    return hashlib.sha256("".join(source.sha256 for source in sources).encode()).hexdigest()


def _split_one(source: Source, settings: EmrOptions, seed: int) -> Data:
    """The notes of one file, split 70/10/20 by `seed`."""
    records = table(source, ",")
    examples, dropped = read_notes(records, records, settings)
    rest, test = corpora.split(examples, 0.2, seed)
    train, dev = corpora.split(rest, 0.125, seed)
    notes = [f"one file, split 70/10/20 by seed {seed}"]
    notes += [f"{dropped:,} rows without text or label dropped"] if dropped else []
    return Data(train, dev, test, EMR_LABELS, sha256={"data": source.sha256}, notes=tuple(notes))


EMR = Task(
    name="emr",
    task_type="single",
    about="is a visit to a paediatric emergency department an emergency, from the code-switched "
          "note",
    metric="f1_at_rate",
    metrics=MEASURES,
    load=load_emr,
    lookalike=lookalike("emr"),
    labels=EMR_LABELS,
    label_names={"0": "no emergency", "1": "emergency"},
    unit="note, or what group_column names",
    texts="notes",
    citation="Cho et al. 2024, DSG-KD: knowledge distillation from domain-specific to general "
             "language models",
    licence="private",
    source="the notes of DSG-KD are not public",
    recipes=DSG_KD,
    max_length=384,
    options=EmrOptions,
    how_to_get="the notes are private: put your own as X_train.csv, y_train.csv, X_val.csv, ... "
               "into a folder `emr`, or use the stand-in `ktas_ed`",
)

KTAS_LABELS = ("non-emergency", "emergency")


def convert_ktas(data_csv: Path, folder: Path) -> None:
    """The article's `data.csv` to the three JSON-lines files of `ktas_ed`.

    Emergency is KTAS 1 to 3 by the experts. Of each class, in the order of the SHA-1 of
    ``ktas-<row>``, the first 70 % are train, the next 10 % dev. The nurse's level and the diagnosis
    are kept, but are no input.
    """
    text = data_csv.read_bytes().decode("cp1252")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=";"))
    labels = [KTAS_LABELS[int(row["KTAS_expert"]) <= 3] for row in rows]
    split_of: dict[int, str] = {}
    for label in KTAS_LABELS:
        members = [i for i in range(len(rows)) if labels[i] == label]
        members.sort(key=lambda i: hashlib.sha1(f"ktas-{i}".encode()).hexdigest())
        train, dev = round(0.7 * len(members)), round(0.1 * len(members))
        split_of |= dict.fromkeys(members[:train], "train")
        split_of |= dict.fromkeys(members[train:train + dev], "dev")
        split_of |= dict.fromkeys(members[train + dev:], "test")
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    for i, row in enumerate(rows):
        fields = {"id": str(i), "sentence": row["Chief_complain"].strip(), "label": labels[i],
                  "ktas_expert": int(row["KTAS_expert"]), "ktas_nurse": int(row["KTAS_RN"]),
                  "diagnosis": row["Diagnosis in ED"].strip()}
        lines[split_of[i]].append(json.dumps(fields) + "\n")
    for split in SPLITS:
        (folder / f"{split}.json").write_bytes("".join(lines[split]).encode("utf-8"))


KTAS_ED = replace(
    EMR,
    name="ktas_ed",
    about="is a visit to a Korean emergency department an emergency (KTAS 1-3), from the chief "
          "complaint",
    load=partial(load_single, "ktas_ed", KTAS_LABELS),
    lookalike=lookalike("ktas_ed"),
    labels=KTAS_LABELS,
    label_names={"non-emergency": "KTAS 4 or 5", "emergency": "KTAS 1, 2 or 3"},
    unit="visit",
    citation="Moon et al. 2019, Triage accuracy and causes of mistriage using the Korean Triage "
             "and Acuity Scale",
    licence="CC BY 4.0 (PLOS ONE and its supporting data)",
    source="figshare 9779267; https://github.com/yerin16/ai-diagnosis-assistant at ebe44af, "
           "data/data.csv",
    rows={"train": 887, "dev": 126, "test": 254},
    sha256={
        "train": "fce1c10793aa78ee7c47d46f2d6c96a953a047d853edbe8195660acfe256b51c",
        "dev": "5506053b110d8a57ba6c826abe237ccacde80e2cbc2cba2d42c49a2d3c3b05ef",
        "test": "818543dc2447934074309603cbcefbb94aad9ddad0887e1008d137ca55404002",
    },
    max_length=64,
    options=None,
    how_to_get="",
)
