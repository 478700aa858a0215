"""A table as data: flat rows for CSV and JSON, scores as fractions."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.report.columns import OVER, Column, is_latency
from kdbench.report.groups import Section, naive_score
from kdbench.report.rows import Line, Record, canonical, failure

SPLITS = ("train", "dev", "test")


def frame(sections: Sequence[Section], columns: Sequence[Column]) -> list[Record]:
    """One flat row a line, with the same keys in every row; failed and skipped cells are rows
    too.
    """
    rows = []
    for section in sections:
        for line in section.lines:
            rows.append(line_fields(section, line, columns))
        for record in section.group.unfinished:
            rows.append(unfinished_fields(section, record, columns))
    return rows


def line_fields(section: Section, line: Line, columns: Sequence[Column]) -> Record:
    """A row of the table, flat."""
    row = line.row
    return {
        **protocol_fields(section),
        **cell_fields(row.cell, row.role, row.part),
        "status": "done",
        "reason": None,
        "seeds": " ".join(map(str, row.seeds)),
        "n": len(row.seeds),
        **figure_fields(line, columns),
    }


def unfinished_fields(section: Section, record: Record, columns: Sequence[Column]) -> Record:
    """A cell that failed or was skipped, with the keys of a row."""
    return {
        **protocol_fields(section),
        **cell_fields(record["cell"], record.get("role"), ""),
        "status": record["status"],
        "reason": failure(record),
        "seeds": str(record["cell"]["seed"]),
        "n": 0,
        **figure_fields(None, columns),
    }


def protocol_fields(section: Section) -> Record:
    """What all rows of a section share."""
    group = section.group
    rows = group.data.get("rows") or {}
    return {
        "task": group.task,
        "metric": group.metric or None,
        "data": group.origin,
        "published_files": group.data.get("published_files"),
        "task_options": canonical(group.options),
        **{f"{split}_rows": rows.get(split) for split in SPLITS},
        "naive_dev": naive_score(group, "dev"),
        "naive_test": naive_score(group, "test"),
    }


def cell_fields(cell: Record, role: str | None, part: str) -> Record:
    """What a row is: method, models, options, settings."""
    return {
        "method": cell["method"],
        "part": part or None,
        "role": role,
        "variant": cell.get("variant"),
        "teacher": cell.get("teacher"),
        "student": cell["student"],
        "options": canonical(cell.get("options") or {}),
        "settings": canonical(cell.get("settings") or {}),
    }


def figure_fields(line: Line | None, columns: Sequence[Column]) -> Record:
    """Means with their SD, differences with their interval and Holm-adjusted p."""
    fields: Record = {}
    for column in columns:
        if column.text is not None:
            fields[column.name] = (column.text(line) if line else "") or None
            continue
        value = line.values.get(column.name) if line else None
        fields[column.name] = value.mean if value else None
        if column.name in ("gain", "best_gain") or column.name.startswith(OVER):
            for end in ("low", "high", "p"):
                fields[f"{column.name}_{end}"] = getattr(value, end, None)
        elif column.figure is not None:
            fields[f"{column.name}_sd"] = value.sd if value else None
        if is_latency(column.name):
            fields[f"{column.name}_beside"] = bool(value.mark) if value else None
    return fields
