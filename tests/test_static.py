"""`static`: vectors of the vocabulary, components and weights against their equations in float64; the classifier; whole runs."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.autograd import gradcheck

from kdbench.base import options
from kdbench.base.registry import TASKS
from kdbench.methods.static import (
    Static,
    around,
    by_number,
    principal,
    separator_of,
    special_ids,
    weights_of,
)
from kdbench.methods.static_model import StaticClassifier, StaticConfig, compared, text_vectors
from kdbench.models.sources import resolve
from kdbench.models.tokenizer import train_tokenizer
from kdbench.tasks.lookalikes import LOOKALIKES
from kdbench.train import spec
from kdbench.train.lab import Lab
from kdbench.train.stage_cache import StageCache

TEXTS = ("the kinase binds the receptor", "no fever today", "aspirin reduced mortality in the elderly patients")
KINDS = ("bert", "roberta", "deberta-v3", "xlm-roberta", "eurobert")


def tokenizer_of(kind):
    return train_tokenizer(kind, TEXTS * 4, 400)


# ---- the vocabulary's vectors --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_read_by_its_number_with_what_stands_around_a_text(kind):
    own = tokenizer_of(kind)
    numbers = by_number(own, len(own))
    for text in ("kinase", "the"):
        ids = own(text)["input_ids"]
        before, behind = around(own)
        assert ids[:len(before)] == before and ids[len(ids) - len(behind):] == behind
        inner = ids[len(before):len(ids) - len(behind)]
        assert [numbers(str(i))["input_ids"] for i in inner] == [[*before, i, *behind] for i in inner]
    every = range(len(own))
    assert [row[len(before)] for row in numbers([str(i) for i in every])["input_ids"]] == [*every]


@pytest.mark.parametrize("size", [1, 3, 6, 9])
def test_principal_components_are_those_of_the_singular_values(size):
    rng = np.random.default_rng(size)
    rows = rng.normal(size=(40, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 7
    left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    found = principal(rows, size)
    assert found.shape == (40, min(size, 6))
    for at, column in enumerate(found.T):
        expected = left[:, at] * values[at]
        expected = expected * np.sign(expected[np.abs(expected).argmax()])
        assert column == pytest.approx(expected, abs=1e-9) and column[np.abs(column).argmax()] > 0
    assert principal(rows.astype(np.float32), size) == pytest.approx(found, abs=1e-4)


def test_components_of_equal_tokens_are_0():
    assert np.abs(principal(np.ones((5, 3)), 2)).max() == 0


def test_weights_by_frequency_are_their_equations():
    counts, a = np.array([60, 0, 30, 10]), 0.01
    assert weights_of(counts, "text", a) == pytest.approx([a / (a + share) for share in (0.6, 0.0, 0.3, 0.1)])
    zipf = [1 / (rank + 1) for rank in (1, 2, 3, 4)]
    assert weights_of(counts, "rank", a) == pytest.approx([a / (a + share / sum(zipf)) for share in zipf])
    assert weights_of(counts, "log_rank", a) == pytest.approx([np.log(2), np.log(3), np.log(4), np.log(5)])
    assert weights_of(counts, "no", a) == pytest.approx([1] * 4)
    assert weights_of(np.zeros(3), "text", a) == pytest.approx([1] * 3), "a text without words"


# ---- the classifier ------------------------------------------------------------------------------


def model_of(pairs=False, hidden=0, before=0, seed=0, **more):
    torch.manual_seed(seed)
    return StaticClassifier(StaticConfig(vocab_size=30, hidden_size=6, classifier_size=hidden, left_out=[0, 1, 2],
                                         separator=2 if pairs else None, separators_before=before, num_labels=3, **more)).eval()


def unit(mean):
    length = np.linalg.norm(mean)
    return mean / length if length else mean


def logits_by_hand(model, first, second=None):
    """The equations of `static` in float64, for lists of token ids without special ones."""
    table = model.encoder.embeddings.weight.detach().double().numpy()
    a, *b = (unit(np.mean([table[i] for i in ids], axis=0) if ids else np.zeros(6)) for ids in (first, *([second] if second is not None else [])))
    x = np.concatenate([a, b[0], np.abs(a - b[0]), a * b[0]]) if b else a
    layers = [layer for layer in model.classifier if isinstance(layer, torch.nn.Linear)]
    for number, layer in enumerate(layers):
        x = layer.weight.detach().double().numpy() @ (np.maximum(x, 0) if number else x) + layer.bias.detach().double().numpy()
    return x


def batch_of(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    return {"input_ids": ids, "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])}


@pytest.mark.parametrize("hidden", [0, 5])
def test_logits_of_a_text_are_their_equation_without_special_tokens_and_padding(hidden):
    model, texts = model_of(hidden=hidden), ([5], [7, 8, 8, 29], [])
    found = model(**batch_of([[1, *text, 2] for text in texts])).logits.detach().numpy()
    assert found == pytest.approx(np.array([logits_by_hand(model, text) for text in texts]), abs=1e-5)
    longer = batch_of([[1, *text, 2] for text in texts])
    longer["input_ids"][longer["attention_mask"] == 0] = 17
    assert torch.equal(model(**longer).logits, torch.from_numpy(found)), "what stands in the padding is not read"


@pytest.mark.parametrize(("row", "before"), [
    (lambda a, b: [1, *a, 2, *b, 2], 0),  # BERT's
    (lambda a, b: [1, *a, 2, 2, *b, 2], 0),  # RoBERTa's
    (lambda a, b: [2, *a, 2, *b, 2], 1),  # one token for both
])
def test_logits_of_a_pair_compare_its_texts_wherever_the_separators_stand(row, before):
    model = model_of(pairs=True, hidden=4, before=before)
    pairs = (([5, 6], [7]), ([9], [9]), ([4, 5, 6, 7], [21, 22, 23]), ([8], []))
    found = model(**batch_of([row(*pair) for pair in pairs])).logits.detach().numpy()
    assert found == pytest.approx(np.array([logits_by_hand(model, *pair) for pair in pairs]), abs=1e-5)


def test_the_mean_has_the_right_gradient_and_a_pair_of_one_text_differs_by_nothing():
    torch.manual_seed(1)
    vectors, read = torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True), torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0]]) > 0
    assert gradcheck(lambda v: text_vectors(v, read), (vectors,))
    text = text_vectors(vectors, read)
    assert text.norm(dim=-1).tolist() == pytest.approx([1, 1])
    assert compared(text, text)[:, 6:9].abs().max() == 0 and torch.equal(compared(text, text)[:, 9:], text * text)
    none = text_vectors(vectors, torch.zeros_like(read))
    none.sum().backward()
    assert none.abs().max() == 0 and vectors.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_of_a_pair_are_told_apart_whatever_the_tokenizer(kind):
    own = tokenizer_of(kind)
    separator, before = separator_of(own)
    encoded = own("the kinase", "no fever")
    passed, seen = [], 0
    for i in encoded["input_ids"]:
        seen += i == separator
        passed.append(seen > before)
    left_out = special_ids(own)
    for at, text in enumerate(encoded.sequence_ids(0)):
        if text is None:
            assert encoded["input_ids"][at] in left_out
        else:
            assert passed[at] == (text == 1) and encoded["input_ids"][at] not in left_out


def test_a_model_that_is_saved_is_read_as_it_was(tmp_path):
    model = model_of(pairs=True, hidden=4)
    model.save_pretrained(tmp_path)
    again = StaticClassifier.from_pretrained(tmp_path).eval()
    inputs = batch_of([[1, 5, 6, 2, 7, 2], [1, 9, 2, 9, 2]])
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert again.encoder.left_out.tolist() == [0, 1, 2]


# ---- whole runs ----------------------------------------------------------------------------------


def fitted(folder, task="chemprot", teacher="tiny:bert", **given):
    """The lab of a short run, and its student."""
    task, given = TASKS.get(task), {"size": 16, "hidden": 8, **given}
    protocol = spec.settings({"epochs": 1, "batch_size": 16, "select": "last", "precision": "fp32"}, task, lookalike=True)
    lab = Lab(task, LOOKALIKES[task.name](train=48, dev=16, test=16), 0, "corrected", protocol, resolve("tiny-student"), resolve(teacher),
              StageCache(folder), Accelerator(cpu=True))
    method = Static(options.build(Static.Options, "corrected", given, "static"))
    return lab, method.fit(lab)


@pytest.mark.parametrize("task", ["chemprot", "hoc", "bioasq", "biosses"])
def test_every_kind_of_task_is_trained_and_found_again(task, tmp_path):
    lab, student = fitted(tmp_path, task)
    names = [(stage["name"], stage["role"]) for stage in lab.stages]
    assert names == [("fine-tuning", "teacher"), ("signals", "teacher"), ("signals", "teacher"), ("fine-tuning", "control"),
                     ("soft targets", "student")]
    assert (student.module.config.separator is None) == (task in ("chemprot", "hoc"))
    assert [name for name, _ in lab.extra_rows] == ["random vectors, no teacher"]
    again, same = fitted(tmp_path, task)
    assert all(stage["cached"] for stage in again.stages) and same.key == student.key


def vectors_by_hand(teacher):
    """Of each token that is no special one, the mean of the last layer's states, one token a forward pass."""
    before, behind = around(teacher.tokenizer)
    ids = [i for i in range(len(teacher.tokenizer)) if i not in special_ids(teacher.tokenizer)]
    module = teacher.module.eval()
    with torch.inference_mode():
        rows = [module(torch.tensor([[*before, i, *behind]]), output_hidden_states=True).hidden_states[-1][0] for i in ids]
    return ids, np.array([row.double().mean(0).numpy() for row in rows])


@pytest.mark.parametrize("teacher", ["tiny:bert", "tiny:roberta"])
def test_vectors_are_the_teachers_components_times_the_weights_of_the_text(teacher, tmp_path):
    lab, student = fitted(tmp_path, teacher=teacher, vectors="as_given", learn_vectors=False, size=64)
    found = student.module.encoder.embeddings.weight.double().detach().numpy()
    ids, states = vectors_by_hand(lab.teacher())
    counts = np.bincount(sum((student.tokenizer(e.text)["input_ids"] for e in lab.data.train), []), minlength=len(found))[ids]
    weights = 1e-3 / (1e-3 + counts / counts.sum())
    # all components are kept, so that the products of vectors are those before the rotation; states are stored in 16 bits
    centred = (states - states.mean(0)) * weights[:, None]
    assert np.abs(found[ids] @ found[ids].T - centred @ centred.T).max() < 5e-3 * np.square(centred).sum(1).max()
    spread = (found[ids] / weights[:, None]).var(0)
    assert (spread[:-1] >= spread[1:] - 1e-6).all()
    others = sorted(special_ids(student.tokenizer))
    assert list(student.module.config.left_out) == others and np.abs(found[others]).max() == 0


def test_vectors_are_trained_and_come_of_the_trained_teacher(tmp_path):
    tables = [fitted(tmp_path, vectors=vectors, learn_vectors=learn)[1].module.encoder.embeddings.weight.detach()
              for vectors, learn in (("trained", False), ("as_given", False), ("trained", True))]
    assert tables[0].shape == tables[1].shape and not torch.allclose(tables[0], tables[1], atol=1e-3)
    assert not torch.equal(tables[0], tables[2])
