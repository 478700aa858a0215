"""Rows of a head put in the order of a task's labels, several rows of one label joined.

Where each label has one row, the output layer is cut and stays an ordinary one. Else it becomes
`MergedRows`, whose weights are those of the head that came; config.json then names the rows of each
label (`kdbench_rows`), so that a stored model is read again as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from kdbench.models.heads import Head, output_layer

ZERO = -1  # the row of a label whose logit is 0: a binary head with one logit leaves it out
BEHIND = 1e-3  # in logits: what decides between tags that have the same row
STORED = "kdbench_rows"  # of config.json: `Rows` as [groups, late]


@dataclass(frozen=True)
class Rows:
    """The rows of a head that stand for a task's labels.

    groups  for each label its rows, of which the largest counts
    late    labels that have the rows of another label, and stay behind it
    """

    groups: tuple[tuple[int, ...], ...]
    late: tuple[int, ...] = ()

    @classmethod
    def one_each(cls, rows: Iterable[int]) -> Rows:
        """One row a label."""
        return cls(tuple((row,) for row in rows))

    @property
    def plain(self) -> list[int] | None:
        """The row of each label; None where a label has several, or shares one."""
        if self.late or any(len(group) != 1 for group in self.groups):
            return None
        return [group[0] for group in self.groups]

    def after(self, other: Rows) -> Rows:
        """These rows of a head whose own rows are those of `other`."""
        groups = []
        for group in self.groups:
            groups.append(tuple(row for place in group for row in other.groups[place]))
        late = {i for i, group in enumerate(self.groups) if set(group) & set(other.late)}
        return Rows(tuple(groups), tuple(sorted({*late, *self.late})))


class MergedRows(nn.Linear):
    """An output layer whose rows are joined: the logit of a label is the largest of its rows.

    (..., H) -> (..., C) for C labels, in fp32. `weight` and `bias` are those of the layer that
    came, with a row for each label that it knew.
    """

    rows: Tensor
    offset: Tensor

    def __init__(self, layer: nn.Linear, rows: Rows):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None,
                         device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        most = max(len(group) for group in rows.groups)
        table = [[*group, *group[:1] * (most - len(group))] for group in rows.groups]
        offset = [BEHIND if label in rows.late else 0.0 for label in range(len(table))]
        device = layer.weight.device
        self.register_buffer("rows", torch.tensor(table, device=device), persistent=False)
        self.register_buffer("offset", torch.tensor(offset, device=device), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """The logits (..., C) of vectors (..., H)."""
        logits = super().forward(input).float()
        return logits[..., self.rows].amax(-1) - self.offset


def put_rows(module: PreTrainedModel, rows: Rows, head: Head) -> None:
    """Give `module` the logits of the labels of `head`, whose rows `rows` names."""
    if (plain := rows.plain) is not None:
        take_rows(module, plain)
    else:
        merge_rows(module, rows)
    for name, value in head.config.items():
        if name != "num_labels":  # which follows from the names
            setattr(module.config, name, value)
    if hasattr(module, "num_labels"):
        module.num_labels = len(rows.groups)  # type: ignore[assignment]


def take_rows(module: PreTrainedModel, rows: list[int]) -> None:
    """Keep only `rows` of the output layer, in this order; `ZERO` is a row of zeros."""
    output = output_layer(module)
    for name in ("weight", "bias"):
        values = getattr(output, name)
        if values is not None:
            values = values.detach()
            values = torch.cat([values, torch.zeros_like(values[:1])])  # which is row -1
            setattr(output, name, nn.Parameter(values[rows].clone()))
    output.out_features = len(rows)


def merge_rows(module: PreTrainedModel, rows: Rows) -> None:
    """Put `MergedRows` in the place of the output layer, and say so in the configuration."""
    output = output_layer(module)
    name = next(name for name, part in module.named_modules() if part is output)
    module.set_submodule(name, MergedRows(output, rows))
    setattr(module.config, STORED, [rows.groups, rows.late])


def stored_rows(config: PreTrainedConfig) -> Rows | None:
    """The rows that a stored model joins; None of any other model."""
    found: Any = getattr(config, STORED, None)
    if not found:
        return None
    groups, late = found
    return Rows(tuple(map(tuple, groups)), tuple(late))


def as_stored(config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration that the stored weights fit: with a label for each row of the head."""
    rows = stored_rows(config)
    if rows is None:
        return config
    config = copy.deepcopy(config)
    delattr(config, STORED)
    config.num_labels = 1 + max(row for group in rows.groups for row in group)
    return config


def restored(module: PreTrainedModel, config: PreTrainedConfig) -> PreTrainedModel:
    """`module`, loaded by `as_stored(config)`, with the logits that `config` means."""
    if (rows := stored_rows(config)) is not None:
        merge_rows(module, rows)
        module.config.id2label, module.config.label2id = config.id2label, config.label2id
        if hasattr(module, "num_labels"):
            module.num_labels = len(rows.groups)  # type: ignore[assignment]
    return module
