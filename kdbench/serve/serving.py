"""A trained student that answers: PyTorch or ONNX Runtime behind one interface.

With ONNX Runtime it imports only numpy, tokenizers and onnxruntime, so that it answers 0.3 s after
the start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base import reading
from kdbench.base.checksums import check_stage
from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.base.tokenizer_files import tokenizer_of
from kdbench.data.windows import in_windows
from kdbench.data.words import spaced
from kdbench.models.zoo import position_limit
from kdbench.serve.encoded import EncodedTexts, one_row_each, windows_each
from kdbench.serve.fitting import check_fit
from kdbench.serve.labels import Labels, labels_of, read_json
from kdbench.serve.texts import Text, plain_text, words_of

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from kdbench.models.load import Model
    from kdbench.serve.labels import Limit

Rows = Sequence[Sequence[int]]  # token ids, or token types, of several texts, unpadded
Arrays = dict[str, np.ndarray]  # the inputs of one batch by name, int64 (B, T)
Work = list[tuple["Artefact", Any]]  # batches, each with the model that computes it

BACKENDS = ("torch", "onnxruntime")


class Artefact:
    """A model that reads texts: `encode` them, then take the `logits` of what was encoded.

    Subclasses define `forward`, and how many texts `logits` gives it at once. A subclass with
    several tokenizers (`Ensemble`) has one row of ids for each of them where this class has one row
    of ids; hence the `Any` in types of rows and batches.
    """

    backend = ""
    together = 32  # texts in one batch of `logits`

    def __init__(self, tokenizer: Tokenizer, labels: Labels, config: Mapping[str, Any],
                 inputs: Sequence[str], threads: int, device: str):
        self.labels, self.inputs, self.threads, self.device = labels, tuple(inputs), threads, device
        self.pad = config.get("pad_token_id") or 0
        self.limit = position_limit(config)
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.reads)
        room = self.reads - tokenizer.num_special_tokens_to_add(False)
        if labels.stride is not None and labels.stride >= room:
            raise BadInput(f"labels.json: stride is {labels.stride}, and a window has {room} "
                           "tokens; get the folder again")

    @property
    def reads(self) -> int:
        """Tokens at which a text is cut, special ones included."""
        return min(self.labels.max_length, self.limit)

    def forward(self, inputs: Any) -> np.ndarray:
        """Logits of one padded batch as `batch` makes it: float32 (B, C), or (B, T, C) for tags."""
        raise NotImplementedError

    def encode(self, texts: Sequence[Text]) -> Sequence[Encoding | MemberEncodings]:
        """Token ids and types of each text, cut at the length limit; for tags of its words."""
        if self.labels.stride is not None:  # which leaves another truncation
            self.tokenizer.enable_truncation(self.reads)
        return self.tokenizer.encode_batch(self.inputs_of(texts),
                                           is_pretokenized=self.labels.task_type == "tags")

    def inputs_of(self, texts: Sequence[Text]) -> list[Any]:
        """What the tokenizer reads of texts: strings, pairs, or the words of sentences."""
        plain, labels = [plain_text(text) for text in texts], self.labels
        if labels.task_type == "tags":
            return [spaced(words_of(text, labels.word_pattern)[0], labels.word_prefix)
                    for text in plain]
        return [text if isinstance(text, str) else tuple(text) for text in plain]

    def read(self, texts: Sequence[Text]) -> EncodedTexts:
        """Texts as the student reads them: cut at the length limit, or in windows."""
        labels = self.labels
        if labels.stride is None:
            return one_row_each(texts, labels, self.encode(texts))
        windows = in_windows(self.tokenizer, self.inputs_of(texts), self.reads, labels.stride,
                             labels.task_type == "tags")
        return windows_each(texts, labels, windows)

    def answers(self, read: EncodedTexts) -> list[np.ndarray]:
        """Logits of each text: (C,); of tags (T, C) by `read.whole_word_ids`."""
        return read.whole(self.logits(read.tokens, read.types, read.of))

    def work(self, read: EncodedTexts, texts: Sequence[int], together: int) -> Work:
        """What these texts take: each batch, of `together` rows at most, and who computes it."""
        rows = [row for text in texts for row in read.rows(text)]
        rows.sort(key=lambda row: self.length(read.tokens[row]))
        found: Work = []
        for start in range(0, len(rows), together):
            chosen = rows[start:start + together]
            types = [read.types[row] for row in chosen]
            found.append((self, self.batch([read.tokens[row] for row in chosen], types)))
        return found

    def length(self, row: Any) -> int:
        """Tokens of an encoded text."""
        return len(row)

    def stretched(self, rows: Any, length: int) -> Any:
        """A batch of one text of exactly `length` tokens, taken from those of `rows`."""
        ids = [i for row in rows for i in row]
        return self.batch([(ids * (length // len(ids) + 1))[:length]])

    def batch(self, tokens: Any, types: Any = None) -> Any:
        """Rows of token ids (and types) as arrays (B, T), padded to the longest.

        Has only the inputs that the model reads.
        """
        ids = padded(tokens, self.pad)
        attended = padded([[1] * len(row) for row in tokens])
        attended[np.isin(ids, self.labels.unattended_ids)] = 0
        arrays = {"input_ids": ids, "attention_mask": attended,
                  "token_type_ids": np.zeros_like(ids) if types is None else padded(types)}
        return {name: arrays[name] for name in self.inputs}

    def logits(self, tokens: Any, types: Any = None,
               of: Sequence[int] | None = None) -> list[np.ndarray]:
        """Logits of each row of token ids: (C,), or (T, C) for tags.

        They are computed in batches of like lengths. `of` is the text of each row, for messages.
        """
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        rows: dict[int, np.ndarray] = {}
        for start in range(0, len(order), self.together):
            chosen = order[start:start + self.together]
            chosen_types = None if types is None else [types[i] for i in chosen]
            batch = self.batch([tokens[i] for i in chosen], chosen_types)
            for i, row in zip(chosen, self.forward(batch), strict=True):
                rows[i] = row[:len(tokens[i])] if self.labels.task_type == "tags" else row
                if not np.isfinite(rows[i]).all():
                    number = 1 + (i if of is None else of[i])
                    raise BadInput(f"text {number}: the student's logits are no numbers (NaN or "
                                   "infinite), so there is no answer; train it again, or get its "
                                   "folder again")
        return [rows[i] for i in range(len(tokens))]


def padded(rows: Rows, value: int = 0) -> np.ndarray:
    """Rows of whole numbers as one array (B, T), filled up with `value`."""
    array = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for target, row in zip(array, rows, strict=True):
        target[:len(row)] = row
    return array


class TorchArtefact(Artefact):
    """A module in eval mode, on one device."""

    backend = "torch"

    def __init__(self, module: Any, tokenizer: Tokenizer, labels: Labels, device: str = "cpu"):
        import torch

        from kdbench.train.batching import takes_types

        self.torch, self.module = torch, module.to(device).eval()
        inputs = ["input_ids", "attention_mask"]
        if takes_types(module):
            inputs.append("token_type_ids")
        super().__init__(tokenizer, labels, module.config.to_dict(), inputs,
                         torch.get_num_threads(), device)

    def forward(self, inputs: Arrays) -> np.ndarray:
        """Logits of one padded batch, back on the CPU."""
        with self.torch.inference_mode():
            tensors = {}
            for name, array in inputs.items():
                tensors[name] = self.torch.from_numpy(array).to(self.device)
            return self.module(**tensors).logits.float().cpu().numpy()


class OnnxArtefact(Artefact):
    """An ONNX Runtime session.

    It reads one text at a time. An int8 model takes the range of activations over the batch, so in
    a larger batch a text's logits would depend on its neighbours.
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
            raise BadInput(f"{folder}: this onnxruntime has no {provider}; use --device cpu or "
                           "install onnxruntime-gpu")
        try:
            self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options,
                                                        providers=[provider])
        except Exception as error:  # onnxruntime's own error classes
            reason = str(error).splitlines()[0]
            raise BadInput(f"{folder / 'model.onnx'}: cannot be loaded ({reason}); "
                           "export the run again") from error
        if provider not in self.session.get_providers():  # it has only warned, and uses the CPU
            raise BadInput(
                f"{folder}: onnxruntime could not load its {provider} and would answer on the "
                "CPU; use --device cpu, or install the CUDA and cuDNN that onnxruntime-gpu names")
        inputs = [node.name for node in self.session.get_inputs()]
        config = read_json(folder / "config.json")
        super().__init__(read_tokenizer(folder), Labels.read(folder), config, inputs, threads,
                         device)

    def forward(self, inputs: Arrays) -> np.ndarray:
        """Logits of one padded batch."""
        return self.session.run(["logits"], dict(inputs))[0]


@dataclass(frozen=True)
class MemberEncodings:
    """One text as each member of an ensemble reads it."""

    ids: list[list[int]]
    type_ids: list[list[int]]
    overflowing: bool


class Ensemble(Artefact):
    """Models that answer together: log of the mean of their class probabilities, as logits again.

    Each member reads the text with its own tokenizer, so a row of `tokens` has one list of ids for
    each member, and a batch has one dictionary of arrays for each.
    """

    def __init__(self, members: Sequence[Artefact], labels: Labels):
        first = members[0]
        self.members, self.labels = tuple(members), labels
        self.limit = min(member.limit for member in members)
        self.backend, self.threads, self.device = first.backend, first.threads, first.device
        self.inputs = first.inputs

    def read(self, texts: Sequence[Text]) -> EncodedTexts:
        """As `Artefact.read`; in windows, each member has its own."""
        if self.labels.stride is None:
            return super().read(texts)
        members = tuple(member.read(texts) for member in self.members)
        cuts = [any(cut) for cut in zip(*(own.cuts for own in members), strict=True)]
        return EncodedTexts(texts, self.labels, [], [], None, cuts, members=members)

    def answers(self, read: EncodedTexts) -> list[np.ndarray]:
        """The averaged logits of each text, (C,)."""
        if not read.members:
            return super().answers(read)
        pairs = zip(self.members, read.members, strict=True)
        return list(averaged([np.stack(member.answers(own)) for member, own in pairs]))

    def work(self, read: EncodedTexts, texts: Sequence[int], together: int) -> Work:
        """As `Artefact.work`, of all members."""
        if not read.members:
            return super().work(read, texts, together)
        found: Work = []
        for member, own in zip(self.members, read.members, strict=True):
            found += member.work(own, texts, together)
        return found

    def encode(self, texts: Sequence[Text]) -> list[MemberEncodings]:
        """Token ids and types of each text for each member."""
        each: list[Sequence[Any]] = [member.encode(texts) for member in self.members]
        encoded = []
        for rows in zip(*each, strict=True):
            cut = any(row.overflowing for row in rows)
            encoded.append(MemberEncodings([row.ids for row in rows],
                                           [row.type_ids for row in rows], bool(cut)))
        return encoded

    def length(self, row: Any) -> int:
        """Tokens of an encoded text, over all members."""
        return sum(map(len, row))

    def stretched(self, rows: Any, length: int) -> Any:
        """A batch of one text of exactly `length` tokens for each member."""
        batches = []
        for member, own in zip(self.members, by_member(rows), strict=True):
            batches.append(member.stretched(own, length))
        return batches

    def batch(self, tokens: Any, types: Any = None) -> Any:
        """Rows of token ids (and types) as arrays (B, T) for each member."""
        batches = []
        for i, member in enumerate(self.members):
            own_types = None if types is None else by_member(types)[i]
            batches.append(member.batch(by_member(tokens)[i], own_types))
        return batches

    def forward(self, inputs: Any) -> np.ndarray:
        """The averaged logits of one batch, float64 (B, C)."""
        pairs = zip(self.members, inputs, strict=True)
        return averaged([member.forward(batch) for member, batch in pairs])

    def logits(self, tokens: Any, types: Any = None,
               of: Sequence[int] | None = None) -> list[np.ndarray]:
        """The averaged logits of each row, (C,)."""
        each = []
        for i, member in enumerate(self.members):
            own_types = None if types is None else by_member(types)[i]
            each.append(np.stack(member.logits(by_member(tokens)[i], own_types)))
        return list(averaged(each))


def by_member(rows: Sequence[Rows]) -> list[Rows]:
    """Rows that hold one list of ids for each member, as one list of rows for each member."""
    return list(zip(*rows, strict=True))


def averaged(logits: Sequence[np.ndarray]) -> np.ndarray:
    """log of the mean over models of softmax(logits), each (B, C), in float64."""
    return np.log(softmax(np.stack(logits).astype(np.float64)).mean(0))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis.

    Written out so that an ONNX student starts without SciPy.
    """
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# ---- opening -------------------------------------------------------------------------------------


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
    check_stage(folder)
    labels = Labels.read(folder)
    if labels.members:
        places = [folder / name for name in labels.members]
        return Ensemble([open_artefact(place, backend, threads, device) for place in places],
                        labels)
    if (folder / "config.json").is_file():
        check_fit(folder, labels, read_json(folder / "config.json"))
    has_onnx = (folder / "model.onnx").is_file()
    if backend == "onnxruntime" and not has_onnx:
        raise BadInput(
            f"{folder}: no model.onnx in this folder; make one with `bench.py export RUN`")
    if has_onnx and backend != "torch":
        return OnnxArtefact(folder, threads, device)
    return open_torch(folder, threads, device)


def open_torch(folder: Path, threads: int, device: str) -> TorchArtefact:
    """The student whose model.safetensors is in `folder`; `BadInput` where it cannot be loaded."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    import kdbench.models.architectures  # noqa: F401  (registers our own types)
    from kdbench.models.configs import config_of_path
    from kdbench.models.merged import as_stored, restored
    from kdbench.models.sources import check_folder

    check_folder(folder)
    torch.set_num_threads(threads)
    labels, tokenizer = Labels.read(folder), read_tokenizer(folder)
    tags = labels.task_type == "tags"
    auto = AutoModelForTokenClassification if tags else AutoModelForSequenceClassification
    with reading.foreign(str(folder), "export the run again, or give another folder"):
        config = config_of_path(str(folder), local_files_only=True)
        module, info = auto.from_pretrained(folder, config=as_stored(config), local_files_only=True,
                                            use_safetensors=True, trust_remote_code=False,
                                            output_loading_info=True)
    missing = info["missing_keys"]
    if missing:  # transformers draws them at random, so the answers would be random
        raise BadInput(f"{folder}: lacks {len(missing)} of the weights that answer "
                       f"({min(missing)}, ...); give the folder of a trained student")
    module = restored(module, config)
    rows = module.config.num_labels
    if labels.task_type != "regression" and rows != len(labels.labels):
        raise BadInput(f"{folder}: labels.json has {len(labels.labels)} labels and the head "
                       f"{rows} rows; give the folder of a trained student")
    return TorchArtefact(module, tokenizer, labels, device)


def served(model: Model, max_length: Limit) -> Artefact:
    """A model in memory as an artefact, on its own device, reading up to `max_length` tokens."""
    from tokenizers import Tokenizer

    labels = labels_of(model, max_length)
    if model.partner is not None:
        return Ensemble([served(member, max_length) for member in model.members], labels)
    # a copy, as the artefact sets a length limit of its own
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    return TorchArtefact(model.module, tokenizer, labels, str(model.module.device))


def predict_logits(artefact: Artefact | str | Path, tokens: Any,
                   types: Any = None) -> list[np.ndarray]:
    """Logits of encoded texts, one array each: (C,), or (T, C) for tags.

    artefact  an open one, or the folder of one
    tokens    token ids with special tokens, unpadded (`Corpus.tokens`); types: token types
              (`Corpus.types`)
    """
    if not isinstance(artefact, Artefact):
        artefact = open_artefact(artefact)
    return artefact.logits(tokens, types)


def default_threads() -> int:
    """`OMP_NUM_THREADS` where it is set, else the cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if number := reading.whole_number(given):
        return number
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_tokenizer(folder: Path) -> Tokenizer:
    """The fast tokenizer in a student's folder; `BadInput` where there is none."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise BadInput(f"{folder}: no tokenizer.json in this folder; save the fast tokenizer "
                       "beside the weights")
    return tokenizer_of(file)
