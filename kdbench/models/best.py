"""The teacher of real data where nobody names one.

Of the folders in the folder that KDBENCH_MODELS names, the largest encoder up to the size of BERT
base is taken: what is larger takes a GPU, so its user names it. Size is layers times the square of
the width, which is what a forward pass costs. Of equal ones, those that have read biomedical text
come first, in the order of `BIOMEDICAL`, and then the others by name. Without any such folder it is
`HUB`, of the hub. What a head was trained for decides nothing: a fine-tuned teacher is named.
"""

from __future__ import annotations

import os
from pathlib import Path

from transformers import CONFIG_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, PreTrainedConfig

from kdbench.base.errors import BadInput, one_line
from kdbench.models.configs import checked_config
from kdbench.models.sources import check_folder
from kdbench.models.zoo import TOY

HUB = "minilm"
BIOMEDICAL = ("biobert", "bio_roberta", "cbert", "minilm-pubmed")
MOST = 12 * 768**2  # BERT base


def best_teacher() -> tuple[str, str]:
    """The name of the best encoder that is there, and one line that says so."""
    models = os.environ.get("KDBENCH_MODELS")
    found = encoders(Path(models)) if models else []
    if found:
        return found[0], (f"no --teacher: {found[0]} teaches, the largest encoder up to the size "
                          "of BERT base in the folder that KDBENCH_MODELS names")
    return HUB, f"no --teacher: {HUB} of the hub teaches, as {nothing_in(models)}"


def without_any(error: BadInput) -> BadInput:
    """What a user is told where nobody names a teacher and none can be had."""
    models = os.environ.get("KDBENCH_MODELS")
    why = one_line(error.__cause__ or error).split(". ")[0].rstrip(".")
    return BadInput(
        f"no --teacher, and none is here: {nothing_in(models)}, and {HUB} cannot be had from the "
        f"hub ({why}); put an encoder's folder into the folder that KDBENCH_MODELS names, or name "
        f"a teacher (`--teacher {TOY}` asks for the toy)")


def nothing_in(models: str | None) -> str:
    """What the variable KDBENCH_MODELS lacks."""
    if not models:
        return "KDBENCH_MODELS is not set"
    return "KDBENCH_MODELS names no folder with an encoder up to the size of BERT base"


def encoders(models: Path) -> list[str]:
    """The encoders in a folder of models that may be taken, the best first."""
    sizes = {}
    for folder in sorted(models.iterdir()) if models.is_dir() else ():
        size = size_of(folder)
        if size and size <= MOST:
            sizes[folder.name] = size
    return sorted(sizes, key=lambda name: (-sizes[name], order_of(name), name))


def order_of(name: str) -> int:
    """The place among encoders of one size."""
    return BIOMEDICAL.index(name) if name in BIOMEDICAL else len(BIOMEDICAL)


def size_of(folder: Path) -> int | None:
    """Layers times the square of the width; None of a folder that is no whole encoder."""
    try:
        check_folder(folder)
        content = checked_config(folder / "config.json")
        cls = CONFIG_MAPPING[content["model_type"]]
        if cls not in MODEL_FOR_MASKED_LM_MAPPING:
            return None
        config: PreTrainedConfig = cls(**content)
        return int(config.num_hidden_layers * config.hidden_size**2)
    except (BadInput, OSError, KeyError, ValueError, TypeError, AttributeError):
        return None
