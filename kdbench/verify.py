"""Does a stored figure still follow from what lies beside it? Records are recomputed and compared.

Test scores, counts and the naive scores follow from the stored predictions and the data, an id from what the
record says of itself, an interval from the counts, a student's answers from its weights. Each check holds,
differs, or could not be made, and then says why: nothing passes because its inputs are missing.

Scores and counts must agree to `CLOSE`: the same numbers were added, at most in another order.

A student is run again as it was scored: the same batches, and the precision of its record's settings. Under
`precision = "auto"` nothing but the logits says what was taken: where bf16 holds each of them exactly, they come
from bf16 autocast; stored tags do not show it, and are computed as `Lab.bf16` decides on this machine. So a
student that was scored in bf16 is compared in bf16, though it is served in fp32: an export has its own score in
the record. Another machine rounds otherwise, so its logits may be off by `FP32` or `BF16` times the largest
logit of the text (at least 1). The student differs where a logit is further off, or where a tag differs though
its own logit leads the recorded tag's by more than twice that. Where answers differ within rounding, a note
gives their share and the score that they make.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from kdbench import identity, metrics, render, store
from kdbench import task as tasks
from kdbench.errors import BadInput, one_line
from kdbench.identity import file_digest
from kdbench.progress import Progress, say
from kdbench.task import Data, Task
from kdbench.task_index import TASKS

CLOSE = 1e-9  # of scores, counts and intervals: rounding of sums in another order
FP32 = 1e-3  # of logits, as `kdbench.export.TOLERANCE`; rounding alone gives about 1e-5
BF16 = 2.0**-4  # of logits; a bf16 number has 8 significant bits, and layers add their errors up
PIECES = "piece_tag_micro_f1"
HOLDS, DIFFERS, UNCHECKED, NOTE = "holds", "differs", "unchecked", "note"
CHECKS = {
    "file": "readable, in its place, under its own id",
    "id": "hash of what the record says",
    "record": "its figures agree with each other",
    "data": "checksums, digests, rows, labels",
    "score": "test scores, from the predictions",
    "word pieces": "their F1, from the predictions",
    "counts": "what statistics resample",
    "naive": "score of the naive predictor",
    "student": "its answers on test, run again",
    "weights": "their checksum in stage.json",
    "intervals": "in intervals.json, from the counts",
    "further rows": "of models made on the way",
    "exports": "of the student",
}
UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, AssertionError)


class Unchecked(Exception):
    """What a check needs is not there; the message says what."""


@dataclass(frozen=True)
class Difference:
    """`what` is not what was stored; a `NOTE` counts as holding."""

    what: str
    stored: Any = None
    found: Any = None
    state: str = DIFFERS


@dataclass(frozen=True)
class Result:
    """One check of one thing: a record (`study/id`), a stage, an interval. `what`: the difference, or why unchecked."""

    check: str
    where: str
    state: str
    what: str = ""
    stored: Any = None
    found: Any = None

    @property
    def line(self) -> str:
        if self.stored is None and self.found is None:
            return f"{self.where}: {self.check}: {self.what}"
        return f"{self.where}: {self.check}: {self.what}: stored {shown(self.stored)}, found {shown(self.found)}"


def verify(target: str, results_dir: Path, data_dir: Path | None = None, files: Mapping[str, Path] | None = None) -> list[Result]:
    """All checks of a results folder, of a folder of studies, or of the record in `results_dir` whose id begins so.

    `BadInput` where there is no such folder or record.
    """
    folder = Path(target).expanduser()
    paths = records_below(folder) if folder.is_dir() else records_named(results_dir, target)
    corpora, results = Corpora(data_dir, dict(files or {})), list[Result]()
    progress = Progress("verify", len(paths), "records")
    cases: dict[Path, list[Case]] = {}
    for number, path in enumerate(paths):
        progress.at(number)
        root = path.parents[2]
        where = f"{root.resolve().name}/{path.stem}"
        case, wrong = opened(path, root, where, corpora)
        results += wrong
        if case is not None:
            results += checked(case)
            cases.setdefault(root, []).append(case)
    for root, found in cases.items():
        results += weights(root, found)
        if folder.is_dir():
            results += intervals(root, found)
    progress.end()
    return results


def records_below(folder: Path) -> list[Path]:
    """The record files of a results folder, or of all those right below a folder that is none itself."""
    roots = [folder] if (folder / "records").is_dir() else sorted(path for path in folder.iterdir() if (path / "records").is_dir())
    found = [path for root in roots for path in sorted((root / "records").glob("*/*.json"))]
    if not found:
        raise BadInput(f"results folder {folder}: no records in it; give one that runs were written to, or a run's id")
    return found


def records_named(results_dir: Path, run: str) -> list[Path]:
    found = [path for path in sorted((results_dir / "records").glob("*/*.json")) if run and path.stem.startswith(run)]
    if not found:
        raise BadInput(f"{run}: no such folder, and no record in {results_dir} whose id begins so; "
                       "give a results folder, or the run's with --results-dir")
    if len(found) > 1:
        raise BadInput(f"run {run!r}: several records begin so ({', '.join(path.stem for path in found[:5])}); give more of the id")
    return found


def opened(path: Path, root: Path, where: str, corpora: Corpora) -> tuple[Case | None, list[Result]]:
    """The record in `path`, or the result that says why it is none."""
    try:
        if path.is_symlink():
            raise ValueError("is a link, which tables do not follow")
        record = json.loads(path.read_text(encoding="utf-8"))
        shape = {"format": int, "id": str, "status": str, "cell": dict, "data": dict}
        if lacking := [key for key, kind in shape.items() if not isinstance(record[key], kind)]:
            raise ValueError(f"{lacking[0]} is not what it should be")
        return Case(path, root, where, record, corpora), []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        return None, [Result("file", where, DIFFERS, f"{path.name} is not a record ({why}); tables leave it out")]


# ---- what checks are made of -----------------------------------------------------------------------------------------


@dataclass
class Loaded:
    """A corpus as a record's run had it, limits included."""

    task: Task
    data: Data
    scores: dict[tuple[str, str], float] = field(default_factory=dict)  # naive ones, by metric and split

    def naive(self, metric: str, split: str) -> float:
        if (metric, split) not in self.scores:
            asked = replace(self.task, metric=metric, metrics=())
            self.scores[metric, split] = metrics.naive(asked, self.data, split).main
        return self.scores[metric, split]


class Corpora:
    """Corpora by task, options and limits, each loaded once."""

    def __init__(self, data_dir: Path | None, files: dict[str, Path]):
        self.data_dir, self.files = data_dir, files
        self.known: dict[str, Loaded | BadInput] = {}
        self.told: set[str] = set()

    def of(self, record: dict[str, Any]) -> Loaded:
        """The corpus of a record; `Unchecked` where it is not there."""
        cell, real = record["cell"], record["data"]["kind"] != "lookalike"
        own = cell["task"] == "files"
        if real and own and not self.files:
            raise Unchecked("the user's own files are not here: give --train, --dev and --test as for the run")
        if real and not own and self.data_dir is None:
            raise Unchecked("the corpus is not here: give --data-dir")
        train, dev = (cell["settings"].get(f"max_{split}_examples") for split in ("train", "dev"))
        key = json.dumps([cell["task"], real, cell["task_options"], train, dev], sort_keys=True)
        if key not in self.known:
            self.known[key] = self.load(cell["task"], cell["task_options"], real, train, dev)
        found = self.known[key]
        if isinstance(found, BadInput):
            raise Unchecked(one_line(found))
        return found

    def load(self, name: str, options: dict[str, Any], real: bool, train: int | None, dev: int | None) -> Loaded | BadInput:
        """The task's corpus, of train and dev at most so many examples; what went wrong is kept, too."""
        if name not in TASKS:
            return BadInput(f"no task {name} here: give the --plugin that registers it")
        if real and name not in self.told:
            say(f"reading the corpus of {name}")
            self.told.add(name)
        from kdbench.runner import load_data

        own = name == "files"
        try:
            made, data, _ = load_data(name, self.data_dir if real and not own else None,
                                      tuple(sorted(self.files.items())) if own else (),
                                      tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in options.items())))
            return Loaded(made, data.limited(train, dev))
        except BadInput as error:
            return error


@dataclass
class Case:
    """A record with what can be found of its data, predictions and student; each raises `Unchecked` where it is not there."""

    path: Path
    root: Path
    where: str
    record: dict[str, Any]
    corpora: Corpora

    @property
    def done(self) -> bool:
        return self.record["status"] == "done"

    @property
    def named(self) -> dict[str, float]:
        """The record's test scores by metric."""
        return self.record["score"]["all"]["test"]

    @property
    def metric(self) -> str:
        return self.record["score"]["metric"]

    @cached_property
    def arrays(self) -> dict[str, ndarray]:
        """What the runner stored beside the record."""
        path = self.path.with_suffix(".npz")
        if not path.is_file() or path.is_symlink():
            raise Unchecked("no predictions are stored beside the record")
        try:
            return read_arrays(path)
        except UNREADABLE:
            raise Unchecked("its predictions cannot be read") from None

    @cached_property
    def loaded(self) -> Loaded:
        found = self.corpora.of(self.record)
        own, stored = dict(found.data.sha256), self.record["data"]["sha256"]
        if found.task.name == "files" and stored and not set(own.values()) & set(stored.values()):
            raise Unchecked("the files given are not those of this run: give its own")
        return found

    @cached_property
    def same(self) -> Loaded:
        """The corpus, where it is the very one of the record."""
        if any(differences_of_data(self)):
            raise Unchecked("the data found are not those of the record")
        return self.loaded

    @property
    def predictions(self) -> Any:
        """As the metrics take them (see `kdbench.metrics`)."""
        stored = self.arrays["test_predictions"]
        if "test_lengths" not in self.arrays:
            return stored
        return np.split(stored, np.cumsum(self.arrays["test_lengths"])[:-1])

    @cached_property
    def student(self) -> tuple[Any, Any]:
        """The stored student (a `TorchArtefact`) and the test set in its tokens; `BadInput` where it cannot be loaded."""
        folder = self.root / "models" / self.record["artefact"]
        if not inside(folder, self.root) or not (folder / "config.json").is_file():
            raise Unchecked("its weights are not kept here")
        from kdbench.artefacts import corpus_of
        from kdbench.serving import open_artefact

        found, limit = self.same, self.record["cell"]["settings"]["max_length"]
        labels = found.data.labels
        artefact = open_artefact(folder, "torch")
        if labels and tuple(artefact.labels.labels) != tuple(labels):
            raise BadInput(f"its labels are {', '.join(artefact.labels.labels)}, the data's are {', '.join(labels)}")
        return artefact, corpus_of(folder, found.task, labels, found.data.test, limit)

    def info(self, pieces: bool = False) -> metrics.Info:
        """What the metrics must know; with `pieces`, also the student's word pieces."""
        found = self.same
        if not pieces:
            return metrics.info_for(found.task, found.data, "test")
        from kdbench.artefacts import info

        try:
            return info(replace(found.task, metrics=(PIECES,)), found.data, self.student[1])
        except (Unchecked, BadInput):
            raise Unchecked("needs the student, whose tokenizer cuts the pieces") from None

    def scores(self, names: Sequence[str], predictions: Any = None) -> metrics.Scores:
        """Scores of the stored (or these) predictions under the metrics `names`, of which the first has the counts."""
        asked = replace(self.same.task, metric=names[0], metrics=tuple(names[1:]))
        given = self.predictions if predictions is None else predictions
        return metrics.evaluate(asked, self.info(PIECES in names), self.same.data.test, given)


def read_arrays(path: Path) -> dict[str, ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def inside(path: Path, root: Path) -> bool:
    """Does `path` lie in the folder of students, links followed?"""
    return path.resolve().is_relative_to((root / "models").resolve())


def near(stored: Any, found: Any) -> bool:
    """Equal up to `CLOSE`; a figure that is not defined is stored as null."""
    if stored is None or found is None or not math.isfinite(found):
        return stored is None and (found is None or not math.isfinite(found))
    return math.isclose(stored, found, rel_tol=CLOSE, abs_tol=CLOSE)


def judged(check: str, where: str, differences: Iterable[Difference]) -> list[Result]:
    """What a check found, as results: the differences, or that it holds, or why it could not be made."""
    found: list[Result] = []
    try:
        for one in differences:
            found.append(Result(check, where, one.state, one.what, one.stored, one.found))
    except Unchecked as reason:
        return found or [Result(check, where, UNCHECKED, str(reason))]
    except (BadInput, *MALFORMED) as error:
        what = one_line(error) if isinstance(error, BadInput) else f"cannot be computed ({type(error).__name__}: {one_line(error)})"
        found.append(Result(check, where, DIFFERS, what))
    return found if any(one.state == DIFFERS for one in found) else [*found, Result(check, where, HOLDS)]


def checked(case: Case) -> list[Result]:
    """All checks of one record by itself."""
    checks = {"file": check_file, "id": check_id, "data": differences_of_data}
    if case.done:
        checks |= {"record": check_record, "score": check_score, "counts": check_counts, "naive": check_naive,
                   "student": check_student}
        if PIECES in case.record.get("score", {}).get("all", {}).get("test", {}):
            checks["word pieces"] = check_pieces
    results = list(itertools.chain.from_iterable(judged(name, case.where, check(case)) for name, check in checks.items()))
    for check, key, why in (("further rows", "rows_more", "their predictions are not stored"),
                            ("exports", "artefacts", "exports are not kept with the results")):
        results += [Result(check, f"{case.where}, {row['name']}", UNCHECKED, why) for row in case.record.get(key) or ()]
    return results


# ---- one record ------------------------------------------------------------------------------------------------------


def check_file(case: Case) -> Iterator[Difference]:
    record = case.record
    if case.path.stem != record["id"]:
        yield Difference("file name, without .json, is not the id", record["id"], case.path.stem)
    if case.path.parent.name != record["cell"]["task"]:
        yield Difference("folder is not the task", record["cell"]["task"], case.path.parent.name)
    if record["format"] != store.FORMAT:
        yield Difference("format", record["format"], store.FORMAT)
    if not re.fullmatch(r"[0-9a-f]*", record.get("artefact") or ""):
        yield Difference("artefact is not a hash", record["artefact"])
    path = case.path.with_suffix(".npz")
    if path.is_file() and not path.is_symlink():
        try:
            read_arrays(path)
        except UNREADABLE as error:
            yield Difference(f"{path.name} cannot be read ({one_line(error) or type(error).__name__})")


def check_id(case: Case) -> Iterator[Difference]:
    content, hashed = case.record.get("content"), getattr(identity, "record_id", None)
    if content is None or hashed is None:
        raise Unchecked("it cannot be recomputed: the record is of the older format, without its content")
    found = hashed(case.record["cell"], content)
    if found != case.record["id"]:
        yield Difference("is not the hash of cell and content", case.record["id"], found)


def check_record(case: Case) -> Iterator[Difference]:
    """What a record says twice, and what the counts beside it say again, without the data."""
    score = case.record["score"]
    for name in not_finite(case.record):
        yield Difference(f"{name} is not a finite number")
    for split in ("dev", "test"):
        every = score["all"][split]
        if (split == "test" or every) and not near(score[split], every.get(case.metric)):
            yield Difference(f"{split} score is not that of {case.metric}", score[split], every.get(case.metric))
    predictions, rows = case.predictions, case.record["data"]["rows"]["test"]
    if len(predictions) != rows:
        yield Difference("rows of test, and of its predictions", rows, len(predictions))
    if bad := [name for name, array in case.arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
        yield Difference(f"{bad[0]} has values that are not finite")
    if "test_counts" not in case.arrays:
        return
    counts, units, metric = case.arrays["test_counts"], case.arrays["test_units"], metrics.METRICS.get(case.metric)
    if len(counts) != len(units):
        yield Difference("rows of counts, and of their units", len(counts), len(units))
    if metric is not None and metric.finish is not None:
        total = float(metric.finish(counts.sum(axis=0)))
        if not near(score["test"], total):
            yield Difference(f"test {case.metric} is not what its counts give", score["test"], total)


def not_finite(value: Any, name: str = "") -> Iterator[str]:
    """Where a record has NaN or an infinity, which JSON does not know but Python reads."""
    if isinstance(value, float) and not math.isfinite(value):
        yield name
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from not_finite(child, f"{name}.{key}".lstrip("."))


def differences_of_data(case: Case) -> Iterator[Difference]:
    data, stored = case.loaded.data, case.record["data"]
    for split in sorted({*data.sha256, *stored["sha256"]}):
        if data.sha256.get(split) != stored["sha256"].get(split):
            yield Difference(f"SHA-256 of {split}", stored["sha256"].get(split), data.sha256.get(split))
    for split, rows in data.rows.items():
        if stored["rows"].get(split) != rows:
            yield Difference(f"rows of {split}", stored["rows"].get(split), rows)
    if stored["published_files"] != data.published_files:
        yield Difference("are these the published files", stored["published_files"], data.published_files)
    digests, named = getattr(tasks, "data_digests", None), (case.record.get("content") or {}).get("data") or {}
    found = digests(data) if digests is not None else {}
    for name in named:
        if found and named[name] != found.get(name):
            yield Difference(f"digest of the content of {name}", named[name], found.get(name))


def check_score(case: Case) -> Iterator[Difference]:
    names = [name for name in case.named if name != PIECES]
    if not names:
        raise Unchecked("needs the student, whose tokenizer cuts the pieces")
    if unknown := [name for name in names if name not in metrics.METRICS]:
        raise Unchecked(f"there is no metric {unknown[0]} here")
    found = case.scores(names).all
    for name in names:
        if not near(case.named[name], found[name]):
            yield Difference(f"test {name}", case.named[name], found[name])


def check_pieces(case: Case) -> Iterator[Difference]:
    found = case.scores([PIECES]).main
    if not near(case.named[PIECES], found):
        yield Difference(f"test {PIECES}", case.named[PIECES], found)


def check_counts(case: Case) -> Iterator[Difference]:
    found = case.scores([case.metric])
    if found.counts is None:
        raise Unchecked(f"{case.metric} is no function of sums, so it has none")
    if "test_counts" not in case.arrays:
        yield Difference("not stored beside the predictions")
        return
    counts, units = case.arrays["test_counts"], case.arrays["test_units"].tolist()
    if units != list(found.units):
        wrong = next(pair for pair in itertools.zip_longest(units, found.units) if pair[0] != pair[1])
        yield Difference(f"units ({len(units)}, should be {len(found.units)}), the first that differs", *wrong)
    elif counts.shape != found.counts.shape:
        yield Difference("shape of counts", counts.shape, found.counts.shape)
    elif (off := ~np.isclose(counts, found.counts, rtol=CLOSE, atol=CLOSE).all(axis=1)).any():
        first = int(off.argmax())
        yield Difference(f"of {off.sum()} of {len(off)} units, first {units[first]}", counts[first].tolist(), found.counts[first].tolist())


def check_naive(case: Case) -> Iterator[Difference]:
    for split, stored in case.record["score"]["naive"].items():
        found = case.same.naive(case.metric, split)
        if not near(stored, found):
            yield Difference(f"on {split}", stored, found)


# ---- the student -----------------------------------------------------------------------------------------------------


def check_student(case: Case) -> Iterator[Difference]:
    artefact, corpus = case.student
    stored, kind = case.predictions, case.same.task.kind
    bf16, unsure = in_bf16(case, artefact.module)
    logits = answers(artefact.module, corpus, bf16, case.where)
    tolerance = BF16 if bf16 or unsure else FP32
    outside = case.same.data.labels.index("O") if kind == "tags" else 0
    found: Any
    if kind == "tags":
        found, off, far = compare_tags(stored, logits, tolerance, outside)
    else:
        found, off, far = compare_logits(stored, np.stack(logits), tolerance, kind)
    if not off.any():
        return
    score = case.scores([case.metric], found).main
    share = f"{off.mean():.2%} of its {'tags' if kind == 'tags' else 'answers'} differ"
    if far:
        yield Difference(f"{share}, {far}; {case.metric}", case.record["score"]["test"], score)
    elif not near(case.record["score"]["test"], score):
        yield Difference(f"{share} within rounding; {case.metric}", case.record["score"]["test"], score, NOTE)


def in_bf16(case: Case, module: Any) -> tuple[bool, bool]:
    """Was the student scored under bf16 autocast, and is that a guess?"""
    import torch

    precision = case.record["cell"]["settings"].get("precision", "auto")
    if precision != "auto":
        return precision == "bf16", False
    stored = case.arrays["test_predictions"]
    if stored.dtype == np.float32:
        return not (np.ascontiguousarray(stored).view(np.uint32) & 0xFFFF).any(), False
    wide = getattr(module.config, "hidden_size", 0) >= 256  # as `Lab.bf16`
    return bool(wide and torch.ops.mkldnn._is_mkldnn_bf16_supported()), wide


def answers(module: Any, corpus: Any, bf16: bool, label: str) -> list[ndarray]:
    """Logits of each text (C,), or of each word's first token (W, C) with NaN for words that the limit cut off.

    The batches are those of `Lab.predict`, because bf16 rounds by the shape of the batch.
    """
    import torch

    from kdbench.batching import by_length

    found: list[Any] = [None] * len(corpus)
    progress, read = Progress(f"{label}: its student", len(corpus), "texts"), 0
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        for indices in by_length(corpus.lengths, 64):
            progress.at(read)
            read += len(indices)
            batch = corpus.batch(indices)
            values = module(**batch.inputs).logits.float().numpy()
            for row, i in enumerate(indices):
                if batch.words is None:
                    found[i] = values[row]
                    continue
                first = batch.words[row, :len(corpus.examples[i].words)].numpy()
                found[i] = np.where(first[:, None] >= 0, values[row][first], np.nan)
    progress.end()
    return found


def compare_tags(stored: Sequence[ndarray], logits: Sequence[ndarray], tolerance: float,
                 outside: int) -> tuple[list[ndarray], ndarray, str]:
    """The tags of `logits`, which words' differ from the stored ones (W,), and what rounding cannot explain."""
    one, rows = np.concatenate(stored).astype(int), np.concatenate(logits)
    if len(one) != len(rows):
        raise BadInput(f"its test set has {len(rows)} words, {len(one)} tags are stored")
    read = ~np.isnan(rows[:, 0])
    tags = np.where(read, np.nan_to_num(rows).argmax(axis=1), outside)
    off = tags != one
    places = np.arange(len(rows))
    lead = rows[places, tags] - rows[places, one]
    allowed = 2 * tolerance * np.maximum(1, np.abs(rows).max(axis=1))
    far = off & ~(lead <= allowed)  # a word that was cut off has no logits: NaN is far
    lengths = np.cumsum([len(row) for row in logits])[:-1]
    return np.split(tags, lengths), off, f"{far.sum()} of them by more than rounding" if far.any() else ""


def compare_logits(stored: ndarray, logits: ndarray, tolerance: float, kind: str) -> tuple[ndarray, ndarray, str]:
    """The predictions of `logits`, which texts' answers differ (N,), and what rounding cannot explain."""
    found = logits[:, 0] if kind == "regression" else logits
    if stored.shape != found.shape:
        raise BadInput(f"its predictions have the shape {found.shape}, those stored {stored.shape}")
    one, other = stored.reshape(len(stored), -1), found.reshape(len(found), -1)
    error = np.abs(one - other).max(axis=1)
    far = ~(error <= tolerance * np.maximum(1, np.abs(one).max(axis=1)))
    if kind == "single":
        off = one.argmax(axis=1) != other.argmax(axis=1)
    else:
        off = ((one > 0) != (other > 0)).any(axis=1) if kind == "multi" else far
    said = f"logits of {far.sum()} of {len(far)} texts by up to {error.max():.2g}, more than rounding" if far.any() else ""
    return found, off | far, said


# ---- a folder --------------------------------------------------------------------------------------------------------


def weights(root: Path, cases: Sequence[Case]) -> list[Result]:
    """The trained stages that records name, each checked once against the checksum in its stage.json."""
    keys: set[str] = set()
    for case in cases:
        stages = (case.record.get("cost") or {}).get("stages") or ()
        named = [case.record.get("artefact"), *(stage.get("key") for stage in stages if stage.get("steps"))]
        keys |= {key for key in named if isinstance(key, str) and re.fullmatch(r"[0-9a-f]+", key)}
    return list(itertools.chain.from_iterable(
        judged("weights", f"{root.resolve().name}/models/{key}", check_weights(root / "models" / key, root)) for key in sorted(keys)))


def check_weights(folder: Path, root: Path) -> Iterator[Difference]:
    if not inside(folder, root) or not (folder / "stage.json").is_file():
        raise Unchecked("its weights are not kept here")
    stored = json.loads((folder / "stage.json").read_text(encoding="utf-8")).get("sha256")
    if stored is None:
        raise Unchecked("its stage.json has no checksum (older format)")
    path = folder / "model.safetensors"
    found = file_digest(path) if path.is_file() else "no file"
    if found != stored:
        yield Difference("SHA-256 of model.safetensors", stored, found)


def intervals(root: Path, cases: Sequence[Case]) -> list[Result]:
    """The stored intervals that the table of these records has, computed anew from their counts."""
    from kdbench import statistics, tables

    path = root / "intervals.json"
    if not path.is_file():
        return []
    where = f"{root.resolve().name}/intervals.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        known, code = dict(stored["intervals"]), stored["code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Result("intervals", where, DIFFERS, f"cannot be read ({one_line(error)}); remove it: a table makes it anew")]
    if code != statistics.code():
        return [Result("intervals", f"{where}, {key}", UNCHECKED, "made by other code, so no table uses it") for key in known]

    def counts(record: dict[str, Any]) -> Any:
        arrays = beside.get(record["id"], {})
        return (tuple(arrays["test_units"].tolist()), arrays["test_counts"]) if "test_counts" in arrays else None

    beside: dict[str, dict[str, ndarray]] = {}
    for case in cases:
        try:
            beside[case.record["id"]] = case.arrays
        except Unchecked:
            continue
    cache = statistics.Cache()
    try:
        tables.build([case.record for case in cases], counts, None, cache)
    except (BadInput, *MALFORMED) as error:
        why = f"the records make no table ({type(error).__name__}: {one_line(error)})"
        return [Result("intervals", where, UNCHECKED, why)]
    results = []
    for key, interval in known.items():
        results += judged("intervals", f"{where}, {key}", check_interval(interval, cache.known.get(key)))
    return results


def check_interval(stored: dict[str, Any], found: dict[str, Any] | None) -> Iterator[Difference]:
    if found is None:
        raise Unchecked("of no contrast of the whole table: of a part of it, or of counts that are no longer there")
    for name, value in found.items():
        same = near(stored[name], value) if isinstance(value, float) else stored[name] == value
        if not same:
            yield Difference(name, stored[name], value)


# ---- what is printed -------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "nothing" if value is None else str(value)


def summary(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """By check: of how many things it was made, held, differed, and {why: how many} could not be checked."""
    found = {}
    for check in CHECKS:
        states: dict[str, dict[str, str]] = {}
        for one in results:
            if one.check == check:
                states.setdefault(one.where, {})[one.state] = one.what
        if not states:
            continue
        differ = sum(DIFFERS in state for state in states.values())
        why = Counter(state[UNCHECKED] for state in states.values() if UNCHECKED in state and DIFFERS not in state)
        held = len(states) - differ - sum(why.values())
        found[check] = {"checked": held + differ, "hold": held, "differ": differ, "unchecked": dict(why.most_common())}
    return found


def as_text(results: Sequence[Result], width: int = render.WIDTH) -> str:
    """The differences, one a line, then the summary and why something could not be checked."""
    lines = [one.line for one in results if one.state == DIFFERS]
    lines += [f"{one.line} (holds)" for one in results if one.state == NOTE]
    rows, reasons = [], []
    for check, row in summary(results).items():
        left = sum(row["unchecked"].values())
        rows.append([f"{check}: {CHECKS[check]}", *(str(row[name]) for name in ("checked", "hold", "differ")), str(left)])
        reasons += [render.wrap(f"- {check}, {number} not checked: {why}", width) for why, number in row["unchecked"].items()]
    table = render.plain(["check", "checked", "hold", "differ", "not checked"], rows, width)
    return "\n".join([*lines, *([""] if lines else []), table, *([""] if reasons else []), *reasons])


def as_json(results: Sequence[Result]) -> str:
    """The same for programs: `holds`, every difference and note, and the summary."""
    kept = [one for one in results if one.state in (DIFFERS, NOTE)]
    return json.dumps({"holds": holds(results), "differences": [asdict(one) for one in kept if one.state == DIFFERS],
                       "notes": [asdict(one) for one in kept if one.state == NOTE], "summary": summary(results)},
                      indent=1, ensure_ascii=False)


def holds(results: Iterable[Result]) -> bool:
    """Does everything hold that could be checked?"""
    return not any(one.state == DIFFERS for one in results)
