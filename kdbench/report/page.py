"""Text with figures that come from records: `{method | student | column}` stands for a cell of a
study's tables.

`results/page.md` is a page of such text over all studies, where a figure names its study first, as
in `{my_study | my_method | minilm | test}`; `results/README.md` is made from it. In a study's own
text the first name is left out.
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
            if len(parts) != 4:
                raise BadInput(f"write {{{'' if study else 'study | '}method | student | column}}")
            return cell(table_of(parts[0]), *parts[1:])
        except BadInput as error:
            raise BadInput(f"{where}: {match[0]}: {error}") from None

    return FIGURE.sub(figure, text)


def cell(table: Table, method: str, student: str, column: str) -> str:
    """The text of one cell; the column is called as in the table or by its name in `--columns`, the
    row as in the table, with or without the mark of an earlier version.
    """
    title = column_named(column).title if column in COLUMNS or ":" in column else column
    found, rows = [], []
    for section in table.sections:
        head, lines = matrix(section, table.columns)
        for texts in lines:
            line = dict(zip(head, texts, strict=True))
            rows.append(f"{line['method']} | {line['student']}")
            if method in (line["method"], unmarked(line["method"])) and line["student"] == student:
                if title not in line:
                    raise BadInput(unknown("column", column, head))
                found.append(line[title].removeprefix(STRONG))
    if not found:
        raise BadInput(unknown("row", f"{method} | {student}", rows))
    if len(found) > 1:
        raise BadInput(f"{len(found)} rows are called so")
    if not found[0]:
        raise BadInput("this cell is empty")
    return found[0]
