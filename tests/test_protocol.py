"""The protocol itself: what is trained, in what order, what is kept and scored, and in which units.

Each test holds one rule to something that was computed apart from the project's own code, so that
the rule cannot change unseen. `tests/mutations.py` breaks the rules one by one and looks whether a
test here, or elsewhere, notices.
"""

import hashlib
import itertools
import json
import os
import random
import tempfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from students import TEXTS, student
from torch import nn

import kdbench
from kdbench.base import folders, options
from kdbench.base.registry import METHODS, TASKS, Entry
from kdbench.data import corpora
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.methods.doktra import Calibrated
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import Source
from kdbench.models.zoo import Recipe
from kdbench.runs import store
from kdbench.runs.artefacts import export_run
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.serve import measure
from kdbench.serve.measure import Protocol
from kdbench.serve.serving import served
from kdbench.train import fit, resuming, signals
from kdbench.train.batching import Corpus
from kdbench.train.fit import Trainer
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets, Supervised, soft_targets, supervised
from kdbench.train.mlm import MaskedLM
from kdbench.train.objective import Batch, loss_of
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache
from kdbench.train.training import Training

# O is not the first tag, so that a word scored as class 0 shows
LABELS = {"single": ("no", "yes", "perhaps"), "multi": ("growth", "death", "repair"),
          "regression": (), "tags": ("B-GENE", "I-GENE", "O")}
METRIC = {"single": "accuracy", "multi": "micro_f1", "regression": "pearson", "tags": "entity_f1"}
GENES = ("kinase", "receptor", "p53")
WORDS = ("dose", "cell", "drug", "blocks", "raises", "binds", "lowers", "in", "the", "of", "serum",
         "mouse", "human")
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "initializer_range": 0.3, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0}
TEACHER = Source("small teacher",
                 recipe=Recipe(config={"type": "bert", "vocab_size": 4000, **SIZE}, lr=1e-2))
# few pieces: the student reads most words in parts, and so fewer of them before the length limit
STUDENT = Source("small student",
                 recipe=Recipe(config={"type": "roberta", "vocab_size": 290, **SIZE}, lr=1e-2))


@pytest.fixture(autouse=True)
def own_lock(tmp_path_factory, monkeypatch):
    """These tests wait for no measurement elsewhere on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("lock")))


def corpus_of(kind: str, count: int, name: str = "train", longest: int = 9) -> tuple[Example, ...]:
    """Sentences of made-up words whose label is decided by the genes in them."""
    rng, made = random.Random(f"{kind}/{name}"), []
    for i in range(count):
        length = rng.randint(2, longest)
        words = tuple(rng.choice(GENES if rng.random() < 0.25 else WORDS) for _ in range(length))
        found = [word in words for word in GENES]
        label = {"single": min(sum(found), 2), "multi": tuple(map(int, found)),
                 "regression": sum(found) + length / 10,
                 "tags": tuple(0 if word in GENES else 2 for word in words)}[kind]
        text = {"words": words} if kind == "tags" else {"text": " ".join(words)}
        made.append(Example(f"{name}{i}", label=label, group=f"{name}-doc{i // 2}", **text))
    return tuple(made)


def data_of(kind: str, train: int = 24, dev: int = 12, test: int = 16, longest: int = 9) -> Data:
    return Data(corpus_of(kind, train), corpus_of(kind, dev, "dev"),
                corpus_of(kind, test, "test", longest), LABELS[kind])


def task_of(kind: str, name: str = "made-up", **facts) -> Task:
    given = {"load": lambda _: data_of(kind), "metric": METRIC[kind], "about": "made up", **facts}
    return Task(name=name, task_type=kind, **given)


def lab_of(kind: str, folder, unlabelled=(), swapped: bool = False, **settings) -> Lab:
    """`swapped`: the small student teaches."""
    student, teacher = (TEACHER, STUDENT) if swapped else (STUDENT, TEACHER)
    given = {"epochs": 1, "batch_size": 64, "latency": "off", "select": "last", "max_length": 24}
    protocol = Settings(**{**given, **settings})
    return Lab(task_of(kind), data_of(kind), 0, "corrected", protocol, student, teacher,
               StageCache(folder), Accelerator(cpu=True), unlabelled=tuple(unlabelled))


def fitting(kind: str = "single", count: int = 40, *, objective=None, evaluate=None, folder=None,
            seed: int = 5, stage: str = "test", max_steps: int | None = None,
            **training) -> Trainer:
    """A training of the small teacher's shape on `count` made-up examples."""
    examples = corpus_of(kind, count)
    texts = [" ".join(e.words) or e.text for e in examples]
    model = build(TEACHER, Head(kind, LABELS[kind]), seed=3, texts=lambda: texts)
    corpus = Corpus(model, examples, 32, kind, len(LABELS[kind]))
    given = Training(**{"epochs": 2, "batch_size": 8, "lr": 1e-2, "warmup": 0.0, **training})
    return Trainer(model.module, objective or Supervised(kind), corpus, given,
                   accelerator=Accelerator(cpu=True), seed=seed, stage=stage, evaluate=evaluate,
                   folder=folder, checkpoint_seconds=0.0, max_steps=max_steps)


def at_each_step(made: Trainer, look) -> list:
    """What `look(optimizer)` finds as the optimiser takes each of its steps."""
    found = []
    made.optimizer.register_step_pre_hook(lambda optimizer, *_: found.append(look(optimizer)))
    return found


def gradients(made: Trainer) -> list[torch.Tensor]:
    """All gradients end to end, as the optimiser takes each of its steps."""
    parameters = list(made.trainee.parameters())

    def flat(_) -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])

    return at_each_step(made, flat)


def batches_read(made: Trainer) -> list[tuple[int, ...]]:
    """The examples of each batch that the model will read."""
    seen, real = [], made.corpus.batch

    def batch(indices, width=None):
        seen.append(tuple(indices))
        return real(indices, width)

    made.corpus.batch = batch
    return seen


# ---- the loss of the control ---------------------------------------------------------------------


def softmax(z) -> np.ndarray:
    powers = np.exp(np.asarray(z, np.float64) - np.max(z))
    return powers / powers.sum()


def sigmoid(z) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(z, np.float64)))


def soft_by_hand(kind: str, ours, theirs, temperature: float) -> float:
    """Hinton et al. 2015: T² Σ_c p_c log(p_c / q_c), p the teacher's softened, q the student's."""
    s, t = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if kind == "regression":
        return float((s[0] - t[0]) ** 2)
    if kind == "multi":
        p, q = sigmoid(t / temperature), sigmoid(s / temperature)
        kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return float(temperature**2 * np.mean(kl))
    p, q = softmax(t / temperature), softmax(s / temperature)
    return float(temperature**2 * sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def hard_by_hand(kind: str, logits, label) -> float:
    if kind == "regression":
        return float((logits[0] - label) ** 2)
    if kind == "multi":
        p = sigmoid(logits)
        return float(np.mean([-np.log(a if y else 1 - a) for a, y in zip(p, label, strict=True)]))
    return float(-np.log(softmax(logits)[label]))


def read(model, example: Example, limit: int) -> dict[int, np.ndarray]:
    """The logits of one example read alone: of each word that was read for tags, else under 0."""
    given = list(example.words) or example.text
    found = model.tokenizer(given, is_split_into_words=bool(example.words), truncation=True,
                            max_length=limit)
    with torch.no_grad():
        outputs = model.module.eval()(input_ids=torch.tensor([found["input_ids"]]))
    logits = outputs.logits[0].double().numpy()
    if not example.words:
        return {0: logits}
    places: dict[int, int] = {}
    for place, word in enumerate(found.word_ids()):
        if word is not None:
            places.setdefault(word, place)
    return {word: logits[place] for word, place in places.items()}


@pytest.mark.parametrize(("given", "alpha", "temperature"), [
    ({}, 0.1, 2.0), ({"alpha": 0.7, "temperature": 5.0}, 0.7, 5.0), pytest.param({"alpha": 0.0}, 0.0, 2.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "swapped"), [*((kind, False) for kind in LABELS), ("tags", True)])
def test_the_control_minimises_hintons_equation(kind, swapped, given, alpha, temperature, tmp_path,
                                                monkeypatch):
    """logit_kd as it is run: its first loss is α · hard + (1 - α) · soft, each term's own mean."""
    limit = 16
    further = [replace(e, id=f"u{e.id}", label=None) for e in corpus_of(kind, 7, "further", 14)]
    lab = lab_of(kind, tmp_path, further, swapped, max_length=limit)
    taken, real = [], fit.loss_of
    monkeypatch.setattr(fit, "loss_of", lambda *given: taken.append(real(*given)) or taken[-1])
    method = METHODS.get("logit_kd")
    method(options.build(method.Options, "corrected", given, "logit_kd")).fit(lab)

    teacher, before = lab.finetune(lab.teacher()), lab.student()
    hard, soft, ours_alone, theirs_alone = [], [], 0, 0
    for example in (*lab.data.train, *further):
        ours, theirs = (read(model, example, limit) for model in (before, teacher))
        ours_alone += len(ours.keys() - theirs.keys())
        theirs_alone += len(theirs.keys() - ours.keys())
        if example.label is not None:
            labels = example.label if kind == "tags" else [example.label]
            hard += [hard_by_hand(kind, logits, labels[word]) for word, logits in ours.items()]
        both = ours.keys() & theirs.keys()
        soft += [soft_by_hand(kind, ours[word], theirs[word], temperature) for word in both]
    assert bool(ours_alone) == swapped and bool(theirs_alone) == (kind == "tags" and not swapped)
    expected = alpha * np.mean(hard) + (1 - alpha) * np.mean(soft)
    assert taken[-1].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.0])
@pytest.mark.parametrize("kind", LABELS)
def test_soft_targets_are_t_squared_times_kl_from_the_teacher(kind, temperature):
    rng = np.random.default_rng(int(temperature))
    ours, theirs = rng.normal(scale=3, size=(2, 6, 1 if kind == "regression" else 4))
    found = soft_targets(torch.tensor(ours), torch.tensor(theirs), temperature, kind)
    expected = [soft_by_hand(kind, s, t, temperature) for s, t in zip(ours, theirs, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_alpha_is_the_weight_of_the_labels(alpha):
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]])
    theirs = torch.tensor([[-1.0, 3.0], [1.0, 1.0]])
    batch = Batch({}, labels=torch.tensor([0, -100]), signals={"logits": theirs},
                  counts={"examples": 2.0, "labelled": 1.0})
    objective = SoftTargets("single", 3.0, alpha)
    loss = loss_of(objective(lambda **_: SimpleNamespace(logits=logits), batch), batch.counts)
    soft = np.mean([soft_by_hand("single", s, t, 3.0) for s, t in zip(logits, theirs, strict=True)])
    hard = hard_by_hand("single", logits[0].numpy(), 0)
    assert loss.item() == pytest.approx(alpha * hard + (1 - alpha) * soft, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_spreads_its_share_over_all_classes(smoothing):
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, -100, 1, 1])
    expected = 0.0
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        if label >= 0:
            wanted = np.full(4, smoothing / 4)
            wanted[label] += 1 - smoothing
            expected -= float(wanted @ np.log(softmax(row)))
    term = supervised(logits, Batch({}, labels=labels), "single", smoothing)
    assert term.total.item() == pytest.approx(expected, rel=1e-5)


def test_the_calibrated_loss_rewards_doubt():
    """DoKTra: CE - β H: of two equal cross-entropies, more entropy is the smaller loss."""
    logits = torch.tensor([[1.0, 0.0, -2.0], [0.3, 0.2, 2.0]])
    batch = Batch({}, labels=torch.tensor([0, 2]), counts={"examples": 2.0, "labelled": 2.0})
    terms = Calibrated("single", 0.4)(lambda **_: SimpleNamespace(logits=logits), batch)
    loss = loss_of(terms, batch.counts)
    rows = [softmax(row) for row in logits.numpy()]
    cross = np.mean([-np.log(rows[0][0]), -np.log(rows[1][2])])
    doubt = np.mean([-sum(p * np.log(p)) for p in rows])
    assert loss.item() == pytest.approx(cross - 0.4 * doubt, rel=1e-5)


# ---- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "select", "kept"), [
    ([0.5, 0.7, 0.6, 0.65], "best", 1), ([0.7, 0.5, 0.7, 0.7], "best", 0),
    ([0.1, 0.2, 0.3, 0.9], "best", 3),
    ([0.5, 0.7, 0.6, 0.65], "last", 3), ([-0.4, -0.1, -0.2, -0.3], "best", 1)])
def test_the_best_epochs_weights_are_kept_and_of_equals_the_firsts(scores, select, kept):
    after = []

    def evaluate():
        after.append({name: value.clone() for name, value in made.student.state_dict().items()})
        return {"score": scores[len(after) - 1]}

    made = fitting(evaluate=evaluate, epochs=4, select=select)
    history = made.run()
    assert [entry["dev"] for entry in history] == scores
    kept_now = made.student.state_dict()

    def is_kept(state) -> bool:
        return all(torch.equal(value, state[name]) for name, value in kept_now.items())

    assert [is_kept(state) for state in after] == [epoch == kept for epoch in range(4)]


@pytest.mark.parametrize(("count", "batch_size", "warmup", "schedule"), [
    (40, 8, 0.0, "linear"), (40, 8, 0.1, "linear"), (40, 8, 0.25, "linear"), (40, 8, 4, "linear"),
    (36, 8, 0.3, "linear"),
    (40, 8, 0.3, "constant"), (40, 8, 0.0, "constant")])
def test_the_rate_rises_to_its_peak_and_falls_to_zero(count, batch_size, warmup, schedule):
    """Lines from zero, a step before the first, to the peak where warm-up ends, and to zero."""
    made = fitting(count=count, batch_size=batch_size, warmup=warmup, schedule=schedule, lr=2e-3,
                   head_lr=5e-3, epochs=3)
    rates = at_each_step(made, lambda optimizer: {group["lr"] for group in optimizer.param_groups})
    made.run()
    total = -(-count // batch_size) * 3
    top = warmup if warmup > 1 else warmup * total
    shares = np.interp(range(total), (-1, top, total), (0, 1, 1 if schedule == "constant" else 0))
    expected = [pytest.approx([2e-3 * share, 5e-3 * share]) for share in shares]
    assert [sorted(rate) for rate in rates] == expected


def orders(**given) -> list:
    """The examples of each batch in the order in which the model read them, epoch by epoch."""
    made = fitting(**given)
    seen = batches_read(made)
    made.run()
    half = len(seen) // 2
    return [seen[:half], seen[half:]]


def test_the_order_of_the_data_depends_on_seed_and_epoch_alone():
    first, second = orders()
    for epoch in (first, second):
        read_once = sorted(index for batch in epoch for index in batch)
        assert read_once == list(range(40)), "every example once an epoch"
    assert first != second and first != sorted(first)
    assert orders() == [first, second]
    assert orders(stage="another method", objective=Calibrated("single", 0.3)) == [first, second]
    other = orders(seed=6)
    assert other[0] != first and other[1] != second
    assert orders(order="file")[0] == [tuple(range(i, i + 8)) for i in range(0, 40, 8)]


@pytest.mark.parametrize("kind", ["single", "tags"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole_batch(kind):
    found = []
    for parts in (1, 3, 8):
        made = fitting(kind, accumulate=parts, clip=0.0, max_steps=1)
        batches, steps = batches_read(made), gradients(made)
        history = made.run()
        assert len(batches) == parts and sum(map(len, batches)) == 8 and len(steps) == 1
        found.append((steps[0], history[0]["terms"]))
    for gradient, terms in found[1:]:
        assert terms == pytest.approx(found[0][1], rel=1e-5)
        torch.testing.assert_close(gradient, found[0][0], rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped_to_the_norm_and_keep_their_direction():
    def gradient(clip):
        made = fitting(clip=clip, max_steps=1)
        steps = gradients(made)
        made.run()
        return steps[0]

    free = gradient(0.0)
    assert free.norm() > 0.1
    torch.testing.assert_close(gradient(0.1), free * 0.1 / free.norm(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradient(1e6), free)


class Projecting(Supervised):
    """An objective with a learned part, as a method's projection is one."""

    def __init__(self):
        super().__init__("single")
        self.project = nn.Linear(3, 2)


@pytest.mark.parametrize("decay_all", [False, True])
def test_biases_and_norms_do_not_decay_and_the_rest_has_the_heads_rate(decay_all):
    made = fitting(objective=Projecting(), lr=0.1, head_lr=0.5, weight_decay=0.07,
                   decay_all=decay_all)
    group_of = {id(p): group for group in made.optimizer.param_groups for p in group["params"]}
    named = dict(made.trainee.named_parameters())
    assert len(named) == sum(len(g["params"]) for g in made.optimizer.param_groups) == len(group_of)
    plain = {name for name in named if name.endswith("bias") or "LayerNorm" in name}
    assert {"student.classifier.bias", "objective.project.bias",
            "student.bert.embeddings.LayerNorm.weight"} <= plain
    for name, parameter in named.items():
        group = group_of[id(parameter)]
        assert group["weight_decay"] == (0.0 if name in plain and not decay_all else 0.07), name
        assert group["lr"] == (0.1 if name.startswith("student.bert.") else 0.5), name


# ---- masked LM -----------------------------------------------------------------------------------


def masked(objective: MaskedLM, rows: int = 400, length: int = 52) -> tuple[np.ndarray, ...]:
    """What stood there, what the model sees, the targets: texts that end in two of padding."""
    ids = np.random.default_rng(0).integers(10, 5000, (rows, length))
    ids[:, 0], ids[:, -3], ids[:, -2:] = 2, 3, 0
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[:, -2:] = 0
    batch = Batch({"input_ids": torch.from_numpy(ids.copy()), "attention_mask": mask},
                  examples=[Example(str(i), text=f"text {i}") for i in range(rows)])
    objective.collate(batch)
    return ids, batch.inputs["input_ids"].numpy(), batch.extra["targets"].numpy()


def test_masks_hide_80_swap_10_and_keep_10_of_15_per_cent():
    ids, seen, targets = masked(MaskedLM(4, (0, 2, 3, 4), 5000, seed=1))
    chosen = targets != -100
    assert (targets[chosen] == ids[chosen]).all() and (seen[~chosen] == ids[~chosen]).all()
    assert not chosen[:, [0, -3, -2, -1]].any(), "special tokens and padding are never targets"
    assert chosen.sum() / (400 * 48) == pytest.approx(0.15, abs=0.01)
    hidden, kept = seen[chosen] == 4, seen[chosen] == ids[chosen]
    assert hidden.mean() == pytest.approx(0.8, abs=0.03)
    assert kept.mean() == pytest.approx(0.1, abs=0.02)
    swapped = seen[chosen][~hidden & ~kept]
    assert len(swapped) / chosen.sum() == pytest.approx(0.1, abs=0.02)
    assert swapped.min() < 500 and swapped.max() > 4500, "drawn from the whole vocabulary"


def test_masks_are_drawn_anew_in_every_epoch_and_by_the_seed():
    def targets(seed, epoch):
        objective = MaskedLM(4, (0, 2, 3, 4), 5000, seed)
        objective.epoch = epoch
        return masked(objective, rows=20)[2]

    assert np.array_equal(targets(1, 0), targets(1, 0))
    assert not np.array_equal(targets(1, 0), targets(1, 1))
    assert not np.array_equal(targets(1, 0), targets(2, 0))


# ---- what is scored ------------------------------------------------------------------------------


NUMBERS = itertools.count()  # the runner remembers data by the task's name


@pytest.fixture
def registered():
    """Adds tasks to the registry for one test."""
    added = []

    def add(kind: str, data: Data, **facts) -> Task:
        task = task_of(kind, f"made-up-{next(NUMBERS)}", lookalike=lambda seed=0: data,
                       labels=data.labels, **facts)
        TASKS.add(Entry(task.name, task, (kind,), task.about))
        added.append(task.name)
        return task

    yield add
    for name in added:
        del TASKS._entries[name]


@pytest.fixture
def predicted(monkeypatch):
    """The splits that models were asked to predict, in order."""
    asked, real = [], Lab.predict

    def predict(self, model, examples, *rest):
        split = {id(self.data.split(name)): name for name in ("train", "dev", "test")}
        asked.append(split.get(id(examples), "other"))
        return real(self, model, examples, *rest)

    monkeypatch.setattr(Lab, "predict", predict)
    return asked


QUICK = {"teacher": "tiny:bert", "student": "tiny:bert", "device": "cpu", "controls": False,
         "latency": "off", "batch_size": 8}


def arrays_of(folder, record: dict) -> dict[str, np.ndarray]:
    path = store.path_of(folder, record["id"], record["cell"]["task"]).with_suffix(".npz")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_dev_selects_and_test_is_scored_once(registered, predicted, tmp_path, no_data):
    """Each epoch is judged on dev; the kept one is scored once on either split, by its labels."""
    rng = random.Random(0)
    made = data_of("single", train=120, dev=40, test=50)
    noisy = [replace(e, label=rng.randrange(3)) if rng.random() < 0.3 else e for e in made.test]
    data = replace(made, test=tuple(noisy))
    task = registered("single", data)
    record = kdbench.run("finetune", task.name, results_dir=tmp_path, epochs=4, **QUICK)
    assert predicted == ["dev"] * 5 + ["test"]
    arrays = arrays_of(tmp_path, record)
    right = arrays["test_predictions"].argmax(1) == np.array([e.label for e in data.test])
    assert record["score"]["test"] == pytest.approx(right.mean())
    assert record["score"]["dev"] == pytest.approx(max(entry["dev"] for entry in record["curves"]))
    assert record["score"]["test"] > 0.5
    assert record["score"]["dev"] != pytest.approx(record["score"]["test"])
    assert set(arrays["test_units"]) == {e.group for e in data.test}
    assert arrays["test_counts"].sum(0).tolist() == [right.sum(), 50]


def test_splits_are_what_their_names_say():
    data = data_of("single")
    for name, examples in (("train", data.train), ("dev", data.dev), ("test", data.test)):
        assert data.split(name) is examples and all(e.id.startswith(name) for e in examples)


# a task: the ending of its files, and what a file of two rows holds; WORD is each split's own
LAYOUTS = {
    "chemprot": ("json", '{"id": "1.T1", "sentence": "WORD a", "label": "CPR:4"}\n'
                         '{"id": "2.T1", "sentence": "WORD b", "label": "0"}\n'),
    "ncbi-disease": ("json", '{"id": "1", "tokens": ["WORD", "a"], "ner_tags": ["B", "O"]}\n'
                             '{"id": "2", "tokens": ["WORD", "b"], "ner_tags": ["B", "O"]}\n'),
    "chemprot_tsv": ("tsv", "index\tsentence\tlabel\n1\tWORD a\tfalse\n2\tWORD b\tCPR:3\n"),
    "bc2gm_iobes": ("tsv", "WORD\tS-GENE\na\tO\n\nWORD\tS-GENE\nb\tO\n\n"),
    "emr": ("csv", ",ER_DHX,LABEL\n0,WORD a,1\n1,WORD b,0\n"),
    "files": ("tsv", "text\tlabel\nWORD a\tyes\nWORD b\tno\n"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_split_is_read_from_the_file_of_its_name(name, tmp_path):
    ending, content = LAYOUTS[name]
    folder = tmp_path / name
    folder.mkdir()
    paths = {split: folder / f"{split}.{ending}" for split in ("train", "dev", "test")}
    for split, path in paths.items():
        path.write_text(content.replace("WORD", f"{split}word"))
    given = {"files": paths} if name == "files" else {"data_dir": tmp_path}
    task = TASKS.get(name)
    if name == "chemprot_tsv":
        given["settings"] = options.build(task.options, "corrected", {"header": "all"}, name)
    data = corpora.load(task, LoadOptions(**given))
    for split, path in paths.items():
        texts = [" ".join(e.words) or e.text for e in data.split(split)]
        assert texts == [f"{split}word a", f"{split}word b"]
        assert data.sha256[split] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_word_cut_off_by_the_limit_is_scored_as_o(registered, tmp_path, no_data):
    """In a tag set in which O is not the first: by the lab and by an export, to one score."""
    from seqeval.metrics import f1_score

    data = data_of("tags", train=120, dev=20, test=30, longest=24)
    task = registered("tags", data)
    record = kdbench.run("finetune", task.name, results_dir=tmp_path / "r", epochs=3, max_length=12,
                         **QUICK)
    arrays = arrays_of(tmp_path / "r", record)
    predictions = np.split(arrays["test_predictions"], np.cumsum(arrays["test_lengths"])[:-1])
    outside = data.labels.index("O")
    # 2 of the 12 tokens are special, and a word has 1 at least
    beyond = [tags[10:] for tags in predictions]
    assert sum(map(len, beyond)) > 50 and all((tags == outside).all() for tags in beyond)

    def named(rows) -> list[list[str]]:
        return [list(map(data.labels.__getitem__, tags)) for tags in rows]

    expected = f1_score(named(e.label for e in data.test), named(predictions))
    assert record["score"]["test"] == pytest.approx(expected)
    assert 0.3 < record["score"]["test"] < 0.95, "it has learnt, and what it cannot read it misses"
    row, = export_run(tmp_path / "r", record["id"], tmp_path / "out", ("safetensors",), None,
                      "quick")
    assert row["score"]["test"] == pytest.approx(record["score"]["test"])


def test_limits_draw_rows_by_a_seed_and_leave_test_whole(registered, no_data):
    data = data_of("single", train=60, dev=30, test=20)
    task = registered("single", data)
    limits = {"max_train_examples": 15, "max_dev_examples": 8}
    request = Request("finetune", task.name, "tiny:bert", "tiny:bert", settings=limits, seeds=(0, 1), controls=False)
    first, second = (cell.data for cell in plan(request))
    assert first.rows == {"train": 15, "dev": 8, "test": 20} and first.test == data.test
    assert first.train == second.train and first.dev == second.dev, "the same for every seed"
    for name, kept in (("train", first.train), ("dev", first.dev)):
        places = [data.split(name).index(example) for example in kept]
        assert places == sorted(places) and places != list(range(len(places)))
    assert data.limited(100, None).rows == data.rows
    assert data.limited(15, 8, seed=1).train != first.train


def test_a_task_takes_its_facts_by_name_alone():
    with pytest.raises(TypeError):
        Task("notes", "single", "accuracy", "a text", print)
    fields = {"name": "a", "task_type": "single", "about": "c", "metric": "accuracy", "load": print}
    made = Task(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


# ---- figures in their units ----------------------------------------------------------------------


def test_latencies_are_milliseconds_and_percentiles(monkeypatch):
    """By a clock that says 1, 2, 3, ... ms: 100 texts, then 100 times 128 tokens, then batches."""
    ticks = iter(range(1, 1000))

    def clock(call, item):
        call(item)
        return float(next(ticks))

    monkeypatch.setattr(measure, "stopwatch", lambda artefact: clock)
    monkeypatch.setattr(measure, "wall_ms", lambda call, item: 7.0)
    plan_of_100 = Protocol("made-up", 0, 100, 0.0, float("inf"), 1)
    found = measure.measure(served(student(), 128), TEXTS[:4], plan_of_100)
    assert found["p50_ms"] == pytest.approx(50.5) and found["p95_ms"] == pytest.approx(95.05)
    assert found["p50_128_ms"] == pytest.approx(150.5) and found["tokenise_ms"] == 7.0
    batches = range(201, 211)
    assert found["throughput_per_s"] == pytest.approx(32 * len(batches) / (sum(batches) / 1000))


def test_a_wall_clocks_seconds_become_milliseconds(monkeypatch):
    now = iter((2.0, 2.5))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(now))
    assert measure.wall_ms(lambda item: None, None) == pytest.approx(500)


def test_sizes_are_parameters_and_millions_of_bytes():
    module = nn.Linear(1000, 500)
    module.bias.requires_grad_(False)
    assert measure.size(module) == {"parameters": 500_500, "trainable": 500_000, "megabytes": 2.002}
    assert measure.size(module.half())["megabytes"] == 1.001


# ---- files that are whole or not there -----------------------------------------------------------


class Killed(Exception):
    """Stands in for a kill in the middle of a write."""


@pytest.mark.parametrize("there_before", [True, False])
def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path, there_before):
    target = tmp_path / "table.csv"
    if there_before:
        target.write_text("old")
    with pytest.raises(Killed), folders.new_file(target) as stream:
        stream.write("half of the new")
        stream.flush()
        assert target.exists() == there_before and (not there_before or target.read_text() == "old")
        raise Killed
    assert [path.name for path in tmp_path.iterdir()] == (["table.csv"] if there_before else [])
    assert not there_before or target.read_text() == "old"
    folders.write_text(target, "new")
    assert target.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a crash of the machine can leave the name on half a file."""
    done, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: done.append("on the disk") or sync(number))
    monkeypatch.setattr(os, "replace", lambda old, new: done.append("renamed") or rename(old, new))
    folders.write_text(tmp_path / "table.csv", "new")
    assert done == ["on the disk", "renamed"]


def test_a_record_is_written_after_its_predictions(tmp_path, monkeypatch):
    record = {"id": "abc", "cell": {"task": "made-up"}, "format": store.FORMAT}
    monkeypatch.setattr(json, "dump", lambda *_, **__: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        store.write(tmp_path, record, {"test_predictions": np.zeros(3)})
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["abc.npz"]
    assert store.find(tmp_path, "abc", "made-up") is None


def test_signals_have_their_name_when_they_are_whole(tmp_path, monkeypatch):
    made = signals.StoredSignals("key", {"logits": {"ab" * 20: np.zeros(3, np.float32)}}, "single")
    real = signals.save_file

    def half(tensors, path):
        real(tensors, path)
        os.truncate(path, 20)
        raise Killed

    monkeypatch.setattr(signals, "save_file", half)
    with pytest.raises(Killed):
        signals.save(made, tmp_path)
    assert not (tmp_path / "key-logits.safetensors").exists()
    assert signals.load(tmp_path, "key", ("logits",), "single") is None


def test_a_kill_in_a_checkpoint_leaves_the_one_before_it(tmp_path, monkeypatch):
    """Each is written beside the last one, and pointed at when it is whole."""
    written, real = [], resuming.save_file

    def dying(tensors, path):
        written.append(path)
        if len(written) == 4:
            raise Killed
        real(tensors, path)

    monkeypatch.setattr(resuming, "save_file", dying)
    with pytest.raises(Killed):
        fitting(folder=tmp_path).run()
    monkeypatch.undo()
    again = fitting(folder=tmp_path)
    again.resume()
    assert again.step == 3
