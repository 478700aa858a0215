"""Few labels: who keeps theirs, what becomes of the rest, and what tables and pictures say of it."""

import json
from collections import Counter
from dataclasses import replace

import pytest

import kdbench
from kdbench.base.errors import BadInput
from kdbench.data.few_labels import data_of, quotas, with_few_labels
from kdbench.data.task import Data, Example
from kdbench.models.common_words import texts_to_learn
from kdbench.report import label_curves
from kdbench.report.comparability import less_training
from kdbench.report.groups import grouped
from kdbench.report.html import report
from kdbench.report.tables import build
from kdbench.runs import store
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from tests import factory


def corpus(labels, words=False):
    examples = tuple(Example(str(i), f"text {i}", words=("a", "b") if words else (), label=label) for i, label in enumerate(labels))
    return Data(examples, examples[:4], examples[:4], ("O", "B-GENE", "B-DRUG") if words else ("a", "b", "c"))


SINGLE = corpus([0] * 60 + [1] * 30 + [2] * 10)


def test_draws_are_stratified_by_seed_and_grow():
    drawn = with_few_labels(SINGLE, 20, 3)
    assert Counter(example.label for example in drawn.train) == {0: 12, 1: 6, 2: 2}
    assert drawn == with_few_labels(SINGLE, 20, 3) and drawn.train != with_few_labels(SINGLE, 20, 4).train
    assert set(drawn.train) < set(with_few_labels(SINGLE, 50, 3).train)
    assert [int(e.id) for e in drawn.train] == sorted(int(e.id) for e in drawn.train), "the order of the file"
    assert drawn.dev == SINGLE.dev and drawn.test == SINGLE.test


def test_the_rest_has_no_labels_and_everything_else():
    drawn = with_few_labels(SINGLE, 20, 0)
    assert len(drawn.rest) == 80 and all(example.label is None for example in drawn.rest)
    assert {e.text for e in drawn.rest} | {e.text for e in drawn.train} == {e.text for e in SINGLE.train}
    assert texts_to_learn(drawn, 1).__len__() == 100


def test_a_rare_label_is_among_few():
    assert Counter(e.label for e in with_few_labels(corpus([0] * 96 + [1] * 3 + [2]), 4, 0).train) == {0: 2, 1: 1, 2: 1}


@pytest.mark.parametrize(("sizes", "count", "found"), [
    ([60, 30, 10], 20, [12, 6, 2]), ([1, 1, 98], 3, [1, 1, 1]), ([50, 50], 1, [1, 0]), ([5, 4, 3], 2, [1, 1, 0]), ([7], 3, [3]), ([1, 2, 3], 6, [1, 2, 3]),
])
def test_quotas(sizes, count, found):
    assert quotas(sizes, count) == found and sum(found) == count


@pytest.mark.parametrize("labels", [
    [float(i) for i in range(50)], [(i % 2, i % 5 == 0) for i in range(50)],
])
def test_scores_and_several_labels(labels):
    drawn = with_few_labels(corpus(labels), 10, 1)
    kept = [example.label for example in drawn.train]
    assert len(kept) == 10
    if isinstance(kept[0], float):
        assert sum(label < 25 for label in kept) == 5
    else:
        assert Counter(kept) == {(0, False): 4, (1, False): 4, (0, True): 1, (1, True): 1}


def test_tags_are_drawn_by_their_types():
    drawn = with_few_labels(corpus([(0, 0)] * 60 + [(1, 0)] * 30 + [(2, 1)] * 10, words=True), 10, 0)
    assert Counter(example.label for example in drawn.train) == {(0, 0): 6, (1, 0): 3, (2, 1): 1}


@pytest.mark.parametrize("count", [100, 101])
def test_as_many_as_there_are_is_refused(count):
    with pytest.raises(BadInput, match="100 labelled examples"):
        with_few_labels(SINGLE, count, 0)


def test_examples_without_labels_stay_unlabelled():
    data = replace(SINGLE, train=(*SINGLE.train, Example("x", "no label")))
    assert with_few_labels(data, 99, 0).rest[-1].text == "no label"


# ---- cells ----------------------------------------------------------------------------------------


def planned(method="logit_kd", seeds=(0, 1), **settings):
    request = Request(method, "chemprot", "tiny:bert", "tiny:bert", settings={"latency": "off", **settings}, seeds=seeds)
    return plan(request, device="cpu")


def test_cells_of_few_labels():
    cells = planned(labels=40)
    by = {(cell.role, cell.method_name, cell.seed): cell for cell in cells}
    assert len({cell.id for cell in cells}) == len(cells)
    for seed in (0, 1):
        one, control = by["method", "logit_kd", seed], by["control", "finetune", seed]
        assert one.data == control.data and len(one.data.train) == 40
        assert one.unlabelled == one.data.rest and control.unlabelled == ()
        assert one.description["settings"]["labels"] == 40 and not one.own_unlabelled
    assert by["method", "logit_kd", 0].data.train != by["method", "logit_kd", 1].data.train
    plain = planned()[0].description["settings"]
    assert "labels" not in plain, "ids of other cells stay"


def test_of_the_rest_a_file_teaches_what_it_answers(tmp_path):
    whole = planned(seeds=(0,))[-1].data.train
    answered = {example.text for example in whole[::2]}
    lines = [json.dumps({"text": text, "label": "CPR:3"}) + "\n" for text in sorted(answered)]
    (tmp_path / "answers.jsonl").write_text("".join(lines))
    request = Request("logit_kd", "chemprot", f"predictions:{tmp_path / 'answers.jsonl'}", "tiny:bert",
                      settings={"latency": "off", "labels": 40}, teacher_options={"missing": 1})
    cell = plan(request, device="cpu")[-1]
    assert cell.role == "method" and cell.unlabelled and {e.text for e in cell.unlabelled} <= answered
    assert len(cell.unlabelled) == len({e.text for e in cell.data.rest} & answered)


def test_a_run_its_record_and_its_table(tmp_path):
    made = dict(teacher="tiny:bert", student="tiny:bert", epochs=1, max_steps=2, latency="off", labels=40, results_dir=tmp_path)
    kdbench.run("logit_kd", "chemprot", seeds=[0, 1], **made)
    records = list(store.records(tmp_path))
    group, = grouped(records)
    assert {row.method: sorted(row.records) for row in group.students} == {"logit_kd": [0, 1], "finetune": [0, 1]}
    section, = build(records).sections
    assert "40 training labels, drawn anew for every seed; the rest is unlabelled text, dev has all of its labels" in section.caption
    from kdbench.runs.planning import load_data

    whole = load_data("chemprot", None, (), ())[1]
    for record in records:
        again = data_of(whole, record["cell"]["settings"], record["cell"]["seed"])
        assert again.digests == record["content"]["data"], "what `verify` and `evaluate` read"
    assert "40" in less_training(group.rows[0])


def test_test_texts_among_the_unlabelled_are_told(tmp_path, capsys):
    test = planned(seeds=(0,))[-1].data.test
    (tmp_path / "texts.txt").write_text("".join(f"{example.text}\n" for example in test[:3]) + "another\n")
    request = Request("logit_kd", "chemprot", "tiny:bert", "tiny:bert", settings={"latency": "off"}, unlabelled=tmp_path / "texts.txt")
    plan(request, device="cpu")
    assert "3 of 4 texts without labels are texts of test" in capsys.readouterr().err


# ---- the picture ----------------------------------------------------------------------------------


def study(counts, **more):
    made = []
    for count in counts:
        for seed in range(3):
            for method in ("finetune", "logit_kd"):
                settings = {"epochs": 3, **({"labels": count} if count else {})}
                rows = {"train": count or 2000, "dev": 400, "test": 400}
                data = {"kind": "lookalike", "rows": rows, "sha256": {"test": "ab"}, "published_files": None, "unit": "abstract", "notes": []}
                content = {"data": {"train": f"{count}-{seed}", "rest": f"r{seed}", "drawn_from": "w", "dev": "d", "test": "t", "labels": "l"}}
                made.append(factory.record(method, seed=seed, settings=settings, data=data, content=content, **more))
    return made


def test_a_curve_for_each_row():
    found, = label_curves.curves(build(study([50, 100, None])).sections)
    assert [one.name for one in found.series] == ["finetune", "logit_kd"] and "chemprot" in found.title
    points = label_curves.points_of([section.group for section in build(study([50, 100, None])).sections])
    assert {tuple(point.labels for point in each) for each in points.values()} == {(50, 100, 2000)}
    for text in ("50", "100", "2000", "training labels"):
        assert f">{text}<" in found.picture
    assert 'id="labels"' in report(study([50, 100]))


def test_no_curve_of_one_number_or_without_few_labels():
    assert label_curves.curves(build(study([50])).sections) == []
    assert 'id="labels"' not in report(study([None]))
