"""A committed study: `results/<study>/` with its records, and the pages generated from them.

    results/<study>/study.toml   title, about (what was asked, what can be concluded), commands
                                 (what made the records), columns (of its table, where the usual
                                 ones will not do), names (what its rows are called:
                                 "three copies" = "my_method copies=3 distillation=yes")
    results/<study>/records/     one JSON file a cell, counts beside it
    results/<study>/*/certificate.json, search.svg   of students that `shrink` delivered
    results/<study>/README.md    generated: the tables, every column explained, the commands
    results/<study>/table.csv    generated: the same as data
    results/<study>/*.svg        generated, a file a task: gains, and score against the costs that
                                 the table shows
    results/page.md              a page over all studies: text with figures (`kdbench.report.page`)
    results/README.md            generated from it

Nobody edits the generated files: a test holds that each equals what its records give.
"""

from __future__ import annotations

from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.folders import write_page
from kdbench.base.registry import unknown
from kdbench.base.visible import visible, without_html
from kdbench.report import certificate, reported
from kdbench.report.columns import COLUMNS, Column
from kdbench.report.names import Name
from kdbench.report.page import filled
from kdbench.report.tables import Table, build, render
from kdbench.runs import store
from kdbench.score.statistics import Cache

TYPES = {str: "text", list: "list of texts", dict: "table of texts"}
KEYS = {"title": str, "about": str, "commands": list, "columns": list, "names": dict}
NEEDED = ("title", "about", "commands")
PAGE = "page.md"
# the costs that pictures show, by the column of the table that asks for one
DRAWN = {"p50_ms": "p50_ms", "megabytes": "megabytes", "student_seconds": "training_seconds"}


def studies(results: Path) -> list[Path]:
    """The folders of committed studies, and their own where a page tells of them."""
    return sorted(path.parent for path in (*results.glob("*/study.toml"), *results.glob(PAGE)))


# ---- study.toml ----------------------------------------------------------------------------------


def facts(folder: Path) -> dict[str, Any]:
    """`study.toml`, checked."""
    path = folder / "study.toml"
    try:
        found = reading.toml_table(path)
    except reading.Missing:
        raise BadInput(f"{path}: no such file; it gives a study its title, about and commands"
                       ) from None
    for key, value in found.items():
        if key not in KEYS:
            raise BadInput(f"{path}: {unknown('key', key, KEYS)}")
        if not isinstance(value, KEYS[key]):
            raise BadInput(f"{path}: {key} must be a {TYPES[KEYS[key]]}")
    for key in NEEDED:
        if key not in found:
            raise BadInput(f"{path}: no {key}; add {key} = ...")
    return found


def names_of(folder: Path) -> list[Name]:
    """The names that the `study.toml` of a results folder gives rows; none where there is no such
    file.
    """
    path = folder / "study.toml"
    if not path.is_file():
        return []
    names = facts(folder).get("names", {})
    return [parsed_name(text, str(rows), path) for text, rows in names.items()]


def parsed_name(text: str, rows: str, path: Path) -> Name:
    """A name, and the method and options of the rows that it stands for."""
    method, *options = rows.split() or [""]
    if not method or not all("=" in option for option in options):
        raise BadInput(
            f"{path}: names: {text!r}: write a method and its options, as in "
            f'"my_method copies=3", not {rows!r}'
        )
    return Name(text, method, dict(option.split("=", 1) for option in options))


# ---- pages ---------------------------------------------------------------------------------------


def pages(folder: Path, published: Path | None = None) -> dict[str, str]:
    """The generated files of a study, by name, from its records (and `published`, a file of
    published figures).

    Of a folder with `page.md`: the page over its studies.
    """
    found = made_pages(folder, published)
    return {**found, "README.md": without_html(found["README.md"])}


def made_pages(folder: Path, published: Path | None) -> dict[str, str]:
    """`pages`, before what a browser would run is taken out of them."""
    if (folder / PAGE).is_file():
        return {"README.md": page_over_studies(folder)}
    from kdbench.report.pictures import sheets

    table = table_of(folder)
    shown = facts(folder).get("columns", DRAWN)
    costs = [cost for column, cost in DRAWN.items() if column in shown]
    pictures = sheets(table_of(folder, ["test", "gain", *costs]))
    readme = readme_of(folder, table, list(pictures), published)
    return {"README.md": readme, "table.csv": render(table, "csv"), **pictures}


def page_over_studies(folder: Path) -> str:
    """`page.md` with its figures."""

    @cache
    def table(name: str) -> Table:
        return table_of(folder / name)

    text = reading.text(folder / PAGE)
    return filled(text, str(folder / PAGE), table)


def readme_of(folder: Path, table: Table, pictures: list[str], published: Path | None) -> str:
    """The page of a study."""
    study = facts(folder)
    about = study["about"].strip()
    blocks = [
        f"# {study['title']}",
        filled(about, str(folder / "study.toml"), lambda _: table, folder.name),
        "Made by these commands; the last one prints the tables below from the records.",
        "```\n" + "\n".join(commands(folder, study)) + "\n```",
        "## Tables",
        render(table, "markdown").strip(),
    ]
    for name in pictures:
        task = name.removesuffix(".svg")
        blocks.append(
            f"![{task}: gains, and score against cost; dashed: the frontier, which nothing "
            f"cheaper reaches]({name})"
        )
    if found := list(certificate.committed(folder)):
        blocks += ["## Certificates", *found]
    if published is not None:
        records = list(store.records(folder))
        beside = reported.against(records, reported.load(published), names_of(folder))
        blocks += ["## Published figures", reported.render(beside).strip()]
    legend = ["- **n**: number of seeds"]
    legend += [f"- **{column.title}**: {column.about}" for column in explained(table)]
    blocks += ["## Columns", "\n".join(legend)]
    blocks.append("`table.csv` holds the same figures, scores as fractions.")
    return "\n\n".join(blocks) + "\n"


def commands(folder: Path, study: dict[str, Any]) -> list[str]:
    """The commands that made the records, and the one that prints their tables."""
    choice = f" --columns {','.join(study['columns'])}" if "columns" in study else ""
    table = f"python bench.py table --results-dir results/{folder.name}{choice}"
    return [*study["commands"], table]


def explained(table: Table) -> list[Column]:
    """The columns to explain; latencies, of which there may be several, once."""
    plain = [column.name for column in table.columns if ":" not in column.name]
    found = []
    for column in COLUMNS.values():
        if any(name.startswith(column.name) for name in plain):
            found.append(column)
    return found + [column for column in table.columns if ":" in column.name]


def table_of(folder: Path, columns: list[str] | None = None) -> Table:
    """A study's table, with intervals; of the columns that `study.toml` names, unless some are
    given.
    """
    if not (folder / "study.toml").is_file():
        known = [path.name for path in studies(folder.parent)]
        raise BadInput(unknown("study", folder.name, known))
    columns = columns or facts(folder).get("columns")
    chosen = names_of(folder)
    records = list(store.records(folder))
    table = build(records, lambda record: store.counts(folder, record), columns, Cache(), chosen)
    rows = [line.row for section in table.sections for line in section.lines]
    for name in chosen:
        if not any(name.fits(row) for row in rows):
            raise BadInput(
                f"{folder / 'study.toml'}: names: {name.text!r} is no row's name: no record has "
                "these options"
            )
    return table


def write(folder: Path, published: Path | None = None) -> list[Path]:
    """Write the generated files; returns their paths."""
    paths = []
    for name, text in pages(folder, published).items():
        write_page(folder / name, text)
        paths.append(folder / name)
    return paths


def stale(folder: Path, published: Path | None = None) -> list[str]:
    """The generated files that differ from what the records give, each with the first differing
    line.
    """
    differing = []
    for name, text in pages(folder, published).items():
        path = folder / name
        there = reading.text(path) if path.is_file() else ""
        if line := first_difference(there, visible(text)):
            differing.append(
                f"{folder.name}/{name}: line {line} is not what the records give; write the study "
                "again"
            )
    return differing


def first_difference(text: str, other: str) -> int:
    """The number of the first line in which two texts differ; 0 where they do not."""
    pairs = zip_longest(text.splitlines(), other.splitlines())
    return next((number for number, (a, b) in enumerate(pairs, 1) if a != b), 0)
