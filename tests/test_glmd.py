"""GLMD's loss on words against its equation in float64, the positions that are compared, and its trainings."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
)

import kdbench
from kdbench.data.task import Example
from kdbench.methods import glmd
from kdbench.methods.expanded_vocabulary import MLM
from kdbench.methods.glmd import EMBEDDING, GIVEN, Words, with_encoder, word_logits
from kdbench.models.load import Model, build
from kdbench.models.sources import resolve
from kdbench.runs import store
from kdbench.train.lab import Lab
from kdbench.train.method import Batch

VOCABULARY, MASK, SPECIAL = 40, 4, (0, 2, 3, 4)


class Pieces:
    """What the objective reads of a tokenizer."""

    mask_token_id, all_special_ids = MASK, SPECIAL

    def __len__(self):
        return VOCABULARY


def bert(width=24, layers=2, seed=0, vocabulary=VOCABULARY):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
                        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.5)
    model = BertForMaskedLM(config).eval().double()
    with torch.no_grad():  # which begins as zeros
        model.cls.predictions.bias.normal_()
    return model


def named(module):
    return Model(module, Pieces(), "a model", "key")


def texts(lengths, width=9, low=5, high=VOCABULARY):
    rng = np.random.default_rng(len(lengths))
    ids, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.from_numpy(rng.integers(low, high, size=length)) if high > low else 0
        ids[row, 0] = min(2, high - 1)
        mask[row, :length] = 1
    examples = [Example(id=str(row), text=f"text {row}") for row in range(len(lengths))]
    return Batch({"input_ids": ids, "attention_mask": mask}, counts={"examples": float(len(lengths))}, examples=examples)


def collated(objective, *args, epoch=0, **named_args):
    batch = texts(*args, **named_args)
    objective.epoch = epoch
    objective.collate(batch)
    return batch


# ---- the equation --------------------------------------------------------------------------------


def softmax(z):
    powers = np.exp(z - z.max())
    return powers / powers.sum()


def loss_by_hand(student, teacher, read, temperature):
    """The sum over the positions `read` of T² Σ p log (p / q), one position at a time; logits (B, T, V)."""
    total = 0.0
    for row, at in zip(*np.nonzero(read), strict=True):
        q, p = softmax(student[row, at] / temperature), softmax(teacher[row, at] / temperature)
        total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total


def whole(model, batch):
    """The logits of all positions, by the model's own forward pass."""
    with torch.no_grad():
        return model(**batch.inputs).logits.numpy()


@pytest.mark.parametrize("temperature", [1.0, 15.0])
@pytest.mark.parametrize("masks", [0.0, 0.4])
def test_the_loss_on_words_is_its_equation_over_real_tokens(masks, temperature):
    teacher, student = bert(), bert(width=12, layers=1, seed=1)
    objective = Words(named(teacher), GIVEN, temperature, 0, masks=masks)
    batch = collated(objective, (9, 1, 5))
    assert bool((batch.inputs["input_ids"] == MASK).any()) == bool(masks), "both read what is masked"
    read = batch.inputs["attention_mask"].numpy()
    term = objective(student, batch)["words"]
    expected = loss_by_hand(whole(student, batch), whole(teacher, batch), read, temperature)
    assert float(term.total) == pytest.approx(expected, rel=1e-9) and expected > 1
    assert term.per == "compared" and batch.counts["compared"] == read.sum() == 15 and term.weight == 1


def test_at_a_large_temperature_it_is_half_the_variance_of_the_differences():
    """What T² is for: T² KL goes to ½ Var(z_T - z_S) over the vocabulary."""
    teacher, student = bert(), bert(width=12, layers=1, seed=1)
    objective = Words(named(teacher), GIVEN, 1e4, 0)
    batch = collated(objective, (6, 3))
    differences = (whole(teacher, batch) - whole(student, batch))[batch.inputs["attention_mask"].numpy() > 0]
    assert float(objective(student, batch)["words"].total) == pytest.approx(differences.var(-1).sum() / 2, rel=1e-2)


def test_the_gradient_is_right_and_goes_to_the_student_alone():
    teacher, student = bert(), bert(width=12, layers=1, seed=1)
    objective = Words(named(teacher), GIVEN, 3.0, 0)
    batch, bias = collated(objective, (4, 2)), student.cls.predictions.bias
    student.requires_grad_(False)

    def total(value):
        return objective(Biased(student, value), batch)["words"].total

    class Biased(torch.nn.Module):
        """The student with another bias of its head."""

        def __init__(self, model, value):
            super().__init__()
            self.base_model, self.value = model.bert, value
            self.cls = lambda hidden: model.cls(hidden) - bias + value

    assert gradcheck(total, (bias.detach().clone().requires_grad_(),))
    student.requires_grad_(True)
    objective(student, batch)["words"].total.backward()
    assert float(student.bert.embeddings.word_embeddings.weight.grad.abs().sum()) > 0
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert not list(objective.parameters()) and not objective.state_dict(), "the teacher is neither trained nor saved with it"


def test_words_of_the_teacher_itself_and_of_one_entry_are_0():
    teacher = bert()
    objective = Words(named(teacher), GIVEN, 15.0, 0, masks=0.3)
    student, batch = copy.deepcopy(teacher).requires_grad_(True), collated(objective, (9, 4))
    total = objective(student, batch)["words"].total
    total.backward()
    assert float(total) == pytest.approx(0, abs=1e-9)
    assert max(float(weight.grad.abs().max()) for weight in student.parameters() if weight.grad is not None) < 1e-9
    one = Words(named(bert(vocabulary=1)), GIVEN, 15.0, 0)
    assert float(one(bert(width=12, seed=1, vocabulary=1), collated(one, (5, 2), low=0, high=1))["words"].total) == 0


def test_a_batch_without_a_position_has_no_loss():
    teacher, student = bert(), bert(width=12, layers=1, seed=1)
    objective = Words(named(teacher), GIVEN, 15.0, 0, masks=0.5, masked_only=True)
    batch = collated(objective, (1, 1))
    total = objective(student, batch)["words"].total
    total.backward()
    assert batch.counts["compared"] == 0 and float(total) == 0


def test_words_of_the_embedding_are_hidden_states_times_word_embeddings():
    teacher, batch = bert(), texts((7, 3))
    batch.extra["compared_at"] = torch.tensor([0, 4, 10])
    with torch.no_grad():
        found = word_logits(teacher, batch, EMBEDDING)
        hidden = teacher.bert(**batch.inputs).last_hidden_state
    table = teacher.bert.embeddings.word_embeddings.weight.detach().numpy()
    expected = [[float(hidden[row, at].numpy() @ entry) for entry in table] for row, at in ((0, 0), (0, 4), (1, 1))]
    assert found.numpy() == pytest.approx(np.array(expected))
    objective = Words(named(teacher), EMBEDDING, 15.0, 0)
    student, batch = bert(width=12, layers=1, seed=1), collated(objective, (7, 3))
    theirs = teacher.bert(**batch.inputs).last_hidden_state.detach().numpy() @ table.T
    read = batch.inputs["attention_mask"].numpy()
    assert float(objective(student, batch)["words"].total) == pytest.approx(loss_by_hand(whole(student, batch), theirs, read, 15.0))


def test_entries_that_one_of_them_lacks_are_left_out():
    teacher, student = bert(), bert(width=12, layers=1, seed=1, vocabulary=VOCABULARY + 8)
    for ours, theirs in ((student, teacher), (teacher, student)):
        objective = Words(named(copy.deepcopy(theirs)), GIVEN, 15.0, 0)
        batch = collated(objective, (7, 3))
        read, both = batch.inputs["attention_mask"].numpy(), [whole(model, batch)[..., :VOCABULARY] for model in (ours, theirs)]
        assert float(objective(ours, batch)["words"].total) == pytest.approx(loss_by_hand(*both, read, 15.0))


def test_a_teacher_without_segments_is_given_none():
    config = DistilBertConfig(vocab_size=VOCABULARY, dim=12, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=16)
    objective = Words(named(DistilBertForMaskedLM(config)), GIVEN, 15.0, 0)
    batch = collated(objective, (5, 3))
    batch.inputs["token_type_ids"] = torch.zeros_like(batch.inputs["input_ids"])
    assert float(objective(bert(), batch)["words"].total) > 0


# ---- positions -----------------------------------------------------------------------------------


def compared(objective, epoch=0):
    """Which positions (B, T) of three texts are compared, and the masked ids."""
    plain, batch = texts((9, 2, 6)), collated(objective, (9, 2, 6), epoch=epoch)
    found = np.zeros(plain.inputs["input_ids"].numel(), dtype=bool)
    found[batch.extra["compared_at"].numpy()] = True
    assert batch.counts["compared"] == found.sum()
    return found.reshape(3, 9), batch.inputs["input_ids"].numpy(), plain


def test_masked_positions_alone_are_the_targets_of_masked_lm_training():
    for epoch in range(3):
        found, ids, plain = compared(Words(named(bert()), GIVEN, 15.0, 0, masks=0.5, masked_only=True), epoch)
        changed = ids != plain.inputs["input_ids"].numpy()
        assert changed.any() and not (changed & ~found).any(), "whatever was changed is compared"
        assert found.sum(1).tolist() == [4, 1, 2], "half of the tokens that are not special"
        assert not found[:, 0].any()


def test_a_share_of_the_positions_is_drawn_by_text_and_epoch():
    objective = Words(named(bert()), GIVEN, 15.0, 0, share=0.5)
    draws = [compared(objective, epoch)[0] for epoch in (0, 1, 0)]
    read = compared(objective)[2].inputs["attention_mask"].numpy() > 0
    for found in draws:
        assert found.sum(1).tolist() == [4, 1, 3] and not (found & ~read).any()
    assert (draws[0] == draws[2]).all() and (draws[0] != draws[1]).any()
    least = Words(named(bert()), GIVEN, 15.0, 0, share=0.001)
    assert compared(least)[0].sum(1).tolist() == [1, 1, 1]
    assert (compared(Words(named(bert()), GIVEN, 15.0, 0))[0] == read).all()


# ---- trainings -----------------------------------------------------------------------------------


def test_the_head_stands_on_the_fine_tuned_encoder_and_shares_its_embeddings():
    words, tuned = named(bert()), named(bert(seed=5))
    bias = words.module.cls.predictions.bias.detach().clone()
    found = with_encoder(words, tuned).module
    states = [model.bert.state_dict() for model in (found, tuned.module)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert found.cls.predictions.decoder.weight is found.bert.embeddings.word_embeddings.weight
    assert torch.equal(found.cls.predictions.bias, bias)


def test_the_students_own_head_and_pooler_stand_on_what_it_learned():
    torch.manual_seed(3)
    task, learned = BertForSequenceClassification(bert().config).double(), named(bert(seed=5))
    own = {name: value.clone() for name, value in task.state_dict().items() if "encoder" not in name and "embeddings" not in name}
    assert {name.split(".")[-2] for name in own} == {"dense", "classifier"}
    found = with_encoder(named(task), learned).module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in own.items())
    assert all(torch.equal(found[f"bert.{name}"], value) for name, value in learned.module.bert.state_dict().items())


def test_the_third_training_goes_on_from_the_words(tmp_path, monkeypatch):
    students, training = {}, Lab.train

    def watched(self, model, objective, *, stage, **named):
        before = copy.deepcopy(model.module.base_model.state_dict())
        trained_model = training(self, model, objective, stage=stage, **named)
        students[stage] = before, trained_model.module.base_model.state_dict()
        return trained_model

    monkeypatch.setattr(Lab, "train", watched)
    trained(tmp_path, examples=16)
    for earlier, later in (("words", "words of the task"), ("words of the task", "prediction")):
        first, then = students[earlier][1], students[later][0]
        assert all(torch.equal(value, then[name]) for name, value in first.items())
        assert any(not torch.equal(value, students[earlier][0][name]) for name, value in first.items())


def trained(folder, task="chemprot", student="cut:1", teacher="tiny:bert", examples=32, **options):
    """The record of a short run, whose first text is short too, and the names of the student's trainings."""
    folder.mkdir(exist_ok=True)
    text = folder / "text.txt"
    text.write_text("the kinase binds\nno fever today\n" * 4)
    kdbench.run("glmd", task, teacher=teacher, student=student, options={"corpus": str(text), **options}, results_dir=folder, epochs=1,
                max_train_examples=examples, max_dev_examples=16, latency="off", controls=False, batch_size=16)
    record = next(each for each in store.records(folder) if each["cell"]["method"] == "glmd")
    stages = record.get("cost", {}).get("stages", ())
    return record, [stage["name"] for stage in stages if stage["role"] == "student"]


@pytest.mark.parametrize("task", ["chemprot", "hoc", "bioasq", "biosses", "bc2gm_iobes"])
def test_every_kind_of_task_is_trained_without_a_label(task, tmp_path):
    record, found = trained(tmp_path, task)
    assert record["status"] == "done" and found == ["words", "words of the task", "prediction"]
    assert {entry["stage"]: sorted(entry["terms"]) for entry in record["curves"] if entry["role"] == "student"} == {
        "words": ["words"], "words of the task": ["words"], "prediction": ["soft_targets"]}


@pytest.mark.parametrize(("options", "stages"), [
    ({"general": False}, ["words of the task", "prediction"]), ({"task_words": False}, ["words", "prediction"]),
    ({"general": False, "task_words": False}, ["prediction"]),
    ({"head": "embedding"}, ["words", "words of the task", "prediction"]),
])
def test_the_trainings_on_words_can_be_left_out(options, stages, tmp_path):
    record, found = trained(tmp_path, **options)
    assert record["status"] == "done" and found == stages


@pytest.mark.parametrize(("student", "options", "reason"), [
    ("bilstm", {}, "no masked-LM head"), ("tiny:roberta", {}, "has another tokenizer"),
    ("cut:1", {"positions": "masked"}, "positions=masked and task_masks=0 leave no position to compare; use task_masks=0.15"),
    ("cut:1", {"positions": "masked", "general_masks": 0.0, "task_words": False}, "general_masks=0 leave no position"),
])
def test_what_has_no_words_to_compare_is_skipped_with_the_reason(student, options, reason, tmp_path):
    record, _ = trained(tmp_path, student=student, **options)
    assert record["status"] == "skipped" and reason in record["reason"]


def test_a_student_without_words_learns_the_predictions(tmp_path):
    record, found = trained(tmp_path, student="bilstm", general=False, task_words=False)
    assert record["status"] == "done" and found == ["prediction"]


def folder_of(tmp_path, cls):
    """A folder with a tiny BERT as `cls` saves it."""
    config = resolve("tiny:bert").recipe.config
    blank = build(resolve("tiny:bert"), MLM, seed=0, texts=lambda: ["the kinase binds", "no fever today", "it inhibits the gene"] * 9)
    torch.manual_seed(0)
    module = cls(BertConfig(**{k: v for k, v in config.items() if k != "type"} | {"vocab_size": len(blank.tokenizer)}))
    folder = tmp_path / cls.__name__
    module.save_pretrained(folder)
    blank.tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_teacher_without_a_masked_lm_head_speaks_by_its_embeddings(tmp_path, monkeypatch):
    heads, made = [], glmd.Words

    def watched(teacher, head, *given, **named):
        heads.append((type(teacher.module).__name__, head))
        return made(teacher, head, *given, **named)

    monkeypatch.setattr(glmd, "Words", watched)
    for cls, head in ((BertForMaskedLM, GIVEN), (BertModel, EMBEDDING)):
        teacher = folder_of(tmp_path, cls)
        record, _ = trained(tmp_path / head, teacher=teacher, examples=16)
        assert record["status"] == "done"
        assert {each for _, each in heads} == {head} and len(heads) == 2
        heads.clear()
    assert "BertModel" in teacher
    record, _ = trained(tmp_path / "asked", teacher=teacher, head="given")
    assert record["status"] == "skipped" and record["reason"].endswith("use head=embedding")
    trained(tmp_path / "plain", teacher=folder_of(tmp_path, BertForMaskedLM), head="embedding", examples=16)
    assert {head for _, head in heads} == {EMBEDDING}


def test_embeddings_of_another_width_give_no_words(tmp_path):
    record, _ = trained(tmp_path, teacher="tiny:electra", student="tiny:electra", head="embedding")
    assert record["status"] == "skipped" and "wide and its hidden states" in record["reason"]


def test_the_second_training_hears_the_fine_tuned_teacher(tmp_path, monkeypatch):
    """With and without a head of its own; and the predictions are of the same teacher whatever stood before them."""
    seen, made = [], glmd.Words

    def watched(teacher, head, *given, **named):
        seen.append(copy.deepcopy(teacher.module.base_model.state_dict()))
        return made(teacher, head, *given, **named)

    monkeypatch.setattr(glmd, "Words", watched)
    for head in (GIVEN, EMBEDDING):
        seen.clear()
        record, _ = trained(tmp_path / head, head=head, examples=16)
        first, second = seen
        name = next(each for each in first if each.endswith("word_embeddings.weight"))
        assert not torch.equal(first[name], second[name])
        folder = next(tmp_path.glob(f"{head}/**/{stage_key(record, 'fine-tuning')}"))
        stored = kdbench_weights(folder)
        assert any(torch.equal(second[name].cpu(), value) for key, value in stored.items() if key.endswith(name))
    alone, _ = trained(tmp_path / EMBEDDING, head=EMBEDDING, general=False, task_words=False, examples=16)
    keys = {stage_key(each, "signals") for each in (record, alone)}
    assert len(keys) == 1, "the teacher that is asked for its predictions is as it was"


def stage_key(record, name):
    return next(stage["key"] for stage in record["cost"]["stages"] if stage["name"] == name)


def kdbench_weights(folder):
    from safetensors.torch import load_file

    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def test_a_kill_among_the_words_changes_nothing(tmp_path, monkeypatch):
    whole_run = trained(tmp_path / "whole")[0]
    step, steps = torch.optim.AdamW.step, []

    def dying(self, *given, **named):
        steps.append(self)
        if len(steps) == 5:  # one on the text, two of the teacher, the second on the task's words
            raise RuntimeError("killed")
        return step(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", dying)
        killed = trained(tmp_path / "killed")[0]
    again = trained(tmp_path / "killed")[0]
    assert killed["status"] == "failed" and again["id"] == whole_run["id"]
    cached = {stage["name"]: stage["cached"] for stage in again["cost"]["stages"] if stage["name"] != "signals"}
    assert cached == {"words": True, "fine-tuning": True, "words of the task": False, "prediction": False}
    assert [entry["terms"] for entry in again["curves"]] == [entry["terms"] for entry in whole_run["curves"]]


def test_text_of_a_file_is_known_by_its_content(tmp_path):
    corpus, ids = tmp_path / "notes.txt", set()
    for more in ("the kinase binds\nno fever today\n\n", "one more line\n"):
        with corpus.open("a") as file:
            file.write(more)
        record, _ = trained(tmp_path / str(len(ids)), corpus=str(corpus), examples=16)
        assert record["status"] == "done" and str(tmp_path) not in str(record["cell"])
        ids.add(record["id"])
    assert len(ids) == 2
