"""What is served is what was scored: another process predicts, evaluates and exports every kind of student.

The record has the scores of the run on its test set. Another process must get the same from the student's folder: to
1e-6 from safetensors, in all predictions but those at a tie from ONNX, and within a stated loss from int8.
"""

import json
from pathlib import Path

import fresh
import numpy as np
import pytest

import kdbench
from kdbench.base.errors import BadInput
from kdbench.base.registry import METHODS, TASKS
from kdbench.data.tags import lenient_spans
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.models.zoo import MODELS
from kdbench.runs import store
from kdbench.runs.pretrain import pretrain
from kdbench.serve.labels import Labels
from kdbench.serve.serving import averaged, open_artefact

HERE = Path(__file__).resolve().parent
TINY = {"teacher": "tiny:bert", "precision": "fp32", "device": "cpu", "latency": "off", "batch_size": 16, "lr": 2e-3,
        "max_length": 48, "select": "last", "max_dev_examples": 20, "controls": False}
VOCABULARY = {"min_frequency": 4, "new_tokens": 200, "pretrain_epochs": 1, "pretrain_batch": 16}
BILSTM = {"augment": "", "hidden": 48, "embedding_size": 48, "head": 0, "dropout": 0.1, "alpha": 0.9}
# how far a score may be from the record's: ONNX may turn a tie, half precision and int8 some predictions
TOLERANCE = {"safetensors": 1e-6, "onnx": 2e-3, "safetensors_fp16": 1e-2, "safetensors_bf16": 0.15, "onnx_int8": 0.15}
FORMATS = ("safetensors", "onnx", "onnx_int8")  # all of TOLERANCE's in the slow test

# each method, each type of task, and each student that is more than weights: (method, task, run)
GATE = {
    "finetune, a score of two texts": ("finetune", "biosses", {"max_steps": 30}),
    "logit_kd, several labels": ("logit_kd", "hoc", {"max_steps": 30}),
    "doktra, a token that attention must not see": (
        "doktra", "fts", {"variant": "published", "student": "tiny:roberta", "max_steps": 40}),
    "dsg_kd, its own head": ("dsg_kd", "ktas_ed", {"max_steps": 15}),
    "dsg_kd, two models with two tokenizers": (
        "dsg_kd", "ktas_ed", {"options": {"mode": "ensemble"}, "student": "tiny:roberta", "max_steps": 15}),
    "static, two texts": ("static", "bioasq", {"options": {"hidden": 16}, "max_steps": 30, "lr": 2e-2}),
    # its scheme has tags that no word of the corpus has
    "ve_kd, another vocabulary": ("ve_kd", "ebmnlp", {"options": VOCABULARY, "max_steps": 40}),
    "ner_kd, a BiLSTM": ("ner_kd", "bc2gm_iobes", {"student": "bilstm", "options": BILSTM, "max_steps": 100, "lr": 2e-2}),
}


def trained(results, method, task, request):
    record = kdbench.run(method, task, results_dir=results, **{**TINY, **request})
    assert record["status"] == "done", record.get("error") or record["reason"]
    return record


def served(results, work, runs, formats=FORMATS):
    """run -> the output of each verb, from another process."""
    done = fresh.run([HERE / "serve_runs.py", results, work, ",".join(formats), *runs], timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """name -> (record, outputs of another process, its results folder); the runs are trained in this process."""
    results, work = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KDBENCH_DATA", raising=False)
        records = {name: trained(results, *run) for name, run in GATE.items()}
        outputs = served(results, work, [record["id"] for record in records.values()])
    return {name: (record, outputs[record["id"]], results) for name, record in records.items()}


def check_outputs(record, outputs, results):
    """The other process gets the figures of the record."""
    score = record["score"]["test"]
    answers = {json.dumps({**answer, "text": "", "row": 0, "id": ""}, sort_keys=True) for answer in outputs["predict"]["run"]}
    assert len(answers) > 10, "all answers are the same, so that comparing them proves nothing"
    # after thirty steps none of ten rare labels is predicted; there the probabilities are compared
    assert any(record["score"]["all"]["test"].values()) or outputs["task_type"] == "multi", "learned nothing"
    for name, value in record["score"]["all"]["test"].items():
        assert outputs["evaluate"]["all"][name] == pytest.approx(value, abs=TOLERANCE["safetensors"]), f"evaluate: {name}"
    rows = {row["name"]: row for row in outputs["export"]}
    for name, row in rows.items():
        if name in ("safetensors", "onnx") or outputs["task_type"] != "regression" or abs(score) > 0.3:
            # of nearly equal values, half precision makes another correlation
            assert row["score"]["test"] == pytest.approx(score, abs=TOLERANCE[name]), name
    assert rows["safetensors"]["size"]["megabytes"] == pytest.approx(record["size"]["megabytes"], rel=0.02)
    assert rows["onnx_int8"]["size"]["megabytes"] < 0.6 * rows["onnx"]["size"]["megabytes"]
    assert record["size"]["megabytes"] == pytest.approx(4e-6 * record["size"]["parameters"], rel=0.05)
    check_answers(record, outputs, results)


def check_answers(record, outputs, results):
    """`predict` gives the stored predictions of the record, from safetensors and from ONNX."""
    path = store.path_of(results, record["id"], record["cell"]["task"]).with_suffix(".npz")
    with np.load(path, allow_pickle=False) as arrays:
        values, lengths = arrays["test_predictions"], arrays.get("test_lengths")
    task_type, labels = outputs["task_type"], outputs["labels"]
    for answers in outputs["predict"].values():
        if task_type == "tags":
            tags = np.array(labels)[values]
            counted = [len(lenient_spans(row.tolist())) for row in np.split(tags, np.cumsum(lengths)[:-1])]
            different = sum(a != len(b["entities"]) for a, b in zip(counted, answers, strict=True))
            assert different <= 0.01 * len(answers)
        elif task_type == "regression":
            assert np.allclose([answer["value"] for answer in answers], values, atol=2e-3)
        else:
            probabilities = np.array([list(map(answer["labels"].get, labels)) for answer in answers])
            expected = np.exp(averaged([values])) if task_type == "single" else 1 / (1 + np.exp(-values.astype(np.float64)))
            assert np.allclose(probabilities, expected, atol=2e-3)


MATRIX = [(method, task) for method in METHODS.names() for task in TASKS.names() if task != "files"
          and set(TASKS.entry(task).task_types) <= set(METHODS.entry(method).task_types)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A results folder of all runs of the matrix: each task's tiny teacher reads its texts once."""
    return tmp_path_factory.mktemp("matrix")


@pytest.mark.slow
@pytest.mark.parametrize(("method", "task"), MATRIX)
def test_every_method_on_every_task_is_served_as_it_was_scored(shared, tmp_path, no_data, method, task):
    given = {"ve_kd": {"options": VOCABULARY}, "adapt": {"options": VOCABULARY}, "ner_kd": {"student": "bilstm", "options": BILSTM}}
    record = trained(shared, method, task, {"max_steps": 200, "teacher": "tiny-teacher", **given.get(method, {})})
    (tmp_path / "exports").mkdir()
    outputs = served(shared, tmp_path / "exports", [record["id"]], TOLERANCE)
    check_outputs(record, outputs[record["id"]], shared)


@pytest.mark.parametrize("name", GATE)
def test_a_fresh_process_serves_what_the_record_scored(gate, name):
    check_outputs(*gate[name])


# ---- the folders of such students -------------------------------------------------------------------------


def folder_of(gate, name):
    record, _, results = gate[name]
    return results / "models" / record["artefact"]


def test_an_ensemble_is_both_models_in_every_figure(gate):
    """Its size is that of both, its answers are neither's, and each member reads with its own tokenizer."""
    alone, both = gate["dsg_kd, its own head"][0], gate["dsg_kd, two models with two tokenizers"][0]
    assert both["size"]["parameters"] > 1.7 * alone["size"]["parameters"]
    assert both["size"]["megabytes"] > 1.7 * alone["size"]["megabytes"]
    folder = folder_of(gate, "dsg_kd, two models with two tokenizers")
    whole = open_artefact(folder)
    assert Labels.read(folder).members == ("student", "teacher") and whole.limit == min(member.limit for member in whole.members)
    texts = ["fever and a cough since yesterday", "a small cut"]
    each = [member.logits(*encoded(member, texts)) for member in whole.members]
    assert np.allclose(np.stack(whole.logits(*encoded(whole, texts))), averaged([np.stack(rows) for rows in each]), atol=1e-6)
    assert not np.allclose(averaged([np.stack(each[0])]), averaged([np.stack(each[1])]), atol=1e-3)
    tokens = [member.encode(texts)[0].ids for member in whole.members]
    assert tokens[0] != tokens[1]
    with pytest.raises(BadInput, match="is an ensemble of two models, which can be served but not trained"):
        resolve(str(folder))


def encoded(artefact, texts):
    rows = artefact.encode(texts)
    return [row.ids for row in rows], [row.type_ids for row in rows]


def test_an_ensemble_names_no_folder_of_its_own_choice(gate, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"kind": "single", "labels": ["a", "b"], "members": ["../student"]}))
    with pytest.raises(BadInput, match="names the member '../student'"):
        open_artefact(tmp_path)


def test_what_attention_must_not_see_goes_with_the_student(gate):
    """Without it a served student gives other logits than were scored."""
    folder = folder_of(gate, "doktra, a token that attention must not see")
    labels = Labels.read(folder)
    assert labels.unattended_ids == (0,)
    artefact = open_artefact(folder)
    batch = artefact.batch([[0, 5, 6, 2]])
    assert batch["attention_mask"].tolist() == [[0, 1, 1, 1]]
    seen = artefact.forward({**batch, "attention_mask": np.ones_like(batch["attention_mask"])})
    assert not np.allclose(artefact.forward(batch), seen, atol=1e-4)
    again = build(resolve(str(folder)), Head("single", labels.labels), seed=0, texts=list)
    assert again.ready and again.unattended_ids == (0,)


@pytest.mark.parametrize("student", ["tiny:distilbert", "vekd-6x384"])
def test_pretrain_takes_students_that_are_built_from_a_configuration(tmp_path, student):
    """They are VE-KD's own."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"aspirin inhibits kinase {n} in the cells of {n} patients" for n in range(24)))
    options = {"corpus": str(corpus), "min_frequency": 2, "pretrain_epochs": 1, "pretrain_batch": 12}
    pretrain("ve_kd", student, "tiny:bert", options, tmp_path / "out", settings={"max_length": 16}, results_dir=tmp_path / "results",
             device="cpu")
    model = build(resolve(str(tmp_path / "out")), Head("single", ("no", "yes")), seed=0, texts=list)
    assert model.module.config.model_type == "distilbert" and len(model.tokenizer) == model.module.config.vocab_size


def test_mbert_is_the_one_that_dsg_kd_names():
    assert MODELS.get("mbert").hub == "bert-base-multilingual-uncased"


@pytest.mark.slow
def test_full_latency_of_a_student_with_its_own_head(gate, monkeypatch):
    """It is taken in fresh processes."""
    import kdbench.serve.measure as measure

    brief = measure.Protocol("full", warm_up=1, least=2, seconds=0.0, most_seconds=1.0, processes=2)
    monkeypatch.setitem(measure.PROTOCOLS, "full", brief)
    timed = measure.latency(folder_of(gate, "dsg_kd, its own head"), ["a small cut", "fever"], "full")
    assert timed["processes"] == 2 and timed["p50_ms"] > 0
