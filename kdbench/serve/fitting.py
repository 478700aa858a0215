"""Does labels.json fit the model beside it?

A student that answers by labels in another order, or by those of another head, is wrong without a
word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.base.checksums import AGAIN
from kdbench.base.errors import BadInput
from kdbench.serve.labels import TASK_TYPE_OF, Labels, is_tagger


def check_fit(folder: Path, labels: Labels, config: Mapping[str, Any]) -> None:
    """`BadInput` where `labels` are not those of the head that config.json tells of."""
    if wrong := misfit(labels, config):
        raise BadInput(f"{folder}: labels.json {wrong}; {AGAIN}")


def misfit(labels: Labels, config: Mapping[str, Any]) -> str:
    """How `labels` and a configuration differ; empty where they do not, or where it leaves open
    what its rows are called.
    """
    found = config.get("id2label")
    own = [str(name) for _, name in sorted_rows(found)] if isinstance(found, dict) else []
    rows = len(own) or config.get("num_labels")
    if labels.task_type != "regression" and rows and rows != len(labels.labels):
        return f"has {len(labels.labels)} labels, and config.json {rows}"
    named = own and not all(name.startswith("LABEL_") for name in own)
    if labels.task_type != "regression" and named and own != list(map(str, labels.labels)):
        first = next(i for i, name in enumerate(own) if name != str(labels.labels[i]))
        return f"says {labels.labels[first]!r} where config.json says {own[first]!r}"
    stated = TASK_TYPE_OF.get(str(config.get("problem_type")))
    if any(map(is_tagger, config.get("architectures") or ())):
        stated = "tags"
    if stated and stated != labels.task_type:
        return f"says {labels.task_type}, and config.json {stated}"
    return ""


def sorted_rows(names: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """The rows of `id2label` in their order."""
    return sorted((int(number), name) for number, name in names.items())
