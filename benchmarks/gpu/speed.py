"""Steps a second, latency, and one GPU shared by two processes; models of random weights."""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from steps import Ours, lab, model, shape, sizes, tokenizer
from texts import Lengths, joined, load, strings
from timing import Bench, seconds, synchronise

from kdbench.models.heads import Head
from kdbench.models.load import Model
from kdbench.train.losses import SoftTargets, Supervised

ROWS = 30_522
BATCH, LENGTH = 32, 128
SECONDS = 1.5  # of a timing

# name: kind, size
MODELS: dict[str, tuple[str, dict[str, int]]] = {
    "BERT-base 12x768": ("bert", shape(12, 768, 12)),
    "MiniLM 6x384": ("bert", shape(6, 384, 12)),
    "TinyBERT 4x312": ("bert", shape(4, 312, 12, 1200)),
    "BiLSTM 300": ("kdbench_bilstm", {"embedding_size": 300, "hidden_size": 300}),
}
TEACHER = "BERT-base 12x768"
# the papers' steps, as benchmarks/speed sets them against the published code's way
PAPERS = {"DSG-KD": ("dsg_kd", "dsg_kd_8"), "VE-KD": ("ve_kd", "ve_kd"),
          "DoKTra, phase 1": ("doktra", "doktra"),
          "BioBERT to BiLSTM": ("bilstm", "bilstm_bert_base")}


class Texts:
    """Texts of ChemProt's look-alike, joined to `LENGTH` tokens, and a tokenizer for them."""

    def __init__(self, bench: Bench, batches: int):
        data = load("chemprot", bench)
        self.reader = tokenizer(strings(data), bench.pick(8_000, 1_000))
        self.labels = data.labels
        self.length = bench.pick(LENGTH, 32)
        self.batch = bench.pick(BATCH, 4)
        fixed = Lengths(self.length, self.length + 1, self.length, self.length)
        self.examples = tuple(joined(data, self.batch * batches, fixed, sizes(self.reader)))
        self.rows = bench.pick(ROWS, len(self.reader))
        self.head = Head("single", tuple(self.labels))
        self.quick = bench.quick


def build_model(texts: Texts, name: str, seed: int = 0) -> Model:
    """A model of the table with random weights."""
    kind, size = MODELS[name]
    if texts.quick:
        size = dict.fromkeys(size, 16) if kind == "kdbench_bilstm" else shape(2, 32, 2)
    return model(name, texts.head, texts.reader, rows=texts.rows, kind=kind, seed=seed, **size)


def training(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Each row: examples and tokens a second, share of the matmul peak, device and host a step."""
    bench = Bench(None, given.quick, given.device)
    texts = Texts(bench, 24)
    rows = []
    peak = matmul_peak(given.device)
    for name in MODELS:
        rows.append(row(bench, texts, name, "finetune", peak))
    for name in list(MODELS)[1:]:
        rows.append(row(bench, texts, name, "logit_kd, stored signals", peak))
    rows.append(row(bench, texts, "MiniLM 6x384", "logit_kd, live teacher", peak))
    for label, (module, comparison) in PAPERS.items():
        rows.append(paper(bench, label, module, comparison))
    return rows


def compiled(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A step of fine-tuning, plain and with the encoder compiled, and what compiling took."""
    bench = Bench(None, given.quick, given.device)
    texts = Texts(bench, 24)
    rows = []
    for name in ("MiniLM 6x384", "BERT-base 12x768"):
        way = trained(bench, texts, name, "finetune", texts.examples)
        way.warm()
        plain = timed(way, bench)
        way.trainer.compile_encoder()
        begun = time.perf_counter()
        way.round()
        synchronise()
        spent = time.perf_counter() - begun
        rows.append({"model": name, "plain_ms": round(1000 * plain, 3),
                     "compiled_ms": round(1000 * timed(way, bench), 3),
                     "compile_seconds": round(spent, 1)})
        way.trainer.use_plain_encoder()
    return rows


def matmul_peak(device: str) -> float:
    """FLOP/s of bf16 products on this device."""
    from hardware import products, shapes

    size = shapes(device, quick=False)[:1]
    return 1e12 * max(products(torch.device(device), size, torch.bfloat16, "highest").values())


def trained(bench: Bench, texts: Texts, name: str, method: str, examples: Sequence[Any]) -> Ours:
    """A student of the table under `method`, ready to step over `examples`."""
    house = lab(bench, "single", texts.labels, examples, "auto", texts.length)
    student = build_model(texts, name)
    signals, objective = None, Supervised("single")
    if method != "finetune":
        objective = SoftTargets("single", 2.0, 0.1)
        teacher = build_model(texts, TEACHER, seed=1)
        signals = stored(house, teacher, live=method.endswith("live teacher"))
    learner = Model(copy.deepcopy(student.module), student.tokenizer, "student", "student")
    return Ours(house, learner, objective, batch_size=texts.batch, max_length=texts.length,
                signals=signals)


def stored(house: Any, teacher: Model, live: bool) -> Any:
    """The teacher's logits; `live` leaves no room to store them."""
    if live:
        from dataclasses import replace

        house.settings = replace(house.settings, signal_memory=0.0)
    return house.signals(teacher, ("logits",))


def row(bench: Bench, texts: Texts, name: str, method: str, peak: float) -> dict[str, Any]:
    """The figures of one student under one method."""
    way = trained(bench, texts, name, method, texts.examples)
    way.warm()
    spent = timed(way, bench)
    tokens = texts.batch * texts.length
    found = {"model": name, "method": method, "ms": round(1000 * spent, 3),
             "examples_per_s": round(texts.batch / spent),
             "tokens_per_s": round(tokens / spent), "bf16": bool(way.trainer.bf16),
             "device_ms": device_ms(way, bench),
             "host_ms": round(1000 * host_seconds(bench, texts, name, method), 3)}
    found["share_of_peak"] = round(flops(way, texts) / spent / peak, 3)
    return found


def timed(way: Ours, bench: Bench) -> float:
    """Seconds a step: the median over rounds."""
    each: list[float] = []
    begun = time.perf_counter()
    while len(each) < 2 or time.perf_counter() - begun < bench.pick(SECONDS, 0.1):
        each.append(seconds(way.round) / way.steps)
    return statistics.median(each)


def device_ms(way: Ours, bench: Bench) -> float | None:
    """Milliseconds a step that kernels and copies ran on the device; None on the CPU."""
    if bench.device == "cpu":
        return None
    from torch.profiler import ProfilerActivity, profile

    batches = way.trainer.order(0)[:5]
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        way.run(batches)
        synchronise()
    total = sum(event.self_device_time_total for event in seen.key_averages())
    return round(total / 1000 / len(batches), 3)


def host_seconds(bench: Bench, texts: Texts, name: str, method: str) -> float:
    """Seconds of the host a step: a step on short texts, two at a time, leaves the device idle."""
    from dataclasses import replace

    short = [replace(example, text=" ".join(example.text.split()[:4]))
             for example in texts.examples[:2 * 24]]
    few = copy.copy(texts)
    few.batch, few.length = 2, 8
    way = trained(bench, few, name, method, short)
    way.warm()
    return timed(way, bench)


def flops(way: Ours, texts: Texts) -> float:
    """Of a step, forward and backward: 6 a weight outside the embeddings and a token, and those of
    attention: 12 a layer, a unit of width and a pair of tokens. A teacher's are not counted.
    """
    module = way.trainer.student
    weights = sum(p.numel() for name, p in module.named_parameters() if "embedding" not in name)
    tokens = texts.batch * texts.length
    layers = getattr(module.config, "num_hidden_layers", 0)
    pairs = layers * getattr(module.config, "hidden_size", 0) if hasattr(
        module.config, "num_attention_heads") else 0
    return 6 * weights * tokens + 12 * pairs * texts.batch * texts.length**2


def paper(bench: Bench, label: str, module: str, comparison: str) -> dict[str, Any]:
    """A paper's step, of the sizes that benchmarks/speed gives it."""
    import importlib

    chosen = importlib.import_module(module)
    way = chosen.ways(comparison, bench)["ours"]()
    way.warm()
    spent = timed(way, bench)
    return {"model": chosen.what(comparison).partition(";")[0], "method": label,
            "ms": round(1000 * spent, 3),
            "examples_per_s": round(way.trainer.training.batch_size / spent),
            "bf16": bool(way.trainer.bf16), "device_ms": device_ms(way, bench)}


# ---- latency -------------------------------------------------------------------------------------


def latency(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The quick protocol for each model, in memory, on the device."""
    from kdbench.serve import measure

    bench = Bench(None, given.quick, given.device)
    texts = Texts(bench, 4)
    words = [example.text for example in texts.examples[:100]]
    rows = []
    for name in MODELS:
        student = build_model(texts, name)
        student.module.to(given.device).eval()
        found = measure.latency(student, words, "quick", max_length=texts.length)
        wanted = ("p50_ms", "p95_ms", "p50_128_ms", "throughput_per_s", "device", "protocol")
        rows.append({"model": name, **{key: found[key] for key in wanted}})
    return rows


# ---- two processes -------------------------------------------------------------------------------


def share(given: argparse.Namespace) -> dict[str, float]:
    """Examples a second of a small student's fine-tuning; `hold`: for longer, so that two overlap."""
    bench = Bench(None, given.quick, given.device)
    texts = Texts(bench, 24)
    way = trained(bench, texts, "TinyBERT 4x312", "finetune", texts.examples)
    way.warm()
    rounds: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < bench.pick(12.0 if given.hold else 4.0, 0.2):
        rounds.append(seconds(way.round) / way.steps)
    middle = rounds[len(rounds) // 4:]
    return {"examples_per_s": round(texts.batch / statistics.median(middle))}


