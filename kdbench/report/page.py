"""Text with figures that come from records: `{method | student | column}` stands for a cell of a
study's tables.

`results/page.md` is a page of such text over all studies, where a figure names its study first, as
in `{my_study | my_method | minilm | test}`; `results/README.md` is made from it. In a study's own
text the first name is left out. Where a study has several tables, words of a table's title stand
before the method: `{my_task real | my_method | minilm | test}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.base.render import STRONG
from kdbench.report.columns import COLUMNS, column_named
from kdbench.report.names import unmarked
from kdbench.report.tables import Table, matrix

FIGURE = re.compile(r"\{([^{}\n]*\|[^{}]*)\}")


def filled(
    text: str, where: str, table_of: Callable[[str], Table], study: str | None = None
) -> str:
    """`text` with its figures.

    where     names the text in messages
    table_of  gives the table of a study
    study     the study whose own text this is
    """

    def figure(match: re.Match[str]) -> str:
        parts = [" ".join(part.split()) for part in match[1].split("|")]
        if study is not None:
            parts.insert(0, study)
        try:
            if len(parts) not in (4, 5):
                raise BadInput(f"write {{{'' if study else 'study | '}method | student | column}}, "
                               "with words of a table's title before the method where there are "
                               "several tables")
            title = parts.pop(1) if len(parts) == 5 else ""
            name, method, student_name, column = parts
            return cell(table_of(name), method, student_name, column, title)
        except BadInput as error:
            raise BadInput(f"{where}: {match[0]}: {error}") from None

    return FIGURE.sub(figure, text)


def cell(table: Table, method: str, student: str, column: str, title: str = "") -> str:
    """The text of one cell; the column is called as in the table or by its name in `--columns`, the
    row as in the table, with or without the mark of an earlier version.

    title  words that stand in the title of the section; empty: any section
    """
    shown = column_named(column).title if column in COLUMNS or ":" in column else column
    found, rows = [], []
    for section in table.sections:
        if not set(title.split()) <= set(section.title.replace(",", " ").split()):
            continue
        head, lines = matrix(section, table.columns)
        for texts in lines:
            line = dict(zip(head, texts, strict=True))
            rows.append(f"{line['method']} | {line['student']}")
            if method in (line["method"], unmarked(line["method"])) and line["student"] == student:
                if shown not in line:
                    raise BadInput(unknown("column", column, head))
                found.append(line[shown].removeprefix(STRONG))
    if not found:
        raise BadInput(unknown("row", f"{method} | {student}", rows))
    if len(found) > 1:
        raise BadInput(f"{len(found)} rows are called so; put words of the title of one table "
                       "before the method")
    if not found[0]:
        raise BadInput("this cell is empty")
    return found[0]
