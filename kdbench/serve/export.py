"""A trained student as files to serve: safetensors, ONNX and ONNX int8, each read back and compared
before it counts.

Every export is a folder of its own that needs no other: weights, config.json, tokenizer.json,
labels.json. An ONNX one needs onnxruntime and tokenizers to answer, no PyTorch (see
`kdbench.serve.serving`).
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base.errors import BadInput, Broken
from kdbench.base.folders import new_folder
from kdbench.base.registry import unknown
from kdbench.score.metrics import word_tags
from kdbench.serve.serving import Artefact, Labels, Text, open_artefact, open_torch, predict_logits

if TYPE_CHECKING:
    import onnx

    from kdbench.serve.serving import Reading, TorchArtefact
    from kdbench.train.batching import Corpus

OPSET = 17  # the first with LayerNormalization as one operator
TOLERANCE = 1e-3  # of fp32 ONNX logits against PyTorch's; rounding alone gives about 1e-5
# operators that hold weights: what dynamic quantisation turns to int8, and what it leaves,
# LayerNorm and convolutions
WEIGHTED = ("MatMul", "Gemm", "LSTM", "Conv", "Gather", "LayerNormalization")


def export(folder: str | Path, out: str | Path,
           formats: Sequence[str] = ("safetensors", "onnx", "onnx_int8"), *,
           sample_texts: Sequence[Text], threads: int | None = None,
           device: str = "cpu") -> list[dict[str, Any]]:
    """Write the student in `folder` as `out/KIND` for each kind; `out` must be new and appears when
    all of it is right.

    kinds         safetensors, safetensors_fp16, safetensors_bf16, onnx, onnx_int8
    sample_texts  what each export reads beside the original, to be compared

    Returns one row a kind: {"kind", "megabytes", "fp32_layers" (those that int8 leaves as they are,
    `*` for any number), "largest_difference" (of logits), "agreement" (share of equal
    predictions)}. Raises `BadInput` for an unknown kind or a folder without a student, `Broken`
    where fp32 ONNX gives other logits.
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
            kept = write_format(format, folder, place)
            compared = compare(original, open_artefact(place, None, original.threads, device),
                               sample_texts)
            if format == "onnx" and compared["largest_difference"] > TOLERANCE:
                far = compared["largest_difference"]
                raise Broken(
                    f"{folder.name}: the exported ONNX gives logits that differ by {far:.2g} from "
                    f"PyTorch's"
                )
            rows.append({
                "kind": format, "megabytes": disk_megabytes(place), "fp32_layers": kept, **compared
            })
    return rows


def write_format(format: str, folder: Path, place: Path) -> list[str]:
    """One export of the student in `folder`, each member of an ensemble in a folder of its own;
    returns the fp32 layers.
    """
    place.mkdir()
    labels = Labels.read(folder)
    labels.write(place)
    if labels.members:
        return sorted({
            layer
            for name in labels.members
            for layer in write_format(format, folder / name, place / name)
        })
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, place / name)
    return FORMATS[format](folder, place)


def compare(original: Artefact, exported: Artefact, texts: Sequence[Text]) -> dict[str, float]:
    """Largest difference of logits, and share of equal predictions, on `texts`."""
    encoded = original.encode(texts)
    tokens, types = [row.ids for row in encoded], [row.type_ids for row in encoded]
    expected, found = (np.vstack(predict_logits(artefact, tokens, types))
                       for artefact in (original, exported))
    equal = expected.argmax(-1) == found.argmax(-1) if original.labels.task_type in (
        "single", "tags") else (expected > 0) == (found > 0)
    return {
        "largest_difference": float(np.abs(expected - found).max()),
        "agreement": float(equal.mean())
    }


def predictions(artefact: Artefact, corpus: Corpus | Reading, outside: int = 0) -> Any:
    """Predictions of an exported student as the metrics take them; `corpus` may be what
    `artefact.read(examples)` gives.

    Logits (N, C); regression: values (N,); tags: `metrics.WordTags`, with `outside` for a word that
    the length limit cut off.
    """
    logits = predict_logits(artefact, corpus.tokens, corpus.types)
    if corpus.word_ids is None:
        stacked = np.stack(logits)
        return stacked[:, 0] if artefact.labels.task_type == "regression" else stacked
    return word_tags([row.argmax(-1) for row in logits], corpus.word_ids,
                     [len(e.words) for e in corpus.examples], outside)


def disk_megabytes(folder: str | Path) -> float:
    """What the weights in `folder` take on disk (model*.safetensors or model.onnx), in MB of 10^6
    bytes.

    Those of an ensemble lie in the folders of its members.
    """
    weights = [
        path for path in Path(folder).rglob("model*") if path.suffix in (".safetensors", ".onnx")
    ]
    return round(sum(path.stat().st_size for path in weights) / 1e6, 3)


# ---- writers: each puts the weights of `folder` into `place` and returns the layers it left in fp3


def write_safetensors(folder: Path, place: Path) -> list[str]:
    open_torch(folder, 1, "cpu").module.save_pretrained(place)
    return []


def write_half(dtype: str) -> Callable[[Path, Path], list[str]]:
    def write(folder: Path, place: Path) -> list[str]:
        import torch

        open_torch(folder, 1, "cpu").module.to(getattr(torch, dtype)).save_pretrained(place)
        return []

    return write


def write_onnx(folder: Path, place: Path) -> list[str]:
    to_onnx(open_torch(folder, 1, "cpu"), place / "model.onnx")
    return []


def write_int8(folder: Path, place: Path) -> list[str]:
    """Weights int8 per channel, activations by the batch (dynamic): per tensor loses five times as
    much.

    Unsigned weights: signed ones saturate on processors with AVX2 and without VNNI (logits off by
    0.5 where unsigned ones are off by 0.04), and an export is served wherever it is taken.
    Convolutions stay fp32: ONNX Runtime has them in int8 only per tensor.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, simple, int8 = (place / name for name in ("plain.onnx", "simple.onnx", "model.onnx"))
    to_onnx(open_torch(folder, 1, "cpu"), plain)
    # without it, weights that layers share (all of ALBERT's) stand behind Identity nodes and stay
    # fp32
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

    rows = [[1] * 9, [1] * 6]  # any ids: one padded row, so that the trace holds the mask
    example = tuple(torch.from_numpy(array) for array in artefact.batch(rows).values())
    axes = {name: {0: "batch", 1: "length"} for name in artefact.inputs}
    axes["logits"] = {0: "batch", 1: "length"
                      } if artefact.labels.task_type == "tags" else {0: "batch"}
    with warnings.catch_warnings():
        # the tracer warns of each shape it reads, and of its own deprecation
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(artefact.module).eval(), example, str(path), input_names=list(artefact.inputs),
            output_names=["logits"], dynamic_axes=axes, opset_version=OPSET, dynamo=False)


def fp32_layers(model: onnx.ModelProto) -> list[str]:
    """Layers whose weights are still fp32 in a quantised graph, by module name, layer numbers as
    `*`.
    """
    import onnx

    floats = {tensor.name for tensor in model.graph.initializer
              if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims}
    names = set()
    for node in model.graph.node:
        if node.op_type in WEIGHTED and any(name in floats for name in node.input):
            module = node.name.removeprefix("/student/").rpartition("/")[0].replace("/", ".")
            # `_1`: a shared layer's second use
            names.add(re.sub(r"\b\d+\b", "*", re.sub(r"_\d+$", "", module)))
    return sorted(names)
