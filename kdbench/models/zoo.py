"""The named teachers and students; to read this index imports no model.

Besides these names a model can be a local folder or hub id that `transformers` loads (`NAME=PATH`
gives a folder a name for the tables), `cut:N` (N of the teacher's layers; `cut:N:MODEL` of
another's), `tiny:TYPE` (random weights, a tokenizer of its own), and, over the teacher's word
pieces with random weights, `bert:LxW` (L layers of width W) and `bilstm:LxHxE` (L layers of H units
a direction over an embedding of width E). A folder of the model's name in the folder that the
variable KDBENCH_MODELS names takes the place of a download.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.registry import Entry, Registry
from kdbench.models.encoders import ENCODERS, Encoder


@dataclass(frozen=True)
class Recipe:
    """How a named model is made.

    hub     id of the weights on the hub; empty for a model that is built from a configuration
    config  of a model that is built: {"type": "bert", "num_hidden_layers": 2, ...}. With
            "vocab_size" it has a vocabulary of its own, of at most that many pieces of the task's
            texts; without it, it reads the teacher's
    steps   masked-LM steps on the task's unlabelled text before the head is put on
    lr      the learning rate of its fine-tuning where neither the user nor the task's recipe gives
            one
    origin  where to get a model that is no download
    """

    hub: str = ""
    config: dict[str, Any] = field(default_factory=dict, hash=False)
    steps: int = 0
    lr: float = 5e-5
    origin: str = ""

    @property
    def reads_teachers_pieces(self) -> bool:
        """Has a model of this recipe no vocabulary of its own?"""
        return bool(self.config) and "vocab_size" not in self.config


def tiny(model_type: str, layers: int = 2, width: int = 64, heads: int = 2, steps: int = 0,
         **more: Any) -> Recipe:
    """A model small enough for tests: its own vocabulary of at most 4,000 pieces, random weights.

    more  entries of the configuration that only some model types have

    Narrow layers need larger initial weights than the 0.02 that suits a width of 768: with 0.08
    they learn in a third of the steps.
    """
    size = {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * width, "initializer_range": 0.08, "vocab_size": 4000
    }
    return Recipe(config={"type": model_type, **size, **more}, steps=steps, lr=1e-3)


# what a request says that names no teacher, and what that is on look-alike data
BEST, TOY = "best", "tiny-teacher"

# the architectures of the encoders that have a name, and what their configurations need besides
# the sizes: narrow bottlenecks, a window shorter than most sentences
TINY: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "albert": {},
    "deberta": {},
    "deberta-v3": {},
    "distilbert": {},
    "electra": {"embedding_size": 32},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32},
    "mpnet": {},
    "xlm-roberta": {"type_vocab_size": 1},
    "modernbert": {"local_attention": 16},
    "eurobert": {},
}
TINY_TYPES = tuple(TINY)

MINILM_PUBMED = ("MiniLM after masked-LM training on biomedical abstracts; `bench.py pretrain "
                 "FOLDER --student minilm --corpus FILE --set new_tokens=0` makes it, and "
                 "KDBENCH_MODELS names the folder it lies in")


def named(name: str, encoder: Encoder) -> Entry:
    """The entry of an encoder in the list of models."""
    origin = "" if encoder.hub else MINILM_PUBMED
    recipe = Recipe(encoder.hub, lr=encoder.lr, origin=origin)
    return Entry(name, recipe, (), encoder.about, encoder.aliases)


BUILT: dict[str, tuple[Recipe, str]] = {
    "tiny-teacher": (
        tiny("bert", layers=2, width=96, heads=4, steps=700),
        "BERT 2x96, pre-trained on the task's unlabelled text (default teacher)"),
    "tiny-student": (tiny("bert", layers=2, width=64, heads=2),
                     "BERT 2x64, random weights (default student)"),
    **{f"tiny:{kind}": (tiny(kind, **more), f"{kind} 2x64, random weights, own tokenizer")
       for kind, more in TINY.items()},
    "bilstm": (Recipe(config={"type": "kdbench_bilstm"}, lr=1e-3),
               "BiLSTM 2x300 over the teacher's word pieces, random weights"),
}

# those that a paper names are in the index of the methods
ENTRIES = [Entry(name, recipe, (), about) for name, (recipe, about) in BUILT.items()]
ENTRIES += [named(name, encoder) for name, encoder in ENCODERS.items()]
MODELS = Registry("model", ENTRIES, index="kdbench.methods.index:MODELS")


SIZED = re.compile(r"bert:(?P<layers>\d{1,2})x(?P<width>\d{2,4})"
                   r"|bilstm:(?P<depth>\d{1,2})x(?P<units>\d{1,4})x(?P<embedding>\d{1,4})")
HEAD_WIDTH = 32  # of a `bert:LxW`, as that of MiniLM; a narrower head has too few dimensions


def sized(name: str) -> Recipe | None:
    """The recipe of `bert:LxW` or `bilstm:LxHxE`; None for another name, `BadInput` for sizes that
    make no model.
    """
    found = SIZED.fullmatch(name)
    if found is None:
        return None
    size = {part: int(number) for part, number in found.groupdict().items() if number}
    if not all(size.values()):
        raise BadInput(f"model {name!r}: no size can be 0")
    if "units" in size:
        return Recipe(config={"type": "kdbench_bilstm", "num_hidden_layers": size["depth"],
                              "hidden_size": size["units"], "embedding_size": size["embedding"]},
                      lr=1e-3)
    width = size["width"]
    if width % HEAD_WIDTH:
        raise BadInput(f"model {name!r}: give a width that is a multiple of {HEAD_WIDTH}, the "
                       "width of an attention head")
    return Recipe(config={"type": "bert", "num_hidden_layers": size["layers"],
                          "hidden_size": width, "num_attention_heads": width // HEAD_WIDTH,
                          "intermediate_size": 4 * width}, lr=3e-4)


def own_limit(folder: str | Path) -> int | None:
    """`position_limit` of the model in a folder; None where no config.json says it."""
    try:
        config = reading.json_object(Path(folder) / "config.json")
    except reading.Unreadable:
        return None
    return position_limit(config)


# whose positions start behind the padding index
BEHIND_PADDING = ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta",
                  "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


def position_limit(config: Mapping[str, Any]) -> int:
    """How many tokens a model of this configuration can read at all."""
    positions = config.get("max_position_embeddings") or 1_000_000
    if config.get("model_type") not in BEHIND_PADDING:
        return positions
    padding = config.get("pad_token_id")
    # MPNet's is 1, whatever its configuration says
    if padding is None or config.get("model_type") == "mpnet":
        padding = 1
    return positions - padding - 1
