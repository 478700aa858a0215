"""VE-KD: masked language modelling with an expanded vocabulary beside a teacher, sentences of 27 tokens (median).

Published way: every sentence padded to 512 tokens; both models' logits of the whole vocabulary at every position, the
teacher's and the student's rows then picked out of them; hidden states of all layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from steps import Ours, Published, lab, model, shape, sizes, tokenizer
from texts import Lengths, joined, load, strings
from timing import Bench, Way
from torch import Tensor

from kdbench.base.options import build
from kdbench.methods.expanded_vocabulary import MLM, Masking
from kdbench.methods.ve_kd import VeKD, VocabularyKD
from kdbench.models.load import Model
from kdbench.models.vocabulary import expand, train_tokens
from kdbench.train.batching import Corpus

NAMES = ("ve_kd",)
WHAT = ("VE-KD, teacher and student 4x256, vocabulary 30,522 + 29,725, 10 sentences of 27 tokens (median); reference: padded to 512, "
        "both models' logits of the whole vocabulary at every position")
LENGTHS = Lengths(27, 60, 100)
OLD, NEW = 30_522, 29_725
TRAINED = 150  # new entries that these texts use: with them about a token in eight is new; the others are rows that no text reads


class PublishedWay(Published):
    def __init__(self, device: torch.device, teacher: Model, student: Model, corpus: Corpus, objective: VocabularyKD, length: int,
                 batch_size: int):
        super().__init__(device, copy.deepcopy(student.module), corpus.examples, batch_size, steps=1, clip=5.0)
        self.teacher = teacher.module.to(device).eval()
        self.corpus, self.o, self.length = corpus, objective, length

    def loss_of(self, indices: Sequence[int]) -> Tensor:
        batch = self.corpus.batch(indices, self.length)
        self.o.collate(batch)  # the masks are the same ones
        batch = batch.to(self.device)
        student = self.student(**batch.inputs, output_hidden_states=True)
        with torch.no_grad():
            teacher = self.teacher(batch.extra["teacher_ids"], batch.inputs["attention_mask"], output_hidden_states=True)
        followed, targets, boundary = batch.extra["followed"], batch.extra["targets"], self.o.masking.boundary

        def picked(values: Tensor) -> Tensor:
            return values.masked_select(followed.unsqueeze(-1).expand_as(values)).view(-1, values.shape[-1])

        ours, theirs = picked(student.logits[:, :, :boundary]), picked(teacher.logits)
        heat = self.o.temperature
        states = picked(student.hidden_states[-1]), picked(teacher.hidden_states[-1])
        losses = {
            "masked_lm": F.cross_entropy(student.logits.view(-1, student.logits.shape[-1]), targets.view(-1)),
            "kl": heat**2 * F.kl_div((ours / heat).log_softmax(-1), (theirs / heat).softmax(-1), reduction="batchmean"),
            "mse": F.mse_loss(ours, theirs, reduction="sum") / len(ours),
            "cosine": F.cosine_embedding_loss(*states, torch.ones(len(ours), device=self.device)),
        }
        total = torch.zeros((), device=self.device)
        for name, weight in self.o.weights.items():
            beyond = losses[name] if name == "masked_lm" else (losses[name] - self.o.tolerance[name]).clamp(min=0)
            total = total + weight * beyond
        return total


def what(_: str) -> str:
    return WHAT


def ways(_: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    batch_size = bench.pick(10, 4)
    old, new = bench.pick((OLD, NEW), (1_200, 500))
    data = load("hoc", bench)
    texts = strings(data)
    base = tokenizer(texts, bench.pick(8_000, 1_000))
    tokens = train_tokens(lambda: texts, base, TRAINED, 2)
    tokens += [f"[later{i}]" for i in range(new - len(tokens))]
    reader = expand(base, tokens, old)
    examples = tuple(joined(data, batch_size * bench.pick(16, 2), bench.pick(LENGTHS, Lengths(10, 15, 20)), sizes(reader)))
    size, length = bench.pick(shape(4, 256, 4), shape(2, 32, 2)), bench.pick(512, 64)
    teacher = model("teacher", MLM, base, rows=old, max_position_embeddings=512, **size)
    student = model("student", MLM, reader, rows=old + new, kind="distilbert", seed=1, **size)
    # README's weights, squared logit differences included
    options = build(VeKD.Options, "published", {"a_mse": 1.0}, "ve_kd")

    def objective() -> VocabularyKD:
        masking = Masking(base.mask_token_id, tuple(base.all_special_ids), old, options.mask_share, options.new_token_mask,
                          tuple(int(part) / 100 for part in options.mlm_mix.split("/")))
        built = VocabularyKD(masking, 0)
        built.follow(teacher, options, size["hidden_size"])
        return built

    def ours(precision: str) -> Way:
        bench_lab = lab(bench, "single", (), examples, precision, length)
        learner = Model(copy.deepcopy(student.module), reader, "student", "student")
        return Ours(bench_lab, learner, objective(), batch_size=batch_size, max_length=length, clip=5.0, betas=(0.9, 0.98), eps=1e-6)

    def reference() -> Way:
        bench_lab = lab(bench, "single", (), examples)
        corpus = bench_lab.corpus(student, bench_lab.data.train, length)
        return PublishedWay(bench_lab.accelerator.device, teacher, student, corpus, objective(), length, batch_size)

    return {"ours": lambda: ours("auto"), "ours_fp32": lambda: ours("fp32"), "reference": reference}
