"""What a model's name stands for: a recipe, a folder, a model of the hub, or layers of another.

Names are resolved and checked before anything is loaded or trained. Weights are read from
safetensors; PyTorch's own files are made into such first (`kdbench.models.older`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING

import kdbench.models.architectures  # noqa: F401  (registers our own model types)
from kdbench.base import hub, reading
from kdbench.base.activity import doing
from kdbench.base.checksums import KEY, check_stage
from kdbench.base.errors import BadInput, one_line
from kdbench.base.folders import MEMBERS, damage
from kdbench.base.identity import digest, file_digest
from kdbench.base.registry import unknown
from kdbench.models.configs import checked_config
from kdbench.models.older import loadable, older_weights
from kdbench.models.zoo import MODELS, Recipe, sized

ADAPTER = "adapter_config.json"
# the end of peft's class by the kind of task that the adapter's file names
PEFT_CLASSES = {"SEQ_CLS": "ForSequenceClassification", "TOKEN_CLS": "ForTokenClassification",
                "FEATURE_EXTRACTION": "ForFeatureExtraction"}
HEAD = re.compile(r"(classifier|score)(\.out_proj)?\.weight$")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model",
                "sentencepiece.bpe.model", "tokenizer.model")
DOWNLOADED = ("config.json", ADAPTER, "*.safetensors", "*.safetensors.index.json", "tokenizer*",
              "special_tokens_map.json", "added_tokens.json", *VOCABULARIES, "merges.txt")
OLDER = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
# What decides a model, besides its weights.
DECIDING = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
            "merges.txt", "labels.json", *VOCABULARIES)


@dataclass(frozen=True)
class Source:
    """What a model name stands for, resolved and checked, but not yet loaded.

    name    for tables: never a path
    recipe  of a named model that is built, or whose weights come from the hub
    folder  with the weights
    hub     id of a model on the hub; empty for others
    cut     how many layers are kept; 0: all
    which   those that are: `first`, `last`, or their numbers from 1 (`1,4,7`); empty: evenly spaced
            and ending with the last
    base    what a cut model is cut from; None: the teacher
    labels  which rows of its own head are which labels, as --teacher-labels says it
    """

    name: str
    recipe: Recipe | None = None
    folder: Path | None = None
    hub: str = ""
    cut: int = 0
    base: Source | None = None
    labels: str = ""
    which: str = ""

    def identity(self) -> dict[str, Any]:
        """What decides the weights: content for a folder, the recipe for a built one."""
        if self.labels:
            return {**replace(self, labels="").identity(), "labels": self.labels}
        if self.cut:
            which = {"which": self.which} if self.which else {}
            return {"cut": self.cut, "base": self.base.identity() if self.base else "teacher",
                    **which}
        if self.folder:
            return {"folder": folder_identity(self.folder)}
        if self.hub:
            downloaded = on_disk(self.hub)
            content = {"folder": folder_identity(downloaded)} if downloaded else {}
            return {"hub": self.hub, **content}
        return {"recipe": self.recipe}


def fetch(source: Source) -> None:
    """Download a model of the hub, so that its identity is that of its weights and not of its name.

    `BadInput` where it cannot be downloaded.
    """
    if source.base is not None:
        fetch(source.base)
    if not source.hub or source.folder:
        return
    offline = hub.unreachable()
    try:
        with doing(f"fetching model {source.hub} from the hub"):
            folder = download(source.hub, bool(offline))
    # offline, not found, not allowed: each library below has its own errors
    except Exception as error:
        raise BadInput(
            f"model {source.name}: cannot be had from the hub ({offline or one_line(error)}); give "
            "a local folder, or put one of that name into the folder that KDBENCH_MODELS names"
        ) from error
    refuse_adapter(folder)
    loadable(folder)


def download(name: str, offline: bool) -> Path:
    """The folder of a model of the hub in its cache, with safetensors where the model has them, and
    else with PyTorch's own weights.
    """
    folder = Path(snapshot_download(name, allow_patterns=list(DOWNLOADED),
                                    local_files_only=offline))
    if any(folder.glob("*.safetensors")):
        return folder
    return Path(snapshot_download(name, allow_patterns=[*DOWNLOADED, *OLDER],
                                  local_files_only=offline))


def place(source: Source) -> str:
    """What transformers loads a model from: a folder, or its id on the hub."""
    folder = source.folder or on_disk(source.hub)
    if folder is not None and older_weights(folder):
        return str(loadable(folder))
    return str(source.folder or source.hub)


def resolve(name: str) -> Source:
    """What `name` stands for; `BadInput` where it is no known name, no usable folder and no hub id.

    A folder of that name in the folder that KDBENCH_MODELS names comes first. So a suite that says
    `biobert` runs on a machine that reaches no hub.
    """
    if name.startswith("cut:"):
        return resolve_cut(name)
    if (recipe := sized(name)) is not None:
        return Source(name, recipe=recipe)
    name = MODELS.entry(name).name if name in MODELS else name
    if (folder := local_folder(name)) is not None:
        check_folder(folder)
        return Source(name, folder=folder)
    if name in MODELS:
        recipe = MODELS.get(name)
        if recipe.origin:
            raise BadInput(f"model {name!r} is {recipe.origin}")
        return Source(name, recipe=recipe, hub=recipe.hub)
    label, _, path = name.rpartition("=")
    folder = Path(path).expanduser()
    if folder.is_dir():
        check_folder(folder)
        return Source(label or folder.resolve().name, folder=folder)
    if not label and hub.is_id(path):
        return Source(path, hub=path)
    if label or "/" in path or "\\" in path or path.startswith((".", "~")):
        why = "" if label else f" ({hub.why_path(path)})"
        raise BadInput(f"model {path}: no such folder{why}; give the folder of a model, a hub id "
                       "like owner/name, or a name of `bench.py list models`")
    raise BadInput(
        unknown("model", name, MODELS.names()) + ", or a folder, or a hub id like owner/name")


def resolve_cut(name: str) -> Source:
    """The source of `cut:N`, `cut:N-first`, `cut:N-last` or `cut:1,4,7`, each with or without
    `:MODEL`.
    """
    _, layers, *rest = name.split(":", 2)
    count, _, which = layers.partition("-")
    if "," in layers:
        numbers = layers.split(",")
        count, which = str(len(numbers)), layers
        rising = all(map(reading.whole_number, numbers)) and \
            sorted({*map(int, numbers)}) == [*map(int, numbers)]
    else:
        rising = which in ("", "first", "last") and (bool(which) or "-" not in layers)
    if not rising or not reading.whole_number(count):
        raise BadInput(
            f"model {name!r}: write cut:N or cut:N:MODEL, N being the number of layers to keep "
            "(N-first and N-last: those at one end; 1,4,7: these)")
    base = resolve(rest[0]) if rest else None
    label = f"cut:{layers}:{base.name}" if base else f"cut:{layers}"
    return Source(label, cut=int(count), base=base, which=which)


def local_folder(name: str) -> Path | None:
    """The folder of that name in the folder that KDBENCH_MODELS names."""
    models = os.environ.get("KDBENCH_MODELS")
    if not models:
        return None
    folder = Path(models) / name
    return folder if folder.is_dir() and folder.parent == Path(models) else None


def check_folder(folder: Path) -> None:
    """`BadInput` with the remedy where `from_pretrained` cannot load `folder` whole from
    safetensors.

    transformers itself loads a folder without a vocabulary (every word is then unknown) and asks
    whether to run a model's own code.
    """
    if not (folder / "config.json").is_file() and all((folder / name).is_dir() for name in MEMBERS):
        raise BadInput(
            f"model {folder}: is an ensemble of two models, which can be served but not trained; "
            f"give the folder of one, {folder / MEMBERS[0]}")
    refuse_adapter(folder)
    if not (folder / "config.json").is_file():
        raise BadInput(
            f"model {folder}: no config.json in this folder; convert an older checkpoint with "
            f"`bench.py convert {folder} NEW_FOLDER`")
    check_type(folder)
    check_stage(folder)
    folder = loadable(folder)
    for path in weight_files(folder):
        if wrong := damage(path):
            raise BadInput(f"model {folder}: {path.name} is missing, damaged or cut off ({wrong}); "
                           "get the folder again")
    check_config(folder)
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise BadInput(
            f"model {folder}: no tokenizer.json in this folder, nor another vocabulary "
            f"({', '.join(VOCABULARIES[1:])}); put the model's there")


def refuse_adapter(folder: Path) -> None:
    """`BadInput` for an adapter without its model, as peft saves LoRA: how it is merged."""
    if not (folder / ADAPTER).is_file():
        return
    whole = any(folder.glob("model*.safetensors")) and (folder / "config.json").is_file()
    if whole:  # merged in place
        return
    try:
        kind = str(reading.json_object(folder / ADAPTER).get("task_type"))
    except reading.Unreadable:
        kind = ""
    name = f"AutoPeftModel{PEFT_CLASSES.get(kind, '')}"
    labels = head_rows(folder)
    given = f"{str(folder)!r}, num_labels={labels}" if labels else f"{str(folder)!r}"
    raise BadInput(
        f"model {folder}: an adapter (LoRA) without its model; merge it first, with peft: "
        f"`model = peft.{name}.from_pretrained({given}).merge_and_unload()` and "
        "`model.save_pretrained('MERGED')`; then put the tokenizer's files beside it and give "
        "MERGED")


def head_rows(folder: Path) -> int:
    """How many labels the head has that an adapter brings; 0 where it brings none."""
    try:
        with safe_open(folder / "adapter_model.safetensors", "np") as weights:
            names = list(weights.keys())
            heads = [name for name in names if HEAD.search(name)]
            return weights.get_slice(heads[-1]).get_shape()[0] if heads else 0
    except (OSError, SafetensorError):
        return 0


def check_type(folder: Path) -> None:
    """`BadInput` where config.json names no type of model that is known here."""
    try:
        config = reading.json_object(folder / "config.json")
    except reading.Unreadable as error:
        raise BadInput(
            f"model {folder}: config.json is not a JSON object; get the folder again") from error
    model_type = config.get("model_type")
    known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
    if model_type is not None and not known:
        why = "is none that this version of transformers has"
        if "auto_map" in config:
            why = "needs code of its own, which is never run"
        raise BadInput(f"model {folder}: its type {model_type!r} {why}; give a model of a type "
                       "that transformers has")


def check_config(folder: Path) -> None:
    """`BadInput` where config.json asks for more than its weights, or for what is not read."""
    if os.path.lexists(folder / ADAPTER):  # peft, where it is there, loads the model it names
        raise BadInput(f"model {folder}: holds an adapter ({ADAPTER}), which is not read and names "
                       "another model; where it is merged into this one, remove that file")
    found = [path.stat().st_size for path in folder.iterdir() if path.suffix == ".safetensors"]
    checked_config(folder / "config.json", sum(found) if found else None)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a model folder: one file, or those that its index names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise BadInput(
            f"model {folder}: no safetensors weights (nothing else is read); make them with "
            f"`bench.py convert {folder} NEW_FOLDER`")
    try:
        weight_map: Mapping[str, str] = reading.json_object(index)["weight_map"]
        names = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"model {folder}: {index.name} is not an index of weights; "
                       "get the folder again") from error
    return [folder / Path(name).name for name in names]


def folder_identity(folder: Path) -> str:
    """Hash of a model folder's weights, configuration and vocabulary."""
    files = [path for path in folder.iterdir()
             if path.suffix == ".safetensors" or path.name in DECIDING]
    files = sorted({*files, *older_weights(folder)})
    with doing(f"reading the weights of {folder.name}"):
        content = {path.name: file_identity(path) for path in files}
    if is_byte_level(folder):
        # lists of words had no blanks, or the first one had one, before they were read as texts are
        content["words"] = "as in a text"
    return digest(content)


def is_byte_level(folder: Path) -> bool:
    """Has the folder a byte-level BPE, whose tokens include the blank before a word?"""
    file = folder / "tokenizer.json"
    if file.is_file():
        return b'"ByteLevel"' in reading.content(file)
    return (folder / "merges.txt").is_file()


def file_identity(path: Path) -> str:
    """The SHA-256 of a file; of labels.json as it would be without its own checksum, which decides
    nothing.
    """
    if path.name == "labels.json":
        try:
            content = reading.json_object(path)
            if content.pop(KEY, None):
                plain = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
                return hashlib.sha256(plain.encode()).hexdigest()
        except ValueError:
            pass  # it is told of where it is read
    return file_digest(path)


def on_disk(name: str) -> Path | None:
    """The folder of a model by its path or hub id; None where the hub's was never downloaded."""
    if Path(name).is_dir():
        return Path(name)
    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None
