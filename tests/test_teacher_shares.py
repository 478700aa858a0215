"""What a student keeps of its teacher is given where there is something to keep, and is questioned where it is too much."""

import pytest
from factory import record, study

from kdbench.report.across import across
from kdbench.report.tables import build, render, run_table


def with_scores(teacher, student=0.7, naive=0.12, metric="micro_f1"):
    made = [record("finetune", role="teacher"), record("finetune"), record("doktra")]
    for one, test in zip(made, (teacher, student, student), strict=True):
        one["score"].update(test=test, metric=metric, naive={"dev": 0.1, "test": naive})
    return made


@pytest.mark.parametrize(("teacher", "shown", "noted"), [
    (0.8, True, ""), (0.67, True, ""), (0.66, True, "kept is above 105%"), (0.121, True, "kept is above 105%"),
    (0.12, False, "the teacher bert-teacher scores 12.0 on test and the naive predictor 12.0"), (0.05, False, "no share of the teacher's score is given"),
])
def test_a_share_is_given_of_a_teacher_that_reads(teacher, shown, noted):
    table = build(with_scores(teacher))
    assert all(("retained" in line.values) == shown for line in table.sections[0].lines)
    notes = [note for note in table.notes if "kept is above" in note or "no share" in note]
    assert len(notes) == bool(noted) and noted in "".join(notes)
    small = " ".join(run_table(with_scores(teacher)).split())
    assert (noted in small) if noted else ("kept is above" not in small and "no share" not in small)
    assert ("100.0%" in small) == shown
    if "105%" in noted:
        assert "(finetune" in notes[0] and "doktra" in notes[0] and "--teacher-labels" in notes[0]
    assert all(noted in render(build(with_scores(teacher)), form).replace("\\%", "%") for form in ("markdown", "latex"))


def test_of_a_figure_that_is_to_be_low_a_low_one_is_good():
    table = build(with_scores(0.05, 0.06, 0.25, "brier"))
    assert all("retained" in line.values for line in table.sections[0].lines) and not any("kept is" in note for note in table.notes)
    assert not any("retained" in line.values for line in build(with_scores(0.3, 0.06, 0.25, "brier")).sections[0].lines)


def test_figures_over_tasks_leave_such_a_teacher_out():
    made = study(tasks=("chemprot", "gad"))
    assert all(row.kept for row in across(build(made).sections))
    for one in made:
        if one["role"] == "teacher" and one["cell"]["task"] == "gad":
            one["score"]["test"] = 0.05
    assert not any(row.kept for row in across(build(made).sections))
