"""DSG-KD: words in two tokenisations, the two losses, and the procedure on small models."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fresh
import golden_losses
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from kdbench.base.options import build as build_options
from kdbench.data.task import Data, Example, Task
from kdbench.methods import code_switching, dsg_kd, word_states
from kdbench.methods.attention_scores import use_scores
from kdbench.methods.code_switching import CLS, FIRST_WORD, REST, SEP
from kdbench.methods.dsg_kd import CodeSwitched, DsgKD, DsgOptions
from kdbench.methods.gelu_head import with_gelu_head
from kdbench.methods.layer_pairs import layer_pairs
from kdbench.models.heads import Head
from kdbench.models.load import Model, build
from kdbench.models.sources import resolve
from kdbench.serve.serving import labels_of
from kdbench.train.batching import Corpus
from kdbench.train.lab import Lab
from kdbench.train.method import Batch, loss_of
from kdbench.train.signals import LiveSignals, Teacher
from kdbench.train.spec import Settings
from kdbench.train.stage_cache import StageCache

ROOT = Path(__file__).resolve().parent.parent
READ = """
import sys
from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.serve.predict import load_predictor

model = build(resolve(sys.argv[1]), Head("single", ("no", "yes")), seed=0, texts=list)
answer = load_predictor(sys.argv[1]).predict(["a text"])
assert "kdbench.methods.dsg_kd" not in sys.modules
print(type(model.module).__name__, model.ready, answer[0]["label"] in ("no", "yes"))
"""
TEXTS = (
    "아이가 어제부터 fever 있고 vomiting 세번 했다",
    "기침 심해서 옴 cough 3일째 dyspnea 없음 URI 의심됨",
    "머리를 부딪힘",
    "seizure",
    "배가 아프다고 함 abdominal pain 심함 irritable 하고 잘 안먹음 diarrhea-like x3 오심 동반 nausea 구토 없음 lethargic",
    "fever  cough",  # two blanks
)
EXAMPLES = tuple(Example(str(i), text, label=i % 2) for i, text in enumerate(TEXTS))
LENGTH = 16


def tiny(kind="bert", seed=0, texts=TEXTS, **changes) -> Model:
    """A model whose vocabulary comes from `texts`, without dropout, so that it says the same thing every time."""
    source = resolve(f"tiny:{kind}")
    recipe = replace(source.recipe, config={**source.recipe.config, **changes})
    model = build(replace(source, recipe=recipe), Head("single", ("no", "yes")), seed=seed, texts=lambda: texts)
    model.module.set_attn_implementation("eager")
    return replace(model, module=model.module.eval())


def options(variant="corrected", **given) -> DsgOptions:
    return build_options(DsgOptions, variant, given, "dsg_kd")


def aligner(teacher, student, o=None, length=LENGTH) -> code_switching.Aligner:
    o = o or options()
    return code_switching.Aligner(teacher, student, length, most=o.cs_max_len, rule=o.spans, attn_align=o.attn_align)


def objective_for(teacher, student, o, length=LENGTH) -> CodeSwitched:
    torch.manual_seed(0)
    return CodeSwitched(o, teacher.module.config, student.module.config, length, aligner(teacher, student, o, length))


def batch_of(objective, teacher, student, examples, length=LENGTH) -> Batch:
    """What the training loop makes of `examples`: the student's inputs, the teacher's signals, the words."""
    batch = Corpus(student, examples, length, "single", 2).batch(range(len(examples)))
    kinds = ("word_hidden", "word_attention") if objective.attentions else ("word_hidden",)
    LiveSignals(Teacher(teacher, kinds, "single", length, device=torch.device("cpu"), autocast=torch.inference_mode,
                        pool=objective.words.teacher_signals, hidden_states=True, attentions=bool(objective.attentions)), "", examples).add(batch)
    objective.collate(batch)
    return batch


def losses(teacher, student, o, examples, length=LENGTH) -> dict[str, float]:
    """Sums over the batch of each term, by name, and the number of words."""
    objective = objective_for(teacher, student, o, length)
    batch = batch_of(objective, teacher, student, examples, length)
    terms = objective(student.module, batch)
    return {name: float(term.total.detach()) for name, term in terms.items()} | {"words": batch.counts["code_switched_words"]}


# ---- where the words are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word, expected", [("fever", True), ("URI", True), ("x3", False), ("diarrhea-like", False), ("cough.", False),
                                            ("fever가", False), ("열", False), ("", False), ("naïve", False)])
def test_a_code_switched_word_is_ascii_letters_only(word, expected):
    assert code_switching.is_code_switched(word) is expected


def test_words_counted_alone_start_at_1_and_end_before_the_limit():
    assert code_switching.spans_alone([1, 3, 0, 2], 100) == [(1, 2), (2, 5), None, (5, 7)]
    # limit 8: positions up to 7 exclusive; a word that would start there is dropped, and all that follow
    assert code_switching.spans_alone([4, 4, 1, 1], 8) == [(1, 5), (5, 7), None, None]


@pytest.mark.parametrize("kind", ["bert", "roberta", "albert", "deberta"])
def test_offsets_find_every_word_of_every_tokenizer(kind):
    model = tiny(kind)
    reader = code_switching.Reader(model.tokenizer, 100, "offsets")
    for example, reading in zip(EXAMPLES, reader(EXAMPLES), strict=True):
        ids = model.tokenizer(example.text)["input_ids"]
        assert reading.tokens == len(ids)
        for word, span in zip(example.text.split(" "), reading.spans, strict=True):
            if word:
                assert model.tokenizer.decode(ids[slice(*span)]).replace(" ", "").lower() == word.lower()
            else:
                assert span is None


def test_alone_and_offsets_agree_for_wordpiece_and_drift_apart_for_byte_level_bpe():
    texts = ["the fever of the child", *TEXTS]
    example = Example("0", "child fever vomiting cough")
    for kind, same in (("bert", True), ("roberta", False)):
        model = tiny(kind, texts=texts * 20)
        by = {rule: code_switching.Reader(model.tokenizer, 100, rule)([example])[0].spans for rule in ("offsets", "alone")}
        assert (by["offsets"] == by["alone"]) is same


def test_words_of_a_pair_are_found_in_both_texts_by_offsets_and_in_the_first_alone():
    model = tiny()
    example = Example("0", "fever 있고", pair="cough 3일째")
    offsets, alone = (code_switching.Reader(model.tokenizer, 100, rule)([example])[0] for rule in ("offsets", "alone"))
    first = model.tokenizer("fever 있고")["input_ids"]
    assert offsets.spans[2][0] == len(first)  # right behind the separator
    assert alone.spans[:2] == offsets.spans[:2] and alone.spans[2:] == [None, None]


def test_a_word_that_one_model_cannot_read_is_dropped_for_both():
    teacher, student = tiny(), tiny("roberta", texts=["a"])  # the student needs a token a byte
    example = Example("0", "dyspnea nausea vomiting cough")
    found, own = (aligner(teacher, model)([example])[0] for model in (student, teacher))
    assert [len(spans) for spans in found.spans] == [2, 2] and [len(spans) for spans in own.spans] == [4, 4]
    assert found.spans[1].max() == LENGTH - 1  # the last word that it reads is cut


def test_at_most_cs_max_len_words():
    found = aligner(tiny(), tiny(), options(cs_max_len=2), 40)([EXAMPLES[4]])[0]
    assert len(found.spans[0]) == 2


def test_every_token_has_one_column_and_specials_have_their_own():
    model = tiny()
    found = aligner(model, model, length=40)([EXAMPLES[0]])[0]
    words = EXAMPLES[0].text.split(" ")
    assert found.width == FIRST_WORD + len(words)
    column = found.columns[0]
    assert column[0] == CLS and column[-1] == SEP and REST not in column
    assert sorted(set(column[1:-1])) == list(range(FIRST_WORD, found.width))


# ---- the losses ------------------------------------------------------------------------------------------------------


def random_case(seed, words=(3, 0, 1), tokens=8, layers=2, heads=2, width=5) -> dict:
    """A golden case of random numbers: everything the published loss reads."""
    rng = np.random.default_rng(seed)
    texts = len(words)
    case = {"alpha": 0.6, "beta": 0.2, "span_counts": list(words), "labels": rng.integers(0, 2, texts).tolist(),
            "logits": rng.normal(size=(texts, 2)).tolist()}
    for side in ("teacher", "student"):
        scores = rng.normal(size=(layers, texts, heads, tokens, tokens))
        case[f"{side}_hidden"] = rng.normal(size=(layers + 1, texts, tokens, width)).tolist()
        case[f"{side}_attention"] = (np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)).tolist()
        start = rng.integers(0, tokens - 3, (texts, 3))
        case[f"{side}_spans"] = np.stack([start, start + rng.integers(1, 4, (texts, 3))], -1).tolist()
    return case


def word_by_word(case: dict) -> dict[str, float]:
    """The losses as the formulas have them, one word at a time."""
    hidden, attention = [], []
    sides = [{k: np.array(case[f"{side}_{k}"]) for k in ("hidden", "attention", "spans")} for side in ("teacher", "student")]
    for b, count in enumerate(case["span_counts"]):
        for k in range(count):
            states, rows = [], []
            for side in sides:
                start, end = side["spans"][b, k]
                states.append(side["hidden"][:, b, start:end].mean(1))
                rows.append(side["attention"][:, b, :, start:end].mean(2))
            hidden.append((states[0] - states[1]) ** 2)
            attention.append((rows[0] - rows[1]) ** 2)
    logits = np.array(case["logits"])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return {"hidden": case["alpha"] * np.mean(hidden) if hidden else 0.0,
            "attention": case["beta"] * np.mean(attention) if attention else 0.0,
            "prediction": -np.mean([row[y] for row, y in zip(log_p, case["labels"], strict=True)])}


@pytest.mark.parametrize("words", [(3, 0, 1), (1, 1, 1), (0, 0, 0), (3, 3, 3)])
def test_matrix_products_equal_the_formulas_word_by_word(words):
    case = random_case(sum(words), words)
    assert golden_losses.dsg_kd(case) == pytest.approx(word_by_word(case), rel=1e-5, abs=1e-7)


def test_gradients_of_both_losses():
    torch.manual_seed(0)
    spans, counts = torch.tensor([[[0, 2], [1, 2]], [[2, 3], [0, 0]]]), torch.tensor([2, 1])
    words = word_states.segment_means(spans, counts, 3).double()
    real, columns = word_states.real_words(spans, counts), word_states.column_sums(torch.tensor([[0, 1, 1], [0, 2, -1]]), 3, mean=False)
    hidden = [torch.randn(2, 3, 4, dtype=torch.double, requires_grad=True) for _ in range(2)]
    attention = [torch.rand(2, 2, 3, 3, dtype=torch.double, requires_grad=True) for _ in range(2)]

    def total(*layers):
        pooled = word_states.pool_hidden(layers[:2], words), word_states.pool_attention(layers[2:], words, columns, False)
        return (word_states.hidden_sum(torch.ones_like(pooled[0]), pooled[0], real)
                + word_states.attention_sum(torch.zeros_like(pooled[1]), pooled[1], real, torch.tensor([3, 2])))

    assert torch.autograd.gradcheck(total, (*hidden, *attention))


@pytest.mark.parametrize("variant", ["corrected", "published"])
def test_no_loss_where_the_student_is_the_teacher(variant):
    model = tiny()
    found = losses(model, model, options(variant), EXAMPLES)
    assert found["words"] > 5
    assert found["hidden"] == pytest.approx(0, abs=1e-9) and found["attention"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("given", [{}, {"attn_align": "raw_columns"}, {"attn_kind": "scores"}, {"variant": "published"}])
def test_a_text_adds_the_same_in_every_batch(given):
    """So neither padding nor the order of the batch has a part in it."""
    teacher, student = tiny(seed=1), tiny("bert", seed=2, num_hidden_layers=1, hidden_size=32)
    if given.get("attn_kind") == "scores":
        for model in (teacher, student):
            use_scores(model.module)
            model.module.register_forward_pre_hook(use_scores)
    together = losses(teacher, student, options(**given), EXAMPLES)
    turned = losses(teacher, student, options(**given), EXAMPLES[::-1])
    alone = [losses(teacher, student, options(**given), [example]) for example in EXAMPLES]
    for name in ("hidden", "attention", "words"):
        assert together[name] > 0
        assert together[name] == pytest.approx(sum(each[name] for each in alone), rel=1e-4)
        assert together[name] == pytest.approx(turned[name], rel=1e-4)


@pytest.mark.parametrize("teacher, student", [
    ({"kind": "roberta"}, {"kind": "bert"}),
    ({"kind": "bert"}, {"kind": "albert"}),
    ({"kind": "bert", "num_hidden_layers": 3, "hidden_size": 96, "num_attention_heads": 3}, {"kind": "distilbert"}),
    ({"kind": "bert", "num_hidden_layers": 1}, {"kind": "deberta", "num_hidden_layers": 3}),
], ids=["tokenizer", "shared layers", "depth, width, heads", "shallow teacher"])
@pytest.mark.parametrize("variant", ["corrected", "published"])
def test_teacher_and_student_of_other_shapes(teacher, student, variant):
    teacher, student = tiny(**teacher), tiny(**student, seed=1)
    objective = objective_for(teacher, student, options(variant))
    batch = batch_of(objective, teacher, student, EXAMPLES)
    before = [parameter.clone() for parameter in teacher.module.parameters()]
    loss_of(objective(student.module, batch), batch.counts).backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())
    moved = [name for name, p in student.module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert any("query" in name or "q_lin" in name for name in moved)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, teacher.module.parameters(), strict=True))
    widths = teacher.module.config.hidden_size, student.module.config.hidden_size
    assert len(list(objective.parameters())) == (0 if widths[0] == widths[1] else 2)


def test_layers_are_spread_evenly():
    assert layer_pairs(12, 12, 12) == [(i, i) for i in range(1, 13)]
    assert layer_pairs(12, 4, 4) == [(3, 1), (6, 2), (9, 3), (12, 4)]
    assert layer_pairs(2, 6, 2) == [(1, 3), (2, 6)]


def test_a_batch_without_code_switched_words_has_the_task_loss_alone():
    teacher, student = tiny(), tiny("bert", seed=1, hidden_size=32)
    objective = objective_for(teacher, student, options())
    batch = batch_of(objective, teacher, student, [EXAMPLES[2], Example("k", "많이 아픔", label=0)])
    terms = objective(student.module, batch)
    assert batch.counts["code_switched_words"] == 0 and float(terms["batches_without_words"].total) == 1
    assert [float(terms[name].total.detach()) for name in ("hidden", "attention")] == [0, 0]
    loss = loss_of(terms, batch.counts)
    loss.backward()
    assert math.isfinite(loss.detach()) and float(loss.detach()) == pytest.approx(float(terms["prediction"].total.detach()) / 2)


def test_aligned_attention_rows_keep_their_mass():
    teacher, student = tiny("roberta"), tiny("bert", seed=1)
    objective = objective_for(teacher, student, options(), length=12)  # which cuts words off: their mass goes to the rest
    batch = batch_of(objective, teacher, student, EXAMPLES, 12)
    rows = batch.signals["word_attention"]
    real = word_states.real_words(batch.extra["spans"], batch.extra["words"])
    assert rows.sum(-1).permute(0, 3, 1, 2)[real].flatten() == pytest.approx(1, abs=1e-5)


def test_the_published_mean_over_the_maximal_length_shrinks_attention():
    teacher, student = tiny(seed=1), tiny(seed=2)
    valid, padded = (losses(teacher, student, options(attn_align="raw_columns", attn_columns=columns), [EXAMPLES[0]], 64)
                     for columns in ("valid", "max_length"))
    tokens = len(student.tokenizer(TEXTS[0])["input_ids"])
    assert padded["attention"] == pytest.approx(valid["attention"] * tokens / 64, rel=1e-5)


def test_scores_are_compared_on_both_sides(tmp_path):
    terms = {}
    for kind in ("probs", "scores"):
        lab = lab_for(tmp_path, epochs=1)
        DsgKD(options(attn_kind=kind)).fit(lab)
        terms[kind] = lab.curves[-1]["terms"]
    assert terms["scores"]["attention"] > 3 * terms["probs"]["attention"]  # no probability is that far off


def test_scores_are_what_the_softmax_makes_probabilities_of():
    model = tiny()
    inputs = model.tokenizer(list(TEXTS[:2]), return_tensors="pt", padding=True)
    with torch.inference_mode():
        eager = model.module(**inputs, output_attentions=True)
        use_scores(model.module)
        scored = model.module(**inputs, output_attentions=True)
    assert torch.allclose(eager.logits, scored.logits, atol=1e-6)
    for p, s in zip(eager.attentions, scored.attentions, strict=True):
        assert torch.allclose(p, s.softmax(-1), atol=1e-6) and not torch.allclose(p, s)


# ---- the head and the procedure --------------------------------------------------------------------------------------


def test_a_process_that_never_met_the_method_reads_its_students(tmp_path):
    """The methods' index names the head, as `predict`, `export` and `evaluate` start from the folder alone."""
    headed = with_gelu_head(tiny(), seed=3)
    headed.module.save_pretrained(tmp_path)
    headed.tokenizer.save_pretrained(tmp_path)
    labels_of(headed, 32).write(tmp_path)
    done = fresh.run(["-c", READ, tmp_path], cwd=ROOT, check=True)
    assert done.stdout.split() == ["GeluHeadModel", "True", "True"]


@pytest.mark.parametrize("kind", ["bert", "roberta", "albert", "deberta", "distilbert"])
def test_a_gelu_head_keeps_the_encoder_and_comes_back_from_its_folder(kind, tmp_path):
    model = tiny(kind)
    headed = with_gelu_head(model, seed=3)
    inputs = model.tokenizer(list(TEXTS[:2]), return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    headed.module.eval()
    with torch.inference_mode():
        ours, theirs = (m(**inputs, output_hidden_states=True) for m in (headed.module, model.module))
        assert torch.allclose(ours.hidden_states[-1], theirs.hidden_states[-1], atol=1e-5)
        headed.module.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert torch.allclose(again(**inputs).logits, ours.logits, atol=1e-6)
    assert again.config.id2label == {0: "no", 1: "yes"}
    kinds = [type(layer).__name__ for layer in headed.module.classifier]
    assert kinds == ["Dropout", "Linear", "GELU", "Dropout", "Linear"]


SYMPTOMS = {0: ("fever", "cough", "rash"), 1: ("seizure", "cyanosis", "apnea")}


def emergency(count, seed, start=0):
    """Notes whose label is told by an English word alone."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        label = int(rng.integers(2))
        words = ["아이가", rng.choice(["어제", "오늘", "방금"]), rng.choice(SYMPTOMS[label]), rng.choice(["있어", "보여"]), "왔다"]
        made.append(Example(f"{start + i}", " ".join(words), label=label))
    return tuple(made)


def lab_for(tmp_path, student="tiny-student", teacher="tiny:bert", **given) -> Lab:
    from accelerate import Accelerator

    data = Data(emergency(48, 0), emergency(24, 1, 100), emergency(24, 2, 200), ("no", "yes"), sha256={"dev": "d"})
    task = Task(name="notes", task_type="single", about="", metric="f1_at_rate", load=lambda _: data,
                metrics=("f1_at_rate", "brier"))
    settings = Settings(**{"epochs": 2, "batch_size": 8, "max_length": 24, "lr": 1e-3, **given})
    return Lab(task, data, 0, "corrected", settings, resolve(student), resolve(teacher), StageCache(tmp_path), Accelerator(cpu=True))


@pytest.mark.parametrize("variant", ["corrected", "published"])
@pytest.mark.parametrize("mode", ["mlkd", "base", "ensemble"])
def test_every_mode_trains(mode, variant, tmp_path):
    lab = lab_for(tmp_path)
    method = DsgKD(options(variant, mode=mode))
    method.check(lab)
    model = method.fit(lab)
    assert lab.predict(model, lab.data.test).shape == (24, 2)
    assert (model.partner is not None) == (mode == "ensemble")
    entry = lab.curves[0]
    assert all(math.isfinite(value) for value in entry["terms"].values())
    assert ("hidden" in entry["terms"]) == (mode != "base")
    plain = mode == "base" and variant == "published"
    assert (model.module.config.model_type == "bert") is plain
    if mode == "ensemble":
        own, other = (torch.tensor(lab.predict(m, lab.data.test)).softmax(-1) for m in (replace(model, partner=None), model.partner))
        both = torch.tensor(lab.predict(model, lab.data.test)).softmax(-1)
        assert torch.allclose(both, ((own + other) / 2).to(both), atol=1e-5)


@pytest.mark.parametrize("term, given", [("hidden", {"alpha": 1, "beta": 0}), ("attention", {"alpha": 0, "beta": 500})])
def test_distillation_brings_the_student_towards_the_teacher(term, given, tmp_path):
    lab = lab_for(tmp_path, epochs=8)
    DsgKD(options(patience=50, **given)).fit(lab)
    assert lab.curves[-1]["terms"][term] < 0.8 * lab.curves[0]["terms"][term]


def test_the_other_direction_trains_the_domain_model(tmp_path):
    lab = lab_for(tmp_path, student="tiny:roberta", teacher="tiny:bert")
    model = DsgKD(options(direction="general_to_domain")).fit(lab)
    assert model.name == "tiny:bert" and model.module.base_model.config.model_type == "bert"


def test_rates_and_stopping_follow_the_variant(tmp_path):
    lab = lab_for(tmp_path)
    student = lab.student()
    corrected, published = (DsgKD(options(v, mode="base")).training(lab, student, v == "published") for v in ("corrected", "published"))
    assert (corrected["lr"], corrected["head_lr"], corrected["warmup"]) == (1e-3, 1e-3, 0.25)
    assert (published["lr"], published["head_lr"], published["warmup"]) == (1e-3, 1e-2, 0.15)
    assert corrected["watch"] == ("f1_at_rate", "-brier", "-loss") and corrected["patience"] == 5
    assert published["watch"][-1] == "-loss" and published["decay_all"], "base: loss of the logits"
    distilled = DsgKD(options("published")).training(lab, student, False)
    assert (distilled["head_lr"], distilled["warmup"]) == (1e-3, 0.25)
    assert distilled["watch"][-1] == "-loss_on_probabilities"


def test_rates_that_are_given_stand_in_every_mode(tmp_path):
    lab = lab_for(tmp_path)
    student = lab.student()
    for mode, unequal in (("base", True), ("mlkd", False)):
        method = DsgKD(options("published", mode=mode, lr=1e-5, head_lr=5e-3, warmup=0.0,
                                base_warmup=0.0))
        given = method.training(lab, student, unequal)
        assert (given["lr"], given["head_lr"], given["warmup"]) == (1e-5, 5e-3, 0.0)


def test_a_run_gives_the_same_student_twice(tmp_path):
    """Its projection to the teacher's width and its head are drawn from the seed as well."""
    found = []
    for run in range(2):
        torch.manual_seed(run)
        lab = lab_for(tmp_path / str(run), epochs=1)
        recipe = lab.teacher_source.recipe
        lab.teacher_source = replace(lab.teacher_source, recipe=replace(recipe, config={**recipe.config, "hidden_size": 32}))
        found.append(lab.predict(DsgKD(options()).fit(lab), lab.data.test))
    assert np.array_equal(*found)


def test_subsampling_is_a_seeded_share_in_order():
    examples = emergency(20, 3)
    some = dsg_kd.drawn(examples, 0.75, 5)
    assert len(some) == 15 and some == dsg_kd.drawn(examples, 0.75, 5) and list(some) == sorted(some, key=lambda e: int(e.id))
    assert dsg_kd.drawn(examples, 1.0, 5) is examples


def test_what_attention_needs_is_checked():
    with pytest.raises(dsg_kd.Skip, match="no attention"):
        models = [SimpleNamespace(name="bilstm", module=SimpleNamespace(base_model=None, config=SimpleNamespace()))] * 2
        DsgKD(options()).check(SimpleNamespace(teacher=lambda: models[0], student=lambda: models[1]))
