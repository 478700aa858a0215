"""`transformers.Trainer` against the project's loop: fine-tuning on ChemProt, logit distillation on BC2GM.

    grouped  Trainer with padding to the batch and grouping by length
    default  Trainer as it comes: padding to the batch, no grouping, fp32

Fine-tuning against the grouped Trainer is in the same precision on both sides; everywhere else Trainer is in fp32, its default.
Distillation is three epochs of a student that is cut from its teacher; in Trainer's loss the teacher reads every batch again.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from steps import lab, model, shape, sizes, tokenizer
from texts import Lengths, drawn, load, strings
from timing import Bench, Way, seconds, synchronise
from transformers import (
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from kdbench.models.heads import Head
from kdbench.models.layers import cut
from kdbench.models.load import Model
from kdbench.train import fit, signals
from kdbench.train.batching import Corpus
from kdbench.train.lab import Lab
from kdbench.train.losses import SoftTargets, Supervised, soft_targets
from kdbench.train.training import Training

NAMES = ("finetune_vs_trainer_grouped", "finetune_vs_trainer_default", "distill_vs_trainer_grouped", "distill_vs_trainer_default")
LENGTHS = {"finetune": Lengths(45, 90, 256), "distill": Lengths(35, 74, 200)}
HEAT, ALPHA = 2.0, 0.1
RATE = 1e-4


class OurRun(Way):
    """A whole `fit.Trainer.run`, with the teacher's signals where it distils."""

    def __init__(self, bench_lab: Lab, student: Model, teacher: Model | None, epochs: int, batch_size: int):
        self.lab, self.student, self.teacher, self.epochs, self.batch_size = bench_lab, student, teacher, epochs, batch_size
        self.corpus = bench_lab.corpus(student, bench_lab.data.train, bench_lab.settings.max_length)
        self.steps = epochs * -(-len(self.corpus) // batch_size)
        self.bf16 = bench_lab.bf16(student)
        self.speeds: list[float] = []

    def warm(self) -> None:
        self.prepare()
        for indices in self.training.order(0)[:2]:
            if self.teacher:
                self.training.feed.signals = self.signals([self.corpus.examples[i] for i in indices])
            self.training.one_step(indices, 10)

    def prepare(self) -> None:
        kind = self.lab.task.task_type
        objective = SoftTargets(kind, HEAT, ALPHA) if self.teacher else Supervised(kind)
        training = Training(epochs=self.epochs, batch_size=self.batch_size, lr=RATE, warmup=0.0, select="last")
        self.training = fit.Trainer(copy.deepcopy(self.student.module), objective, self.corpus, training, seed=0, stage="speed",
                               accelerator=self.lab.accelerator, bf16=self.bf16)

    def signals(self, examples: list[Any]) -> Any:
        assert self.teacher is not None
        teacher = signals.Teacher(self.teacher, ("logits",), self.lab.task.task_type, self.lab.settings.max_length,
                                device=self.lab.accelerator.device, autocast=lambda: self.lab.autocast(self.teacher))
        return signals.compute(teacher, examples, "speed", 2e9)

    def round(self) -> None:
        if self.teacher:
            self.training.feed.signals = self.signals(self.corpus.examples)
        self.training.run()

    def seconds(self) -> float:
        spent = seconds(self.round)
        self.speeds.append(self.flops() / spent / 1e9)
        return spent

    def flops(self) -> float:
        """Of a round's forward and backward passes: 6 a parameter outside the embeddings and a token that is no padding,
        and those of attention, 12 a layer, a unit of width and a pair of tokens."""
        config = self.student.module.config
        weights = sum(p.numel() for name, p in self.student.module.named_parameters() if "embeddings" not in name)
        pairs = config.num_hidden_layers * config.hidden_size
        return self.epochs * sum(6 * weights * n + 12 * pairs * n * n for n in self.corpus.lengths)

    def facts(self) -> dict[str, Any]:
        """Fine-tuning in bf16: the share of what the device's matrix products reach in it."""
        if self.teacher or not self.bf16:
            return {}
        peak, speed = matmul_peak(self.lab.accelerator.device), statistics.median(self.speeds)
        return {"gflops": round(speed), "peak_gflops": round(peak), "share_of_peak": round(speed / peak, 3)}


def matmul_peak(device: torch.device) -> float:
    """GFLOP/s of the fastest of some bf16 matrix products, the median of nine each."""
    best, shapes = 0.0, [(2048, 2048, 2048), (1216, 1536, 384), (1216, 768, 3072)]
    if device.type != "cpu":
        shapes.append((8192, 8192, 8192))
    for rows, inner, columns in shapes:
        a, b = (torch.randn(*size, device=device, dtype=torch.bfloat16) for size in ((rows, inner), (inner, columns)))
        spent = [seconds(lambda a=a, b=b: torch.mm(a, b)) for _ in range(12)][3:]
        best = max(best, 2 * rows * inner * columns / statistics.median(spent) / 1e9)
    return best


class Distiller(Trainer):
    """Trainer with a teacher in its loss."""

    def __init__(self, teacher: torch.nn.Module, **given: Any):
        super().__init__(**given)
        self.teacher = teacher.to(self.args.device).eval()

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        with torch.no_grad():
            theirs = self.teacher(**inputs).logits
        read = labels != -100
        soft = soft_targets(outputs.logits[read], theirs[read], HEAT, "single").mean()
        return (1 - ALPHA) * soft + ALPHA * F.cross_entropy(outputs.logits[read], labels[read])


class Stopwatch(TrainerCallback):
    """From the first step to the end: what Trainer sets up before is not held against it."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        synchronise()
        self.begun = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        synchronise()
        self.spent = time.perf_counter() - self.begun


class TrainerRun(Way):
    """`Trainer.train()`, without logs, checkpoints or evaluation."""

    def __init__(self, bench_lab: Lab, student: Model, teacher: Model | None, epochs: int, batch_size: int, *, grouped: bool, bf16: bool):
        self.student, self.teacher, self.device = student, teacher, bench_lab.accelerator.device
        corpus = bench_lab.corpus(student, bench_lab.data.train, bench_lab.settings.max_length)
        self.rows = [encoded(corpus, i) for i in range(len(corpus))]
        self.steps = epochs * -(-len(corpus) // batch_size)
        collator = DataCollatorForTokenClassification if corpus.word_ids else DataCollatorWithPadding
        self.collator = collator(student.tokenizer)
        self.stopwatch = Stopwatch()
        self.folder = tempfile.TemporaryDirectory(prefix="kdbench-speed-")
        self.given = {
            "output_dir": self.folder.name, "num_train_epochs": epochs, "per_device_train_batch_size": batch_size, "learning_rate": RATE,
            "bf16": bf16, "train_sampling_strategy": "group_by_length" if grouped else "random", "use_cpu": self.device.type == "cpu",
            "dataloader_pin_memory": self.device.type != "cpu", "report_to": "none", "logging_strategy": "no", "save_strategy": "no",
            "disable_tqdm": True, "remove_unused_columns": False,
        }

    def trainer(self, **changes: Any) -> Trainer:
        given = {"model": copy.deepcopy(self.student.module), "args": TrainingArguments(**{**self.given, **changes}),
                 "data_collator": self.collator, "train_dataset": self.rows, "processing_class": self.student.tokenizer}
        trainer = Distiller(self.teacher.module, **given) if self.teacher else Trainer(**given)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(self.stopwatch)
        return trainer

    def warm(self) -> None:
        self.trainer(max_steps=2).train()

    def prepare(self) -> None:
        self.next = self.trainer()

    def round(self) -> None:
        self.next.train()

    def seconds(self) -> float:
        self.round()
        return self.stopwatch.spent


def encoded(corpus: Corpus, i: int) -> dict[str, Any]:
    row: dict[str, Any] = {"input_ids": corpus.tokens[i], "attention_mask": [1] * corpus.lengths[i]}
    if corpus.word_ids is None:
        return {**row, "labels": corpus.examples[i].label}
    words = corpus.word_ids[i]
    firsts = [word >= 0 and (place == 0 or words[place - 1] != word) for place, word in enumerate(words)]
    return {**row, "labels": [corpus.examples[i].label[word] if first else -100 for word, first in zip(words, firsts, strict=True)]}


def what(name: str) -> str:
    job, _, setting = name.partition("_vs_trainer_")
    done = {"finetune": "fine-tuning a MiniLM-size encoder (6x384) on ChemProt",
            "distill": "three epochs of logit distillation, MiniLM-size (6x384) into 3 of its layers, BC2GM, teacher included"}[job]
    against = {"grouped": "padding to the batch and grouping by length", "default": "its defaults (fp32, no grouping)"}[setting]
    same = ", in the same precision" if name == "finetune_vs_trainer_grouped" else ""
    return f"{done}, a step of 32; reference: transformers.Trainer with {against}{same}"


def ways(name: str, bench: Bench) -> dict[str, Callable[[], Way]]:
    job, _, setting = name.partition("_vs_trainer_")
    distils, batch_size = job == "distill", bench.pick(32, 4)
    epochs = 3 if distils else 1
    data = load("bc2gm" if distils else "chemprot", bench)
    reader = tokenizer(strings(data), bench.pick(8_000, 1_000))
    examples = drawn(data, batch_size * bench.pick(6 if distils else 12, 2), LENGTHS[job], sizes(reader))
    kind = "tags" if distils else "single"
    size, rows = bench.pick(shape(6, 384, 12), shape(3, 32, 2)), bench.pick(30_522, len(reader))
    whole = model("encoder", Head(kind, data.labels), reader, rows=rows, **size)
    student, teacher = (cut(whole, bench.pick(3, 1)), whole) if distils else (whole, None)

    def bench_lab(precision: str = "auto") -> Lab:
        return lab(bench, kind, data.labels, examples, precision)

    def ours(precision: str) -> Way:
        return OurRun(bench_lab(precision), student, teacher, epochs, batch_size)

    def reference(bf16: bool = False) -> Way:
        return TrainerRun(bench_lab(), student, teacher, epochs, batch_size, grouped=setting == "grouped", bf16=bf16)

    found: dict[str, Callable[[], Way]] = {"ours": lambda: ours("auto"), "ours_fp32": lambda: ours("fp32"), "reference": reference}
    if name == "finetune_vs_trainer_grouped":
        found |= {"reference": lambda: reference(bench_lab().bf16(student)), "reference_fp32": reference}
    return found
