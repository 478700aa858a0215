"""TinyBERT's and MiniLM's losses against their papers' equations in float64, and what their trainings are made of."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from transformers import BertConfig, BertForSequenceClassification

import kdbench
from kdbench.base.errors import Skip
from kdbench.methods.attention_scores import can_give_scores, use_scores, use_vectors
from kdbench.methods.minilm import Relations, relation_error, relation_heads, relations
from kdbench.methods.tinybert import TinyBERT
from kdbench.methods.transformer_layers import LayerLosses
from kdbench.runs import store
from kdbench.train.method import Batch


def bert(width=24, layers=2, heads=4, seed=0):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=60, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=32,
                        max_position_embeddings=16, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                        attn_implementation="eager")
    return BertForSequenceClassification(config).eval()


def texts(lengths, width=7):
    rng = np.random.default_rng(len(lengths))
    ids, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.from_numpy(rng.integers(1, 60, size=length))
        mask[row, :length] = 1
    counts = {"examples": float(len(lengths)), "tokens": float(mask.sum())}
    return Batch({"input_ids": ids, "attention_mask": mask}, counts=counts)


# ---- MiniLM --------------------------------------------------------------------------------------


def relations_by_hand(rows, heads):
    """softmax(X Xᵀ / √d) of one text's real rows (T, H), each relation head by itself."""
    found = []
    for part in np.split(rows, heads, axis=1):
        scores = np.array([[sum(a * b for a, b in zip(x, y, strict=True)) for y in part] for x in part]) / math.sqrt(part.shape[1])
        powers = np.exp(scores - scores.max(1, keepdims=True))
        found.append(powers / powers.sum(1, keepdims=True))
    return found


def loss_by_hand(student, teacher, lengths, heads):
    """The sum over Q, K, V and real tokens of the mean over relation heads of the KL; lists of (T, H) by text."""
    total = 0.0
    for row in range(len(lengths)):
        for ours, theirs in zip(student[row], teacher[row], strict=True):
            for q, p in zip(relations_by_hand(ours, heads), relations_by_hand(theirs, heads), strict=True):
                total += (p * np.log(p / q)).sum() / heads
    return total


def side_by_side(queries, heads):
    """Three (B, T, H) arrays as the attention of `heads` heads gives them, (B, A, T, 3 D)."""
    parts = [torch.from_numpy(each).reshape(*each.shape[:2], heads, -1).transpose(1, 2) for each in queries]
    return torch.cat(parts, -1)


@pytest.mark.parametrize("heads", [1, 3, 6])
def test_relations_are_their_equation_whatever_the_attention_heads_and_widths(heads):
    rng, lengths = np.random.default_rng(heads), (5, 1, 3)
    student, teacher = rng.normal(size=(3, 3, 5, 12)), 2 * rng.normal(size=(3, 3, 5, 24))  # Q, K, V of three texts
    mask = torch.tensor([[float(at < length) for at in range(5)] for length in lengths])
    found = relation_error(relations(side_by_side(student, 2), heads, mask), relations(side_by_side(teacher, 4), heads, mask), mask)
    cut = [[[array[which, row, :length] for which in range(3)] for row, length in enumerate(lengths)] for array in (student, teacher)]
    assert float(found) == pytest.approx(loss_by_hand(*cut, lengths, heads), rel=1e-12)


def test_relations_have_the_right_gradient_and_are_0_of_the_teacher_itself():
    torch.manual_seed(0)
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    own, teacher = torch.randn(2, 2, 4, 18, dtype=torch.double, requires_grad=True), torch.randn(2, 2, 4, 18, dtype=torch.double)
    assert gradcheck(lambda x: relation_error(relations(x, 3, mask), relations(teacher, 3, mask), mask), (own,))
    same = relations(teacher, 3, mask)
    assert float(relation_error(same, same, mask)) == 0
    one = torch.tensor([[1.0]])
    single = relation_error(relations(own[:1, :, :1], 3, one), relations(teacher[:1, :, :1], 3, one), one)
    assert float(single) == 0, "one word attends to itself, whatever the weights"


def test_the_vectors_are_those_of_the_projections():
    model, batch = bert(), texts([7, 4])
    use_vectors(model)
    out = model(**batch.inputs, output_attentions=True, output_hidden_states=True)
    for layer, (state, vectors) in enumerate(zip(out.hidden_states[:-1], out.attentions, strict=True)):
        own = model.bert.encoder.layer[layer].attention.self
        for linear, found in zip((own.query, own.key, own.value), vectors.chunk(3, -1), strict=True):
            assert torch.allclose(found.transpose(1, 2).flatten(2), linear(state), atol=1e-6)
    plain = bert()
    assert torch.allclose(out.logits, plain(**batch.inputs).logits, atol=1e-6), "the model computes what it did"


def test_minilm_of_a_model_and_itself_is_0_and_pulls_another_towards_it():
    teacher, batch = bert(), texts([7, 5, 2])
    objective = Relations(heads=4, layer=2)
    hooked = copy.deepcopy(teacher)
    use_vectors(hooked)
    batch.signals = {name: torch.stack(rows).detach()
                     for name, rows in objective.pool()(hooked(**batch.inputs, output_attentions=True), batch).items()}
    assert float(objective(copy.deepcopy(teacher), batch)["relations"].total) == pytest.approx(0, abs=1e-5)
    student = bert(width=12, layers=1, heads=2, seed=1).train()
    optimizer, seen = torch.optim.Adam(student.parameters(), lr=1e-2), []
    for _ in range(60):
        term = objective(student, batch)["relations"]
        assert term.per == "tokens"
        optimizer.zero_grad()
        term.total.backward()
        optimizer.step()
        seen.append(float(term.total))
    assert seen[-1] < 0.2 * seen[0]


def test_minilm_reads_the_teachers_layer():
    hooked, batch = bert(layers=3), texts([7, 5])
    use_vectors(hooked)
    out = hooked(**batch.inputs, output_attentions=True)
    for layer in (1, 3):
        vectors, = Relations(heads=4, layer=layer).pool()(out, batch).values()
        assert torch.equal(torch.stack(vectors), out.attentions[layer - 1])


def test_relation_heads_divide_both_widths():
    assert [relation_heads(None, *widths) for widths in ((768, 768), (768, 384), (768, 312), (1024, 384), (64, 32), (7, 11))] \
        == [48, 48, 24, 32, 32, 1]
    assert relation_heads(8, 64, 32) == 8
    with pytest.raises(Skip, match="heads=48 does not divide 768 and 312.*use heads=24"):
        relation_heads(48, 768, 312)


# ---- TinyBERT ------------------------------------------------------------------------------------


def layers_by_hand(states, attentions, batch, pairs):
    """Section 3.1 of one batch: (embedding, hidden, attention), states and attentions of (teacher, student)."""
    embedding = hidden = attention = 0.0
    for row, length in enumerate(batch.inputs["attention_mask"].sum(1).tolist()):
        embedding += sum(((states[0][0][row, t] - states[1][0][row, t]) ** 2).mean() for t in range(length))
        for theirs, ours in pairs:
            hidden += sum(((states[0][theirs][row, t] - states[1][ours][row, t]) ** 2).mean() for t in range(length))
            scores = [each[at - 1][row, :, :length, :length] for each, at in zip(attentions, (theirs, ours), strict=True)]
            attention += ((scores[0] - scores[1]) ** 2).mean()
    return embedding, hidden, attention


def test_tinyberts_layers_are_the_equations_of_real_models():
    teacher, student, batch = bert(layers=4), bert(layers=2, seed=1), texts([7, 3])
    pairs = [(2, 1), (4, 2)]
    objective, wanted = LayerLosses(("hidden", "attention"), (pairs, pairs)), {"output_attentions": True, "output_hidden_states": True}
    for model in (teacher, student):
        use_scores(model)
    with torch.no_grad():
        outputs = [model(**batch.inputs, **wanted) for model in (teacher, student)]
        batch.signals = {name: torch.stack(rows) for name, rows in objective.pool()(outputs[0], batch).items()}
        found = objective(student, batch)
    as_arrays = [[each.double().numpy() for each in out.hidden_states] for out in outputs]
    scores = [[each.double().numpy() for each in out.attentions] for out in outputs]
    expected = layers_by_hand(as_arrays, scores, batch, pairs)
    assert [float(found[name].total) for name in ("embedding", "hidden", "attention")] == pytest.approx(expected, rel=1e-5)
    assert [found[name].per for name in ("embedding", "hidden", "attention")] == ["tokens", "tokens", "examples"]


def test_tinyberts_layers_of_the_teacher_itself_are_0_and_projections_learn():
    teacher, batch, pairs = bert(), texts([7, 1]), [(1, 1), (2, 2)]
    objective = LayerLosses(("hidden", "attention"), (pairs, pairs))
    hooked = copy.deepcopy(teacher)
    use_scores(hooked)
    out = hooked(**batch.inputs, output_attentions=True, output_hidden_states=True)
    batch.signals = {name: torch.stack(rows).detach() for name, rows in objective.pool()(out, batch).items()}
    assert [float(term.total) for term in objective(teacher, batch).values()] == pytest.approx([0, 0, 0], abs=1e-8)
    narrow = LayerLosses(("hidden",), (pairs, pairs), widths=(24, 12), seed=3)
    batch.signals.pop("layer_attentions")
    terms = narrow(bert(width=12, heads=2, seed=1), batch)
    (terms["embedding"].total + terms["hidden"].total).backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in narrow.parameters()) and len(list(narrow.parameters())) == 4


def trained(folder, method, task="chemprot", student="tiny:bert", examples=48, **options):
    """The record of a short run, whose first text is short too, and the names of the student's trainings."""
    text = folder / "text.txt"
    folder.mkdir(exist_ok=True)
    text.write_text("the kinase binds\nno fever today\n" * 4)
    options = {"corpus": str(text), **options}
    kdbench.run(method, task, teacher="tiny:bert", student=student, options=options, results_dir=folder, epochs=1, max_train_examples=examples,
                max_dev_examples=16, latency="off", controls=False, batch_size=16)
    record = next(each for each in store.records(folder) if each["cell"]["method"] == method)
    stages = record.get("cost", {}).get("stages", ())
    return record, [stage["name"] for stage in stages if stage["role"] == "student"]


@pytest.mark.parametrize("task", ["chemprot", "hoc", "bioasq", "biosses", "bc2gm_iobes"])
@pytest.mark.parametrize(("method", "stages"), [("tinybert", ["general distillation", "layers", "prediction"]),
                                                ("minilm", ["relations", "fine-tuning"])])
def test_every_kind_of_task_is_trained(method, stages, task, tmp_path):
    record, found = trained(tmp_path, method, task, "cut:1")
    assert record["status"] == "done" and found == stages


@pytest.mark.parametrize(("options", "stages"), [
    ({"general": False}, ["layers", "prediction"]), ({"layers": False, "attention": False}, ["general distillation", "prediction"]),
    ({"general": False, "layers": False, "hidden": False, "attention": False, "alpha": 0.5}, ["prediction"]),
])
def test_the_trainings_of_tinybert_can_be_left_out(options, stages, tmp_path):
    record, found = trained(tmp_path, "tinybert", **options)
    assert record["status"] == "done" and found == stages


def test_tinybert_says_what_it_cannot(tmp_path):
    record, _ = trained(tmp_path, "tinybert", hidden=False, attention=False)
    assert record["status"] == "skipped" and "leave no loss for the layers" in record["reason"]


@pytest.mark.parametrize(("student", "reason"), [("bilstm", "has no attention"), ("tiny:roberta", "has another tokenizer")])
@pytest.mark.parametrize("method", ["tinybert", "minilm"])
def test_students_that_cannot_learn_layers_are_skipped_with_the_reason(method, student, reason, tmp_path):
    record, _ = trained(tmp_path, method, "bc2gm_iobes", student)
    assert record["status"] == "skipped" and reason in record["reason"]


def test_a_model_that_hides_its_scores_teaches_hidden_states(tmp_path):
    kdbench.run("tinybert", "chemprot", teacher="tiny:mpnet", student="tiny:mpnet", results_dir=tmp_path, epochs=1, max_train_examples=16,
                max_dev_examples=8, latency="off", controls=False)
    record, = store.records(tmp_path)
    assert record["status"] == "skipped" and record["reason"].endswith("use attention=no")
    record, found = trained(tmp_path / "no", "tinybert", student="bilstm", attention=False)
    assert record["status"] == "skipped" and "no layers like a transformer's" in record["reason"]


def test_heads_that_share_keys_have_no_vectors_of_their_own():
    model = bert()
    assert can_give_scores(model)
    model.config.num_key_value_heads = 2
    assert not can_give_scores(model)


@pytest.mark.parametrize("method", ["tinybert", "minilm"])
def test_text_of_a_file_is_known_by_its_content(method, tmp_path):
    corpus, ids = tmp_path / "notes.txt", set()
    for more in ("the kinase binds\nno fever today\n\n", "one more line\n"):
        with corpus.open("a") as file:
            file.write(more)
        record, _ = trained(tmp_path / str(len(ids)), method, corpus=str(corpus))
        assert record["status"] == "done" and str(tmp_path) not in str(record["cell"])
        ids.add(record["id"])
    assert len(ids) == 2


def test_what_is_learned_of_the_projections_goes_from_text_to_task(tmp_path, monkeypatch):
    seen = []
    training = TinyBERT.layer_training

    def watched(self, lab, losses, *more):
        before = losses.project_hidden.weight.detach().clone()
        student = training(self, lab, losses, *more)
        seen.append((before, losses.project_hidden.weight.detach().cpu().clone()))
        return student

    monkeypatch.setattr(TinyBERT, "layer_training", watched)
    trained(tmp_path, "tinybert", student="tinybert", examples=8)
    (drawn, after), (given, last) = seen
    assert torch.equal(after, given) and not torch.equal(drawn, after) and not torch.equal(given, last)


def test_a_kill_among_the_layers_changes_nothing(tmp_path, monkeypatch):
    """What the first training learned of the projections is found again."""
    whole = trained(tmp_path / "whole", "tinybert", student="tinybert", examples=32)[0]
    step, steps = torch.optim.AdamW.step, []

    def dying(self, *given, **named):
        steps.append(self)
        if len(steps) == 5:  # one of the general distillation, two of the teacher, the second of the layers
            raise RuntimeError("killed")
        return step(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", dying)
        killed = trained(tmp_path / "killed", "tinybert", student="tinybert", examples=32)[0]
    again = trained(tmp_path / "killed", "tinybert", student="tinybert", examples=32)[0]
    assert killed["status"] == "failed" and again["id"] == whole["id"]
    cached = {stage["name"]: stage["cached"] for stage in again["cost"]["stages"] if stage["name"] != "signals"}
    assert cached == {"general distillation": True, "fine-tuning": True, "layers": False, "prediction": False}
    assert [entry["terms"] for entry in again["curves"]] == [entry["terms"] for entry in whole["curves"]]
