"""Older checkpoints -> a folder of safetensors that `from_pretrained` loads.

Two sources: PyTorch weights (`.bin`, `.pt`) beside a config.json, and BERT's original TensorFlow
form (`*.ckpt.index`, `*.ckpt.data-*`, bert_config.json, vocab.txt).
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.folders import new_folder
from kdbench.base.tokenizer_files import check_tokenizer
from kdbench.models.configs import checked_config, with_our_attention

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

CONFIGS = ("config.json", "bert_config.json")
PARTS = "pytorch_model.bin.index.json"  # names the files of weights that were saved in parts
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
                   "spm.model", "sentencepiece.bpe.model", "tokenizer.model")
# under which training scripts keep the weights
WRAPPERS = ("state_dict", "model_state_dict", "model")

# BERT's TensorFlow variables by pattern, and their names in `BertForPreTraining`. The last part
# says what the variable is: a kernel (in, out) is the transpose of a Linear's weight (out, in).
LAYER, MODULE = r"bert/encoder/layer_(\d+)", r"bert.encoder.layer.\1"
TF_MODULES = (
    (r"bert/embeddings/(word|position|token_type)_embeddings",
     r"bert.embeddings.\1_embeddings.weight"),
    (r"bert/embeddings/LayerNorm/(\w+)", r"bert.embeddings.LayerNorm.\1"),
    (LAYER + r"/attention/self/(query|key|value)/(\w+)", MODULE + r".attention.self.\2.\3"),
    (LAYER + r"/attention/output/(dense|LayerNorm)/(\w+)", MODULE + r".attention.output.\2.\3"),
    (LAYER + r"/intermediate/dense/(\w+)", MODULE + r".intermediate.dense.\2"),
    (LAYER + r"/output/(dense|LayerNorm)/(\w+)", MODULE + r".output.\2.\3"),
    (r"bert/pooler/dense/(\w+)", r"bert.pooler.dense.\1"),
    (r"cls/predictions/transform/(dense|LayerNorm)/(\w+)", r"cls.predictions.transform.\1.\2"),
    (r"cls/predictions/output_bias", r"cls.predictions.bias"),
    (r"cls/seq_relationship/output_(weights|bias)", r"cls.seq_relationship.\1"),
)
TF_PARTS = {"kernel": "weight", "gamma": "weight", "beta": "bias", "weights": "weight"}
TF_OPTIMISER = re.compile(r"(^|/)(global_step|adam_[mv]|AdamWeightDecayOptimizer(_1)?)$")


def convert(source: str | Path, target: str | Path, *, head: bool = True) -> dict[str, Any]:
    """Write the model at `source` to the new folder `target`: safetensors, config.json and
    tokenizer.

    source  a folder, a `.bin` / `.pt` file, or a TensorFlow checkpoint's `.index` file or its
            prefix
    target  must not exist, or be empty; it appears when it is whole
    head    its weights have to be there; without, the encoder alone is written where they are not

    Returns {"architecture", "parameters", "notes"}; notes name what was left out or is missing.
    Raises `BadInput` where there is nothing to convert, weights are missing, or a file would have
    to be unpickled.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    weights = find_weights(source)
    config_file = find_config(weights.parent)
    with new_folder(target) as folder:
        if weights.suffix == ".index":
            state = bert_state(tf_variables(weights.with_suffix("")), weights)
            architecture = architecture_of(state)
        else:
            state, architecture = whole_state(weights), None
        size = sum(value.nbytes for value in state.values())
        config = read_config(config_file, size)
        report = write_model(state, config, architecture, weights, folder, head)
        report["notes"] += write_tokenizer(weights.parent, folder)
    return report


def find_config(folder: Path) -> Path:
    """The configuration beside the weights."""
    for name in CONFIGS:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"{folder}: has no config.json or bert_config.json; put the model's "
                   "configuration there")


def find_weights(source: Path) -> Path:
    """The one file to convert: `.bin`, `.pt`, or the `.index` of a TensorFlow checkpoint."""
    index = source.with_name(source.name + ".index")
    if source.is_file():
        if source.suffix not in (".bin", ".pt", ".index") and source.name != PARTS:
            raise BadInput(
                f"{source}: only .bin, .pt and TensorFlow's .index files can be converted")
        return source
    if index.is_file():
        return index
    if not source.is_dir():
        raise BadInput(f"{source}: no such file or folder")
    for name in ("pytorch_model.bin", PARTS):
        if (source / name).is_file():
            return source / name
    found = sorted(path for path in source.iterdir() if path.suffix in (".bin", ".pt", ".index"))
    if not found:
        raise BadInput(f"{source}: no .bin, .pt or TensorFlow checkpoint (.index) in this folder; "
                       "nothing to convert")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise BadInput(f"{source}: holds {names}; name the one file to convert")
    return found[0]


def read_config(path: Path, weights: int) -> PretrainedConfig:
    """The configuration at `path`; one without a `model_type`, as TensorFlow's, is a BERT.

    weights  bytes of the weights that belong to it
    """
    from transformers import AutoConfig

    try:
        values = checked_config(path, weights)
    except reading.Unreadable as error:
        raise BadInput(f"{path}: not a model configuration ({error})") from error
    if "auto_map" in values:
        raise BadInput(f"{path}: asks for code of its own (auto_map), which is never run; "
                       "remove that entry")
    with reading.foreign(str(path), "give the configuration of a model that transformers has"):
        return with_our_attention(
            AutoConfig.for_model(values.pop("model_type", "bert"), **values))


# ---- PyTorch -------------------------------------------------------------------------------------


def whole_state(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a PyTorch file, or of all files that an index names."""
    if path.name != PARTS:
        return torch_state(path)
    found = reading.json_object(path).get("weight_map")
    names = set(found.values()) if isinstance(found, dict) else set()
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise BadInput(f"{path}: is no index of files of weights; get the folder again")
    state: dict[str, Tensor] = {}
    for name in sorted(names):
        if not (path.parent / name).is_file():
            raise BadInput(f"{path}: names {name}, which is not there; get the folder again")
        state |= torch_state(path.parent / name)
    return state


def torch_state(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a PyTorch file, read with `weights_only=True`: nothing else is ever
    unpickled.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on unusual pickles, which are refused or read in full
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file may raise anything
        if reading.is_pointer(path):
            raise BadInput(f"{path}: is a pointer of Git LFS; fetch it (git lfs pull)") from error
        raise BadInput(
            f"{path}: holds something other than plain tensors, or is damaged, and is not "
            "unpickled; save the model's state_dict() instead") from error
    if isinstance(state, dict):
        wrapped = [state[name] for name in WRAPPERS if isinstance(state.get(name), dict)]
        state = wrapped[0] if wrapped else state
    if not is_state(state):
        raise BadInput(f"{path}: is no table of names and tensors; save the model's state_dict()")
    # as DataParallel names them; transformers would write the old names of norms again
    return {current_name(name.removeprefix("module.")): value for name, value in state.items()}


def is_state(state: object) -> bool:
    """Is this a table of names and tensors, with at least one?"""
    import torch

    if not isinstance(state, dict) or not state:
        return False
    return all(isinstance(value, torch.Tensor) for value in state.values())


def write_model(state: dict[str, Tensor], config: PretrainedConfig, architecture: str | None,
                weights: Path, folder: Path, head: bool = True) -> dict[str, Any]:
    """Build the model that `config` names, put `state` into it, and save it; every weight must come
    from `state`, without `head` every weight of the encoder.
    """
    import transformers

    notes: list[str] = []
    name = architecture or (config.architectures or [""])[0]
    if not name:
        name, notes = head_of(state, config)
    if not isinstance(name, str):
        raise BadInput(f"{weights.parent}: architectures holds no name of a class")
    cls: Any = getattr(transformers, name, None)
    is_model = isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)
    if not is_model:
        raise BadInput(f"{weights.parent}: architecture {name!r} is not one that transformers has")
    transformers.logging.set_verbosity_error()
    load: Any = cls.from_pretrained
    try:
        model, seen = load(None, config=config, state_dict=state, dtype="float32",
                           output_loading_info=True)
    except (RuntimeError, ValueError) as error:
        raise BadInput(f"{weights}: the weights do not have the sizes that the configuration states"
                       ) from error
    except Exception as error:  # of a configuration with values that its model does not take
        raise BadInput(f"{weights}: no {cls.__name__} can be built of its configuration "
                       f"({first_line(error)}); correct config.json") from error
    missing = sorted(key for key in seen["missing_keys"] if "pooler." not in key)
    own = f"{cls.base_model_prefix}."
    if missing and not head and not any(key.startswith(own) for key in missing):
        encoder: Any = transformers.MODEL_MAPPING.get(type(config), cls)
        if encoder is not cls:
            return write_model(state, config, encoder.__name__, weights, folder)
    if missing:
        raise BadInput(
            f"{weights}: lacks {len(missing)} of the weights of {cls.__name__} ({missing[0]}, "
            "...); correct `architectures` in its configuration")
    if seen["missing_keys"]:
        notes.append("the checkpoint has no pooler: its weights are random")
    if seen["unexpected_keys"]:
        extra = sorted(seen["unexpected_keys"])
        notes.append(
            f"left out {len(extra)} weights that {cls.__name__} does not have ({extra[0]}, ...)")
    model.save_pretrained(folder)
    return {"architecture": cls.__name__, "parameters": model.num_parameters(), "notes": notes}


def head_of(state: Mapping[str, Tensor], config: PretrainedConfig) -> tuple[str, list[str]]:
    """The class whose weights `state` holds, where the configuration names none, with a note on its
    head.

    A classifier of texts and one of words have the same names. One without a pooler, or with labels
    like tags, is a tagger's.
    """
    import transformers

    rows = label_rows(state)
    if rows and rows != config.num_labels:
        config.num_labels = rows
    tagger = transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    classifier = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    labels = (config.id2label or {}).values()
    tags = any(re.fullmatch("[BIES](-.*)?", label) for label in labels)
    heads: list[Any] = [tagger, classifier] if tags else [classifier, tagger]
    heads += [transformers.MODEL_FOR_MASKED_LM_MAPPING, transformers.MODEL_FOR_PRETRAINING_MAPPING]
    names = {current_name(name) for name in state if "position_ids" not in name}
    for head in heads:
        cls = head.get(type(config), None)
        if cls is None:
            continue
        spare = "pooler." if head is tagger and tags else None  # a tagger has no pooler
        if holds_just(names, cls, config, spare):
            labelled = f" of {rows} labels" if rows else ""
            return cls.__name__, [
                f"the configuration names no architecture: the head{labelled} is read as that of "
                f"{cls.__name__}; if it is another, name it under `architectures`"
            ]
    encoder: Any = transformers.MODEL_MAPPING[type(config)]
    return encoder.__name__, []  # what this leaves out is said


def label_rows(state: Mapping[str, Tensor]) -> int:
    """The number of labels of the classifier's last layer; 0 where there is none."""
    for name in sorted(state, reverse=True):
        if re.fullmatch(r"classifier\.(.*\.)?weight", name):
            return len(state[name])
    return 0


def current_name(name: str) -> str:
    """The name of a weight today: layer norms once called theirs gamma and beta."""
    name = re.sub(r"(?<=LayerNorm\.)gamma$", "weight", name)
    return re.sub(r"(?<=LayerNorm\.)beta$", "bias", name)


def holds_just(names: set[str], cls: Any, config: PretrainedConfig, spare: str | None) -> bool:
    """Are these names those of the weights of a model of this class? Tied weights may be missing,
    and those with `spare` in their names be there besides.
    """
    import torch

    with torch.device("meta"):
        model = cls(config)
    own = set(model.state_dict())
    tied = {name for name in own if name.endswith(("decoder.weight", "decoder.bias"))}
    further = {name for name in names - own if spare is None or spare not in name}
    return not further and own - tied <= names


# ---- TensorFlow ----------------------------------------------------------------------------------


def tf_variables(prefix: Path) -> dict[str, np.ndarray]:
    """All variables of the TensorFlow checkpoint `prefix`, but those of its optimiser."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # it computes nothing here, but prints a line about it
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        from tensorflow.train import load_checkpoint
    except ImportError:
        raise BadInput(
            "reading a TensorFlow checkpoint needs tensorflow: pip install kdbench[tf]") from None
    try:
        reader = load_checkpoint(str(prefix))
        names = reader.get_variable_to_shape_map()
        return {name: reader.get_tensor(name) for name in names if not TF_OPTIMISER.search(name)}
    except Exception as error:  # tensorflow's own error classes
        raise BadInput(
            f"{prefix}: not a readable TensorFlow checkpoint ({first_line(error)})") from error


def bert_state(variables: Mapping[str, np.ndarray], where: Path) -> dict[str, Tensor]:
    """BERT's TensorFlow variables under the names, and in the layout, of `BertForPreTraining`."""
    import torch

    state = {}
    for name, value in variables.items():
        if TF_OPTIMISER.search(name):
            continue
        module = bert_module(name)
        if module is None:
            raise BadInput(
                f"{where}: variable {name!r} belongs to no BERT pre-training checkpoint; "
                "only those can be converted")
        owner, _, part = module.rpartition(".")
        array = value.T if part == "kernel" else value
        state[f"{owner}.{TF_PARTS.get(part, part)}"] = torch.from_numpy(np.array(array, order="C"))
    return state


def bert_module(variable: str) -> str | None:
    """The name of TensorFlow's `variable` in `BertForPreTraining`, its last part as it was."""
    for pattern, module in TF_MODULES:
        if re.fullmatch(pattern, variable):
            return re.sub(pattern, module, variable)
    return None


def architecture_of(state: Mapping[str, Tensor]) -> str:
    """The class that has just the heads that the checkpoint has."""
    heads = {name.split(".")[1] for name in state if name.startswith("cls.")}
    if not heads:
        return "BertModel"
    return "BertForPreTraining" if "seq_relationship" in heads else "BertForMaskedLM"


# ---- tokenizer -----------------------------------------------------------------------------------


def write_tokenizer(source: Path, folder: Path) -> list[str]:
    """Copy the tokenizer's files from `source` and add tokenizer.json; returns notes."""
    from transformers import AutoTokenizer

    files = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not files:
        return ["no tokenizer files beside the weights: add vocab.txt or tokenizer.json before use"]
    for path in files:
        reading.content(path)
        shutil.copyfile(path, folder / path.name)
    if (folder / "tokenizer.json").is_file():
        check_tokenizer(folder / "tokenizer.json")
    with reading.foreign(f"{source}: its tokenizer", "put the model's own files beside it"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False,
                                                  **spelling(folder))
    tokenizer.save_pretrained(folder)
    return []


def spelling(folder: Path) -> dict[str, bool]:
    """Case and accents as the vocabulary has them, where a vocab.txt is all there is.

    BERT's own default is lower case, which would turn a cased model (BioBERT) into one that knows
    few words.
    """
    vocabulary, settings = folder / "vocab.txt", folder / "tokenizer_config.json"
    if not vocabulary.is_file() or (folder / "tokenizer.json").is_file():
        return {}
    if settings.is_file() and "do_lower_case" in reading.json_object(settings):
        return {}
    lines = reading.text(vocabulary).split("\n")
    pieces = [piece for piece in lines if not re.fullmatch(r"\[.*\]|<.*>", piece)]
    lower = not any(re.search("[A-Z]", piece) for piece in pieces)
    # accents are stripped by decomposing, which also takes Hangul syllables apart
    composed = any(piece != unicodedata.normalize("NFD", piece) for piece in pieces)
    return {"do_lower_case": lower, "strip_accents": lower and not composed}


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
