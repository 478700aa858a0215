"""A trained student's folder as something that answers: PyTorch or ONNX Runtime behind one call.

With ONNX Runtime only numpy, tokenizers and onnxruntime are imported, so that it answers 0.3 s
after the start.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base.errors import BadInput
from kdbench.base.folders import MEMBERS, write_text
from kdbench.base.registry import unknown
from kdbench.data.task import Example
from kdbench.models.zoo import position_limit

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from kdbench.models.load import Model

# A text; a text with its pair; for tags the words of a sentence (lists and tuples mean the same);
# or a task's example.
Text = str | Sequence[str] | Example
Rows = Sequence[Sequence[int]]  # token ids, or token types, of several texts, unpadded

BACKENDS = ("torch", "onnxruntime")
TASK_TYPE_OF = {
    "single_label_classification": "single", "multi_label_classification": "multi",
    "regression": "regression"
}
# the corpora split hyphens, brackets and full stops off, so that a raw text must be cut in the same
# way
WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Labels:
    """What turns logits into answers; beside the weights as labels.json.

    kind        single, multi, regression or tags
    labels      class names or tags, in the order of the logits
    names       label -> what it is called in words
    max_length  tokens, special ones included
    threshold   probability from which a label (multi), or the last of two classes (single), is
                predicted
    positive_rate  share of the last class among the training examples, for the `*_at_rate` metrics
    hidden_ids  token ids that attention does not see, besides the padding (DoKTra's published
                reading of RoBERTa)
    members     folders of the models whose class probabilities are averaged; none: the folder is
                the model
    """

    task_type: str
    labels: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    max_length: int = 512
    threshold: float | None = None
    positive_rate: float | None = None
    hidden_ids: tuple[int, ...] = ()
    members: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        values = asdict(self)
        content = {"kind": values.pop("task_type"), **values}  # its name in files
        write_text(folder / "labels.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Labels:
        """From labels.json; for a folder that has none, what config.json says."""
        if (folder / "labels.json").is_file():
            values = read_json(folder / "labels.json")
            lists = {
                name: tuple(values.get(name) or ())
                for name in ("labels", "hidden_ids", "members")
            }
            if strange := [name for name in lists["members"] if name not in MEMBERS]:
                raise BadInput(
                    f"{folder}: labels.json names the member {strange[0]!r}; an ensemble has "
                    f"{' and '.join(MEMBERS)}"
                )
            values["task_type"] = values.pop("kind", None)
            return cls(**{**values, **lists})
        return cls.of(read_json(folder / "config.json"))

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Labels:
        """What a model's own configuration says of its head."""
        named = {int(number): name for number, name in (config.get("id2label") or {}).items()}
        tags = any(
            name.endswith(("ForTokenClassification", "Tagger"))
            for name in config.get("architectures") or ())
        return cls("tags" if tags else TASK_TYPE_OF.get(config.get("problem_type") or "", "single"),
                   tuple(named[number] for number in sorted(named)))


@dataclass(frozen=True)
class Reading:
    """Examples as an artefact reads them, by the names of `kdbench.train.batching.Corpus`."""

    examples: Sequence[Example]
    tokens: list[Any]
    types: list[Any]
    word_ids: list[list[int]] | None  # tags: the word of each token, -1 for special ones


class Artefact:
    """A model that reads texts: `encode` them, then `logits` of what was encoded.

    Subclasses know how to run a padded batch: `forward({name: int64 (B, T)}) -> float32 (B, C) or
    (B, T, C)`, and how many texts `logits` gives it at once.
    """

    backend = ""
    together = 32

    def __init__(self, tokenizer: Tokenizer, labels: Labels, config: Mapping[str, Any],
                 inputs: Sequence[str], threads: int, device: str):
        self.labels, self.inputs, self.threads, self.device = labels, tuple(inputs), threads, device
        self.pad = config.get("pad_token_id") or 0
        self.limit = position_limit(config)
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(min(labels.max_length, self.limit))

    def forward(self, inputs: Any) -> np.ndarray:
        raise NotImplementedError

    def encode(self, texts: Sequence[Text]) -> list[Encoding]:
        """Token ids and types, cut at the length limit; tags: of the sentence's words."""
        plain = [plain_text(text) for text in texts]
        if self.labels.task_type == "tags":
            return self.tokenizer.encode_batch([words_of(text)[0] for text in plain],
                                               is_pretokenized=True)
        return self.tokenizer.encode_batch(
            [text if isinstance(text, str) else tuple(text) for text in plain])

    def read(self, examples: Sequence[Example]) -> Reading:
        encoded = self.encode(examples)
        words = None
        if self.labels.task_type == "tags":
            words = [[-1 if word is None else word for word in row.word_ids] for row in encoded]
        return Reading(examples, [row.ids for row in encoded], [row.type_ids for row in encoded],
                       words)

    def length(self, row: Any) -> int:
        """Tokens of an encoded text."""
        return len(row)

    def stretched(self, rows: Rows, length: int) -> Any:
        """A batch of one text of exactly `length` tokens, taken from those of `rows`."""
        ids = [i for row in rows for i in row]
        return self.batch([(ids * (length // len(ids) + 1))[:length]])

    def batch(self, tokens: Rows, types: Rows | None = None) -> Any:
        """Rows of token ids (and types) as arrays (B, T), padded to the longest; only what the
        model reads.
        """
        hidden = self.labels.hidden_ids
        rows = {
            "input_ids": tokens,
            "attention_mask": [[int(i not in hidden) for i in row] for row in tokens],
            "token_type_ids": types if types is not None else [[0] * len(row) for row in tokens]
        }
        width = max(map(len, tokens))
        arrays = {}
        for name in self.inputs:
            array = np.full((len(tokens), width), self.pad if name == "input_ids" else 0,
                            dtype=np.int64)
            for into, row in zip(array, rows[name], strict=True):
                into[:len(row)] = row
            arrays[name] = array
        return arrays

    def logits(self, tokens: Rows, types: Rows | None = None) -> list[np.ndarray]:
        """Logits of each row of token ids: (C,), or (T, C) for tags; computed in batches of like
        lengths.
        """
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        found: list[Any] = [None] * len(tokens)
        for start in range(0, len(order), self.together):
            chosen = order[start:start + self.together]
            values = self.forward(
                self.batch([tokens[i] for i in chosen], types and [types[i] for i in chosen]))
            for i, row in zip(chosen, values, strict=True):
                found[i] = row[:len(tokens[i])] if self.labels.task_type == "tags" else row
        return found


class TorchArtefact(Artefact):
    """A module in eval mode, on one device."""

    backend = "torch"

    def __init__(self, module: Any, tokenizer: Tokenizer, labels: Labels, device: str = "cpu"):
        import torch

        from kdbench.train.batching import takes_types

        self.torch, self.module = torch, module.to(device).eval()
        inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * takes_types(module)
        super().__init__(tokenizer, labels, module.config.to_dict(), inputs,
                         torch.get_num_threads(), device)

    def forward(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with self.torch.inference_mode():
            moved = {
                name: self.torch.from_numpy(array).to(self.device)
                for name, array in inputs.items()
            }
            return self.module(**moved).logits.float().cpu().numpy()


class OnnxArtefact(Artefact):
    """An ONNX Runtime session.

    It reads one text at a time: int8 takes the range of activations over the batch, so that in a
    larger one a text's logits would depend on its neighbours.
    """

    backend = "onnxruntime"
    together = 1

    def __init__(self, folder: Path, threads: int, device: str = "cpu"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise BadInput(
                f"{folder}: this onnxruntime has no {provider}; use --device cpu or install "
                f"onnxruntime-gpu"
            )
        try:
            self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options,
                                                        providers=[provider])
        except Exception as error:  # onnxruntime's own error classes
            raise BadInput(
                f"{folder / 'model.onnx'}: cannot be loaded ({str(error).splitlines()[0]}); "
                "export the run again") from error
        inputs = [node.name for node in self.session.get_inputs()]
        config = read_json(folder / "config.json")
        super().__init__(read_tokenizer(folder), Labels.read(folder), config, inputs, threads,
                         device)

    def forward(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return self.session.run(["logits"], dict(inputs))[0]


@dataclass(frozen=True)
class Readings:
    """One text as each member of an ensemble reads it."""

    ids: list[list[int]]
    type_ids: list[list[int]]
    overflowing: bool


class Ensemble(Artefact):
    """Models that answer together: log of the mean of their class probabilities, as logits again.

    Each reads the text with its own tokenizer, so that a row of `tokens` is a list of one row of
    ids a member.
    """

    def __init__(self, members: Sequence[Artefact], labels: Labels):
        first = members[0]
        self.members, self.labels, self.limit = tuple(members), labels, min(member.limit
                                                                            for member in members)
        self.backend, self.threads, self.device = first.backend, first.threads, first.device
        self.inputs = first.inputs

    def encode(self, texts: Sequence[Text]) -> list[Any]:
        each = zip(*(member.encode(texts) for member in self.members), strict=True)
        return [
            Readings([row.ids for row in rows], [row.type_ids for row in rows],
                     any(row.overflowing for row in rows)) for rows in each
        ]

    def length(self, row: Any) -> int:
        return sum(map(len, row))

    def stretched(self, rows: Any, length: int) -> Any:
        return [
            member.stretched([row[i]
                              for row in rows], length)
            for i, member in enumerate(self.members)
        ]

    def batch(self, tokens: Any, types: Any = None) -> Any:
        return [member.batch([row[i] for row in tokens], types and [row[i] for row in types])
                for i, member in enumerate(self.members)]

    def forward(self, inputs: Any) -> np.ndarray:
        return averaged(
            [member.forward(batch) for member, batch in zip(self.members, inputs, strict=True)])

    def logits(self, tokens: Any, types: Any = None) -> list[np.ndarray]:
        each = [member.logits([row[i] for row in tokens], types and [row[i] for row in types])
                for i, member in enumerate(self.members)]
        return list(averaged([np.stack(rows) for rows in each]))


def averaged(logits: Sequence[np.ndarray]) -> np.ndarray:
    """log of the mean over models of softmax(logits), each (B, C)."""
    rows = np.stack(logits).astype(np.float64)
    powers = np.exp(rows - rows.max(-1, keepdims=True))
    return np.log((powers / powers.sum(-1, keepdims=True)).mean(0))


def open_artefact(folder: str | Path, backend: str | None = None, threads: int | None = None,
                  device: str = "cpu") -> Artefact:
    """The student in `folder`, ready to answer.

    backend  "torch" reads model.safetensors, "onnxruntime" model.onnx; None: whichever is there,
             ONNX first
    threads  default: `OMP_NUM_THREADS`, else the cores that this process may use

    Raises `BadInput` where the folder has no such model.
    """
    folder = Path(folder).expanduser()
    if backend is not None and backend not in BACKENDS:
        raise BadInput(unknown("backend", backend, BACKENDS))
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    threads = threads or default_threads()
    if (labels := Labels.read(folder)).members:
        return Ensemble(
            [open_artefact(folder / name, backend, threads, device) for name in labels.members],
            labels)
    has_onnx = (folder / "model.onnx").is_file()
    if backend == "onnxruntime" and not has_onnx:
        raise BadInput(
            f"{folder}: no model.onnx in this folder; make one with `bench.py export RUN`")
    if has_onnx and backend != "torch":
        return OnnxArtefact(folder, threads, device)
    return open_torch(folder, threads, device)


def open_torch(folder: Path, threads: int, device: str) -> TorchArtefact:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    import kdbench.models.architectures  # noqa: F401  (registers our own types)
    from kdbench.models.sources import check_folder

    check_folder(folder)
    torch.set_num_threads(threads)
    labels, tokenizer = Labels.read(folder), read_tokenizer(folder)
    tags = labels.task_type == "tags"
    auto = AutoModelForTokenClassification if tags else AutoModelForSequenceClassification
    try:
        module, seen = auto.from_pretrained(folder, local_files_only=True, use_safetensors=True,
                                            trust_remote_code=False, output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInput(
            f"{folder}: cannot be loaded ({str(error).strip().splitlines()[0]})") from error
    if seen["missing_keys"]:  # drawn at random, its answers would be too
        raise BadInput(
            f"{folder}: lacks {len(seen['missing_keys'])} of the weights that answer "
            f"({min(seen['missing_keys'])}, ...); "
            "give the folder of a trained student")
    return TorchArtefact(module, tokenizer, labels, device)


def served(model: Model, max_length: int) -> Artefact:
    """A model that is in memory, where it is and as it is."""
    from tokenizers import Tokenizer

    if model.partner is not None:
        return Ensemble([served(member, max_length) for member in model.members],
                        labels_of(model, max_length))
    # its truncation is set apart
    own = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    return TorchArtefact(model.module, own, labels_of(model, max_length), str(model.module.device))


def labels_of(model: Model, max_length: int) -> Labels:
    config = {**model.module.config.to_dict(), "architectures": [type(model.module).__name__]}
    members = MEMBERS if model.partner is not None else ()
    return replace(Labels.of(config), max_length=max_length, hidden_ids=model.unattended_ids,
                   members=members)


def predict_logits(artefact: Artefact | str | Path, tokens: Rows,
                   types: Rows | None = None) -> list[np.ndarray]:
    """Logits of encoded texts, one array each: (C,), or (T, C) for tags.

    artefact  an open one, or the folder of one
    tokens    token ids with special tokens, unpadded (`Corpus.tokens`); types: token types
              (`Corpus.types`)
    """
    if not isinstance(artefact, Artefact):
        artefact = open_artefact(artefact)
    return artefact.logits(tokens, types)


def plain_text(text: Text) -> str | Sequence[str]:
    """What a model reads of an example; other texts as they are."""
    if not isinstance(text, Example):
        return text
    return text.words or (text.text if text.pair is None else (text.text, text.pair))


def words_of(text: str | Sequence[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """Words with their character offsets [start, end) in the text; given words count as joined by
    single spaces.
    """
    if isinstance(text, str):
        found = list(WORD.finditer(text))
        return [match.group() for match in found], [match.span() for match in found]
    words, spans, start = list(text), [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return words, spans


def default_threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    if not (folder / "tokenizer.json").is_file():
        raise BadInput(
            f"{folder}: no tokenizer.json in this folder; save the fast tokenizer beside the "
            f"weights"
        )
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{path.parent}: no {path.name} in this folder; give the folder of a trained student"
        ) from None
    except ValueError as error:
        raise BadInput(f"{path}: not valid JSON ({error})") from error
