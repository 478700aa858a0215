"""Figures as text, and tables of them as markdown, LaTeX, plain text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kdbench.base.visible import csv_cell, one_line, without_html

WIDTH = 100
STRONG = "\x02"  # leads a cell that is printed bold


@dataclass(frozen=True)
class Value:
    """Mean over `n` seeds with the sample SD (None for one seed).

    A difference also has its interval, its p and a star where it is significant. `mark` follows a
    figure that stands beside others only with a reservation, which a note says.
    """

    mean: float
    sd: float | None = None
    n: int = 1
    low: float | None = None
    high: float | None = None
    p: float | None = None
    star: bool = False
    mark: str = ""

    @classmethod
    def of(cls, numbers: Iterable[float | None]) -> Value | None:
        """Mean and SD of the numbers, missing ones left out; None where all are missing."""
        present = [float(x) for x in numbers if x is not None and not math.isnan(x)]
        if not present:
            return None
        mean = math.fsum(present) / len(present)
        if len(present) == 1:
            return cls(mean)
        variance = math.fsum((x - mean)**2 for x in present) / (len(present) - 1)
        return cls(mean, math.sqrt(variance), len(present))


# ---- one figure ----------------------------------------------------------------------------------


def points(value: Value | None) -> str:
    """A score times 100, with its SD."""
    if value is None:
        return ""
    return f"{100 * value.mean:.1f}" + (f" ± {100 * value.sd:.1f}" if value.sd is not None else "")


def gain(value: Value | None) -> str:
    """A difference of scores times 100, with its interval; a star where it is significant.

    Two seeds leave one degree of freedom and an interval wider than the scale, which is not shown.
    """
    if value is None:
        return ""
    interval = ""
    if value.low is not None and value.high is not None and value.n > 2:
        interval = f" [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"
    return f"{100 * value.mean:+.1f}{interval}{'*' * value.star}"


def percent(value: Value | None) -> str:
    """A share, as 98.8%."""
    return "" if value is None else f"{100 * value.mean:.1f}%"


def count(value: Value | None) -> str:
    """Parameters, as 107.7M."""
    if value is None:
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value.mean >= size:
            return f"{value.mean / size:.1f}{unit}"
    return f"{value.mean:.0f}"


def whole(value: Value | None) -> str:
    """A whole number with separators, as 12,574."""
    return f"{value.mean:,.0f}" if value is not None else ""


def number(value: Value | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return ""
    digits = 0 if abs(value.mean) >= 99.95 else 1 if abs(value.mean) >= 9.995 else 2
    return f"{value.mean:.{digits}f}"


# ---- one table of text ---------------------------------------------------------------------------


def numeric(lines: Sequence[Sequence[str]]) -> list[bool]:
    """For each column whether it holds figures, which are aligned to the right."""

    def is_figure(text: str) -> bool:
        return text.lstrip(STRONG)[:1] in "+-0123456789"

    return [all(map(is_figure, column)) for column in zip(*lines, strict=True)]


def single_lines(cells: Iterable[str]) -> list[str]:
    """Cells of a table, each on one line."""
    return list(map(one_line, cells))


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A pipe table."""

    def cell(text: str) -> str:
        text = without_html(one_line(text)).replace("|", "\\|")
        return f"**{text[1:]}**" if text.startswith(STRONG) else text

    rows = [list(map(cell, line)) for line in (head, *lines)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = []
    for width, right in zip(widths, numeric(lines), strict=True):
        rule.append("-" * (width - right) + ":" * right)
    written = []
    for row in (rows[0], rule, *rows[1:]):
        written.append("| " + " | ".join(map(str.ljust, row, widths)) + " |")
    return "\n".join(written)


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "Δ": r"$\Delta$", "·": r"$\cdot$", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "|": r"$|$", "†": r"$\dagger$",
}


def escape(text: str) -> str:
    """`text` with what LaTeX would read as commands escaped.

    What pdflatex cannot print is written as its code point.
    """
    return "".join(LATEX.get(c) or (c if c.isascii() else f"U+{ord(c):04X}") for c in text)


def latex(head: Sequence[str], lines: Sequence[Sequence[str]], caption: str) -> str:
    """A table for `\\input`; it needs the packages booktabs and graphicx."""

    def cell(text: str) -> str:
        return rf"\textbf{{{escape(text[1:])}}}" if text.startswith(STRONG) else escape(text)

    whole = map(single_lines, (head, *lines))
    rows = [" & ".join(map(cell, line)) + r" \\" for line in whole]
    layout = "".join("lr"[right] for right in numeric(lines))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{escape(caption)}}}",
        r"\resizebox{\linewidth}{!}{%", rf"\begin{{tabular}}{{{layout}}}", r"\toprule", rows[0],
        r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}}", r"\end{table}",
    ])


def plain(head: Sequence[str], lines: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """Aligned text for a terminal, at most `width` columns wide.

    Empty columns are left out, and the first one is cut to make room.
    """
    columns = list(zip(*map(single_lines, (head, *lines)), strict=True))
    columns = [column for i, column in enumerate(columns) if i == 0 or any(column[1:])]
    rows = list(zip(*columns, strict=True))
    widths = [max(map(len, column)) for column in columns]
    widths[0] = max(8, widths[0] - max(0, sum(widths) + 2 * (len(widths) - 1) - width))
    shown = []
    for first, *rest in rows:
        first = first if len(first) <= widths[0] else first[: widths[0] - 1] + "…"
        cells = [first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]
        shown.append("  ".join(cells).rstrip())
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:]])


def text(head: Sequence[str], lines: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """A table for a terminal, at most `width` columns wide.

    Columns that do not fit are shown below, in blocks that each begin with the first column.
    """
    from tabulate import tabulate

    columns = []
    for column in zip(*map(single_lines, (head, *lines)), strict=True):
        columns.append([cell.removeprefix(STRONG) for cell in column])
    right = numeric([list(row) for row in zip(*columns, strict=True)][1:])
    widths = []
    for name, *cells in columns:
        widths.append(max(len(name) + 2, *map(len, cells)))  # tabulate's room around names
    widths[0] = min(widths[0], max(24, width // 3))
    blocks = []
    for block in blocks_of(widths, width):
        shown = [0, *block]
        names, *rows = zip(*(columns[i] for i in shown), strict=True)
        blocks.append(tabulate(rows, names, tablefmt="simple", disable_numparse=True,
                               colalign=["right" if right[i] else "left" for i in shown],
                               maxcolwidths=[widths[0], *[None] * len(block)]))
    return "\n\n".join(blocks)


def blocks_of(widths: Sequence[int], width: int) -> list[list[int]]:
    """The numbers of all columns but the first, in groups that fit beside it into `width`."""
    blocks: list[list[int]] = [[]]
    for i in range(1, len(widths)):
        beside = [0, *blocks[-1], i]
        if blocks[-1] and sum(widths[j] + 2 for j in beside) - 2 > width:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def wrap(text: str, width: int = WIDTH) -> str:
    """`text` in lines of at most `width` columns, all but the first indented."""
    return "\n".join(textwrap.wrap(text, width, subsequent_indent="  "))


# ---- data ----------------------------------------------------------------------------------------


def rounded(value: object) -> object:
    """A float with six significant digits, None for NaN and infinity; other values as they are."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def rounded_row(row: Mapping[str, object]) -> dict[str, object]:
    """A row with its figures `rounded`."""
    return {key: rounded(value) for key, value in row.items()}


def csv_row(row: Mapping[str, object]) -> dict[str, object]:
    """A row with its figures `rounded`, and texts that no spreadsheet computes."""
    return {key: csv_cell(value) for key, value in rounded_row(row).items()}


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV, with the names of the first as the header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(csv_row, rows))
    return stream.getvalue()


def as_json(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a JSON list; numbers that JSON does not have are null."""
    clean = list(map(rounded_row, rows))
    return json.dumps(clean, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
