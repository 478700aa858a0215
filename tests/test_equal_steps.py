"""Equal steps: every student of a table is trained for the same number, however many trainings its method has."""

from dataclasses import replace

import numpy as np
import pytest

import kdbench
from kdbench.base.errors import BadInput, Broken
from kdbench.models.load import Role
from kdbench.report.groups import grouped, steps_taken
from kdbench.report.tables import build
from kdbench.runs import store
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.train.equal_steps import StepBudget, shares
from kdbench.train.losses import Supervised
from kdbench.train.spec import settings
from kdbench.train.training import Training
from tests.test_identity import corpus, make_lab

SMALL = {"teacher": "tiny:bert", "student": "cut:1", "epochs": 2, "max_train_examples": 96, "max_dev_examples": 32, "latency": "off"}


@pytest.mark.parametrize("total, asked, expected", [
    (30, [16], [30]),
    (30, [104, 8, 8], [24, 3, 3]),
    (3, [500, 1, 1], [1, 1, 1]),
    (1000, [1, 1], [500, 500]),
])
def test_steps_are_shared_out_as_the_epochs_are(total, asked, expected):
    assert shares(total, asked) == expected and sum(expected) == total


def test_every_sharing_out_is_whole():
    rng = np.random.default_rng(0)
    for _ in range(300):
        asked = rng.integers(1, 900, rng.integers(1, 7)).tolist()
        total = int(rng.integers(len(asked), 3000))
        found = shares(total, asked)
        exact = [total * part / sum(asked) for part in asked]
        assert sum(found) == total and min(found) >= 1
        assert max(abs(a - b) for a, b in zip(found, exact, strict=True)) <= len(asked)


def test_fewer_steps_than_trainings_are_refused():
    with pytest.raises(BadInput, match="this method has 3 trainings, and each takes a step; give at least 3"):
        shares(2, [5, 5, 5])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Four methods of one, two and three trainings with 20 steps, and fine-tuning as it is."""
    folder = tmp_path_factory.mktemp("equal")
    for method in ("logit_kd", "tinybert", "pretrained_kd"):
        kdbench.run(method, "chemprot", results_dir=folder, steps_equal=20, **SMALL)
    return folder


def test_every_student_of_a_table_has_the_same_number_of_steps(table):
    found = {(record["cell"]["method"], record["role"]): record for record in store.records(table)}
    students = [record for (_, role), record in found.items() if role != "teacher"]
    assert len(students) == 4 and {steps_taken(record) for record in students} == {20}
    trainings = [stage for stage in found["tinybert", "method"]["cost"]["stages"] if stage["role"] == "student" and stage["steps"]]
    assert len(trainings) == 3
    teachers = [stage for record in found.values() for stage in record["cost"]["stages"]
                if stage["role"] == "teacher" and stage["name"] == "fine-tuning"]
    assert {stage["steps"] for stage in teachers} == {6} and len({stage["key"] for stage in teachers}) == 1


def test_the_teachers_row_is_its_own_and_no_other(table):
    request = {"method": "logit_kd", "task": "chemprot", "teacher": "tiny:bert", "student": "cut:1"}
    given = {name: value for name, value in SMALL.items() if name not in request}
    plain, equal = (plan(Request(**request, settings={**given, **more}), device="cpu") for more in ({}, {"steps_equal": 20}))
    assert plain[0].role == equal[0].role == "teacher" and plain[0].id == equal[0].id
    assert not {cell.id for cell in plain[1:]} & {cell.id for cell in equal[1:]}


def test_the_table_says_it(table):
    section, = build(list(store.records(table))).sections
    assert "equal training: 20 steps for every student" in section.caption
    records = list(store.records(table))
    for record in records:
        if record["cell"]["method"] == "finetune" and record["role"] != "teacher":
            del record["cell"]["settings"]["steps_equal"]
            record["cost"]["stages"][-1]["steps"] = 6
    group, = grouped(records)
    assert group.student_steps == ["students took 6 to 20 steps"]


def test_a_rehearsal_leaves_nothing(table):
    kept = {stage["key"] for record in store.records(table) for stage in record["cost"]["stages"]}
    kept |= {record["artefact"] for record in store.records(table)}
    assert {folder.name for folder in (table / "models").iterdir()} <= kept


def test_what_its_rehearsal_asked_is_a_cells_own(table):
    """Else a search takes the seconds of the teacher's answers for those of every further trial."""
    asked = {record["cell"]["method"]: stage["cached"] for record in store.records(table) if record["role"] != "teacher"
             for stage in record["cost"]["stages"] if stage["name"] == "signals"}
    assert asked == {"logit_kd": False, "tinybert": True, "pretrained_kd": True}


def test_as_many_steps_as_it_takes_anyway_give_the_same_student(tmp_path):
    """3 steps an epoch, 2 epochs: the budget of 6 changes nothing."""
    made = []
    for more in ({}, {"steps_equal": 6}):
        folder = tmp_path / str(len(made))
        kdbench.run("logit_kd", "chemprot", results_dir=folder, **SMALL, **more)
        made.append({record["cell"]["method"] + record["role"]: (record["score"], [one["dev"] for one in record["curves"] if "dev" in one])
                     for record in store.records(folder)})
    assert made[0] == made[1] and made[0]["logit_kdmethod"][1]


def test_it_goes_with_no_other_limit_of_steps():
    task = plan(Request("finetune", "chemprot", "tiny:bert", "tiny:bert"), device="cpu")[-1].task
    with pytest.raises(BadInput, match="--steps-equal and --max-steps both say"):
        settings({"steps_equal": 10, "max_steps": 10}, task, lookalike=True)
    assert settings({"steps_equal": 40}, task, lookalike=True, most=10).max_steps is None


def budgeted(tmp_path, total=8):
    lab = make_lab(tmp_path, corpus())
    lab.budget = StepBudget(total, "a cell")
    return lab


def test_what_the_rehearsal_did_not_have_is_refused(tmp_path):
    lab = budgeted(tmp_path)
    lab.train(lab.student(), Supervised("single"), stage="a")
    lab.budget.rehearsed = True
    lab.train(lab.student(), Supervised("single"), stage="a")
    with pytest.raises(Broken, match="training 2 of the student is one more than its rehearsal had"):
        lab.train(lab.student(), Supervised("single"), stage="b")


def test_what_the_rehearsal_had_and_does_not_come_is_refused(tmp_path):
    budget = StepBudget(50, "a cell", [10, 30], rehearsed=True)
    budget.next(Role.STUDENT)
    with pytest.raises(Broken, match="1 trainings of the student, and its rehearsal had 2"):
        budget.check_spent()
    budget.next(Role.STUDENT)
    budget.check_spent()


@pytest.mark.parametrize("epochs", [1, 1.0, 0.5, 0.01, 2.4, 3])
@pytest.mark.parametrize("tokens", [None, 16])
def test_a_fraction_of_an_epoch_is_a_part_of_its_steps(epochs, tokens, tmp_path):
    lab = make_lab(tmp_path, corpus(), batch_tokens=tokens, batch_size=2)
    lab.train(lab.student(), Supervised("single"), stage="whole", epochs=1)
    lab.train(lab.student(), Supervised("single"), stage="a", epochs=epochs)
    each, steps = (stage["steps"] for stage in lab.stages)
    assert each > 4 and abs(steps - max(1, epochs * each)) <= (0.5 if tokens is None else 1.5)


def test_a_whole_number_of_epochs_is_found_again_however_it_is_written(tmp_path):
    lab = make_lab(tmp_path, corpus())
    for epochs in (2, 2.0):
        lab.train(lab.student(), Supervised("single"), stage="a", epochs=epochs)
    assert [stage["cached"] for stage in lab.stages] == [False, True]


def test_teachers_and_what_stands_for_published_weights_are_not_counted(tmp_path):
    lab = budgeted(tmp_path)
    lab.train(replace(lab.student(), role=Role.TEACHER), Supervised("single"), stage="a", epochs=2)
    lab.train(lab.student(), Supervised("single"), stage="b", counted=False, epochs=3)
    assert lab.budget.asked == [] and lab.stages[0]["steps"] > 1 and lab.stages[1]["steps"] > 1
    lab.train(lab.student(), Supervised("single"), stage="c", epochs=4)
    assert lab.budget.asked == [4 * lab.stages[0]["steps"] // 2] and lab.stages[2]["steps"] == 1


def test_a_control_that_the_method_adds_has_all_steps_for_itself():
    budget = StepBudget(50, "a cell", [10, 30], rehearsed=True)
    assert [budget.next(role) for role in (Role.STUDENT, Role.CONTROL, Role.STUDENT)] == [13, 50, 37]


def test_a_rehearsal_measures_nothing_on_dev():
    budget = StepBudget(50, "a cell")
    training = budget.rehearse(Training(select="best", eval_steps=3, patience=2), Role.STUDENT, 12)
    assert (training.select, training.eval_steps, training.patience) == ("last", None, None) and budget.asked == [12]


def test_a_rehearsal_is_found_by_no_other_cell(tmp_path):
    keys = []
    for owner in ("a cell", "another"):
        lab = budgeted(tmp_path)
        lab.budget.owner = owner
        keys.append(lab.train(lab.student(), Supervised("single"), stage="a").key)
    plain = make_lab(tmp_path, corpus(), max_steps=1)
    keys.append(plain.train(plain.student(), Supervised("single"), stage="a", select="last").key)
    assert len(set(keys)) == 3 and lab.budget.trained == [keys[1]]
