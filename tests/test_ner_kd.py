"""ner_kd: its losses against plain arithmetic, its students, and the whole procedure on tiny models."""

import dataclasses
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

from kdbench.base.errors import Skip
from kdbench.base.options import build
from kdbench.data.task import Data, Example, Task
from kdbench.methods.attention_scores import use_scores
from kdbench.methods.ner_kd import NerKD
from kdbench.methods.ner_losses import Distillation, pairs_by_rule, smoothed_cross_entropy
from kdbench.methods.ner_students import lower_cased, reduced, same_tokens, shaped
from kdbench.methods.transformer_layers import attention_error, squared_error
from kdbench.models.bilstm import BiLSTMTagger
from kdbench.models.sources import resolve
from kdbench.models.zoo import MODELS
from kdbench.report.tables import build as table
from kdbench.runs.grid import run
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, loss_of
from kdbench.train.signals import built_in_pool
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache

LABELS = ("O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")


def options(variant="corrected", **given):
    return build(NerKD.Options, variant, given, "ner_kd")


# Losses -----------------------------------------------------------------------------------------------------------


def test_smoothed_cross_entropy_gives_the_rest_to_the_other_classes():
    logits, labels = torch.randn(2, 3, 5), torch.tensor([[0, 4, -100], [2, -100, 1]])
    expected = 0.0
    for row, label in zip(logits.reshape(-1, 5), labels.flatten(), strict=True):
        if label >= 0:
            wanted = torch.full((5,), 0.1 / 4)
            wanted[label] = 0.9
            expected -= float((wanted * row.log_softmax(-1)).sum())
    assert smoothed_cross_entropy(logits, labels, 0.1).item() == pytest.approx(expected, rel=1e-5)


def test_squared_error_leaves_padding_out():
    student, teacher = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    mse = nn.functional.mse_loss
    cut = mse(student[0], teacher[0]) * 4 + mse(student[1, :2], teacher[1, :2]) * 2
    assert squared_error(student, teacher, mask).item() == pytest.approx(cut.item(), rel=1e-5)
    everything = mse(student, teacher) * 8
    assert squared_error(student, teacher, None).item() == pytest.approx(everything.item(), rel=1e-5)


def test_attention_error_compares_real_rows_and_columns():
    student, teacher = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    cut = [nn.functional.mse_loss(student[b, :, :n, :n], teacher[b, :, :n, :n]) for b, n in enumerate((4, 2))]
    assert attention_error(student, teacher, mask).item() == pytest.approx(sum(cut).item(), rel=1e-5)
    everything = nn.functional.mse_loss(student, teacher) * 2
    assert attention_error(student, teacher, None).item() == pytest.approx(everything.item(), rel=1e-5)


def test_attention_of_other_numbers_of_heads_is_averaged():
    teacher = torch.rand(1, 4, 3, 3)
    student = teacher.mean(1, keepdim=True).expand(-1, 2, -1, -1)
    assert attention_error(student, teacher, None).item() == pytest.approx(0, abs=1e-12)


def test_layer_pairs():
    assert pairs_by_rule(12, 4, "off_by_one") == ([(1, 0), (4, 1), (7, 2), (10, 3)], [(1, 1), (4, 2), (7, 3), (10, 4)])
    assert pairs_by_rule(12, 4, "uniform") == ([(3, 1), (6, 2), (9, 3), (12, 4)],) * 2
    for teacher, student in [(3, 2), (6, 3), (2, 4), (24, 5), (1, 1)]:
        hidden, attention = pairs_by_rule(teacher, student, "uniform")
        assert hidden == attention and [layer for _, layer in hidden] == list(range(1, student + 1))
        assert hidden[-1][0] == teacher, "the last layer learns from the last"
        for pairs in pairs_by_rule(teacher, student, "off_by_one"):
            assert all(0 <= t <= teacher and s <= student for t, s in pairs)


def bert(layers=2, width=12, heads=2, vocab=40):
    torch.manual_seed(layers)
    config = BertConfig(vocab_size=vocab, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=16, num_labels=5, attn_implementation="eager")
    return BertForTokenClassification(config).eval()


def batch_of(objective, teacher, width=8):
    """Two texts of 8 and 5 tokens, the first and last of which are special, with the teacher's signals on them."""
    ids = torch.randint(5, 40, (2, 8), generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([[1] * 8 + [0] * (width - 8), [1] * 5 + [0] * (width - 5)])
    ids = nn.functional.pad(ids, (0, width - 8)) * mask
    words = torch.tensor([[1, 2, 4, 6], [1, 3, -1, -1]])
    word_ids = torch.full((2, width), -1)
    word_ids[0, 1:7] = torch.tensor([0, 1, 1, 2, 2, 3])
    word_ids[1, 1:4] = torch.tensor([0, 0, 1])
    labels = torch.tensor([[0, 1, 3, 4], [0, 2, -100, -100]])
    batch = Batch({"input_ids": ids, "attention_mask": mask}, labels=labels, words=words, extra={"word_ids": word_ids},
                  counts={"examples": 2.0, "tokens": 13.0, "positions": 2.0 * width, "words": 6.0, "aligned": 6.0},
                  examples=[SimpleNamespace(words=range(4)), SimpleNamespace(words=range(2))])
    if objective.options.attention == "scores":
        use_scores(teacher)
    with torch.no_grad():
        outputs = teacher(**batch.inputs, output_hidden_states=True, output_attentions=True)
    pooled = objective.pool()(outputs, batch)
    if "logits" in objective.signal_names:
        pooled |= built_in_pool(("logits",), True)(outputs, batch)
        pooled["logits"] = [nn.functional.pad(row, (0, 0, 0, 4 - len(row))) for row in pooled["logits"]]
        batch.signals["logits_known"] = words >= 0
    batch.extra["teacher_words"] = words  # the same tokens are read
    batch.signals |= {name: torch.stack(rows).float() for name, rows in pooled.items()}
    objective.collate(batch)
    return batch


EVERYTHING = ("hard", "logits", "hidden", "attention")


def objective_for(chosen, teacher, student, terms=EVERYTHING, **more):
    configs = teacher.config, student.config
    return Distillation(chosen, terms, depths=tuple(c.num_hidden_layers for c in configs),
                        widths=tuple(c.hidden_size for c in configs), **more)


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_a_student_that_is_its_teacher_has_no_soft_loss(unit):
    model = bert()
    terms = ("logits", "hidden", "attention") if unit == "tokens" else ("logits", "hidden")
    objective = objective_for(options(), model, model, terms, unit=unit)
    batch = batch_of(objective, model)
    with torch.no_grad():
        found = objective(model, batch)
        assert all(term.total.item() == pytest.approx(0, abs=1e-9) for term in found.values())
        assert {"logits", "embedding", "hidden"} <= set(found)
        assert objective(bert(3), batch)["hidden"].total.item() > 1e-3


@pytest.mark.parametrize("variant, changes", [("corrected", False), ("published", True)])
def test_padding_changes_the_published_loss_alone(variant, changes):
    teacher, student = bert(4, heads=4), bert(2)
    objective = objective_for(options(variant, alpha=0.5), teacher, student)
    with torch.no_grad():
        losses = []
        for width in (8, 12):
            batch = batch_of(objective, teacher, width)
            losses.append(loss_of(objective(student, batch), batch.counts).item())
    assert (losses[0] != pytest.approx(losses[1], rel=1e-4)) == changes


@pytest.mark.parametrize("variant", ["corrected", "published"])
def test_permuting_a_batch_leaves_the_loss(variant):
    teacher, student = bert(3, width=16), bert(2)
    objective = objective_for(options(variant, alpha=0.5), teacher, student, seed=1)
    batch = batch_of(objective, teacher)
    turned = dataclasses.replace(
        batch, labels=batch.labels.flip(0), words=batch.words.flip(0),
        **{part: {name: value.flip(0) for name, value in getattr(batch, part).items()}
           for part in ("inputs", "signals", "extra")})
    with torch.no_grad():
        one, two = (loss_of(objective(student, b), b.counts).item() for b in (batch, turned))
    assert one == pytest.approx(two, rel=1e-5)


def test_tokens_carry_their_words_tag():
    teacher = bert()
    objective = objective_for(options("published", alpha=0.5), teacher, teacher)
    batch = batch_of(objective, teacher)
    assert batch.extra["token_labels"].tolist() == [[-100, 0, 1, 1, 3, 3, 4, -100], [-100, 0, 0, 2] + [-100] * 4]
    assert batch.counts["labelled_tokens"] == 9


def test_tinybert_has_the_size_of_the_readme():
    """54.40 MiB: 4 x 312 over 28,996 pieces, 9 tags, and the two projections to 768, which inference does not need."""
    recipe = {name: value for name, value in MODELS.get("tinybert").config.items() if name != "type"}
    config = BertConfig(vocab_size=28_996, num_labels=9, **recipe)
    with torch.device("meta"):
        student = BertForTokenClassification(config)
    objective = Distillation(options("published"), ("logits", "hidden", "attention"), depths=(12, 4),
                             widths=(768, config.hidden_size))
    deployed = sum(p.numel() for p in student.parameters())
    learned = sum(p.numel() for p in objective.parameters())
    assert (deployed + learned) * 4 / 2**20 == pytest.approx(54.40, abs=0.005)
    assert deployed / 1e6 == pytest.approx(13.78, abs=0.005)


# The procedure ----------------------------------------------------------------------------------------------------


def sentences(count: int, seed: int) -> tuple[Example, ...]:
    draw = random.Random(seed)
    made = []
    for number in range(count):
        words, tags = [], []
        for _ in range(draw.randint(1, 4)):
            size, gene = draw.randint(1, 3), draw.random() < 0.5
            vocabulary = ["Abc1", "Def", "kinase", "Xyz2"] if gene else ["binds", "the", "inhibits", "weakly", "cells"]
            words += draw.choices(vocabulary, k=size)
            tags += {1: (4,), 2: (1, 3), 3: (1, 2, 3)}[size] if gene else (0,) * size
        made.append(Example(f"{seed}-{number}", words=tuple(words), label=tuple(tags)))
    return tuple(made)


TASK = Task(name="made_up", task_type="tags", about="", metric="entity_f1", load=lambda _: None, scheme="IOBES")
DATA = Data(train=sentences(40, 1), dev=sentences(10, 2), test=sentences(10, 3), labels=LABELS)


@pytest.fixture
def lab(tmp_path):
    def make(student="tiny:bert", teacher="tiny:bert", task=TASK, data=DATA, **settings):
        chosen = Settings(**{"epochs": 1, "batch_size": 16, "max_length": 24, "latency": "off", **settings})
        return Lab(task, data, 0, "corrected", chosen, resolve(student), resolve(teacher), StageCache(tmp_path),
                   Accelerator(cpu=True))

    return make


def seen(made: Lab) -> dict[str, list[Example]]:
    """The examples of each stage of training, filled in as `made` trains."""
    found, train = {}, made.train

    def record(model, objective, *, stage, examples=None, **more):
        found[stage] = list(DATA.train if examples is None else examples)
        return train(model, objective, stage=stage, examples=examples, **more)

    made.train = record
    return found


RUNS = {
    "corrected": ("corrected", {}, {}),
    "published": ("published", {}, {}),
    "other tokenizer": ("corrected", {"student": "tiny:roberta"}, {}),
    "joint": ("corrected", {}, {"stages": "joint"}),
    "alpha 0": ("corrected", {}, {"alpha": 0}),
    "labels only": ("corrected", {}, {"distillation": "no"}),
    "bilstm": ("corrected", {"student": "bilstm"}, {"embedding_size": 8, "hidden": 8, "head": 0}),
    "published bilstm": ("published", {"student": "bilstm"}, {"embedding_size": 8, "hidden": 8, "layers": 1}),
    "multi-channel": ("corrected", {"student": "bilstm"}, {"embedding": "cnn", "hidden": 8}),
    "bert embedding": ("corrected", {"student": "bilstm"}, {"embedding": "bert", "hidden": 8, "alpha": 1}),
    "reduced bert embedding": ("corrected", {"student": "bilstm"}, {"embedding": "bert", "embedding_size": 16, "hidden": 8, "alpha": 1}),
    "no augmentation": ("corrected", {}, {"augment": "", "layer_losses": "no"}),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs(lab, name):
    variant, models, given = RUNS[name]
    made = lab(**models)
    stages = seen(made)
    student = NerKD(options(variant, **given)).fit(made)
    assert not student.module.training
    assert all(math.isfinite(value) for entry in made.curves for value in entry["terms"].values())
    predictions = made.predict(student, DATA.test)
    assert [len(tags) for tags in predictions] == [len(example.words) for example in DATA.test]

    last = [stage for stage in stages if stage != "fine-tuning"]
    two = ["layers", "distillation"] if name in ("corrected", "other tokenizer", "alpha 0") else ["distillation"]
    assert last == (["augmented"] if name == "labels only" else two)
    copies = {"published": 39 * 10, "published bilstm": 39 * 10, "no augmentation": 40}.get(name, 40 * 4)
    for stage in last:
        assert len(stages[stage]) == pytest.approx(copies, rel=0.05)
        originals = {example.id.split("+")[0] for example in stages[stage]}
        assert originals <= {example.id for example in DATA.train}, "dev and test are never touched"
    tuned = {example.id for example in stages.get("fine-tuning", ())}
    assert tuned == (set() if name == "labels only" else {example.id for example in DATA.train})
    shown = {entry["stage"]: set(entry["terms"]) for entry in made.curves}
    assert ("hard_labels" in shown[last[-1]]) == (name not in ("published", "published bilstm", "alpha 0"))
    if name == "joint":
        assert shown["distillation"] == {"hard_labels", "logits", "embedding", "hidden", "attention"}
    if name == "other tokenizer":
        assert shown["layers"] == {"embedding", "hidden"}
    rebuilt = models.get("student") == "bilstm"
    assert [row for row, _ in made.extra_rows] == (["bilstm as built here, no teacher"] if rebuilt else [])
    assert isinstance(student.module, BiLSTMTagger) == rebuilt


@pytest.mark.parametrize(("student", "own"), [("bilstm", False), ("tinybert", False), ("vekd-6x384", False), ("tiny:bert", True),
                                              ("tiny-student", True)])
def test_a_built_student_reads_the_teachers_pieces_unless_it_has_its_own(lab, student, own):
    made = lab(student=student, teacher="tiny:roberta")
    teacher, found = (model.tokenizer.get_vocab() for model in (made.teacher(), made.student()))
    assert (found != teacher) == own
    (cell,) = plan(Request("finetune", "bc2gm_iobes", student=student, controls=False))
    assert (cell.teacher is None) == own  # whose pieces it reads is part of what the cell is


@pytest.mark.parametrize("width", [1, 5, 15, 16])
def test_a_reduced_embedding_is_the_best_of_its_width(width):
    rng = np.random.default_rng(width)
    words, positions = rng.normal(size=(40, 16)) * np.linspace(3, 0.1, 16), rng.normal(size=(9, 16))
    tables = {"word_embeddings.weight": torch.from_numpy(words), "position_embeddings.weight": torch.from_numpy(positions),
              "LayerNorm.weight": torch.ones(16)}
    found = reduced(tables, width)
    u, s, vh = np.linalg.svd(words, full_matrices=False)
    assert set(found) == {"word_embeddings.weight", "position_embeddings.weight"}
    ours, at = found["word_embeddings.weight"].numpy(), found["position_embeddings.weight"].numpy()
    assert ours @ ours.T == pytest.approx((u[:, :width] * s[:width] ** 2) @ u[:, :width].T, abs=1e-9), "whatever the signs"
    assert at @ ours.T == pytest.approx(positions @ vh[:width].T @ vh[:width] @ words.T, abs=1e-9), "all tables by one map"
    again = reduced({name: -table for name, table in tables.items()}, width)
    assert again["word_embeddings.weight"].numpy() == pytest.approx(-ours, abs=1e-9), "the same directions each time"


def test_a_copied_embedding_is_not_widened(lab):
    made = lab(student="bilstm")
    with pytest.raises(Skip, match="embedding_size=65: the embedding of tiny:bert has 64, and can only be reduced"):
        NerKD(options(embedding="bert", embedding_size=65)).fit(made)


def test_tinybert_learns_attention_too(lab):
    objectives, made = [], lab(student="tinybert", teacher="tiny:roberta")
    train = made.train
    made.train = lambda model, objective, **more: objectives.append(objective) or train(model, objective, **more)
    NerKD(options(augment="", intermediate_epochs=1)).fit(made)
    assert ["layer_attentions" in each.signal_names for each in objectives if isinstance(each, Distillation)] == [True, False]


@pytest.mark.parametrize(("given", "scores"), [({}, True), ({"attention": "probabilities"}, False)])
def test_tinybert_compares_attention_before_the_softmax(lab, given, scores):
    taught, made = [], lab()
    signals = made.signals
    made.signals = lambda teacher, names, **more: taught.append((names, signals(teacher, names, **more))) or taught[-1][1]
    NerKD(options(augment="", **given)).fit(made)
    names, live = taught[0]
    assert "layer_attentions" in names
    found = live.teacher(live.teacher.corpus(DATA.train[:1]), [0])["layer_attentions"][0]
    assert (found.min() < 0) == scores and np.allclose(found.sum(-1), 1, atol=1e-3) == (not scores)
    assert "layer_attentions" not in taught[1][0]


@pytest.mark.parametrize(("variant", "student", "expected"), [
    ("corrected", "tiny:bert", "cross_entropy"), ("corrected", "bilstm", "squared_error"), ("published", "tiny:bert", "squared_error")])
def test_a_bilstm_learns_logits_and_a_transformer_their_distribution(lab, variant, student, expected):
    assert NerKD(options(variant)).options_for(lab().model(resolve(student))).soft_loss == expected


def test_the_soft_cross_entropy_is_that_of_its_formula_up_to_the_teachers_entropy():
    teacher, student = bert(3), bert(2)
    objective = objective_for(options(soft_loss="cross_entropy"), teacher, student, ("logits",))
    batch = batch_of(objective, teacher)
    with torch.no_grad():
        p, own = batch.signals["logits"].softmax(-1), student(**batch.inputs).logits
        rows = [(0, 0, 1), (0, 1, 2), (0, 2, 4), (0, 3, 6), (1, 0, 1), (1, 1, 3)]  # text, word, its first token
        each = [-(p[b, w] * (own[b, t].log_softmax(-1) - p[b, w].log())).sum() for b, w, t in rows]
        assert loss_of(objective(student, batch), batch.counts).item() == pytest.approx(sum(each).item() / 6, rel=1e-4)


def test_projections_are_trained_and_saved(lab, tmp_path):
    made = lab(student="tinybert")
    student = NerKD(options(augment="", stages="joint")).fit(made)
    saved = load_file(next((tmp_path / "models").glob(f"{student.key}*/objective.safetensors")))
    assert {name: tuple(value.shape) for name, value in saved.items()} == {
        f"project_{part}.{name}": shape for part in ("embedding", "hidden")
        for name, shape in (("weight", (64, 312)), ("bias", (64,)))}
    fresh = Distillation(options(), ("logits", "hidden"), depths=(2, 4), widths=(64, 312),
                         seed=made.seed_for("projections"))
    assert not torch.equal(saved["project_hidden.weight"], fresh.project_hidden.weight)
    assert not torch.equal(saved["project_embedding.weight"], fresh.project_embedding.weight)


def test_every_soft_term_decreases(lab):
    made = lab(epochs=4, batch_size=4)
    NerKD(options(augment="", stages="joint", alpha=0)).fit(made)
    first, *_, last = [entry["terms"] for entry in made.curves if entry["stage"] == "distillation"]
    assert set(first) == {"logits", "embedding", "hidden", "attention"}
    assert all(last[name] < first[name] for name in first)


def test_unlabelled_sentences_join_the_distillation_alone(lab):
    made = lab()
    made.unlabelled = (Example("u1", words=("Def", "binds")), Example("u2", words=("the",)))
    stages = seen(made)
    NerKD(options(layer_losses="no", augment="")).fit(made)
    assert stages["distillation"] == [*DATA.train, *made.unlabelled]
    NerKD(options(distillation=False, augment="")).fit(made)
    assert stages["augmented"] == list(DATA.train)


def test_a_control_of_the_methods_own_is_no_cost_of_its_student(tmp_path):
    chosen = {"hidden": 8, "embedding_size": 8, "head": 0, "augment": "", "epochs": 2}
    record = run("ner_kd", "bc2gm_iobes", teacher="tiny:bert", student="bilstm", options=chosen, controls=False, results_dir=tmp_path, epochs=1,
                 max_train_examples=64, max_dev_examples=20, max_length=24, latency="off")
    stages = {(stage["name"], stage["role"]): stage for stage in record["cost"]["stages"]}
    control, student = stages["fine-tuning", "control"], stages["distillation", "student"]
    assert record["cost"]["student_seconds"] == pytest.approx(student["seconds"], abs=0.01)
    assert record["rows_more"][0]["cost"]["student_seconds"] == control["seconds"]
    by_name = {line.row.part: line.values["steps"].mean for line in table([record], columns=["test", "steps"]).sections[0].lines}
    assert by_name == {"": 4, "bilstm as built here, no teacher": 2}


@pytest.mark.parametrize(("chosen", "trained"), [({}, False), ({"embedding": "bert", "head": 0}, True), ({"distillation": True}, True)])
def test_a_teacher_that_is_not_read_is_not_trained(lab, chosen, trained):
    made = lab("bilstm")
    NerKD(options(**{"distillation": False, "augment": "", **chosen})).fit(made)
    assert any(stage["role"] == "teacher" for stage in made.stages) is trained


def test_word_pieces_are_scored_by_their_own_predictions(lab):
    """F1 of the tokens inside words, each against its word's tag; most differ from the first of their word."""
    longer = [dataclasses.replace(e, words=tuple(word + 2 * word[1:] for word in e.words)) for e in DATA.test]  # several pieces each
    data = dataclasses.replace(DATA, test=tuple(longer))
    made = lab(task=dataclasses.replace(TASK, metrics=("piece_tag_micro_f1",)), data=data, max_length=8)
    model = made.student()
    with torch.no_grad():
        model.module.classifier.weight.normal_()  # an untrained model that says something else at every token
    scores, predictions = made.score(model, "test")
    corpus, right, gold, predicted, apart = made.corpus(model, data.test, 8), 0, 0, 0, 0
    for number, example in enumerate(data.test):
        batch = corpus.batch([number])
        with torch.no_grad():
            tags = model.module.eval()(**batch.inputs).logits[0].argmax(-1).tolist()
        first = {}
        for tag, word in zip(tags, corpus.word_ids[number], strict=True):
            if word >= 0:
                expected = example.label[word]
                right, gold, predicted = right + (tag == expected != 0), gold + (expected != 0), predicted + (tag != 0)
                apart += first.setdefault(word, tag) != tag
        assert predictions[number].tolist() == [first.get(word, 0) for word in range(len(example.words))]
    assert scores.all["piece_tag_micro_f1"] == pytest.approx(2 * right / (gold + predicted))
    assert apart > 5 and any(len(p) == 0 for row in predictions.pieces for p in row)  # and some words are cut off


def test_published_protocol_reaches_the_training(lab, monkeypatch):
    made, trained = lab(), {}

    def train(model, objective, *, stage, **more):
        trained[stage] = more
        return model

    monkeypatch.setattr(made, "train", train)
    NerKD(options("published")).fit(made)
    given = trained["distillation"]
    expected = {"lr": 1e-3, "weight_decay": 0.01, "schedule": "constant", "warmup": 0.0, "order": "file",
                "decay_all": True, "eps": 1e-6, "eval_steps": 50, "select_by": "piece_tag_micro_f1"}
    assert {name: given[name] for name in expected} == expected
    NerKD(options()).fit(made)
    assert not {"lr", "weight_decay", "warmup", "eval_steps", "select"} & set(trained["distillation"])
    assert trained["distillation"]["schedule"] == "linear"
    assert trained["distillation"]["eps"] == 1e-8 and trained["distillation"]["select_by"] == "score"


def test_bert_embedding_is_copied_from_the_fine_tuned_teacher(lab):
    made = lab(student="bilstm")
    teacher = made.finetune(made.teacher())
    student = shaped(made.student(), NerKD(options(embedding="bert")).bilstm_settings(), teacher, seed=0)
    for name, value in teacher.module.bert.embeddings.state_dict().items():
        assert torch.equal(student.module.encoder.embeddings.state_dict()[name], value)
    assert student.key != made.student().key


def test_a_bilstm_keeps_its_weights_where_they_fit(lab):
    made = lab(student="bilstm")
    given, teacher = made.student(), made.teacher()
    assert shaped(given, NerKD(options()).bilstm_settings(), teacher, seed=0) is given
    unpacked = shaped(given, {"packed": False}, teacher, seed=0)
    assert not unpacked.module.config.packed and given.module.config.packed
    assert all(torch.equal(a, b) for a, b in zip(unpacked.module.parameters(), given.module.parameters(), strict=True))
    small = shaped(given, {"hidden_size": 8}, teacher, seed=0)
    assert small.module.config.hidden_size == 8


def test_lower_casing_survives_a_folder(lab, tmp_path):
    made = lab(teacher="tiny:roberta", student="tiny:bert")
    cased, lower = made.teacher(), made.student()
    assert lower_cased(lower) is lower, "its tokenizer lower-cases by itself"
    changed = lower_cased(cased)
    changed.tokenizer.save_pretrained(tmp_path / "saved")
    words = ["Abc1", "BINDS"]
    for tokenizer in (changed.tokenizer, AutoTokenizer.from_pretrained(tmp_path / "saved", add_prefix_space=True)):
        upper = tokenizer(words, is_split_into_words=True)["input_ids"]
        assert upper == tokenizer([word.lower() for word in words], is_split_into_words=True)["input_ids"]
        assert upper == cased.tokenizer([word.lower() for word in words], is_split_into_words=True)["input_ids"]
    assert changed.key != cased.key and not same_tokens(changed.tokenizer, cased.tokenizer)


def test_what_does_not_fit_is_skipped_with_a_reason(lab):
    with pytest.raises(Skip, match="level=words"):
        NerKD(options("published")).fit(lab(student="tiny:roberta"))
    with pytest.raises(Skip, match="embedding=trained"):
        NerKD(options(embedding="bert")).fit(lab(teacher="tiny:distilbert", student="bilstm"))
