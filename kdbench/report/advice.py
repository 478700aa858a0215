"""What to use, in sentences: the best student, whether distillation helped, the choice under each
budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kdbench.base import render as show
from kdbench.base.render import Value
from kdbench.report import plots, svg
from kdbench.report.groups import Section, naive_score
from kdbench.report.pictures import BUDGETS, Budget, label, points_of
from kdbench.report.rows import Line


def advice(section: Section) -> list[str]:
    """The sentences on one section; none where it has no scored student."""
    students = [line for line in section.lines if line.row.is_student and "test" in line.values]
    if not students:
        return []
    best = max(students, key=lambda line: line.values["test"].mean)
    floor = naive_score(section.group, "test")
    if floor is not None and best.values["test"].mean <= floor:
        return [
            "No student scores more than the naive predictor, which reads no text "
            f"({100 * floor:.1f}): nothing can be said of the methods."
        ]
    return [leaders(section, students, best), *gains(section, students), *budgets(section)]


def leaders(section: Section, students: list[Line], best: Line) -> str:
    """The students with the best score, and which do not differ significantly from them."""
    score = best.values["test"]
    equal = [label(one, section) for one in students if one.values["test"].mean == score.mean]
    rank = ""
    if len(students) > 1:
        rank = " best of the students:" if len(equal) < len(students) else " alike:"
    scores = "scores" if len(equal) == 1 else "score"
    sentence = f"{enumerated(equal)} {scores}{rank} {show.points(score)} on test"
    if kept := best.values.get("retained"):
        sentence += f", {show.percent(kept)} of the teacher's score"
    return f"{sentence}{standing(section, students, best, equal)}."


def standing(section: Section, students: list[Line], best: Line, equal: list[str]) -> str:
    """How certain the first place is."""
    if len(students) == 1:
        return ""
    if not best.tie:
        seeds = plural(len(best.row.seeds), "seed")
        return f". With {seeds} this is preliminary: no ranking can be concluded"
    tied = [label(line, section) for line in students if line.tie == "a"]
    tied = [name for name in tied if name not in equal]
    if tied:
        does_not = "It does not" if len(equal) == 1 else "They do not"
        return f". {does_not} differ significantly from {enumerated(tied)}"
    return ". No other student is as good" if len(equal) == 1 else ""


def gains(section: Section, students: list[Line]) -> list[str]:
    """Does distillation help? By the rows whose difference from plain fine-tuning was tested."""
    better: list[str] = []
    worse: list[str] = []
    unclear: list[str] = []
    for line in students:
        gain = line.values.get("gain")
        if gain is None or gain.p is None:
            continue
        verdict = unclear if not gain.star else better if gain.mean > 0 else worse
        verdict.append(label(line, section))
    same = "the same student without a teacher"
    sentences = []
    if better:
        sentences.append(f"Significantly better than {same}: {enumerated(better)}.")
    if worse:
        sentences.append(f"Significantly worse than {same}: {enumerated(worse)}.")
    if unclear:
        sentences.append(f"No significant difference from {same}: {enumerated(unclear)}.")
    return sentences


def budgets(section: Section) -> Iterable[str]:
    """One sentence a budget, along its frontier: what so much buys."""
    series = svg.series_of([label(line, section) for line in section.lines])
    for budget in BUDGETS:
        columns = budget.columns(section)
        points = points_of(section, columns[0], series) if columns else []
        bought = what_is_bought(plots.frontier(points), budget)
        if len(bought) > 1:
            yield f"What a budget of {budget.noun} buys: {'; '.join(bought)}."
        elif len({point.cost for point in points}) > 1:
            yield f"Least {budget.noun} and best score together: {bought[0]}."


def what_is_bought(frontier: Sequence[plots.Point], budget: Budget) -> list[str]:
    """What each step of a frontier costs and scores; of steps that read alike in one of both, the
    better one, so that nothing is said twice.
    """
    steps: list[tuple[str, str, str]] = []
    for point in frontier:
        amount = budget.limit.format(show.number(Value(point.cost)))
        step = (amount, f"{point.score:.1f}", point.series.name)
        if steps and steps[-1][1] == step[1]:
            continue
        if steps and steps[-1][0] == amount:
            steps.pop()
        steps.append(step)
    return [f"{amount} for {score} points ({name})" for amount, score, name in steps]


def enumerated(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number} {noun}{'s' * (number != 1)}"
