"""The losses of a golden case, computed by the objective that the method trains with, as published.

One function a method: the case holds the inputs, the result has what the published code returned under `expected`.
"""

from types import SimpleNamespace

import numpy as np
import torch

from kdbench.base.options import build
from kdbench.methods.doktra import DoKTra, Transfer, activation_boundary_sum
from kdbench.methods.dsg_kd import CodeSwitched, DsgKD
from kdbench.methods.expanded_vocabulary import Masking
from kdbench.methods.ner_kd import NerKD
from kdbench.methods.ner_losses import Distillation
from kdbench.methods.ve_kd import VeKD, VocabularyKD
from kdbench.methods.word_states import STUDENT, TEACHER
from kdbench.score.metrics import METRICS, Info, published_names, word_tags
from kdbench.train.method import Batch, loss_of


def published(method, **given):
    """The published options of a method, with `given` in their place."""
    return build(method.Options, "published", given, method.name)


# ---- DoKTra ----------------------------------------------------------------------------------------------------------


def doktra(case: dict) -> dict[str, float]:
    student_cls, teacher_cls = torch.tensor(case["student_cls"]), torch.tensor(case["teacher_cls"])
    rows, width = student_cls.shape
    options = published(DoKTra, beta_student=case["beta"], margin=case["margin"])
    objective = Transfer(options, "single", 1, width, width, rows, seed=0)
    batch = Batch({}, labels=torch.tensor(case["labels"]), signals={"cls": teacher_cls},
                  counts={"examples": float(rows), "labelled": float(rows)})
    outputs = SimpleNamespace(logits=torch.tensor(case["logits"]), hidden_states=[student_cls.unsqueeze(1)])

    def student(**_):
        return outputs

    boundary = objective(student, batch)
    objective.epoch = 1
    return {
        "activation_boundary_sum": float(activation_boundary_sum(student_cls, teacher_cls, case["margin"])),
        "activation_boundary_as_trained": float(loss_of(boundary, batch.counts)),
        "calibrated_cross_entropy": float(loss_of(objective(student, batch), batch.counts)),
        "boundary_disagreement": float(boundary["boundary_disagreement"].total / rows),
    }


# ---- DSG-KD ----------------------------------------------------------------------------------------------------------


def dsg_kd(case: dict) -> dict[str, float]:
    options = published(DsgKD, alpha=case["alpha"], beta=case["beta"])
    outputs, places = [], []
    counts, layers = torch.tensor(case["span_counts"]), len(case["teacher_attention"])
    texts, heads, tokens = torch.tensor(case["teacher_attention"]).shape[1:4]
    for side in ("teacher", "student"):
        hidden, attention = torch.tensor(case[f"{side}_hidden"]), torch.tensor(case[f"{side}_attention"])
        outputs.append(SimpleNamespace(hidden_states=list(hidden), attentions=list(attention), logits=torch.tensor(case["logits"])))
        places.append({"spans": torch.tensor(case[f"{side}_spans"]), "words": counts, "widths": torch.full((texts,), tokens)})
    config = SimpleNamespace(num_hidden_layers=layers, num_attention_heads=heads, hidden_size=hidden.shape[-1])
    objective = CodeSwitched(options, config, config, max_length=tokens)
    pooled = objective.words.pool(outputs[TEACHER], places[TEACHER], TEACHER)
    signals = dict(zip(("word_hidden", "word_attention"), pooled, strict=True))
    batch = Batch({}, labels=torch.tensor(case["labels"]), signals=signals, extra=places[STUDENT],
                  counts={"labelled": float(texts), "code_switched_words": float(counts.sum())})
    terms = objective(lambda **_: outputs[STUDENT], batch)
    return {name: float(loss_of({name: terms[name]}, batch.counts)) for name in ("hidden", "attention", "prediction")}


# ---- ner_kd ----------------------------------------------------------------------------------------------------------

EVERYTHING = ("hard", "logits", "hidden", "attention")


def ner_kd(case: dict) -> dict[str, float]:
    """Losses, and the token scores of the case's predictions."""
    found = {"hard_label_loss": tagger_loss(case, 1.0, ("hard",))}
    for name in case["expected"]:
        prefix, _, alpha = name.partition("_alpha_")
        if alpha:
            terms = EVERYTHING if prefix == "tinybert" else EVERYTHING[:2]
            found[name] = tagger_loss(case, float(alpha), terms)
    return found | token_scores(case["labels"], case["predictions"])


def tagger_loss(case: dict, alpha: float, terms: tuple[str, ...]) -> float:
    """The loss of a student of the teacher's width under these terms."""
    teacher, student = outputs_of(case, "teacher_logits", "teacher"), outputs_of(case, "logits", "student")
    width = teacher.hidden_states[0].shape[-1]
    options = published(NerKD, alpha=alpha, label_smoothing=case["label_smoothing"])
    objective = Distillation(options, terms, depths=(len(teacher.attentions), len(student.attentions)), widths=(width, width))
    real = torch.tensor(case["mask"])
    rows, positions = real.shape
    word_ids = torch.arange(positions).expand(rows, -1).masked_fill(~real, -1)  # every token a word of its own
    counts = {"examples": float(rows), "positions": float(rows * positions), "tokens": float(real.sum())}
    batch = Batch({"attention_mask": real.long()}, labels=torch.tensor(case["labels"]), counts=counts, extra={"word_ids": word_ids})
    pooled = objective.pool()(teacher, batch)
    batch.signals = {name: torch.stack(values) for name, values in pooled.items()}
    objective.collate(batch)
    return float(loss_of(objective(lambda **_: student, batch), batch.counts))


def outputs_of(case: dict, logits: str, side: str) -> SimpleNamespace:
    return SimpleNamespace(logits=torch.tensor(case[logits]),
                           hidden_states=[torch.tensor(layer) for layer in case[f"{side}_hidden"]],
                           attentions=[torch.tensor(layer) for layer in case[f"{side}_attention"]])


def token_scores(labels: list[list[int]], predictions: list[list[int]]) -> dict[str, float]:
    """Scores over the tags of tokens; tags from 5 on are entities. The published code swaps precision and recall."""
    tags = ("PAD", "START", "END", "UNK", "O", "B", "I", "E", "S")
    outside = tags.index("O")
    gold, predicted = (list(np.maximum(rows, outside)) for rows in (labels, predictions))
    metric = METRICS["piece_tag_micro_f1"]
    each = word_tags(predicted, [range(len(row)) for row in gold], [len(row) for row in gold], outside)  # one piece a word
    scores = published_names(metric.counts(gold, each, Info(tags)).sum(0))
    return {f"token_{name}": value for name, value in scores.items()}


# ---- VE-KD -----------------------------------------------------------------------------------------------------------

VE_KD_NAMES = {"masked_lm": "mlm", "kl": "kl_over_tolerance", "mse": "mse_over_tolerance", "cosine": "cosine_over_tolerance"}
VE_KD_TENSORS = ("student_logits", "teacher_logits", "student_hidden", "teacher_hidden", "attention_mask", "labels")


def ve_kd(case: dict) -> dict[str, float]:
    given = {f"a_{name}": case[f"alpha_{name}"] for name in ("ce", "mlm", "mse", "cos")}
    options = published(VeKD, temperature=case["temperature"], tolerance=case["tolerance"], **given)
    boundary = case["teacher_vocab_size"]
    student, teacher, student_hidden, teacher_hidden, mask, labels = (torch.tensor(case[name]) for name in VE_KD_TENSORS)
    objective = VocabularyKD(Masking(0, (), boundary, 0.15, 1.0, (1.0, 0.0, 0.0)), seed=0)
    objective.weigh(options)
    followed, masked = (mask > 0) & (labels < boundary), labels != -100
    terms = objective.terms({
        "masked_lm": (student[masked], labels[masked]),
        "logits": (student[followed][:, :boundary], teacher[followed]),
        "cosine": (student_hidden[followed], teacher_hidden[followed]),
    })
    counts = {"masked": float(masked.sum()), "followed": float(followed.sum())}
    values = {VE_KD_NAMES[name]: float(term.total / counts[term.per]) for name, term in terms.items()}
    return {**values, "total": float(loss_of(terms, counts))}
