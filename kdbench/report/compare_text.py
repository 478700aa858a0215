"""A comparison of two runs as people read it."""

from __future__ import annotations

from kdbench.base import render as show
from kdbench.report.compare import Comparison, Difference
from kdbench.report.run_list import what_of
from kdbench.score.statistics import LEAST_SEEDS, Interval


def as_text(found: Comparison, limit: int, width: int) -> str:
    """Scores, intervals, and the examples on which the runs differ, up to the limit (0: all)."""
    lines = []
    for letter, record in zip("AB", found.records, strict=True):
        score = 100 * record["score"]["test"]
        lines.append(f"{letter}  {record['id'][:8]}  {what_of(record)}, seed "
                     f"{record['cell']['seed']}: {score:.1f}")
    record = found.records[0]
    lines.append(f"{record['cell']['task']}, {found.metric}, {found.rows:,} test rows")
    lines += ["", *intervals(found), ""]
    if found.unknown:
        lines.append(f"Not shown: {found.unknown}")
    if found.counts:
        lines.append(counted(found))
    shown = found.differences[: limit or None]
    lines.append(f"They differ on {len(found.differences):,} rows"
                 + (f"; the first {len(shown):,}:" if len(shown) < len(found.differences) else ":"))
    lines += [of_one(one) for one in shown]
    if len(shown) < len(found.differences):
        lines.append(f"--limit N shows more of them, --limit 0 all {len(found.differences):,}")
    return "\n".join(show.wrap(line, width) if line else "" for line in lines)


def intervals(found: Comparison) -> list[str]:
    """What can be said of the difference."""
    said = f"A - B: {100 * found.delta:+.1f} points"
    if found.students is None:
        lines = [f"{said}; no interval, as the counts behind the scores are not here or the metric "
                 "is no function of sums"]
    else:
        lines = [f"{said} {within(found.students)} for these two students on another test set of "
                 f"this size: {verdict(found.students)}"]
    if found.one_row:
        return [*lines, "Both are seeds of one configuration: the difference is one of chance"]
    if found.methods is None:
        return [*lines, "Of the methods nothing can be said: that takes further seeds of both"]
    seeds = found.methods.seeds
    line = f"Over {seeds} seeds: {100 * found.methods.delta:+.1f} {within(found.methods)}"
    if found.methods.judged:
        return [*lines, f"{line}: {verdict(found.methods)}"]
    return [*lines, f"{line}; under {LEAST_SEEDS} seeds that is no verdict"]


def within(interval: Interval) -> str:
    """The ends of an interval, in points."""
    if interval.low is None or interval.high is None:
        return "(no interval)"
    return f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def verdict(interval: Interval) -> str:
    """Whether an interval tells two scores apart."""
    return "they differ" if interval.excludes_zero else "they cannot be told apart"


def counted(found: Comparison) -> str:
    """How many rows who has right."""
    counts = found.counts
    return (f"Right: both {counts['both']:,}, A alone {counts['first']:,}, B alone "
            f"{counts['second']:,}, neither {counts['neither']:,}")


def of_one(one: Difference) -> str:
    """One example."""
    name = f"row {one.row}" + (f" ({one.id})" if one.id else "")
    marks = {"first": (" ✓", ""), "second": ("", " ✓")}.get(one.right or "", ("", ""))
    line = f"{name}: A {one.first}{marks[0]} | B {one.second}{marks[1]}"
    if one.gold is not None:
        line += f" | gold {one.gold}"
    return f"{line} | {one.text}" if one.text is not None else line
