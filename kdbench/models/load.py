"""Models: a module with its tokenizer, loaded from a folder or the hub, or built from a recipe.

Weights are read from safetensors only, nothing is unpickled and no remote code is run.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.identity import digest
from kdbench.base.progress import say_once
from kdbench.models.configs import config_of_path
from kdbench.models.finite import non_finite
from kdbench.models.heads import Head, draw_head, seeded
from kdbench.models.merged import as_stored, put_rows, stored_rows
from kdbench.models.rows import WITHOUT, Match, match
from kdbench.models.sizes import architecture, name_special_tokens
from kdbench.models.sources import Source, check_config, on_disk, place
from kdbench.models.tokenizer import load_tokenizer, train_tokenizer
from kdbench.models.zoo import MODELS

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

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

    key             hash of what its weights came from
    lr              its own learning rate, where neither the user nor the recipe gives one
    ready           it came with a head for exactly the task's labels: it is not fine-tuned any more
    notes           for the table
    unattended_ids  token ids that attention does not see, besides the padding
    partner         a model that predicts together with this one: the mean of their class
                    probabilities
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    key: str
    lr: float = 5e-5
    ready: bool = False
    notes: tuple[str, ...] = ()
    unattended_ids: tuple[int, ...] = ()
    role: Role = Role.STUDENT
    partner: Model | None = None

    @property
    def members(self) -> tuple[Model, ...]:
        """The models that answer: this one, and its partner where it has one."""
        return (self,) if self.partner is None else (replace(self, partner=None), self.partner)

    def beside(self, partner: Model) -> Model:
        """The ensemble of this model and `partner`: stored, sized, timed and served as both."""
        return replace(self, partner=partner, key=digest({"ensemble": [self.key, partner.key]}, 24))


# Of a model whose rows have no names: those rows in the order that agrees with the labels of the
# training data, or none, and what the user is told.
Judge = Callable[[Model, Match], Match]


class Loaded(NamedTuple):
    """What `load` found; `ready` and `notes` as of `Model`."""

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    ready: bool
    notes: tuple[str, ...]


def build(source: Source, head: Head, *, seed: int, texts: Callable[[], Iterable[str]],
          tokenizer: PreTrainedTokenizerFast | None = None, encoder: Path | None = None,
          judge: Judge | None = None, quiet: bool = False) -> Model:
    """The model that `source` names, with `head` on it.

    seed       draws whatever has no pre-trained weights
    texts      what a vocabulary of the model's own is trained on
    tokenizer  the teacher's, for students that have none of their own
    encoder    folder of a pre-trained encoder that takes the recipe's place (tiny-teacher after its
               steps)
    judge      orders the rows of a head that have no names; without it such a head is not used
    quiet      what becomes of its head is not said: it is our own
    """
    identity = {"source": source.identity(), "head": head, "seed": seed}
    if encoder is not None:
        identity["encoder"] = encoder.name
    recipe = source.recipe or (MODELS.get(source.name) if source.name in MODELS else None)
    lr = recipe.lr if recipe else 5e-5
    if encoder is not None:
        source = replace(source, folder=encoder)
    if source.folder or source.hub:
        module, tokenizer, ready, notes = load(source, head, seed, judge)
        if quiet or encoder is not None:  # an encoder's head is what its pre-training needed
            notes = ()
        for note in notes:
            say_once(f"{source.name}: {note}")
    else:
        module, tokenizer = from_recipe(source, head, seed, texts, tokenizer)
        ready, notes = False, ()
        identity["vocabulary"] = digest(tokenizer.get_vocab())
    unattended = unattended_ids(source.folder) if source.folder else ()
    if unattended:
        identity["hidden_ids"] = unattended
    return Model(module, tokenizer, source.name, digest(identity), lr, ready, notes, unattended)


def from_recipe(
        source: Source, head: Head, seed: int, texts: Callable[[], Iterable[str]],
        tokenizer: PreTrainedTokenizerFast | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model of random weights; its tokenizer is trained on `texts` where its recipe says so."""
    assert source.recipe is not None
    sizes = dict(source.recipe.config)
    if size := sizes.pop("vocab_size", 0):
        tokenizer = train_tokenizer(sizes["type"], texts(), size)
    assert tokenizer is not None
    config = AutoConfig.for_model(**architecture(sizes), vocab_size=len(tokenizer),
                                  pad_token_id=tokenizer.pad_token_id, **head.config)
    name_special_tokens(config, tokenizer)
    with seeded(seed):
        return head.auto.from_config(config), tokenizer


WRONG_LABELS = "labels.json is not what a training writes; get the folder again"


def unattended_ids(folder: Path) -> tuple[int, ...]:
    """Token ids that a trained student must not attend to, as its labels.json says."""
    try:
        found = reading.json_object(folder / "labels.json").get("hidden_ids") or []
    except reading.Missing:
        return ()
    except reading.Unreadable as error:
        raise BadInput(f"model {folder}: {WRONG_LABELS}") from error
    if not isinstance(found, list) or not all(type(each) is int and each >= 0 for each in found):
        raise BadInput(f"model {folder}: {WRONG_LABELS}")
    return tuple(found)


def load(source: Source, head: Head, seed: int, judge: Judge | None = None) -> Loaded:
    """Weights and tokenizer from a folder or the hub; the head is kept where it already fits the
    task, and else drawn from `seed`.
    """
    path = place(source)
    config = config_of(source)
    found = match(config, head, source.labels, declared_names(path))
    try:
        with reading.foreign(f"model {source.name}, tokenizer", "get the folder again"):
            tokenizer = load_tokenizer(path)
        module, drawn, mismatched = weights(path, config, head, found.rows is not None, seed)
        if drawn and (found.unnamed or (found.rows is not None and found.rows.plain is None)):
            found = Match(said=WITHOUT)  # there are no rows to be ordered or joined
            module, drawn, mismatched = weights(path, config, head, False, seed)
    except BadInput:
        raise
    except Exception as error:  # on damaged weights each library has errors of its own
        raise cannot_be_loaded(source, error) from error
    check_encoder(source, module, drawn)
    if name := non_finite(module):
        raise BadInput(f"model {source.name}: its weights are not finite ({name} has NaN or "
                       "infinity); get the model again, or take another")
    check_vocabulary(source, module, tokenizer)
    if head.task_type == "mlm":
        return Loaded(module, tokenizer, not drawn, ())
    if found.unnamed:
        unattended = unattended_ids(source.folder) if source.folder else ()
        whole = Model(module, tokenizer, source.name, "", unattended_ids=unattended)
        found = judge(whole, found) if judge else Match(said=found.said)
        if found.rows is None:
            draw_anew(module, head, seed)
            return Loaded(module, tokenizer, False, (found.said,))
    if found.rows is not None:
        return with_own_head(config, head, found, drawn, Loaded(module, tokenizer, True, ()))
    head_drawn = any(not in_encoder(module, name) for name in drawn)
    if not head_drawn and not mismatched:  # loaded, as it has as many rows as the task
        draw_head(module, seed)
    return Loaded(module, tokenizer, False, (found.said,))


def config_of(source: Source) -> PreTrainedConfig:
    """The configuration of a model that has a folder or is on the hub."""
    path = place(source)
    if (folder := on_disk(path)) is not None:
        check_config(folder)
    try:
        return config_of_path(path)
    except Exception as error:  # transformers checks the values with errors of many classes
        raise cannot_be_loaded(source, error) from error


def weights(path: str, config: PreTrainedConfig, head: Head, own_head: bool,
            seed: int) -> tuple[PreTrainedModel, list[str], list[str]]:
    """The module with its own head, or with one for the task; the names of the weights that are
    random, and of those whose size is not the module's.
    """
    if not own_head:
        rows = {} if stored_rows(config) is None else {"kdbench_rows": None}
        config = config_of_path(path, **head.config, **rows)
    elif stored_rows(config) is not None:
        config = as_stored(config)
    with seeded(seed):
        module, report = head.auto.from_pretrained(path, config=config, dtype=torch.float32,
                                                   use_safetensors=True, trust_remote_code=False,
                                                   ignore_mismatched_sizes=True,
                                                   output_loading_info=True)
    mismatched = [name for name, *_ in report["mismatched_keys"]]
    return module, sorted([*report["missing_keys"], *mismatched]), mismatched


def with_own_head(config: PreTrainedConfig, head: Head, found: Match, drawn: list[str],
                  loaded: Loaded) -> Loaded:
    """A model with the rows of its own head that are the task's labels.

    drawn  weights that are random; a head with any of them is trained anew
    """
    assert found.rows is not None
    stored = stored_rows(config)
    put_rows(loaded.module, found.rows.after(stored) if stored else found.rows, head)
    said = found.said
    if drawn:
        said = f"new head trained: some weights of its own are missing ({drawn[0]}, ...)"
    return loaded._replace(ready=not drawn, notes=(said,))


def draw_anew(module: PreTrainedModel, head: Head, seed: int) -> None:
    """A new head for the task in place of one of as many rows, or of one."""
    for name, value in head.config.items():
        if name != "num_labels":  # which follows from the names
            setattr(module.config, name, value)
    if hasattr(module, "num_labels"):
        module.num_labels = len(head.labels)  # type: ignore[assignment]
    draw_head(module, seed)


def declared_names(path: str) -> tuple[str, ...]:
    """The names of a head's rows where config.json has them by name alone (`label2id`), which
    transformers passes over; else none.
    """
    folder = on_disk(path)
    if folder is None or not (folder / "config.json").is_file():
        return ()
    content = reading.json_object(folder / "config.json")
    by_name = content.get("label2id") or {}
    if content.get("id2label") or not isinstance(by_name, dict):
        return ()
    numbers = list(by_name.values())
    if set(map(type, numbers)) - {int} or sorted(numbers) != list(range(len(numbers))):
        return ()
    return tuple(sorted(by_name, key=by_name.__getitem__))


def cannot_be_loaded(source: Source, error: Exception) -> BadInput:
    """What a user is told where transformers could not load `source`."""
    if "trust_remote_code" in str(error):
        return BadInput(f"model {source.name}: needs code of its own, which is never run; give a "
                        "model that transformers has")
    line = (str(error).strip() or type(error).__name__).split("\n")[0]
    return BadInput(
        f"model {source.name}: cannot be loaded ({line}); give a local folder with config.json, "
        "model.safetensors and tokenizer.json (`bench.py convert` makes one of older weights)")


def in_encoder(module: PreTrainedModel, name: str) -> bool:
    """Is the weight of this name the encoder's, not the head's?"""
    return name.startswith(f"{module.base_model_prefix}.")


def check_encoder(source: Source, module: PreTrainedModel, drawn: list[str]) -> None:
    """`BadInput` where weights of the encoder are among the random ones."""
    missing = [name for name in drawn if in_encoder(module, name) and "pooler." not in name]
    if missing:
        raise BadInput(
            f"model {source.name}: of its encoder's weights {len(missing)} are missing, or not of "
            f"the size that config.json says ({missing[0]}, ...); get the folder again, or "
            "convert its original checkpoint anew")


def check_vocabulary(source: Source, module: PreTrainedModel,
                     tokenizer: PreTrainedTokenizerFast) -> None:
    """`BadInput` where the tokenizer has ids that the embedding lacks."""
    embedding: Any = module.get_input_embeddings()
    rows = embedding.num_embeddings
    pieces = 1 + max(tokenizer.get_vocab().values())
    if pieces > rows:
        raise BadInput(
            f"model {source.name}: its tokenizer has {pieces:,} pieces, its weights have "
            f"{rows:,}; they are not of one model: put the model's own tokenizer into the folder")


