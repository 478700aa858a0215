"""biobert-distillation: a BiLSTM on the logits of a fine-tuned tagger, BC2GM.

Published way: sentences in the order of the file, padded to the longest of the batch, the teacher asked for logits, all
hidden states and all attention probabilities at every step, a two-layer bidirectional LSTM that reads the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from steps import Ours, Published, lab, model, shape, sizes, tokenizer
from texts import Lengths, drawn, load, strings
from timing import Bench, Way
from torch import Tensor, nn

from kdbench.base.options import build
from kdbench.methods.ner_kd import NerKD
from kdbench.methods.ner_losses import Distillation
from kdbench.models.heads import Head
from kdbench.models.load import Model
from kdbench.train.batching import Corpus

NAMES = {"bilstm_minilm": shape(6, 384, 12), "bilstm_bert_base": shape(12, 768, 12)}
WHAT = ("BiLSTM 2x300 on the logits of a {} tagger, 32 sentences of BC2GM; reference: no grouping by length, teacher with all hidden "
        "states and attentions at each step")
LENGTHS = Lengths(35, 74, 200)
ROWS = 30_522


class Tagger(nn.Module):
    """The published student, in plain torch."""

    def __init__(self, rows: int, width: int, hidden: int, head: int, labels: int):
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.lstm = nn.LSTM(width, hidden, num_layers=2, batch_first=True, bidirectional=True, dropout=0.5)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2 * hidden, head), nn.ReLU(), nn.Dropout(0.5), nn.Linear(head, labels))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(ids))[0])


class PublishedWay(Published):
    def __init__(self, device: torch.device, teacher: Model, student: Tagger, corpus: Corpus, batch_size: int, steps: int):
        super().__init__(device, student, corpus.examples, batch_size, steps)
        self.teacher = teacher.module.to(device).eval()
        self.teacher.set_attn_implementation("eager")
        self.corpus = corpus

    def warm(self) -> None:
        self.run(1)

    def loss_of(self, indices: Sequence[int]) -> Tensor:
        batch = self.corpus.batch(indices).to(self.device)
        with torch.no_grad():
            teacher = self.teacher(**batch.inputs, output_hidden_states=True, output_attentions=True)
        return F.mse_loss(self.student(batch.inputs["input_ids"]), teacher.logits)


def what(name: str) -> str:
    return WHAT.format({"bilstm_minilm": "MiniLM-size (6x384)", "bilstm_bert_base": "BERT-base-size (12x768)"}[name])


def ways(name: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    batch_size, steps = bench.pick(32, 4), bench.pick({"bilstm_minilm": 12, "bilstm_bert_base": 8}[name], 2)
    data = load("bc2gm", bench)
    reader = tokenizer(strings(data), bench.pick(8_000, 1_000))
    examples = drawn(data, batch_size * steps, LENGTHS, sizes(reader))
    size, rows, width = bench.pick(NAMES[name], shape(2, 32, 2)), bench.pick(ROWS, len(reader)), bench.pick(300, 16)
    head = Head("tags", data.labels)
    teacher = model("teacher", head, reader, rows=rows, **size)
    options = build(NerKD.Options, "corrected", {"alpha": 0}, "ner_kd")

    def ours(precision: str) -> Way:
        house = lab(bench, "tags", data.labels, examples, precision)
        signals = house.signals(teacher, ("logits",))
        student = model("student", head, reader, rows=rows, kind="kdbench_bilstm", embedding_size=width, hidden_size=width)
        return Ours(house, student, Distillation(options, ("logits",)), batch_size=batch_size, max_length=128, signals=signals)

    def reference() -> Way:
        house = lab(bench, "tags", data.labels, examples)
        corpus = house.corpus(teacher, house.data.train, 200)
        student = Tagger(rows, width, width, 256, len(data.labels))
        return PublishedWay(house.accelerator.device, teacher, student, corpus, batch_size, steps)

    return {"ours": lambda: ours("auto"), "ours_fp32": lambda: ours("fp32"), "reference": reference}
