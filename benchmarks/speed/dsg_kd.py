"""DSG-KD: a loss at the code-switched words of texts of 60 to 150 tokens.

Published way: every text padded to 384 tokens, tokenised anew (whole, then word by word, for both models) each time
it is read, the teacher asked at every step, and the loss a Python loop that slices every word out of the stacked
hidden states and attentions of all layers. The backward pass of each slice writes a tensor of the stack's full size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from steps import Ours, Published, lab, model, shape, sizes, tokenizer
from texts import Lengths, joined, load, strings, two_labels
from timing import Bench, Way
from torch import Tensor

from kdbench.base.options import build
from kdbench.methods.code_switching import Aligner, is_code_switched
from kdbench.methods.dsg_kd import CodeSwitched, DsgOptions
from kdbench.methods.gelu_head import with_gelu_head
from kdbench.models.heads import Head
from kdbench.models.load import Model

NAMES = {"dsg_kd_8": 8, "dsg_kd_32": 32}
WHAT = ("DSG-KD, teacher and student 4x256, 32 texts of 60-150 tokens with at most {} code-switched words; reference: padded to 384, "
        "tokenised at each access, teacher at each step, loss by a loop over words")
LENGTHS = Lengths(105, 145, 150, least=60)


class PublishedWay(Published):
    def __init__(self, device: torch.device, teacher: Model, student: Model, examples: Sequence[Any], batch_size: int, options: DsgOptions,
                 length: int):
        module = copy.deepcopy(student.module)
        super().__init__(device, module, examples, batch_size, steps=1)
        self.teacher = teacher.module.to(device).eval()
        for part in (module, self.teacher):
            part.set_attn_implementation("eager")
        self.readers, self.o, self.length = (teacher.tokenizer, student.tokenizer), options, length

    def read(self, example: Any) -> tuple[list[dict[str, Tensor]], list[tuple[slice, slice]]]:
        """Both models' inputs of one text, and the token ranges of its words under both."""
        inputs = [reader(example.text, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt")
                  for reader in self.readers]
        words: list[tuple[slice, slice]] = []
        starts = [1, 1]
        for word in example.text.split(" "):
            ends = [start + len(reader.tokenize(word)) for start, reader in zip(starts, self.readers, strict=True)]
            if max(starts) >= self.length - 1 or len(words) == self.o.cs_max_len:
                break
            if is_code_switched(word):
                words.append(tuple(slice(a, min(b, self.length - 1)) for a, b in zip(starts, ends, strict=True)))
            starts = ends
        return inputs, words

    def loss_of(self, indices: Sequence[int]) -> Tensor:
        read = [self.read(self.examples[i]) for i in indices]
        theirs, ours = ({name: torch.cat([inputs[side][name] for inputs, _ in read]).to(self.device) for name in read[0][0][side]}
                        for side in (0, 1))
        wanted = {"output_hidden_states": True, "output_attentions": True}
        with torch.no_grad():
            teacher = self.teacher(**theirs, **wanted)
        student = self.student(**ours, **wanted)
        stacks = [(torch.stack(outputs.hidden_states), torch.stack(outputs.attentions)) for outputs in (teacher, student)]
        stacks = [(hidden, torch.where(attention <= -100, torch.zeros_like(attention), attention)) for hidden, attention in stacks]
        hidden: tuple[list[Tensor], list[Tensor]] = ([], [])
        attention: tuple[list[Tensor], list[Tensor]] = ([], [])
        for row, (_, words) in enumerate(read):
            for word in words:
                for side in (0, 1):
                    hidden[side].append(stacks[side][0][:, row, word[side]].mean(1))
                    attention[side].append(stacks[side][1][:, row, :, word[side]].mean(2))
        labels = torch.tensor([self.examples[i].label for i in indices], device=self.device)
        return (F.cross_entropy(student.logits, labels) + self.o.alpha * F.mse_loss(*map(torch.stack, hidden))
                + self.o.beta * F.mse_loss(*map(torch.stack, attention)))


def what(name: str) -> str:
    return WHAT.format(NAMES[name])


def ways(name: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    batch_size = bench.pick(32, 4)
    data = load("hoc", bench)
    reader = tokenizer(strings(data), bench.pick(8_000, 1_000))
    texts = joined(data, batch_size * bench.pick(8, 2), bench.pick(LENGTHS, Lengths(20, 30, 40)), sizes(reader))
    examples = two_labels(texts)
    size, rows, length = bench.pick(shape(4, 256, 4), shape(2, 32, 2)), bench.pick(30_522, len(reader)), bench.pick(384, 64)
    head = Head("single", ("no", "yes"))
    teacher, bare = (model(name, head, reader, rows=rows, seed=seed, **size) for seed, name in enumerate(("teacher", "student")))
    student = with_gelu_head(bare, 0)
    options = build(DsgOptions, "published", {"cs_max_len": NAMES[name]}, "dsg_kd")

    def ours(precision: str) -> Way:
        house = lab(bench, "single", head.labels, examples, precision, length)
        own = copy.deepcopy(student.module)
        aligner = Aligner(teacher, student, length, most=options.cs_max_len, rule=options.spans, attn_align=options.attn_align)
        objective = CodeSwitched(options, teacher.module.config, own.config, length, aligner)
        signals = house.signals(teacher, ("word_hidden", "word_attention"), pool=objective.words.teacher_signals,
                                hidden_states=True, attentions=True)
        learner = Model(own, student.tokenizer, "student", "student")
        return Ours(house, learner, objective, batch_size=batch_size, max_length=length, signals=signals)

    def reference() -> Way:
        device = lab(bench, "single", head.labels, examples).accelerator.device
        return PublishedWay(device, teacher, student, examples, batch_size, options, length)

    return {"ours": lambda: ours("auto"), "ours_fp32": lambda: ours("fp32"), "reference": reference}
