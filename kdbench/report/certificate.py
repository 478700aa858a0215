"""A certificate as people read it: in words, and in the page of a committed study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.progress import clock
from kdbench.score.kept import OPEN

FILE, PICTURE = "certificate.json", "search.svg"


def in_words(report: dict[str, Any]) -> str:
    """A certificate as the terminal has it."""
    kept, latency = report["kept"], report["latency"]
    student, teacher = (100 * report["score"][name] for name in ("student", "teacher"))
    lines = [f"{report['verdict']}: student {report['student']}, teacher {report['teacher']}, "
             f"{report['rows']:,} rows, {report['units']:,} units",
             f"  {report['metric']} {student:.2f} of {teacher:.2f}: {kept_in_words(kept)}"]
    asked = report["asked"]["label_loss"] is not None
    lines += [label_in_words(row, asked) for row in report["labels"]]
    if report["calibration"]:
        lines.append("  calibration error (ECE) " + ", ".join(
            f"{name} {100 * one['ece']:.1f}, Brier {one['brier']:.3f}"
            + (f", at temperature {one['temperature']:g}" if one["temperature"] else "")
            for name, one in report["calibration"].items()))
    where = "" if latency["device"] == "cpu" else f"on {latency['device']}: "
    lines.append(f"  {where}p50 {latency['p50_ms']:.2f} ms, p95 {latency['p95_ms']:.2f} ms at "
                 f"batch 1, {latency['throughput_per_s']:,.0f} texts a second at batch 32, "
                 f"{report['megabytes']:.2f} MB, {report['peak_mb']:,.0f} MB of memory at load")
    lines += [f"  over the budget: {line}" for line in report["over"]]
    lines.append(f"  texts cut: student {report['cut']['student']:,}, teacher "
                 f"{report['cut']['teacher']:,} of {report['rows']:,}")
    over = "over test units, for these very weights"
    if report["seeds"] > 1:
        over = f"over {report['seeds']} seeds and test units, for this training"
        lines.append(f"  the delivered one of these seeds: {kept_in_words(report['delivered'])}")
    lines.append(f"  intervals of 95 % {over}")
    return "\n".join(lines)


def kept_in_words(kept: dict[str, Any]) -> str:
    """The share, its interval and the verdict."""
    if kept["share"] is None:
        return "the teacher scores 0, of which no share can be kept"
    ends = ["open" if kept[end] is None else f"{100 * kept[end]:.1f}" for end in ("low", "high")]
    said = (f"{100 * kept['share']:.1f}% kept [{ends[0]}, {ends[1]}]; at least "
            f"{100 * kept['keep']:g}%: {kept['verdict']}")
    if kept["units_to_tell"]:
        said += f" (about {kept['units_to_tell']:,} units could tell)"
    elif kept["verdict"] == OPEN and kept["seeds"] > 1:
        said += " (the seeds differ too much: more --seeds could tell, more texts could not)"
    return said


def in_points(share: float) -> str:
    """A share x 100; what rounds to 0 has no sign."""
    return f"{round(100 * share, 1) + 0.0:.1f}"


def label_in_words(row: dict[str, Any], asked: bool) -> str:
    """What is lost of one label's recall, and whether that is too much where it is asked."""
    said = (f"  {row['label']}: recall {100 * row['student']:.1f} of {100 * row['teacher']:.1f}, "
            f"{row['mentions']:,} mentions, lost {in_points(row['lost'])} "
            f"[{in_points(row['low'])}, {in_points(row['high'])}]")
    if not asked:
        return said
    return f"{said}: {row['verdict'] or 'too few mentions to be judged'}"


# ---- committed -----------------------------------------------------------------------------------


def committed(study: Path) -> Iterator[str]:
    """The blocks of a study's page on the certificates in its folders, one after another."""
    for path in sorted(study.glob(f"*/{FILE}")):
        report = json.loads(reading.text(path))
        yield f"### {path.parent.name}"
        yield f"```\n{in_words(report)}\n```"
        yield searched_in_words(report["searched"])
        yield (f"![trials and finals by latency, the time of the search, what is lost of each "
               f"label]({path.parent.name}/{PICTURE})")


def searched_in_words(searched: dict[str, Any]) -> str:
    """What a search looked at, tried and dropped."""
    shapes, trials = searched["shapes"], searched["trials"]
    if not shapes:
        return "The teacher itself keeps the budget in this form, so that nothing was searched."
    timed, whole = sum(bool(one["forms"]) for one in shapes), sum(one["whole"] for one in trials)
    lines = [f"{timed} of {len(shapes)} shapes were timed and {len(trials)} trials made, {whole} "
             f"of them to the end, in {clock(searched['seconds'])}; {FILE} has all of them. "
             "Finals:", ""]
    lines += [f"- {one['student']}, {one['method']}, as {one['form']}: "
              f"{kept_in_words(one['kept'])}; {one['p50_ms']:.2f} ms, {one['megabytes']:.1f} MB"
              for one in searched["finals"]]
    return "\n".join(lines)
