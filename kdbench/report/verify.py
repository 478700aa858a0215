"""Does a stored figure still follow from what lies beside it? Records are recomputed and compared.

Test scores, counts and naive scores follow from the stored predictions and the data, an id from
what the record says of itself, an interval from the counts, a student's answers from its weights
(`kdbench.report.rerun`). A check holds, differs, or could not be made and says why: nothing passes
because its inputs are missing. Scores, counts and intervals must agree to `CLOSE`: the same
numbers were added, at most in another order.

`kdbench.report.checks` has the checks of one record; here are those of a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.activity import doing
from kdbench.base.checksums import damage, damage_of_files
from kdbench.base.errors import BadInput, one_line
from kdbench.base.identity import file_digest
from kdbench.base.progress import Progress
from kdbench.report import checks
from kdbench.report.contrasts import UnitCounts
from kdbench.report.evidence import Case, Corpora, Unchecked, inside
from kdbench.report.findings import (
    CLOSE,
    DIFFERS,
    MALFORMED,
    UNCHECKED,
    Difference,
    Result,
    as_json,
    as_text,
    holds,
    near,
    results_of,
    summary,
)
from kdbench.report.rows import Record
from kdbench.runs.stored import is_linked
from kdbench.runs.units import pairing_names

__all__ = ["CLOSE", "DIFFERS", "Result", "as_json", "as_text", "holds", "summary", "verify"]

Shape = dict[str, type | tuple[type, ...]]
SHAPE: Shape = {
    "format": int,
    "id": str,
    "status": str,
    "cell.task": str,
    "cell.settings": dict,
    "cell.task_options": dict,
    "data.kind": str,
    "data.rows": dict,
    "data.sha256": dict,
}
SHAPE_DONE: Shape = {
    "artefact": str,
    "score.metric": str,
    "score.test": (float, int, type(None)),
    "score.naive": dict,
    "score.all.dev": dict,
    "score.all.test": dict,
}


def verify(
    target: str,
    results_dir: Path,
    data_dir: Path | None = None,
    files: Mapping[str, Path] | None = None,
) -> list[Result]:
    """All checks of a results folder, of a folder of such, or of one record.

    target       a folder, or the beginning of the id of a record in `results_dir`
    data_dir     the folder of the real corpora; look-alikes are made anew
    files        the files of task `files` by split, as its run had them
    `BadInput` where there is no such folder or record.
    """
    folder = Path(target).expanduser()
    paths = records_below(folder) if folder.is_dir() else [record_named(results_dir, target)]
    corpora = Corpora(data_dir, dict(files or {}))
    results: list[Result] = []
    progress = Progress("verify", len(paths), "records")
    cases: dict[Path, list[Case]] = {}
    for number, path in enumerate(paths):
        progress.at(number)
        root = path.parents[2]
        case = Case(path, root, f"{root.resolve().name}/{path.stem}", {}, corpora)
        try:
            case.record = read_record(path)
        except (OSError, ValueError) as error:
            known = error.why if isinstance(error, reading.Unreadable) else one_line(error)
            why = f"{path.name} is no record ({known}); tables leave it out"
            results.append(Result("file", case.where, DIFFERS, why))
            continue
        with doing(f"verify: {case.where}"):
            results += checks.check_all(case)
        cases.setdefault(root, []).append(case)
    for root, found in cases.items():
        with doing(f"verify: the weights of {root.resolve().name}"):
            results += weights(root, found)
        if folder.is_dir():
            results += intervals(root, found)
    progress.end()
    return results


# ---- records -------------------------------------------------------------------------------------


def records_below(folder: Path) -> list[Path]:
    """The record files of a results folder, or of all right below a folder that is none itself.

    Stored predictions without a record count as a record, which is then found to be missing.
    """
    roots = [folder] if (folder / "records").is_dir() else sorted(folder.iterdir())
    found, alone = [], []
    for root in roots:
        found += sorted(root.glob("records/*/*.json"))
        for path in sorted(root.glob("records/*/*.npz")):
            record = path.with_suffix(".json")
            if not record.is_file():
                alone.append(record)
    if not found and not alone:
        raise BadInput(
            f"results folder {folder}: no records in it; give one that runs were written to, or a "
            "run's id"
        )
    return found + alone


def record_named(results_dir: Path, run: str) -> Path:
    """The record whose id begins with `run`."""
    every = sorted(results_dir.glob("records/*/*.json"))
    found = [path for path in every if run and path.stem.startswith(run)]
    if not found:
        raise BadInput(
            f"{run}: no such folder, and no record in {results_dir} whose id begins so; give a "
            "results folder, or the run's with --results-dir"
        )
    if len(found) > 1:
        ids = ", ".join(path.stem for path in found[:5])
        raise BadInput(f"run {run!r}: several records begin so ({ids}); give more of the id")
    return found[0]


def read_record(path: Path) -> Record:
    """The record in `path`, whatever id it has; `ValueError` where it has not a record's shape."""
    if is_linked(path):
        raise ValueError("a link, which is not followed")
    record = reading.json_value(path)
    done = isinstance(record, dict) and record.get("status") == "done"
    for name, wanted in {**SHAPE, **(SHAPE_DONE if done else {})}.items():
        value = record
        for part in name.split("."):
            value = value.get(part, ...) if isinstance(value, dict) else ...
        if not isinstance(value, wanted):
            raise ValueError(f"no {name}" if value is ... else f"{name} is not what it should be")
    return record


# ---- stored weights ------------------------------------------------------------------------------


def weights(root: Path, cases: Sequence[Case]) -> list[Result]:
    """The trained stages that records name, each checked once."""
    keys = set()
    for case in cases:
        keys |= stage_keys(case.record)
    results: list[Result] = []
    for key in sorted(keys):
        if re.fullmatch(r"[0-9a-f]+", key):
            differences = check_weights(root / "models" / key, root)
            results += results_of("weights", f"{root.resolve().name}/models/{key}", differences)
    return results


def stage_keys(record: Record) -> set[str]:
    """The keys of the trainings behind a record, whatever it holds in their place."""
    cost = record.get("cost")
    stages = cost.get("stages") if isinstance(cost, dict) else None
    keys = set()
    for stage in [record, *(stages if isinstance(stages, list) else ())]:
        if isinstance(stage, dict) and stage.get("name") != "signals":
            keys |= {str(stage.get("artefact")), str(stage.get("key"))}
    return keys


def check_weights(folder: Path, root: Path) -> Iterator[Difference]:
    """The files of a stage against their checksums."""
    if not inside(folder, root) or not (folder / "stage.json").is_file():
        raise Unchecked("its weights are not kept here")
    try:
        made = reading.json_object(folder / "stage.json")
        sums = dict(made.get("sha256") or {})
    except MALFORMED as error:
        yield Difference(f"stage.json cannot be read ({one_line(error)})")
        return
    differences = list(differences_of_sums(sums, folder))
    yield from differences
    if not differences and (wrong := damage(made) or damage_of_files(made, folder)):
        yield Difference(wrong)


def differences_of_sums(sums: Mapping[str, str], folder: Path) -> Iterator[Difference]:
    """The weights of a stage against the checksums in `sha256` of its stage.json."""
    if not any(Path(name).name == "model.safetensors" for name in sums):
        yield Difference("stage.json has no checksum of the weights")
    for name, stored in sums.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            path = folder / Path(name).name
        found = file_digest(path) if path.is_file() else "no file"
        if found != stored:
            yield Difference(f"SHA-256 of {name}", stored, found)


# ---- stored intervals ----------------------------------------------------------------------------


def intervals(root: Path, cases: Sequence[Case]) -> list[Result]:
    """The stored intervals against those that the table of these records has, computed anew."""
    from kdbench.score import statistics

    path, where = root / "intervals.json", f"{root.resolve().name}/intervals.json"
    if not path.is_file():
        return []
    try:
        stored = reading.json_object(path)
        known, code = dict(stored["intervals"]), stored["code"]
    except (OSError, *MALFORMED) as error:
        why = f"cannot be read ({one_line(error)}); remove it, a table makes it anew"
        return [Result("intervals", where, DIFFERS, why)]
    if code != statistics.code():
        why = "made by other code; no table uses it"
        return [Result("intervals", f"{where}, {key}", UNCHECKED, why) for key in known]
    try:
        computed = computed_intervals(cases)
    except (BadInput, *MALFORMED) as error:
        why = f"the records make no table ({type(error).__name__}: {one_line(error)})"
        return [Result("intervals", where, DIFFERS, why)]
    results: list[Result] = []
    for key, interval in known.items():
        differences = check_interval(interval, computed.get(key))
        results += results_of("intervals", f"{where}, {key}", differences)
    return results


def computed_intervals(cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """The intervals of the table of these records, by their keys."""
    from kdbench.report import tables
    from kdbench.score import statistics

    counts: dict[str, UnitCounts] = {}
    for case in cases:
        try:
            arrays = case.arrays
        except Unchecked:
            continue
        if "test_counts" in arrays:
            units = pairing_names(case.record, arrays["test_units"].tolist())
            counts[case.record["id"]] = units, arrays["test_counts"]
    cache = statistics.Cache()
    records = [case.record for case in cases]
    tables.build(records, lambda record: counts.get(record["id"]), None, cache)
    return cache.known


def check_interval(
    stored: dict[str, Any], found: dict[str, Any] | None
) -> Iterator[Difference]:
    """An interval against the one computed anew."""
    if found is None:
        raise Unchecked("of a part of the table, or of counts that are no longer there")
    for name, value in found.items():
        equal = near(stored[name], value) if isinstance(value, float) else stored[name] == value
        if not equal:
            yield Difference(name, stored[name], value)
