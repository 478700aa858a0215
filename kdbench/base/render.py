"""Figures as people read them, and tables of them as markdown, LaTeX, plain text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 100
STRONG = "\x02"  # leads a cell that is printed bold


@dataclass(frozen=True)
class Value:
    """Mean over `n` seeds with the sample SD (None for one seed); of a difference also its interval
    and verdict.
    """

    mean: float
    sd: float | None = None
    n: int = 1
    low: float | None = None
    high: float | None = None
    p: float | None = None
    star: bool = False

    @classmethod
    def of(cls, numbers: Iterable[float | None]) -> Value | None:
        """Mean and SD of the numbers that are there; None where there is none."""
        present = [float(x) for x in numbers if x is not None and not math.isnan(x)]
        if not present:
            return None
        mean = math.fsum(present) / len(present)
        if len(present) == 1:
            return cls(mean)
        return cls(mean, math.sqrt(math.fsum((x - mean)**2 for x in present) / (len(present) - 1)),
                   len(present))


# ---- one figure ----------------------------------------------------------------------------------


def points(value: Value | None) -> str:
    """A score times 100, with its SD."""
    if value is None:
        return ""
    return f"{100 * value.mean:.1f}" + (f" ± {100 * value.sd:.1f}" if value.sd is not None else "")


def gain(value: Value | None) -> str:
    """A difference of scores times 100, with its interval; a star where it is separable from 0.

    Two seeds leave one degree of freedom, and an interval wider than the scale: it is not shown.
    """
    if value is None:
        return ""
    interval = ""
    if value.low is not None and value.high is not None and value.n > 2:
        interval = f" [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"
    return f"{100 * value.mean:+.1f}{interval}{'*' * value.star}"


def percent(value: Value | None) -> str:
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
    return f"{value.mean:,.0f}" if value is not None else ""


def number(value: Value | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return ""
    digits = 0 if abs(value.mean) >= 99.95 else 1 if abs(value.mean) >= 9.995 else 2
    return f"{value.mean:.{digits}f}"


# ---- one table of text ---------------------------------------------------------------------------


def numeric(lines: Sequence[Sequence[str]]) -> list[bool]:
    """For each column whether it holds figures, which are set to the right."""
    return [
        all(text.lstrip(STRONG)[:1] in "+-0123456789"
            for text in texts)
        for texts in zip(*lines, strict=True)
    ]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A pipe table."""

    def cell(text: str) -> str:
        text = text.replace("|", "\\|")
        return f"**{text[1:]}**" if text.startswith(STRONG) else text

    rows = [[cell(text) for text in line] for line in (head, *lines)]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(head))]
    rule = [
        "-" * (width - right) + ":" * right
        for width, right in zip(widths, numeric(lines), strict=True)
    ]
    return "\n".join("| " + " | ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)) + " |"
                     for row in (rows[0], rule, *rows[1:]))


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "Δ": r"$\Delta$", "·": r"$\cdot$", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "|": r"$|$",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands; what pdflatex cannot print is shown as its code
    point.
    """
    return "".join(LATEX.get(c) or (c if c.isascii() else f"U+{ord(c):04X}") for c in text)


def latex(head: Sequence[str], lines: Sequence[Sequence[str]], caption: str) -> str:
    """A table for `\\input`; it needs the packages booktabs and graphicx."""

    def cell(text: str) -> str:
        return rf"\textbf{{{escape(text[1:])}}}" if text.startswith(STRONG) else escape(text)

    rows = [" & ".join(map(cell, line)) + r" \\" for line in (head, *lines)]
    layout = "".join("lr"[right] for right in numeric(lines))
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{escape(caption)}}}",
        r"\resizebox{\linewidth}{!}{%", rf"\begin{{tabular}}{{{layout}}}", r"\toprule", rows[0],
        r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}}", r"\end{table}",
    ])


def plain(head: Sequence[str], lines: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """Aligned text for a terminal, at most `width` wide: empty columns go, the first one gives
    way.
    """
    used = [i for i in range(len(head)) if i == 0 or any(line[i] for line in lines)]
    rows = [[line[i] for i in used] for line in (head, *lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(used))]
    widths[0] = max(8, widths[0] - max(0, sum(widths) + 2 * (len(widths) - 1) - width))
    shown = []
    for first, *rest in rows:
        first = first if len(first) <= widths[0] else first[: widths[0] - 1] + "…"
        cells = [
            first.ljust(widths[0]),
            *(text.rjust(w) for text, w in zip(rest, widths[1:], strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:]])


def text(head: Sequence[str], lines: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """A table for a terminal: what does not fit beside goes below, in blocks that each begin with
    the first column.
    """
    from tabulate import tabulate

    rows = [[cell.removeprefix(STRONG) for cell in line] for line in lines]
    right = numeric(rows)
    # tabulate's room around names
    widths = [max(len(name) + 2, *(len(row[i]) for row in rows)) for i, name in enumerate(head)]
    widths[0] = min(widths[0], max(24, width // 3))
    blocks: list[list[int]] = [[]]
    for i in range(1, len(head)):
        if blocks[-1] and sum(widths[j] + 2 for j in (0, *blocks[-1], i)) - 2 > width:
            blocks.append([])
        blocks[-1].append(i)
    return "\n\n".join(
        tabulate([[row[j]
                   for j in (0, *block)]
                  for row in rows], [head[j]
                                     for j in (0,
                                               *block)], tablefmt="simple", disable_numparse=True,
                 colalign=["right" if right[j] else "left"
                           for j in (0, *block)], maxcolwidths=[widths[0], *[None] * len(block)])
        for block in blocks)


def wrap(text: str, width: int = WIDTH) -> str:
    return "\n".join(textwrap.wrap(text, width, subsequent_indent="  "))


# ---- data ----------------------------------------------------------------------------------------


def rounded(value: Any) -> Any:
    """Six significant digits; None for what is no number."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: rounded(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    clean = [{key: rounded(value) for key, value in row.items()} for row in rows]
    return json.dumps(clean, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
