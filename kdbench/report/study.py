"""A committed study: `results/<study>/` with its records, and the README and table that are
generated from them.

    results/<study>/study.toml   title, about (what was asked, what can be concluded), commands
    (what made the records),
                                 columns (of its table, where the usual ones will not do), names
                                 (what its rows are called: "three copies" = "ner_kd copies=3
                                 distillation=yes")
    results/<study>/records/     one JSON file a cell, counts beside it results/<study>/README.md
    generated: the tables, every column explained, the commands results/<study>/table.csv
    generated: the same as data results/<study>/*.svg        generated: gains, and score against the
    costs that the table shows, a file a task

    results/page.md              a page over all studies: text with figures, as
    `kdbench.report.page` has them results/README.md            generated from it

Nobody edits the generated files; a test holds that each equals what its records give.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.folders import write_text
from kdbench.base.registry import unknown
from kdbench.report import reported
from kdbench.report.columns import COLUMNS
from kdbench.report.page import filled
from kdbench.report.rows import Name
from kdbench.report.tables import Table, build, render
from kdbench.runs import store
from kdbench.score.statistics import Cache

KINDS = {str: "text", list: "list of texts", dict: "table of texts"}
KEYS = {"title": str, "about": str, "commands": list, "columns": list, "names": dict}
NEEDED = ("title", "about", "commands")


PAGE = "page.md"


def studies(results: Path) -> list[Path]:
    """The folders of committed studies, and their own where a page tells of them."""
    return sorted(path.parent for path in (*results.glob("*/study.toml"), *results.glob(PAGE)))


def facts(folder: Path) -> dict[str, Any]:
    """`study.toml`, checked."""
    path = folder / "study.toml"
    if not path.is_file():
        raise BadInput(f"{path}: no such file; it gives a study its title, about and commands")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from None
    for key, value in found.items():
        if key not in KEYS:
            raise BadInput(f"{path}: {unknown('key', key, KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise BadInput(f"{path}: {key} must be a {KINDS[KEYS[key]]}")
    for key in NEEDED:
        if key not in found:
            raise BadInput(f"{path}: no {key}; add {key} = ...")
    return found


def names_of(folder: Path) -> list[Name]:
    """The names that the `study.toml` of a results folder gives rows; none where there is no such
    file.
    """
    found = []
    for text, rows in (facts(folder).get("names", {}) if
                       (folder / "study.toml").is_file() else {}).items():
        method, *given = str(rows).split() or [""]
        if not method or not all("=" in one for one in given):
            raise BadInput(
                f"{folder / 'study.toml'}: names: {text!r}: write a method and its options, as in "
                f"\"ner_kd copies=3\", not {rows!r}")
        found.append(Name(text, method, dict(one.split("=", 1) for one in given)))
    return found


def pages(folder: Path, published: Path | None = None) -> dict[str, str]:
    """The generated files of a study, by name, from its records (and `published`, a file of
    published figures).

    Of a folder with `page.md`: the page over its studies.
    """
    from kdbench.report.html import sheets

    if (folder / PAGE).is_file():
        text = (folder / PAGE).read_text(encoding="utf-8")
        return {
            "README.md": filled(text, str(folder / PAGE),
                                cache(lambda name: table_of(folder / name)))
        }
    said = facts(folder)
    records = list(store.records(folder))
    table = table_of(folder)
    # what is shown is drawn
    drawn = {"p50_ms": "p50_ms", "megabytes": "megabytes", "student_seconds": "training_seconds"}
    pictures = sheets(
        table_of(folder, [
            "test", "gain", *(drawn[name] for name in said.get("columns", drawn) if name in drawn)
        ]))
    shown = [
        column for column in COLUMNS.values() if any(
            c.name.startswith(column.name) and ":" not in c.name for c in table.columns)
    ]
    shown += [column for column in table.columns if ":" in column.name]
    choice = f" --columns {','.join(said['columns'])}" if "columns" in said else ""
    commands = "\n".join(
        [*said["commands"], f"python bench.py table --results-dir results/{folder.name}{choice}"])
    blocks = [
        f"# {said['title']}",
        filled(said["about"].strip(), str(folder / "study.toml"), lambda _: table, folder.name),
        "Made by these commands; the last one prints the tables below from the records.",
        f"```\n{commands}\n```", "## Tables",
        render(table, "markdown").strip(),
        *(f"![{name.removesuffix('.svg')}: gains, and score against cost; dashed: the frontier, "
          f"which nothing cheaper reaches]({name})"
          for name in pictures),
    ]
    if published is not None:
        beside = reported.against(records, reported.load(published), names_of(folder))
        blocks += ["## Published figures", reported.render(beside).strip()]
    blocks += [
        "## Columns", "\n".join([
            "- **n**: number of seeds",
            *(f"- **{column.title}**: {column.about}" for column in shown)
        ]), "`table.csv` holds the same figures, scores as fractions.",
    ]
    return {"README.md": "\n\n".join(blocks) + "\n", "table.csv": render(table, "csv"), **pictures}


def table_of(folder: Path, columns: list[str] | None = None) -> Table:
    """A study's table, with intervals; of the columns that `study.toml` names, unless some are
    given.
    """
    if not (folder / "study.toml").is_file():
        raise BadInput(unknown("study", folder.name,
                               [path.name for path in studies(folder.parent)]))
    columns = columns or facts(folder).get("columns")
    chosen = names_of(folder)
    table = build(list(store.records(folder)), lambda record: store.counts(folder, record), columns,
                  Cache(), chosen)
    for name in chosen:
        if not any(name.fits(line.row) for section in table.sections for line in section.lines):
            raise BadInput(
                f"{folder / 'study.toml'}: names: {name.text!r} is no row's name: no record has "
                f"these options"
            )
    return table


def write(folder: Path, published: Path | None = None) -> list[Path]:
    """Write the generated files; returns their paths."""
    made = []
    for name, text in pages(folder, published).items():
        write_text(folder / name, text)
        made.append(folder / name)
    return made


def stale(folder: Path, published: Path | None = None) -> list[str]:
    """The generated files that differ from what the records give, each with the first differing
    line.
    """
    differing = []
    for name, text in pages(folder, published).items():
        path = folder / name
        there = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        wanted = text.splitlines()
        if there != wanted:
            pairs = zip([*there, *[""] * len(wanted)], [*wanted, *[""] * len(there)], strict=False)
            line = next(i for i, (a, b) in enumerate(pairs, 1) if a != b)
            differing.append(
                f"{folder.name}/{name}: line {line} is not what the records give; write the study "
                f"again"
            )
    return differing
