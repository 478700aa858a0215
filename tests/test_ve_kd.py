"""VE-KD: vocabulary expansion, masks, losses with tolerance, and both stages on small models."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import golden_losses
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, load_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertModel,
)

from kdbench.base.errors import BadInput, Skip
from kdbench.base.options import build as build_options
from kdbench.base.options import describe
from kdbench.data.task import Data, Example, Task
from kdbench.methods import adapt, divergences, ve_kd
from kdbench.methods.expanded_vocabulary import MLM, Masking
from kdbench.methods.ve_kd import VeKDOptions, VocabularyKD
from kdbench.models.load import Model, build
from kdbench.models.sources import resolve
from kdbench.models.vocabulary import (
    change_vocabulary,
    expand,
    pieces_of,
    read_tokens,
    train_tokens,
)
from kdbench.models.zoo import TINY
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.train.batching import Corpus
from kdbench.train.lab import Lab
from kdbench.train.method import loss_of
from kdbench.train.mlm import lm_logits
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache
from kdbench.train.textfile import StreamedCorpus, TextFile
from kdbench.train.weights import save_weights

GENERAL = ("the child has a fever and a cough", "a cat sat on the mat", "she was seen in the ward", "no pain was felt by the child")
DOMAIN = ("naproxen relieved the pain", "the child has naproxen and zidovudine", "zidovudine was felt by the cat",
          "no naproxen", "fever", "naproxen zidovudine naproxen in the ward by the mat on a cat and a cough of the child") * 2


def tiny(kind="bert", seed=0, **changes) -> Model:
    """A masked LM whose vocabulary comes from general text, without dropout."""
    source = resolve(f"tiny:{kind}")
    recipe = replace(source.recipe, config={**source.recipe.config, **changes})
    model = build(replace(source, recipe=recipe), MLM, seed=seed, texts=lambda: GENERAL * 5)
    return replace(model, module=model.module.eval())


def options(variant="corrected", **given) -> VeKDOptions:
    return build_options(VeKDOptions, variant, {"min_frequency": 2, **given}, "ve_kd")


def expanded_pair(student_seed=1, **changes) -> tuple[Model, Model]:
    """A teacher, and a student of its vocabulary with two new words."""
    teacher, student = tiny(), tiny(seed=student_seed, **changes)
    tokenizer = expand(teacher.tokenizer, ["naproxen", "zidovudine"], teacher.module.config.vocab_size)
    change_vocabulary(student.module, student.tokenizer, tokenizer, "mean", torch.Generator().manual_seed(0))
    return teacher, replace(student, tokenizer=tokenizer)


def objective_for(teacher, student, o, seed=0) -> VocabularyKD:
    tokenizer = teacher.tokenizer
    mix = tuple(int(part) / 100 for part in o.mlm_mix.split("/"))
    masking = Masking(tokenizer.mask_token_id, tuple(tokenizer.all_special_ids), teacher.module.config.vocab_size,
                      o.mask_share, o.new_token_mask, mix)
    objective = VocabularyKD(masking, seed)
    torch.manual_seed(0)
    objective.follow(teacher, o, student.module.config.hidden_size)
    return objective


def batch_of(objective, student, texts=DOMAIN):
    examples = [Example(str(i), text) for i, text in enumerate(texts)]
    batch = Corpus(student, examples, 32, "single", 2).batch(range(len(texts)))
    batch.extra["ids"] = batch.inputs["input_ids"].clone()
    objective.collate(batch)
    return batch


# ---- the vocabulary --------------------------------------------------------------------------------------------------


def test_expansion_keeps_old_ids_and_puts_new_ones_behind():
    tokenizer = tiny().tokenizer
    first = len(tokenizer) + 3  # a padded embedding matrix
    bigger = expand(tokenizer, ["naproxen", "##oxen"], first)
    vocabulary = bigger.get_vocab()
    assert {token: vocabulary[token] for token in tokenizer.get_vocab()} == tokenizer.get_vocab()
    assert (vocabulary["naproxen"], vocabulary["##oxen"]) == (first, first + 1)
    assert sorted(vocabulary.values()) == list(range(first + 2))
    for text in GENERAL:
        assert bigger(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert bigger("Naproxen")["input_ids"][1:-1] == [first]  # longest match, after the tokenizer's own normalisation
    assert "naproxen" not in tokenizer.get_vocab()  # the old one is as it was


def test_an_expanded_tokenizer_comes_back_from_its_folder(tmp_path):
    tokenizer = expand(tiny().tokenizer, ["naproxen"], tiny().module.config.vocab_size)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert [again(text)["input_ids"] for text in DOMAIN] == [tokenizer(text)["input_ids"] for text in DOMAIN]


def test_ids_that_are_taken_are_refused():
    tokenizer = tiny().tokenizer
    with pytest.raises(ValueError, match="begin at"):
        expand(tokenizer, ["naproxen"], len(tokenizer) - 1)
    with pytest.raises(ValueError, match="distinct"):
        expand(tokenizer, ["child"], len(tokenizer))


def test_training_finds_what_the_corpus_needs_the_same_every_time():
    tokenizer = tiny().tokenizer
    runs = [train_tokens(lambda: iter(DOMAIN), tokenizer, 1000, 2) for _ in range(4)]
    assert runs[0] == runs[1] == runs[2] == runs[3]
    assert {"naproxen", "zidovudine"} <= set(runs[0]) and not set(runs[0]) & set(tokenizer.get_vocab())
    assert train_tokens(lambda: iter(DOMAIN), tokenizer, 3, 2) == runs[0][:3]
    assert train_tokens(lambda: iter(DOMAIN), tokenizer, 0, 2) == []
    assert "zidovudine" not in train_tokens(lambda: iter(DOMAIN), tokenizer, 1000, 100)


def test_a_vocabulary_file_gives_what_is_new_in_its_order(tmp_path):
    tokenizer, path = tiny().tokenizer, tmp_path / "vocab.txt"
    path.write_text("[PAD]\nchild\nzidovudine\nnaproxen\n##oxen\n", encoding="utf-8")
    assert read_tokens(path, tokenizer) == ["zidovudine", "naproxen", "##oxen"]


@pytest.mark.parametrize("content, line", [("a\nb c\n", 2), ("a\n\nb\n", 2), ("a\nb\na\n", 3)])
def test_a_broken_vocabulary_file_is_refused_with_its_line(tmp_path, content, line):
    path = tmp_path / "vocab.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=rf"vocab.txt:{line}"):
        read_tokens(path, tiny().tokenizer)


def test_pieces_are_cut_by_longest_match():
    vocabulary = {"nap": 1, "na": 2, "##ro": 3, "##xen": 4, "##p": 5, "x": 6}
    assert pieces_of("naproxen", vocabulary) == [1, 3, 4]
    assert pieces_of("##roxen", vocabulary) == [3, 4]
    assert pieces_of("##", vocabulary) == [] == pieces_of("naproxol", vocabulary)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("init", ["mean", "random"])
def test_old_rows_stay_and_new_ones_are_drawn(kind, init):
    model = tiny(kind)
    before = model.module.get_input_embeddings().weight.detach().clone()
    with torch.no_grad():
        model.module.get_output_embeddings().bias.uniform_(-1, 1)
    bias = model.module.get_output_embeddings().bias.detach().clone()
    tokenizer = expand(model.tokenizer, ["catheter", "☃"], len(before))
    change_vocabulary(model.module, model.tokenizer, tokenizer, init, torch.Generator().manual_seed(1))
    after, output = model.module.get_input_embeddings().weight, model.module.get_output_embeddings()
    assert after.shape[0] == model.module.config.vocab_size == len(before) + 2
    assert torch.equal(after[:-2], before) and output.weight is after
    assert torch.equal(output.bias[:-2], bias) and output.bias[-2:].eq(0).all()
    ids = pieces_of("catheter", model.tokenizer.get_vocab())
    mean = before[ids].mean(0)
    assert len(ids) > 1 and torch.allclose(after[-2], mean) is (init == "mean")
    assert 0 < after[-1].std() < 0.1  # no old piece covers it: drawn at random
    assert model.module(**tokenizer(DOMAIN[0], return_tensors="pt")).logits.shape[-1] == len(before) + 2


def test_a_student_of_another_vocabulary_keeps_the_rows_of_common_entries():
    teacher = tiny()
    student = build(resolve("tiny:bert"), MLM, seed=3, texts=lambda: ["the zidovudine of the child"] * 5)
    old = student.module.get_input_embeddings().weight.detach().clone()
    ids = {token: student.tokenizer.convert_tokens_to_ids(token) for token in ("[CLS]", "child")}
    change_vocabulary(student.module, student.tokenizer, teacher.tokenizer, "mean", torch.Generator().manual_seed(0))
    rows = student.module.get_input_embeddings().weight
    for token, i in ids.items():
        assert torch.equal(rows[teacher.tokenizer.convert_tokens_to_ids(token)], old[i])


# ---- masks -----------------------------------------------------------------------------------------------------------


def masked(variant, ids, count=4000, boundary=100, **given):
    o = options(variant, **given)
    mix = tuple(int(part) / 100 for part in o.mlm_mix.split("/"))
    masking = Masking(4, (0, 1, 2, 3, 4), boundary, o.mask_share, o.new_token_mask, mix)
    rng = np.random.default_rng(0)
    return (np.stack(part) for part in zip(*(masking(np.array(ids), rng) for _ in range(count)), strict=True))


def test_published_masks_hide_every_new_token_from_both():
    student, teacher, targets = masked("published", [2, 50, 120, 60, 3])
    assert np.array_equal(student, teacher)
    assert (student[:, 2] == 4).all() and (targets[:, 2] == 120).all()
    hidden = student[:, [1, 3]] == 4
    assert np.array_equal(hidden, targets[:, [1, 3]] != -100) and hidden.mean() == pytest.approx(0.15, abs=0.015)
    assert (student[:, [0, 4]] == [2, 3]).all() and (targets[:, [0, 4]] == -100).all()


@pytest.mark.parametrize(("share", "rate"), [({}, 1.0), ({"new_token_mask": 0.15}, 0.15)])
def test_corrected_masks_give_both_models_one_input_unless_the_student_is_to_read_new_tokens(share, rate):
    student, teacher, targets = masked("corrected", [2, 50, 120, 60, 3], **share)
    assert (teacher[:, 2] == 4).all() and (teacher < 100).all()
    assert np.array_equal(student, teacher) == (rate == 1)
    assert np.array_equal(student[:, [0, 1, 3, 4]], teacher[:, [0, 1, 3, 4]])
    old, new = (targets[:, place] != -100 for place in (1, 2))
    assert old.mean() == pytest.approx(0.15, abs=0.02) and new.mean() == pytest.approx(rate, abs=0.02)
    assert (student[new, 2] == 4).all() and (student[~new, 2] == 120).all()
    shown = student[old, 1]
    assert (shown == 4).mean() == pytest.approx(0.8, abs=0.06) and (shown == 50).mean() == pytest.approx(0.1, abs=0.05)
    assert (student[~old, 1] == 50).all()


@pytest.mark.parametrize("unk", [True, False])
def test_an_unknown_token_is_a_target_like_any_other_unless_it_is_said(unk, tmp_path):
    lab, seen = lab_for(tmp_path), []
    train = lab.train
    lab.train = lambda model, objective, **more: seen.append(objective.masking.special) or train(model, objective, **more)
    ve_kd.VeKD(options(**QUICK, unk_targets=unk)).pretrain(lab)
    tokenizer = lab.teacher(MLM).tokenizer
    assert (tokenizer.unk_token_id in seen[0]) == (not unk)
    assert {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id} <= set(seen[0])


def test_a_mask_depends_on_seed_epoch_and_text_alone():
    teacher, student = expanded_pair()
    objective = objective_for(teacher, student, options())
    first, again = batch_of(objective, student), batch_of(objective, student)
    alone = batch_of(objective, student, [DOMAIN[5]])
    assert torch.equal(first.extra["targets"], again.extra["targets"])
    assert torch.equal(first.extra["targets"][5], alone.extra["targets"][0])
    objective.epoch = 1
    assert not torch.equal(batch_of(objective, student).extra["targets"], first.extra["targets"])


# ---- the losses ------------------------------------------------------------------------------------------------------


def random_case(seed, vocabulary=9, old=6, tokens=6, width=4, **given) -> dict:
    """A golden case of random numbers."""
    rng = np.random.default_rng(seed)
    shape = (3, tokens)
    labels = np.where(rng.random(shape) < 0.4, rng.integers(0, vocabulary, shape), -100)
    mask = np.ones(shape, int)
    mask[1, 4:] = 0
    case = {"student_logits": rng.normal(size=(*shape, vocabulary)) * 2, "teacher_logits": rng.normal(size=(*shape, old)) * 2,
            "student_hidden": rng.normal(size=(*shape, width)), "teacher_hidden": rng.normal(size=(*shape, width)),
            "attention_mask": mask, "labels": np.where(mask > 0, labels, -100)}
    return {**{name: value.tolist() for name, value in case.items()}, "teacher_vocab_size": old, "temperature": 2.0, "alpha_ce": 2.0,
            "alpha_mlm": 1.0, "alpha_mse": 1.0, "alpha_cos": 5.0, "tolerance": 0.5, **given}


def token_by_token(case: dict) -> dict[str, float]:
    """The losses as the formulas have them, one token at a time."""
    def log_softmax(z):
        return z - np.log(np.exp(z).sum())

    sums = {"mlm": [], "kl": [], "mse": [], "cosine": []}
    old, temperature = case["teacher_vocab_size"], case["temperature"]
    arrays = {name: np.array(value) for name, value in case.items()}
    for b, t in np.ndindex(arrays["labels"].shape):
        label = arrays["labels"][b, t]
        if label != -100:
            sums["mlm"].append(-log_softmax(arrays["student_logits"][b, t])[label])
        if arrays["attention_mask"][b, t] and label < old:
            ours, theirs = arrays["student_logits"][b, t, :old], arrays["teacher_logits"][b, t]
            p, q = log_softmax(theirs / temperature), log_softmax(ours / temperature)
            sums["kl"].append(temperature**2 * (np.exp(p) * (p - q)).sum())
            sums["mse"].append(((theirs - ours) ** 2).sum())
            h, g = arrays["student_hidden"][b, t], arrays["teacher_hidden"][b, t]
            sums["cosine"].append(1 - h @ g / np.linalg.norm(h) / np.linalg.norm(g))
    weights = {"kl": case["alpha_ce"], "mse": case["alpha_mse"], "cosine": case["alpha_cos"]}
    found, total = {}, 0.0
    if case["alpha_mlm"]:
        found["mlm"] = np.mean(sums["mlm"])
        total += case["alpha_mlm"] * found["mlm"]
    for name, weight in weights.items():
        if weight:
            found[f"{name}_over_tolerance"] = max(np.mean(sums[name]) - case["tolerance"] / weight, 0)
            total += weight * found[f"{name}_over_tolerance"]
    return {**found, "total": total}


@pytest.mark.parametrize("given", [{}, {"tolerance": 0.0}, {"tolerance": 40.0}, {"alpha_mse": 0.0}, {"alpha_mlm": 0.0, "temperature": 1.0}])
def test_the_losses_equal_the_formulas_token_by_token(given):
    case = random_case(len(str(given)), **given)
    assert golden_losses.ve_kd(case) == pytest.approx(token_by_token(case), rel=1e-5, abs=1e-6)


def test_within_the_tolerance_the_gradient_is_exactly_zero():
    values = torch.tensor([0.2, 0.4], requires_grad=True)
    for tolerance, gradient in ((0.31, 0.0), (0.29, 1.0)):
        values.grad = None
        ve_kd.beyond(values.sum(), 2, tolerance).backward()
        assert values.grad.tolist() == [gradient, gradient]
    assert float(ve_kd.beyond(values.detach().sum(), 2, 0.1)) == pytest.approx(0.4)


@pytest.mark.parametrize("on, expected", [("weighted", (0.25, 0.5, 0.1)), ("raw", (0.5, 0.5, 0.5))])
def test_thresholds_of_each_loss(on, expected):
    objective = VocabularyKD(Masking(4, (), 9, 0.15, 0.15, (1, 0, 0)), 0)
    objective.weigh(options(a_mse=1.0, tolerance_on=on))
    assert objective.tolerance == dict(zip(("kl", "mse", "cosine"), expected, strict=True))


@pytest.mark.parametrize("kind", TINY)
def test_the_first_columns_are_those_of_the_whole_logits(kind):
    model = tiny(kind)
    hidden = model.module.base_model(**model.tokenizer(GENERAL[0], return_tensors="pt")).last_hidden_state[0]
    whole = lm_logits(model.module, hidden)
    assert torch.allclose(divergences.first_columns(model.module, hidden, 11), whole[:, :11], atol=1e-6)
    assert lm_logits(model.module, hidden).shape == whole.shape  # nothing stays hooked


def test_no_loss_but_the_masked_lm_where_the_student_is_the_teacher():
    teacher = tiny()
    for variant in ("corrected", "published"):
        objective = objective_for(teacher, teacher, options(variant, a_mse=1.0, tolerance=0.0))
        terms = objective(teacher.module, batch_of(objective, teacher, GENERAL))
        assert float(terms["masked_lm"].total) > 1
        assert [float(terms[name].total) for name in ("kl", "mse", "cosine")] == pytest.approx([0, 0, 0], abs=1e-4)


def test_the_teacher_is_followed_where_no_new_token_stands():
    teacher, student = expanded_pair()
    for variant in ("corrected", "published"):
        objective = objective_for(teacher, student, options(variant))
        batch = batch_of(objective, student)
        ids, boundary = batch.extra["ids"], teacher.module.config.vocab_size
        assert torch.equal(batch.extra["followed"], (batch.inputs["attention_mask"] > 0) & (ids < boundary))
        assert batch.extra["followed"].sum() < batch.inputs["attention_mask"].sum()
        assert batch.extra["teacher_ids"].max() < boundary


@pytest.mark.parametrize("variant", ["corrected", "published"])
def test_a_text_adds_the_same_in_every_batch(variant):
    """So neither padding nor the order of the batch has a part in it."""
    teacher, student = expanded_pair()
    o = options(variant, a_mse=1.0, tolerance=0.0)

    def sums(texts):
        objective = objective_for(teacher, student, o)
        return {name: float(term.total.detach()) for name, term in objective(student.module, batch_of(objective, student, texts)).items()}

    texts = DOMAIN[:6]
    together, turned, alone = sums(texts), sums(texts[::-1]), [sums([text]) for text in texts]
    for name, value in together.items():
        assert value == pytest.approx(turned[name], rel=1e-4) == pytest.approx(sum(each[name] for each in alone), rel=1e-4)


def test_divergences_in_blocks_are_the_whole_ones(monkeypatch):
    """Values and gradients, the last block smaller than the others."""
    monkeypatch.setattr(divergences.Divergences, "BLOCK", 20)  # two rows of nine
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 5, 9, dtype=torch.float64).unbind(0)
    ours.requires_grad_()
    kl, mse = divergences.Divergences.apply(ours, theirs, 2.0)
    log_p, log_q = (theirs / 2).log_softmax(-1), (ours / 2).log_softmax(-1)
    torch.testing.assert_close(kl, 4 * (log_p.exp() * (log_p - log_q)).sum())
    torch.testing.assert_close(mse, (ours - theirs).square().sum())
    assert torch.autograd.gradcheck(lambda z: divergences.Divergences.apply(z, theirs, 2.0), (ours,))
    for number in (0, 1):  # one loss without the other
        assert torch.autograd.gradcheck(lambda z, number=number: divergences.Divergences.apply(z, theirs, 2.0)[number], (ours,))


def test_a_block_is_a_cache_on_a_cpu_and_a_share_of_the_memory_on_an_accelerator(monkeypatch):
    sizes = {}
    for gigabytes in (0, 1, 16, 80):
        monkeypatch.setattr(divergences, "total_memory", lambda _, size=gigabytes: size * 10**9)
        sizes[gigabytes] = divergences.Divergences.block(torch.device("cuda"))
    assert sizes[0] == sizes[1] == divergences.Divergences.block(torch.device("cpu")) == 2**20
    assert 1e7 < sizes[16] < 1.1e7 and 5.1e7 < sizes[80] < 5.3e7


def test_divergences_of_bf16_logits_are_computed_in_fp32():
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 50, 700, dtype=torch.bfloat16).unbind(0)
    halves, wholes = ours.requires_grad_(), ours.detach().float().requires_grad_()
    for z, t in ((halves, theirs), (wholes, theirs.float())):
        kl, mse = divergences.Divergences.apply(z, t, 2.0)
        (kl + mse).backward()
    torch.testing.assert_close(halves.grad, wholes.grad.bfloat16())


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_logits_are_computed_where_they_are_read():
    """Never (texts x positions x vocabulary): padding, and new columns outside the targets, are left out."""
    teacher = tiny()
    student = tiny(seed=1)
    new = [f"new{i}" for i in range(5000)]
    tokenizer = expand(teacher.tokenizer, new, teacher.module.config.vocab_size)
    change_vocabulary(student.module, student.tokenizer, tokenizer, "random", torch.Generator().manual_seed(0))
    student = replace(student, tokenizer=tokenizer)
    objective = objective_for(teacher, student, options(a_mse=1.0))
    batch = batch_of(objective, student, (*GENERAL * 6, " ".join(GENERAL)))
    size, old = student.module.config.vocab_size, teacher.module.config.vocab_size
    rows = max(batch.counts["masked"] * size, batch.counts["followed"] * old, size * 64)
    with Largest() as largest:
        loss_of(objective(student.module, batch), batch.counts).backward()
    assert largest.elements <= rows < batch.inputs["input_ids"].numel() * size / 2


@pytest.mark.parametrize("projection, moves", [("trainable", True), ("frozen", False)])
def test_a_narrower_student_goes_through_a_projection(projection, moves):
    teacher, student = expanded_pair(hidden_size=32)
    objective = objective_for(teacher, student, options(projection=projection, tolerance=0.0))
    before = [p.clone() for p in teacher.module.parameters()]
    batch = batch_of(objective, student)
    loss_of(objective(student.module, batch), batch.counts).backward()
    assert (objective.project.weight.grad is not None) is moves
    assert student.module.base_model.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    assert all(p.grad is None and torch.equal(p, q) for p, q in zip(teacher.module.parameters(), before, strict=True))
    assert {name for name, _ in objective.named_parameters()} == {"project.weight", "project.bias"}


def test_all_weights_zero_is_refused():
    with pytest.raises(BadInput, match="all 0"):
        VocabularyKD(Masking(4, (), 9, 0.15, 0.15, (1, 0, 0)), 0).weigh(options(a_ce=0, a_mlm=0, a_mse=0, a_cos=0))


# ---- a corpus file ---------------------------------------------------------------------------------------------------


def test_a_text_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes("\ufefffirst line\n\n  Zweite Zeile mit Umlaut ä \r\nlast".encode())
    lines = TextFile(path)
    assert [e.text for e in lines] == ["first line", "Zweite Zeile mit Umlaut ä", "last"] == [e.text for e in lines[:]]
    assert len(lines) == 3 and lines[2].text == "last"


@pytest.mark.parametrize("content, message", [
    (b"", "no text"), (b" \n\n", "no text"), (b"ok\n\xff\xfe\n", "line 2"), (None, "no such file")])
def test_a_broken_corpus_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        TextFile(path)


def test_a_streamed_batch_equals_one_that_was_tokenised_beforehand(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(DOMAIN), encoding="utf-8")
    lines, model = TextFile(path), tiny()
    streamed, whole = StreamedCorpus(model, lines, 12, "single", 2), Corpus(model, list(lines), 12, "single", 2)
    for one, other in zip(streamed.batch([3, 0, 5]).inputs.values(), whole.batch([3, 0, 5]).inputs.values(), strict=True):
        assert torch.equal(one, other)
    assert len(streamed) == len(whole)


# ---- the procedure ---------------------------------------------------------------------------------------------------


def lab_for(tmp_path, student="tiny:bert", teacher="tiny:bert", **given) -> Lab:
    """A task whose own text, and so the tiny teacher's vocabulary, is general."""
    from accelerate import Accelerator

    texts = [f"{a} and {b}" for a in GENERAL for b in (*GENERAL, "fever", "no pain")]
    examples = tuple(Example(str(i), text, label=int("fever" in text)) for i, text in enumerate(texts))
    data = Data(examples, examples[:8], examples[8:], ("no", "yes"), domain_text=GENERAL, sha256={"dev": "d"})
    task = Task(name="notes", task_type="single", about="", metric="accuracy", load=lambda _: data)
    settings = Settings(**{"epochs": 1, "batch_size": 8, "max_length": 32, "lr": 1e-3, **given})
    return Lab(task, data, 0, "corrected", settings, resolve(student), resolve(teacher), StageCache(tmp_path), Accelerator(cpu=True))


@pytest.fixture
def corpus(tmp_path) -> str:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(text + " ." * i for i, text in enumerate(DOMAIN)), encoding="utf-8")  # copies count once
    return str(path)


QUICK = {"pretrain_epochs": 1, "pretrain_batch": 4, "new_tokens": 50}


@pytest.mark.parametrize("variant", ["corrected", "published"])
@pytest.mark.parametrize("student", ["tiny:bert", "tiny:distilbert", "cut:1"])
def test_both_stages_on_every_kind_of_student(student, variant, corpus, tmp_path):
    lab = lab_for(tmp_path, student)
    method = ve_kd.VeKD(options(variant, corpus=corpus, **QUICK))
    method.check(lab)
    first = method.pretrain(lab)
    folder = lab.cache.stage(first.key)
    again, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert again.config.vocab_size == len(tokenizer) == len(first.tokenizer) > lab.teacher(MLM).module.config.vocab_size
    assert tokenizer.tokenize("naproxen") == ["naproxen"] != lab.teacher().tokenizer.tokenize("naproxen")
    inputs = tokenizer(DOMAIN[0], return_tensors="pt")
    inputs.pop("token_type_ids", None)
    assert torch.allclose(again.eval()(**inputs).logits, first.module(**inputs).logits, atol=1e-5)

    model = method.fit(lab)
    assert lab.predict(model, lab.data.test).shape == (len(lab.data.test), 2)
    assert [stage["name"] for stage in lab.stages] == ["domain text", "domain text", "fine-tuning"] and lab.stages[1]["cached"]
    terms = [entry["terms"] for entry in lab.curves]
    assert set(terms[0]) == {"masked_lm", "kl", "cosine"} and all(math.isfinite(v) for entry in terms for v in entry.values())
    assert str(tmp_path) not in json.dumps([lab.stages, lab.curves])


def test_the_control_trains_the_same_student_without_the_teacher(corpus, tmp_path):
    lab = lab_for(tmp_path)
    method = adapt.Adapt(build_options(adapt.Adapt.Options, "corrected", {"min_frequency": 2, "corpus": corpus, **QUICK}, "adapt"))
    method.check(lab)
    model = method.fit(lab)
    distilled = ve_kd.VeKD(options(corpus=corpus, **QUICK)).fit(lab)
    assert set(lab.curves[0]["terms"]) == {"masked_lm"}
    assert model.tokenizer.get_vocab() == distilled.tokenizer.get_vocab()
    assert [p.shape for p in model.module.parameters()] == [p.shape for p in distilled.module.parameters()]
    rows = [{row["name"]: row for row in describe(each.Options)} for each in (adapt.Adapt, ve_kd.VeKD)]
    assert rows[0].items() <= rows[1].items()


def test_distillation_lowers_its_losses(tmp_path):
    lab = lab_for(tmp_path, student="tiny:distilbert")
    ve_kd.VeKD(options(**{**QUICK, "pretrain_epochs": 25}, tolerance=0.0, a_mlm=0.0)).pretrain(lab)
    first, last = lab.curves[0]["terms"], lab.curves[-1]["terms"]
    assert all(last[name] < first[name] for name in ("kl", "cosine"))


def test_without_a_corpus_file_the_task_s_unlabelled_text_is_read(tmp_path):
    lab = lab_for(tmp_path)
    lab.unlabelled = tuple(Example(str(i), "tocilizumab was given" + " ." * i) for i in range(5))
    assert ve_kd.VeKD(options(**QUICK)).pretrain(lab).tokenizer.tokenize("tocilizumab") == ["tocilizumab"]


def test_a_vocabulary_file_takes_the_place_of_training(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("child\nzidovudine\n", encoding="utf-8")
    lab = lab_for(tmp_path)
    first = ve_kd.VeKD(options(vocabulary=str(path), **QUICK)).pretrain(lab)
    assert first.tokenizer.convert_tokens_to_ids("zidovudine") == lab.teacher(MLM).module.config.vocab_size
    assert len(first.tokenizer) == lab.teacher(MLM).module.config.vocab_size + 1


def test_what_cannot_be_expanded_is_left_out_with_a_reason(tmp_path):
    for names, reason in ((("tiny:bert", "tiny:roberta"), "WordPiece"), (("tiny:roberta", "tiny:bert"), "padding id"),
                          (("bilstm", "tiny:bert"), "masked-LM form")):
        with pytest.raises(Skip, match=reason):
            ve_kd.VeKD(options()).check(lab_for(tmp_path, *names))


def test_a_head_that_is_drawn_at_random_is_not_followed(tmp_path):
    """Whatever config.json says of it; without the terms that read it, it need not be there."""
    config = resolve("tiny:bert").recipe.config
    whole = build(resolve("tiny:bert"), MLM, seed=0, texts=lambda: GENERAL)
    for name, cls in (("mlm", BertForMaskedLM), ("both", BertForPreTraining), ("none", BertModel)):
        module = cls(BertConfig(**{k: v for k, v in config.items() if k != "type"} | {"vocab_size": len(whole.tokenizer)}))
        module.save_pretrained(tmp_path / name)
        whole.tokenizer.save_pretrained(tmp_path / name)
    claim = tmp_path / "none" / "config.json"
    claim.write_text(claim.read_text().replace("BertModel", "BertForMaskedLM"))
    for name in ("mlm", "both"):
        ve_kd.VeKD(options()).check(lab_for(tmp_path, teacher=str(tmp_path / name)))
    lab = lab_for(tmp_path, teacher=str(tmp_path / "none"))
    with pytest.raises(Skip, match="without its masked-LM head"):
        ve_kd.VeKD(options()).check(lab)
    ve_kd.VeKD(options(a_ce=0.0)).check(lab)


def test_the_tiny_teacher_is_followed_as_pre_trained(tmp_path):
    lab = lab_for(tmp_path, teacher="tiny-teacher")
    recipe = lab.teacher_source.recipe
    lab.teacher_source = replace(lab.teacher_source, recipe=replace(recipe, steps=1))
    teacher = lab.teacher(MLM)
    assert [stage["name"] for stage in lab.stages] == ["masked LM"] and teacher.ready
    kept = load_file(lab.cache.stage(lab.stages[0]["key"]) / "model.safetensors")
    own = dict(teacher.module.named_parameters())
    assert all(torch.equal(own[name], value) for name, value in kept.items() if name in own)


def test_the_narrow_student_of_the_paper_fits_its_teacher():
    """Configurations only: 6 x 768 and 6 x 384, both with a feed-forward width of 3072."""
    for name, width in (("vekd-6x768", 768), ("vekd-6x384", 384)):
        config = resolve(name).recipe.config
        assert (config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]) == (6, width, 3072)
        objective = VocabularyKD(Masking(4, (), 9, 0.15, 0.15, (1, 0, 0)), 0)
        teacher = SimpleNamespace(key="t", module=torch.nn.Linear(1, 1))
        teacher.module.config = SimpleNamespace(hidden_size=768)
        objective.follow(teacher, options(), width)
        assert isinstance(objective.project, torch.nn.Identity) is (width == 768)


@pytest.mark.parametrize("name", ["vekd-6x384", "vekd-6x768", "vekd-12x768"])
def test_a_full_size_student_is_tried_in_a_few_steps_on_lookalikes(name):
    cells = plan(Request("ve_kd", "gad", student=name))
    assert {cell.settings.max_steps for cell in cells} == {10}
    assert plan(Request("ve_kd", "gad"))[-1].settings.max_steps is None


def test_the_same_weights_are_the_same_file(tmp_path):
    model = tiny()  # with two tied tensors, which safetensors lists in the order of a hash map
    for number in range(8):
        save_weights(model.module, tmp_path / str(number))
    assert len({(tmp_path / str(number)).read_bytes() for number in range(8)}) == 1
    fresh = tiny(seed=1).module
    load_model(fresh, str(tmp_path / "0"))
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in model.module.state_dict().items())
