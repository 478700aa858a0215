"""A trained student as files to serve: safetensors, ONNX and ONNX int8.

Each export is read back and compared with the student. It is a folder that needs no other: weights,
config.json, tokenizer.json, labels.json. To answer, an ONNX export needs onnxruntime and
tokenizers, and no PyTorch (see `kdbench.serve.serving`).
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base.activity import doing
from kdbench.base.errors import BadInput, Broken
from kdbench.base.folders import new_folder, write_text
from kdbench.base.registry import unknown
from kdbench.models.zoo import position_limit
from kdbench.score.counts import positive_probability, reaches
from kdbench.score.metrics import word_tags
from kdbench.serve.encoded import EncodedTexts
from kdbench.serve.labels import Labels, read_json
from kdbench.serve.serving import (
    Artefact,
    TorchArtefact,
    open_artefact,
    open_torch,
    predict_logits,
)
from kdbench.serve.texts import Text

if TYPE_CHECKING:
    import onnx
    import torch

    from kdbench.train.batching import Corpus

OPSET = 17  # the first with LayerNormalization as one operator
TOLERANCE = 1e-3  # of fp32 ONNX logits against PyTorch's; rounding alone gives about 1e-5
# operators that hold weights: those that dynamic quantisation turns to int8, and LayerNorm and
# convolutions, which it leaves
WEIGHTED = ("MatMul", "Gemm", "LSTM", "Conv", "Gather", "LayerNormalization")


def export(folder: str | Path, out: str | Path,
           formats: Sequence[str] = ("safetensors", "onnx", "onnx_int8"), *,
           sample_texts: Sequence[Text], threads: int | None = None,
           device: str = "cpu") -> list[dict[str, Any]]:
    """Write the student in `folder` as `out/FORMAT` for each format.

    out           a new folder, which appears when all exports are written and compared
    formats       safetensors, safetensors_fp16, safetensors_bf16, onnx, onnx_int8
    sample_texts  the texts on which each export is compared with the student

    Returns one row a format: {"kind" (the format), "megabytes", "fp32_layers" (those that int8
    leaves as they are, `*` for any number), "largest_difference" (of logits), "agreement" (share of
    equal predictions)}. Raises `BadInput` for an unknown format or a folder without a student,
    `Broken` where fp32 ONNX gives other logits.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    for format in formats:
        if format not in FORMATS:
            raise BadInput(unknown("export", format, FORMATS))
    original = open_artefact(folder, "torch", threads, device)
    rows = []
    with new_folder(out) as part:
        for format in formats:
            place = part / format
            with doing(f"exporting {format}"):
                fp32 = write_format(format, folder, place)
            exported = open_artefact(place, None, original.threads, device)
            comparison = compare(original, exported, sample_texts)
            difference = comparison["largest_difference"]
            if format == "onnx" and difference > TOLERANCE:
                raise Broken(f"{folder.name}: the exported ONNX gives logits that differ by "
                             f"{difference:.2g} from PyTorch's")
            rows.append({"kind": format, "megabytes": disk_megabytes(place), "fp32_layers": fp32,
                         **comparison})
    return rows


def write_format(format: str, folder: Path, place: Path) -> list[str]:
    """Write one export; returns the layers that int8 leaves in fp32.

    Each member of an ensemble has a folder of its own in `place`.
    """
    place.mkdir()
    labels = Labels.read(folder)
    labels.write(place)
    if labels.members:
        layers = set()
        for name in labels.members:
            layers.update(write_format(format, folder / name, place / name))
        return sorted(layers)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, place / name)
    state_limit(place, labels)
    return FORMATS[format](folder, place)


def state_limit(place: Path, labels: Labels) -> None:
    """Write the length limit into all that readers of the folder look at, and the tokenizer's class
    by the name that every version of transformers knows (so that optimum reads it).
    """
    limit = min(labels.max_length, position_limit(read_json(place / "config.json")))
    replace(labels, max_length=limit).write(place)
    file = place / "tokenizer_config.json"
    if file.is_file():
        settings = {**read_json(file), "model_max_length": limit}
        if settings.get("tokenizer_class") == "TokenizersBackend":
            settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_text(file, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def compare(original: Artefact, exported: Artefact, texts: Sequence[Text]) -> dict[str, float]:
    """Largest difference of logits, and share of equal predictions, on `texts`."""
    expected, logits = np.vstack(answers(original, texts)), np.vstack(answers(exported, texts))
    threshold = original.labels.threshold
    one_of_two = original.labels.task_type == "single" and expected.shape[-1] == 2
    if threshold is not None and one_of_two:
        equal = (reaches(positive_probability(expected), threshold)
                 == reaches(positive_probability(logits), threshold))
    elif original.labels.task_type in ("single", "tags"):
        equal = expected.argmax(-1) == logits.argmax(-1)
    else:
        equal = (expected > 0) == (logits > 0)
    return {
        "largest_difference": float(np.abs(expected - logits).max()),
        "agreement": float(equal.mean()),
    }


def answers(artefact: Artefact, texts: Sequence[Text]) -> list[np.ndarray]:
    """The logits of texts."""
    return artefact.answers(artefact.read(texts))


def predictions(artefact: Artefact, corpus: Corpus | EncodedTexts,
                outside: int = 0) -> Any:
    """Predictions of a student as the metrics take them.

    corpus   encoded examples, as of `artefact.read(examples)`
    outside  tags: the tag of a word that the length limit cut off

    Returns logits (N, C); regression: values (N,); tags: `metrics.WordTags`.
    """
    if isinstance(corpus, EncodedTexts):
        logits = artefact.answers(corpus)
    else:
        logits = corpus.whole(predict_logits(artefact, corpus.tokens, corpus.types))
    word_ids = corpus.whole_word_ids
    if word_ids is None:
        stacked = np.stack(logits)
        return stacked[:, 0] if artefact.labels.task_type == "regression" else stacked
    examples: Sequence[Any] = corpus.examples
    return word_tags([row.argmax(-1) for row in logits], word_ids,
                     [len(e.words) for e in examples], outside)


def disk_megabytes(folder: str | Path) -> float:
    """The size of the weights in `folder` and below, in MB of 10^6 bytes.

    These are the files model*.safetensors and model.onnx. Those of an ensemble lie in the folders
    of its members.
    """
    size = 0
    for path in Path(folder).rglob("model*"):
        if path.suffix in (".safetensors", ".onnx"):
            size += path.stat().st_size
    return round(size / 1e6, 3)


# ---- writers: each writes the weights of `folder` into `place`, and returns int8's fp32 layers ---


def write_safetensors(folder: Path, place: Path) -> list[str]:
    """fp32, as trained."""
    open_torch(folder, 1, "cpu").module.save_pretrained(place)
    return []


def write_half(dtype: str) -> Callable[[Path, Path], list[str]]:
    """A writer of safetensors in float16 or bfloat16."""

    def write(folder: Path, place: Path) -> list[str]:
        import torch

        open_torch(folder, 1, "cpu").module.to(getattr(torch, dtype)).save_pretrained(place)
        return []

    return write


def write_onnx(folder: Path, place: Path) -> list[str]:
    """fp32 ONNX."""
    to_onnx(open_torch(folder, 1, "cpu"), place / "model.onnx")
    return []


def write_int8(folder: Path, place: Path) -> list[str]:
    """int8 weights per channel, activations quantised by the batch (dynamic).

    One scale for a whole tensor would lose five times as much. The weights are unsigned: signed
    ones saturate on processors with AVX2 and without VNNI (logits differ by 0.5 where unsigned ones
    differ by 0.04), and nobody knows which processor will serve them. Convolutions stay fp32, as
    ONNX Runtime has them in int8 only with one scale for a tensor.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

    plain, simple, int8 = (place / name for name in ("plain.onnx", "simple.onnx", "model.onnx"))
    to_onnx(open_torch(folder, 1, "cpu"), plain)
    onnx.save(without_identities(onnx.load(plain)), plain)
    quant_pre_process(plain, simple, skip_symbolic_shape=True)
    convolutions = [node.name for node in onnx.load(simple).graph.node if node.op_type == "Conv"]
    quantize_dynamic(simple, int8, per_channel=True, weight_type=QuantType.QUInt8,
                     nodes_to_exclude=convolutions)
    plain.unlink()
    simple.unlink()
    return fp32_layers(onnx.load(int8))


FORMATS: dict[str, Callable[[Path, Path], list[str]]] = {
    "safetensors": write_safetensors,
    "safetensors_fp16": write_half("float16"),
    "safetensors_bf16": write_half("bfloat16"),
    "onnx": write_onnx,
    "onnx_int8": write_int8,
}


def to_onnx(artefact: TorchArtefact, path: Path) -> None:
    """Trace the module into an ONNX graph with free batch size and length; output `logits`."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self, student: Any):
            super().__init__()
            self.student = student

        def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
            return self.student(**dict(zip(artefact.inputs, arrays, strict=True))).logits

    rows = [[1] * 9, [1] * 6]  # any ids, with one padded row so that the trace has the mask
    example = tuple(torch.from_numpy(array) for array in artefact.batch(rows).values())
    axes = {name: {0: "batch", 1: "length"} for name in artefact.inputs}
    axes["logits"] = {0: "batch"}
    if artefact.labels.task_type == "tags":
        axes["logits"][1] = "length"
    with warnings.catch_warnings():
        # the tracer warns about each shape that it reads and about its own deprecation
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(artefact.module).eval(), example, str(path), input_names=list(artefact.inputs),
            output_names=["logits"], dynamic_axes=axes, opset_version=OPSET, dynamo=False)


def without_identities(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with weights in place of Identity nodes of them, changed where it stands.

    Behind such a node stand the weights that layers share (all of ALBERT's), and the quantiser
    would leave those in fp32.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    stands_for: dict[str, str] = {}
    kept = []
    for node in graph.node:  # in the order of computation
        source = stands_for.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "Identity" and source in weights and node.output[0] not in outputs:
            stands_for[node.output[0]] = source
            continue
        for i, name in enumerate(node.input):
            node.input[i] = stands_for.get(name, name)
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return model


def fp32_layers(model: onnx.ModelProto) -> list[str]:
    """Layers whose weights are still fp32 in a quantised graph, by module name.

    Layer numbers are written as `*`.
    """
    import onnx

    floats = {tensor.name for tensor in model.graph.initializer
              if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims}
    names = set()
    for node in model.graph.node:
        if node.op_type in WEIGHTED and any(name in floats for name in node.input):
            module = node.name.removeprefix("/student/").rpartition("/")[0].replace("/", ".")
            module = re.sub(r"_\d+$", "", module)  # `_1`: a shared layer's second use
            names.add(re.sub(r"\b\d+\b", "*", module))
    return sorted(names)
