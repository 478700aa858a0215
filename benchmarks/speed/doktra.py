"""DoKTra: activation boundaries of a RoBERTa 6x1024 from a BERT 6x768, GAD.

Published way: every sentence padded to 128 tokens, the teacher asked at every step, its vectors mapped by the random
connector, batches of 8.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from steps import Ours, Published, lab, model, shape, sizes, tokenizer
from texts import Lengths, drawn, load, strings, two_labels
from timing import Bench, Way
from torch import Tensor

from kdbench.base.options import build
from kdbench.methods.doktra import DoKTra, Transfer
from kdbench.models.heads import Head
from kdbench.models.load import Model
from kdbench.train.batching import Corpus

NAMES = ("doktra",)
WHAT = ("DoKTra's first phase, BERT 6x768 to RoBERTa 6x1024, 8 sentences of GAD; reference: padded to 128, teacher at each step")
LENGTHS = Lengths(40, 75, 128)


class PublishedWay(Published):
    def __init__(self, device: torch.device, teacher: Model, student: Model, corpora: tuple[Corpus, Corpus], objective: Transfer,
                 length: int, batch_size: int):
        super().__init__(device, copy.deepcopy(student.module), corpora[1].examples, batch_size, steps=4)
        self.teacher, self.connector = teacher.module.to(device).eval(), objective.expander.to(device)
        self.corpora, self.options, self.length = corpora, objective.options, length

    def warm(self) -> None:
        self.run(1)

    def loss_of(self, indices: Sequence[int]) -> Tensor:
        theirs, ours = (corpus.batch(indices, self.length).to(self.device).inputs for corpus in self.corpora)
        with torch.no_grad():
            t = self.connector(self.teacher(**theirs, output_hidden_states=True).hidden_states[-1][:, 0])
        s = self.student(**ours, output_hidden_states=True).hidden_states[-1][:, 0]
        m = self.options.margin
        each = (s + m) ** 2 * ((s > -m) & (t <= 0)).float() + (s - m) ** 2 * ((s <= m) & (t > 0)).float()
        return each.sum() / self.batch_size / 1000


def what(_: str) -> str:
    return WHAT


def ways(_: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    batch_size = bench.pick(8, 4)
    data = load("gad", bench)
    texts = strings(data)
    readers = [tokenizer(texts, bench.pick(5_000, 1_000), kind) for kind in ("bert", "roberta")]
    examples = two_labels(drawn(data, batch_size * bench.pick(12, 4), LENGTHS, sizes(readers[0])))
    shapes = bench.pick((shape(6, 768, 12), shape(6, 1024, 16)), (shape(2, 32, 2), shape(2, 48, 2)))
    rows = bench.pick((28_996, 50_265), [len(reader) for reader in readers])
    head, length = Head("single", ("0", "1")), bench.pick(128, 64)
    teacher = model("teacher", head, readers[0], rows=rows[0], **shapes[0])
    student = model("student", head, readers[1], rows=rows[1], kind="roberta", seed=1, max_position_embeddings=514, **shapes[1])
    options = build(DoKTra.Options, "published", {}, "doktra")

    def objective() -> Transfer:
        return Transfer(options, "single", 1, shapes[1]["hidden_size"], shapes[0]["hidden_size"], batch_size, 0)

    def ours(precision: str) -> Way:
        bench_lab = lab(bench, "single", head.labels, examples, precision, length)
        signals = bench_lab.signals(teacher, ("cls",))
        learner = Model(copy.deepcopy(student.module), student.tokenizer, "student", "student")
        return Ours(bench_lab, learner, objective(), batch_size=batch_size, max_length=length, signals=signals, weight_decay=0.0)

    def reference() -> Way:
        bench_lab = lab(bench, "single", head.labels, examples)
        corpora = tuple(bench_lab.corpus(model, bench_lab.data.train, length) for model in (teacher, student))
        return PublishedWay(bench_lab.accelerator.device, teacher, student, corpora, objective(), length, batch_size)

    return {"ours": lambda: ours("auto"), "ours_fp32": lambda: ours("fp32"), "reference": reference}
