"""Names, folders and hub ids -> modules with their tokenizers.

Weights are read from safetensors only, nothing is unpickled and no remote code is run.
"""

from __future__ import annotations

import contextlib
import copy
import enum
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from kdbench.base.errors import BadInput, one_line
from kdbench.base.folders import MEMBERS, damage
from kdbench.base.identity import digest, file_digest
from kdbench.base.progress import say
from kdbench.base.registry import unknown
from kdbench.models.convert import spelling
from kdbench.models.zoo import MODELS, Recipe

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model",
                "sentencepiece.bpe.model", "tokenizer.model")
PROBLEM = {
    "single": "single_label_classification", "multi": "multi_label_classification",
    "regression": "regression"
}


class Role(enum.StrEnum):
    """What a model is in a cell: whose cost its training is, and which row it stands in.

    A role belongs to a model, not to a name: in self-distillation teacher and student have one
    name.
    """

    TEACHER = "teacher"
    STUDENT = "student"
    CONTROL = "control"  # trained to compare with: neither the teacher's cost nor the student's


@dataclass
class Model:
    """A module with its tokenizer.

    `key` is the hash of what its weights came from; `ready` says that it came with the head that
    was asked for (one for exactly the task's labels is not fine-tuned any more); `notes` go into
    the table.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    key: str
    lr: float = 5e-5
    ready: bool = False
    notes: tuple[str, ...] = ()
    hidden_ids: tuple[int, ...] = ()  # token ids that attention must not see, besides the padding
    role: Role = Role.STUDENT
    # predicts together with this one (the mean of their class probabilities)
    partner: Model | None = None

    @property
    def members(self) -> tuple[Model, ...]:
        """The models that answer: this one, and its partner where it has one."""
        return (self,) if self.partner is None else (replace(self, partner=None), self.partner)

    def beside(self, partner: Model) -> Model:
        """The ensemble of this model and `partner`: stored, sized, timed and served as both."""
        return replace(self, partner=partner, key=digest({"ensemble": [self.key, partner.key]}, 24))


@dataclass(frozen=True)
class Source:
    """What a model name stands for, resolved and checked, but not yet loaded."""

    name: str  # for tables: never a path
    recipe: Recipe | None = None
    folder: Path | None = None
    hub: str = ""
    cut: int = 0  # layers kept
    base: Source | None = None  # of a cut one: what it is cut from; None: the teacher

    def identity(self) -> dict[str, Any]:
        """What decides the weights: content for a folder, the recipe for a built one."""
        if self.cut:
            return {"cut": self.cut, "base": self.base.identity() if self.base else "teacher"}
        if self.folder:
            return {"folder": folder_identity(self.folder)}
        if self.hub:
            found = on_disk(self.hub)
            return {"hub": self.hub, **({"folder": folder_identity(found)} if found else {})}
        return {"recipe": self.recipe}


def fetch(source: Source) -> None:
    """Bring a model of the hub onto this machine: a name alone does not say which weights are there
    today.
    """
    if source.base is not None:
        fetch(source.base)
    if not source.hub or source.folder:
        return
    wanted = [
        "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*",
        "special_tokens_map.json", "added_tokens.json", *VOCABULARIES, "merges.txt"
    ]
    try:
        snapshot_download(source.hub, allow_patterns=wanted)
    # offline, not found, not allowed: each library below has its own errors
    except Exception as error:
        raise BadInput(
            f"model {source.name}: cannot be had from the hub ({one_line(error)}); give a local "
            f"folder, or put one of that "
            "name into the folder that KDBENCH_MODELS names") from error


def resolve(name: str) -> Source:
    """What `name` stands for; `BadInput` where it is no known name, no usable folder and no hub id.

    A folder of that name in the folder that KDBENCH_MODELS names comes first: so a suite that says
    `biobert` runs on a machine that reaches no hub.
    """
    if name.startswith("cut:"):
        _, count, *rest = name.split(":", 2)
        if not count.isdigit() or int(count) < 1:
            raise BadInput(
                f"model {name!r}: write cut:N or cut:N:MODEL, N being the number of layers to keep")
        base = resolve(rest[0]) if rest else None
        return Source(f"cut:{count}" + (f":{base.name}" if base else ""), cut=int(count), base=base)
    name = MODELS.entry(name).name if name in MODELS else name
    if (shelf := os.environ.get("KDBENCH_MODELS")) and (
            folder := Path(shelf) / name).is_dir() and folder.parent == Path(shelf):
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
    if label or folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise BadInput(f"model {path}: no such folder")
    if path.count("/") == 1:
        return Source(path, hub=path)
    raise BadInput(
        unknown("model", name, MODELS.names()) + ", or a folder, or a hub id like owner/name")


def check_folder(folder: Path) -> None:
    """A folder that `from_pretrained` can load whole from safetensors, or `BadInput` with the
    remedy, before anything is trained.

    transformers itself loads one without a vocabulary (every word is then unknown) and asks whether
    to run a model's own code.
    """
    import kdbench.models.architectures  # noqa: F401  (registers our own types)

    if not (folder / "config.json").is_file() and all((folder / name).is_dir() for name in MEMBERS):
        raise BadInput(
            f"model {folder}: is an ensemble of two models, which can be served but not trained; "
            f"give the folder of one, {folder / MEMBERS[0]}")
    if not (folder / "config.json").is_file():
        raise BadInput(
            f"model {folder}: no config.json in this folder; convert an older checkpoint with "
            f"`bench.py convert {folder} NEW_FOLDER`")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type, own_code = config.get("model_type"), "auto_map" in config
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(
            f"model {folder}: config.json is not a JSON object; get the folder again") from error
    if model_type is not None and model_type not in CONFIG_MAPPING:
        why = "is none that this version of transformers has"
        if own_code:
            why = "needs code of its own, which is never run"
        raise BadInput(
            f"model {folder}: its type {model_type!r} {why}; give a model of a type that "
            f"transformers has"
        )
    for path in weight_files(folder):
        if wrong := damage(path):
            raise BadInput(
                f"model {folder}: {path.name} is missing, damaged or cut off ({wrong}); get the "
                f"folder again"
            )
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise BadInput(
            f"model {folder}: no tokenizer.json in this folder, nor another vocabulary "
            f"({', '.join(VOCABULARIES[1:])}); "
            "put the model's there")


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
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"model {folder}: {index.name} is not an index of weights; get the folder again"
        ) from error
    return [folder / Path(name).name for name in sorted(names)]


def folder_identity(folder: Path) -> str:
    """Hash of a model folder's weights, configuration and vocabulary."""
    files = sorted(path for path in folder.iterdir()
                   if path.suffix == ".safetensors" or path.name in (
                       "config.json", "tokenizer_config.json", "special_tokens_map.json",
                       "added_tokens.json", "merges.txt", "labels.json", *VOCABULARIES))
    return digest({path.name: file_digest(path) for path in files})


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave the random state outside as it was."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


@dataclass(frozen=True)
class Head:
    """What is put on an encoder: the task's labels and kind, or a masked-LM head where `kind` is
    "mlm".
    """

    task_type: str
    labels: tuple[str, ...] = ()

    @property
    def auto(self) -> Any:
        return {"tags": AutoModelForTokenClassification, "mlm": AutoModelForMaskedLM}.get(
            self.task_type, AutoModelForSequenceClassification)

    @property
    def config(self) -> dict[str, Any]:
        if self.task_type == "mlm":
            return {}
        labels = dict(enumerate(self.labels)) if self.labels else {0: "score"}
        config: dict[str, Any] = {"num_labels": len(labels), "id2label": labels,
                                  "label2id": {label: i for i, label in labels.items()}}
        if self.task_type in PROBLEM:
            config["problem_type"] = PROBLEM[self.task_type]
        return config


def build(source: Source, head: Head, *, seed: int, texts: Callable[[], Iterable[str]],
          tokenizer: PreTrainedTokenizerFast | None = None, encoder: Path | None = None) -> Model:
    """The model that `source` names, with `head` on it.

    seed       draws whatever has no pre-trained weights
    texts      what a vocabulary of the model's own is trained on
    tokenizer  the teacher's, for students that have none of their own (bilstm, tinybert, ...)
    encoder    folder of a pre-trained encoder that takes the recipe's place (tiny-teacher after its
               steps)
    """
    import kdbench.models.architectures  # noqa: F401  (registers our own types)

    identity = {"source": source.identity(), "head": head, "seed": seed}
    if encoder is not None:
        identity["encoder"] = encoder.name
    recipe = source.recipe or (MODELS.get(source.name) if source.name in MODELS else None)
    lr = recipe.lr if recipe else 5e-5
    if encoder is not None:
        source = replace(source, folder=encoder)
    if source.folder or source.hub:
        module, tokenizer, ready, notes = load(source, head, seed)
        if encoder is not None:  # of our own making, which has none
            notes = ()
        for note in notes:
            tell(f"{source.name}: {note}")
    else:
        assert source.recipe is not None
        sizes = dict(source.recipe.config)
        if pieces := sizes.pop("vocab_size", 0):
            tokenizer = train_tokenizer(sizes["type"], texts(), pieces)
        assert tokenizer is not None
        config = AutoConfig.for_model(**architecture(sizes), vocab_size=len(tokenizer),
                                      pad_token_id=tokenizer.pad_token_id, **head.config)
        with seeded(seed):
            module = head.auto.from_config(config)
        ready, notes = False, ()
        identity["vocabulary"] = digest(tokenizer.get_vocab())
    hidden = hidden_ids(source.folder) if source.folder else ()
    if hidden:
        identity["hidden_ids"] = hidden
    return Model(module, tokenizer, source.name, digest(identity), lr, ready, notes, hidden)


def hidden_ids(folder: Path) -> tuple[int, ...]:
    """Token ids that a trained student must not attend to, as its labels.json says."""
    try:
        return tuple(
            json.loads((folder / "labels.json").read_text(encoding="utf-8")).get("hidden_ids")
            or ())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadInput(
            f"model {folder}: labels.json is not what a training writes; get the folder again"
        ) from error


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """A recipe's configuration as keyword arguments of `AutoConfig.for_model`, in the words of its
    model type.
    """
    sizes = {name: value for name, value in config.items() if name != "type"}
    model_type = {"deberta": "deberta-v2"}.get(config["type"], config["type"])
    if model_type == "distilbert":
        words = {
            "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim", "initializer_range": "initializer_range"
        }
        sizes = {words[name]: value for name, value in sizes.items()}
    if model_type == "albert":
        sizes["embedding_size"] = sizes["hidden_size"]
    return {"model_type": model_type, **sizes}


def load(source: Source, head: Head,
         seed: int) -> tuple[PreTrainedModel, Any, bool, tuple[str, ...]]:
    """Weights and tokenizer from a folder or the hub; the head is kept where it already fits the
    task.
    """
    place = str(source.folder or source.hub)
    try:
        # unsaid, transformers would ask whether to run a model's own code, and take a yes
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        tokenizer = load_tokenizer(place, config)
        rows = own_rows(config, head)
        labelled = head.config if rows is None else {}
        with seeded(seed):
            module, seen = head.auto.from_pretrained(place, **labelled, dtype=torch.float32,
                                                     use_safetensors=True, trust_remote_code=False,
                                                     ignore_mismatched_sizes=True,
                                                     output_loading_info=True)
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise BadInput(
                f"model {source.name}: needs code of its own, which is never run; give a model "
                f"that transformers has"
            ) from error
        line = str(error).strip().split("\n")[0]
        raise BadInput(
            f"model {source.name}: cannot be loaded ({line}); give a local folder with "
            f"config.json, model.safetensors and "
            "tokenizer.json (`bench.py convert` makes one of older weights)") from error
    # these weights are random
    drawn = sorted([*seen["missing_keys"], *(name for name, *_ in seen["mismatched_keys"])])
    if lacking := [
            name for name in drawn
            if name.startswith(f"{module.base_model_prefix}.") and "pooler." not in name
    ]:
        raise BadInput(
            f"model {source.name}: of its encoder's weights {len(lacking)} are missing, or not of "
            f"the size that config.json "
            f"says ({lacking[0]}, ...); get the folder again, or convert its original checkpoint "
            f"anew"
        )
    known, pieces = module.get_input_embeddings().num_embeddings, 1 + max(
        tokenizer.get_vocab().values())
    if pieces > known:
        raise BadInput(
            f"model {source.name}: its tokenizer has {pieces:,} pieces, its weights have "
            f"{known:,}; they are not of one model: "
            "put the model's own tokenizer into the folder")
    if head.task_type == "mlm":
        return module, tokenizer, not drawn, ()
    ready, note = rows is not None and not drawn, "no head for the task: a new one is trained"
    named = [name for _, name in sorted((config.id2label or {}).items())]
    if rows is not None:
        take_rows(module, rows, head)
        others = [name for i, name in enumerate(named) if i not in rows]
        note = "head as it came" + (f", rows by label name; not used: {', '.join(others)}"
                                    if others else "")
        if not ready:
            note = f"head without all of its weights ({drawn[0]}, ...): trained anew"
    elif seen["mismatched_keys"] or not any(not name.startswith(f"{module.base_model_prefix}.")
                                            for name in drawn):
        if not seen["mismatched_keys"]:  # as many labels as the task has, and so loaded
            draw_head(module, seed)
        note = (f"head not used, as its labels ({', '.join(named)}) are not the task's: a new one "
                f"is trained")
    return module, tokenizer, ready, (note,)


@lru_cache(maxsize=256)  # every cell loads its models anew
def tell(line: str) -> None:
    say(line)


def load_tokenizer(place: str, config: Any) -> Any:
    byte_level = config.model_type in ("roberta", "gpt2", "deberta", "longformer", "modernbert")
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False,
                                              **({"add_prefix_space": True} if byte_level else {}))
    # BioBERT and ClinicalBERT are a bare vocab.txt on the hub, which transformers takes for lower
    # case
    if (files := on_disk(place)) and (case := spelling(files)):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **case)
    if not tokenizer.is_fast:
        raise BadInput(
            f"model {place}: has no fast tokenizer (tokenizer.json), which word alignment needs")
    # transformers makes one of nothing
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise BadInput(f"model {place}: has no vocabulary; put its tokenizer.json into the folder")
    return tokenizer


def on_disk(place: str) -> Path | None:
    """The folder of a model that has been loaded: its own, or where the hub's files of it were
    put.
    """
    if Path(place).is_dir():
        return Path(place)
    found = try_to_load_from_cache(place, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def trained_head(config: Any, head: Head) -> bool:
    """Does the configuration say, or leave open, that the model has a head of this kind?"""
    mapping = head.auto._model_mapping
    cls = mapping.get(type(config), None)
    return cls is not None and (not config.architectures or cls.__name__ in config.architectures)


def own_rows(config: Any, head: Head) -> list[int] | None:
    """The rows of the model's own head that are the task's labels, in their order; None where it
    has no such head.

    Labels are matched by name. A tagger may have further tags (padding, start and end of a text),
    which no word gets. Tags match by their letter where neither side has more than one type: `B-`
    and `B` are `B-GENE`.
    """
    own = [name for _, name in sorted((config.id2label or {}).items())]
    if not head.labels or not trained_head(config, head):
        return None
    if head.task_type != "tags":
        return [own.index(label)
                for label in head.labels] if sorted(own) == sorted(head.labels) else None
    places = {name.removesuffix("-"): i for i, name in enumerate(own)}
    wanted = [label.removesuffix("-") for label in head.labels]
    if not set(wanted) <= set(places) and max(len(tag_types(own)), len(tag_types(
            head.labels))) <= 1:
        places = {name.partition("-")[0]: i for name, i in places.items()}
        wanted = [label.partition("-")[0] for label in wanted]
    return [places[label] for label in wanted] if set(wanted) <= set(places) else None


def tag_types(labels: Iterable[str]) -> set[str]:
    """The entity types of the tags; of `B` and `B-` the empty one."""
    return {
        entity_type
        for letter, _, entity_type in (label.partition("-") for label in labels)
        if letter in ("B", "I", "E", "S")
    }


def take_rows(module: PreTrainedModel, rows: list[int], head: Head) -> None:
    """Of the output layer these rows alone, in this order, under the task's names."""
    own = module.config.num_labels
    output: Any = [
        layer for layer in module.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == own
    ][-1]
    for name in ("weight", "bias"):
        if (values := getattr(output, name)) is not None:
            setattr(output, name, nn.Parameter(values.detach()[rows].clone()))
    output.out_features = len(rows)
    for name, value in head.config.items():
        if name != "num_labels":  # which follows from the names
            setattr(module.config, name, value)
    if hasattr(module, "num_labels"):
        module.num_labels = len(rows)  # type: ignore[assignment]


def draw_head(module: PreTrainedModel, seed: int) -> None:
    """A new head in place of one that was loaded, because it has as many labels as the task."""
    with seeded(seed):
        fresh = type(module)(module.config)
    for name, child in fresh.named_children():
        if name != module.base_model_prefix:
            setattr(module, name, child)


def layers_of(module: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList] | None:
    """The encoder's stack of layers with its owner and attribute name; None where layers are shared
    (ALBERT).
    """
    depth = module.config.num_hidden_layers
    for owner in module.base_model.modules():
        for name, child in owner.named_children():
            if isinstance(child,
                          nn.ModuleList) and len(child) == depth and name in ("layer", "layers"):
                return owner, name, child
    return None


def cut(model: Model, layers: int) -> Model:
    """The same model with `layers` of its layers, evenly spaced and ending with the last."""
    depth = model.module.config.num_hidden_layers
    if layers > depth:
        raise BadInput(f"model cut:{layers}: {model.name} has only {depth} layers")
    module = copy.deepcopy(model.module)
    stack = layers_of(module)
    if stack:
        owner, name, children = stack
        kept = [round((i + 1) * depth / layers) - 1 for i in range(layers)]
        setattr(owner, name, nn.ModuleList(children[i] for i in kept))
    module.config.num_hidden_layers = layers
    if getattr(module.config, "layer_types", None):
        module.config.layer_types = module.config.layer_types[:layers]
    return Model(module, model.tokenizer, f"{model.name} cut to {layers} layers",
                 digest({"cut": layers, "of": model.key}), model.lr)


def train_tokenizer(model_type: str, texts: Iterable[str],
                    vocabulary: int) -> PreTrainedTokenizerFast:
    """A small tokenizer trained on `texts`: byte-level BPE for RoBERTa, WordPiece for the
    others.
    """
    from tokenizers import Tokenizer

    made, special = trained_tokenizer(model_type, tuple(texts), vocabulary)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(made),
                                   **{f"{name}_token": text
                                      for name, text in special.items()})


# every cell of a suite asks for the same one, which takes longer than a tiny training
@lru_cache(maxsize=8)
def trained_tokenizer(model_type: str, texts: tuple[str, ...],
                      vocabulary: int) -> tuple[str, dict[str, str]]:
    """The trained tokenizer as JSON, and its special tokens by role.

    The same texts give the same ids: the WordPiece trainer meets inner characters in the order of a
    hash map, so they are given to it beforehand, sorted.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
    from tokenizers import models as pieces

    if model_type == "roberta":
        special = {
            "bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>",
            "cls": "<s>", "sep": "</s>"
        }
        tokenizer = Tokenizer(pieces.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.train_from_iterator(
            texts,
            trainers.BpeTrainer(vocab_size=vocabulary,
                                special_tokens=list(dict.fromkeys(special.values())),
                                show_progress=False,
                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    else:
        special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        tokenizer = Tokenizer(pieces.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inner = sorted({
            f"##{c}"
            for text in texts
            for c in tokenizer.normalizer.normalize_str(text)
            if not c.isspace()
        })
        tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(
            vocab_size=vocabulary, special_tokens=[*special.values(), *inner], show_progress=False))
        tokenizer.model = pieces.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]")
        tokenizer = plain_copy(tokenizer, list(special.values()))
        tokenizer.decoder = decoders.WordPiece()
    cls, sep = special["cls"], special["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))])
    return tokenizer.to_str(), special


def plain_copy(trained: Any, special: list[str]) -> Any:
    """The trained tokenizer with `special` as its only special tokens: inner characters are pieces
    again.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer(trained.model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    tokenizer.add_special_tokens(special)
    return tokenizer
