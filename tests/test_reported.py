"""Published figures beside ours: like with like, and the reason where nothing can be compared."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest
from factory import record, study

from kdbench.base.errors import BadInput
from kdbench.base.registry import ANY, METHODS, TASKS, Entry
from kdbench.report import reported
from kdbench.report.comparability import published_requests
from kdbench.score.metrics import METRICS

FILE = Path(__file__).resolve().parent.parent / "results" / "reported.csv"
VAL = "b3d85136f296af8cda67c80917d5e29366e99eb36b497db15edf5c6f7789d199"  # val.tsv of the published BC2GM files


@pytest.fixture(scope="module")
def figures():
    return reported.load(FILE)


def gene_runs(tokens=(0.82, 0.825, 0.83), cell=None, options=None, **changes):
    """Runs of the distilled BiLSTM on BC2GM's files; val.tsv is the test set, as the task reads them."""
    runs = []
    for seed, token_f1 in enumerate(tokens):
        chosen = {
            "augment": ["label_wise", "mention", "shuffle"],
            "copies": 6,
            "distillation": True,
            "head": None,
            "hidden": None,
            "embedding": None,
            "p_shuffle": 1.0,
            "epochs": 30,
            **(options or {}),
        }
        made = record(
            "ner_kd",
            "bc2gm_iobes",
            seed,
            **{
                "student": "bilstm",
                "variant": "published",
                "teacher": "biobert",
                **(cell or {}),
                "options": chosen,
            },
        )
        made["data"] = {"kind": "real", "rows": {"train": 11317, "dev": 1257, "test": 2519}, "published_files": True,
                        "sha256": {"train": "aa", "test": VAL}, "unit": "sentence", "notes": [], **changes}
        made["score"] = {"metric": "entity_f1_strict", "dev": 0.7, "test": 0.71, "naive": {}, "all": {
            "dev": {"entity_f1_strict": 0.7, "piece_tag_micro_f1": 0.5},
            "test": {"entity_f1_strict": 0.71, "piece_tag_micro_f1": token_f1}}}
        runs.append(made)
    return runs


def of(found, system):
    return [c for c in found if c.reported.system.startswith(system)]


# ---- the file --------------------------------------------------------------------------------------------------------


def test_every_row_has_a_source_and_names_that_exist(figures):
    assert len(figures) >= 464
    assert sum(row.source.startswith("MobileBERT") for row in figures) == 4
    (best,) = (row for row in figures if row.corpora == ("jnlpba",) and row.value == 79.97)
    assert best.not_comparable
    for row in figures:
        assert row.where and row.certainty in ("paper", "readme", "abstract", "third party", "derived")
        assert all(task in TASKS for task in row.corpora)
        if row.task:
            assert row.task in row.corpora and row.metric in METRICS and row.split in ("dev", "test") and row.protocol
        for method in filter(None, row.method.split("|")):
            names = {field.name for field in dataclasses.fields(METHODS.get(method).Options)}
            assert method == "finetune" or set(row.options) <= names, "options that the method has"
        if row.corpora:
            assert row.not_comparable or row.task, "either we have the protocol or we say why not"


@pytest.mark.parametrize("change, message", [
    (lambda rows: rows[0].update(value="about 3"), "line 2: value 'about 3' is no number"),
    (lambda rows: rows[1].update(where=""), "line 3: no source"),
])
def test_a_row_without_figure_or_source_is_refused(tmp_path, change, message):
    with FILE.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[:3]
    change(rows)
    with (tmp_path / "r.csv").open("w", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(BadInput, match=message):
        reported.load(tmp_path / "r.csv")


def test_a_missing_file_or_column_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        reported.load(tmp_path / "none.csv")
    (tmp_path / "r.csv").write_text("source,value\na,1\n")
    with pytest.raises(BadInput, match="line 1: no column"):
        reported.load(tmp_path / "r.csv")


# ---- the verdicts ----------------------------------------------------------------------------------------------------


def test_bc2gm_readme_is_compared_by_its_own_metric_and_not_with_entity_f1(figures):
    found = of(reported.against(gene_runs(), figures), "BiLSTM e300 h300 c256 distilled, 262K")
    like, other = found
    assert like.verdict == "consistent" and like.ours.mean == pytest.approx(0.825)
    assert "piece_tag_micro_f1 on test (their dev)" in like.why, "found by the checksum of val.tsv, not by its name"
    assert other.verdict == "not comparable" and other.ours is None
    assert "word pieces on val.tsv" in other.why and "entity_f1_strict on test" in other.why


def test_bc2gm_readme_beside_the_blurb_files_says_why_not(figures):
    records = study(tasks=("bc2gm",), score={"metric": "entity_f1", "dev": 0.8, "test": 0.8, "naive": {}, "all": {}})
    found = of(reported.against(records, figures), "BiLSTM e300 h300 c256 distilled, 262K")
    assert {c.verdict for c in found} == {"not comparable"}
    assert "word pieces" in found[0].why and "entity_f1 on test of bc2gm" in found[0].why


@pytest.mark.parametrize("tokens, verdict", [
    ((0.82, 0.825, 0.83), "consistent"), ((0.70, 0.701, 0.702), "above"), ((0.90, 0.901, 0.902), "below"),
    ((0.82,), "one run"),
])
def test_verdict_is_the_papers_place_beside_our_prediction_interval(figures, tokens, verdict):
    found = of(reported.against(gene_runs(tokens), figures), "BiLSTM e300 h300 c256 distilled, 262K")
    assert found[0].verdict == verdict


def test_other_amounts_of_augmentation_stand_for_other_rows(figures):
    found = reported.against(gene_runs(), figures)
    assert of(found, "BiLSTM e300 h300 c256 distilled, 56K")[0].verdict == "not run"
    assert of(found, "TinyBERT")[0].verdict == "not run"
    assert of(found, "BiLSTM e300 h300 c256, no distillation, 262K")[0].verdict == "not run"
    assert of(found, "BiLSTM e300 h200 c256 distilled")[0].verdict == "not run", "another width"


@pytest.mark.parametrize("change, why", [
    ({"kind": "lookalike"}, "look-alike data"),
    ({"published_files": False}, "other files than the published ones"),
    ({"sha256": {"test": "another file"}}, "neither dev nor test"),
])
def test_other_data_are_not_comparable(figures, change, why):
    found = of(reported.against(gene_runs(**change), figures), "BiLSTM e300 h300 c256 distilled, 262K")
    assert found[0].verdict == "not comparable" and why in found[0].why


def test_a_run_on_further_sentences_stands_for_no_published_figure(figures):
    runs = gene_runs()
    for run in runs:
        run["cell"]["settings"]["unlabelled"] = 1000
    assert of(reported.against(runs, figures), "BiLSTM e300 h300 c256 distilled, 262K")[0].verdict == "not run"


def test_a_model_that_we_have_no_name_for_is_none_of_ours(figures):
    runs = study(tasks=("chemprot",), teacher="biobert")
    for run in runs:
        run["data"] = {"kind": "real", "published_files": True, "rows": {}, "sha256": {}}
    found = of(reported.against(runs, figures), "PubMedBERT-uncased (abstracts+PMC, longer")
    assert [c.verdict for c in found] == ["not run"]


def test_fewer_training_rows_are_not_comparable(figures):
    runs = gene_runs()
    for run in runs:
        run["cell"]["settings"]["max_train_examples"] = 1500
    found = of(reported.against(runs, figures), "BiLSTM e300 h300 c256 distilled, 262K")
    assert found[0].verdict == "not comparable" and "1,500" in found[0].why


@pytest.mark.parametrize(
    "cell, options, why",
    [
        (
            {"variant": "corrected"},
            {},
            "theirs: what the authors' code computes; here: the corrected variant",
        ),
        ({"teacher": "minilm"}, {}, "theirs: teacher biobert; here: minilm"),
        ({}, {"p_shuffle": 0.5}, "theirs: p_shuffle 1.0; here: 0.5"),
        ({}, {"epochs": 50}, "theirs: epochs 30; here: 50"),  # as other figures of the table
    ],
)
def test_another_variant_teacher_or_option_is_not_the_published_one(figures, cell, options, why):
    found = of(
        reported.against(gene_runs(cell=cell, options=options), figures),
        "BiLSTM e300 h300 c256 distilled, 262K",
    )
    assert [(c.verdict, c.ours, c.why) for c in found] == [("not comparable", None, why)]


def test_another_student_stands_for_no_figure(figures):
    found = reported.against(gene_runs(cell={"student": "cut:3"}), figures)
    assert of(found, "BiLSTM e300 h300 c256 distilled, 262K")[0].verdict == "not run"
    assert of(found, "TinyBERT")[0].verdict == "not run"


def test_a_baseline_over_another_teachers_word_pieces_is_not_the_published_one(figures):
    def told(teacher):
        runs = gene_runs()
        for run in runs:
            run["cell"].update(method="finetune", teacher=teacher, options={}, variant="corrected")
        return of(reported.against(runs, figures), "BiLSTM e300 h300 c256, no distillation, 15K")[0]

    assert told("dmis-lab/biobert-base-cased-v1.1").ours is not None, (
        "the same model by another name"
    )
    assert told("minilm").why == "theirs: teacher biobert; here: minilm"


def test_a_control_has_no_published_reading(figures, monkeypatch):
    """Also one that a plugin registers: its variant says nothing."""
    (figure, *_) = (f for f in figures if f.system.startswith("BiLSTM e300 h300 c256, no distillation, 15K"))
    mine = dataclasses.replace(figure, method="mine", options={})
    runs = gene_runs()
    for run in runs:
        run["cell"].update(method="mine", teacher=None, options={}, variant="corrected")
    other = reported.against(runs, [mine])
    assert "the corrected variant" in other[0].why
    entry = Entry("mine", "nowhere:Mine", ANY, control="my control")
    monkeypatch.setitem(METHODS._entries, "mine", entry)
    assert reported.against(runs, [mine])[0].ours is not None


def test_every_figure_of_a_method_is_in_a_suite_that_says_how_it_is_made(figures):
    planned = published_requests()
    for row in figures:
        if row.task and row.method not in ("", "finetune"):
            requests = planned[row.system, row.value]
            assert all(
                request.variant == "published" and request.teacher for request in requests
            ), row.system


def test_a_figure_that_no_suite_makes_says_nothing_of_its_teacher(figures):
    mine = dataclasses.replace(
        next(f for f in figures if f.system == "BiLSTM e300 h300 c256 distilled, 262K"),
        system="mine",
    )
    found = reported.against(gene_runs(), [mine])
    assert found[0].ours is None and "with which teacher" in found[0].why


def test_trainings_cut_short_are_not_comparable(figures):
    runs = gene_runs()
    for run in runs:
        run["cell"]["settings"]["max_steps"] = 20
    found = of(reported.against(runs, figures), "BiLSTM e300 h300 c256 distilled, 262K")
    assert found[0].verdict == "not comparable" and "at most 20 steps" in found[0].why


def test_hoc_by_sentences_is_not_hoc_by_abstracts(figures):
    def runs(level):
        made = study(tasks=("hoc",), task_options={"level": level}, teacher="biobert")
        for run in made:
            run["data"] = {"kind": "real", "published_files": True, "rows": {}, "sha256": {}}
            run["score"] = {"metric": "document_micro_f1", "dev": 0.8, "test": 0.8, "naive": {},
                            "all": {"test": {"document_micro_f1": 0.8 + run["cell"]["seed"] / 200}}}
        return of(reported.against(made, figures), "BioBERT")

    assert {c.verdict for c in runs("sentence")} == {"not comparable"}
    assert {c.verdict for c in runs("abstract")} == {"consistent"}


# ---- shown -----------------------------------------------------------------------------------------------------------


def test_every_format_parses(figures):
    import pandas

    found = reported.against(gene_runs(), figures)
    from_csv = pandas.read_csv(io.StringIO(reported.render(found, "csv")))
    assert len(from_csv) == len(json.loads(reported.render(found, "json"))) == len(found)
    text = reported.render(found)
    assert "| consistent" in text and "not run: " in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {9}
    assert r"\begin{tabular}" in reported.render(found, "latex")
    assert "No published figure" in reported.render([])
    with pytest.raises(BadInput, match="unknown format"):
        reported.render(found, "xml")
