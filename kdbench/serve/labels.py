"""What turns a student's logits into answers: labels.json beside its weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base import checksums, reading
from kdbench.base.errors import BadInput
from kdbench.base.folders import MEMBERS, write_text
from kdbench.data.lengths import POOLING
from kdbench.data.windows import Reading, Windows
from kdbench.data.word_rules import FORMER
from kdbench.data.words import word_prefix
from kdbench.serve.label_values import mistake

if TYPE_CHECKING:
    from kdbench.models.load import Model

    # tokens that a model reads at once, and in which windows longer texts; or what gives that
    Limit = int | Reading | Callable[[Model], int | Reading]

FILE = "labels.json"
# the names of fields in that file that are not the field's own
NAMES = {"task_type": "kind", "unattended_ids": "hidden_ids"}
# fields that are newer than some folders, and what is not written
LATER = {"word_rule": "", "word_pattern": FORMER, "word_prefix": "", "stride": None,
         "pooling": POOLING[0], "temperature": None}
TUPLES = ("labels", "unattended_ids", "members")
TASK_TYPE_OF = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}


@dataclass(frozen=True)
class Labels:
    """The labels of a student and what its answers depend on.

    task_type   single, multi, regression or tags
    labels      class names or tags, in the order of the logits
    names       label -> its name in words
    max_length  tokens, special ones included
    threshold   probability from which a label (multi), or the last of two classes (single), is
                predicted
    positive_rate   share of the last class among the training examples, for the `*_at_rate` metrics
    unattended_ids  token ids that attention must not see, besides the padding
    members     folders of the models whose class probabilities are averaged; empty where the folder
                itself is the model
    word_rule   tags: how a text is cut into words, a key of `kdbench.data.word_rules.RULES`
    word_pattern  the same as a regular expression, whose matches are the words
    word_prefix   stands before every word but the first when the tokenizer gets a list of words
    stride      longer texts are read in windows that share so many tokens; None: they are cut
    pooling     of a text's label: the mean or the maximum over its windows (`kdbench.data.windows`)
    temperature that the logits were divided by when the student was exported; it is in the weights
    """

    task_type: str
    labels: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    max_length: int = 512
    threshold: float | None = None
    positive_rate: float | None = None
    unattended_ids: tuple[int, ...] = ()
    members: tuple[str, ...] = ()
    word_rule: str = ""
    word_pattern: str = FORMER
    word_prefix: str = ""
    stride: int | None = None
    pooling: str = POOLING[0]
    temperature: float | None = None

    def identity(self) -> dict[str, Any]:
        """The fields by name; those of windows, and a temperature, where there are any."""
        found = asdict(self)
        if self.temperature is None:
            del found["temperature"]
        if self.stride is None:
            del found["stride"], found["pooling"]
        return found

    @property
    def windows(self) -> Windows | None:
        """How texts of more than `max_length` tokens are read; None: they are cut."""
        return None if self.stride is None else Windows(self.stride, self.pooling)

    def write(self, folder: Path) -> None:
        """Write labels.json into `folder`."""
        content = {NAMES.get(name, name): value for name, value in asdict(self).items()
                   if name not in LATER or value != LATER[name]}
        text = json.dumps(checksums.sealed(content), indent=2, ensure_ascii=False)
        write_text(folder / FILE, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> Labels:
        """From labels.json; for a folder without one, from config.json.

        Raises `BadInput` where neither is there, or labels.json is damaged.
        """
        if not (folder / FILE).is_file():
            return cls.of(read_json(folder / "config.json"))
        content = read_json(folder / FILE)
        if wrong := checksums.damage(content):
            raise BadInput(f"{folder}: {FILE}: {wrong}; {checksums.AGAIN}. If the change is yours, "
                           f"delete `{checksums.KEY}` in it")
        content.pop(checksums.KEY, None)
        known = {NAMES.get(each.name, each.name): each.name for each in fields(cls)}
        unknown = [name for name in content if name not in known]
        problem = mistake(content)
        if unknown or "kind" not in content:
            problem = f"has the unknown entry {unknown[0]!r}" if unknown else "has no known `kind`"
        if problem:
            raise BadInput(f"{folder}: {FILE}: {problem}; give the folder of a trained student")
        values = {known[name]: value for name, value in content.items()}
        for name in TUPLES:
            values[name] = tuple(values.get(name) or ())
        for name in values["members"]:
            if name not in MEMBERS:
                raise BadInput(f"{folder}: {FILE} names the member {name!r}; an ensemble has "
                               f"{' and '.join(MEMBERS)}")
        return cls(**values)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Labels:
        """What a model's own configuration says of its head."""
        architectures = config.get("architectures") or ()
        if isinstance(architectures, str) or not all(isinstance(each, str)
                                                     for each in architectures):
            raise BadInput("config.json: architectures is no list of names; get the folder again")
        tagger = any(map(is_tagger, architectures))
        problem = str(config.get("problem_type") or "")
        return cls("tags" if tagger else TASK_TYPE_OF.get(problem, "single"), names_of(config))


def names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a head's rows in their order, as `id2label` has them."""
    found = config.get("id2label") or {}
    try:
        names = {int(number): name for number, name in found.items()}
        if not all(isinstance(name, str) for name in names.values()):
            raise ValueError
    except (ValueError, AttributeError):
        raise BadInput("config.json: id2label is no table of numbers and names; get the folder "
                       "again") from None
    return tuple(names[number] for number in sorted(names))


def is_tagger(architecture: str) -> bool:
    """Whether a class of models gives a label to every token, by its name."""
    return architecture.endswith(("ForTokenClassification", "Tagger"))


def labels_of(model: Model, max_length: Limit) -> Labels:
    """The labels of a model in memory, which is to read up to `max_length` tokens at once."""
    found = max_length(model) if callable(max_length) else max_length
    reading = Reading(found) if isinstance(found, int) else found
    config = {**model.module.config.to_dict(), "architectures": [type(model.module).__name__]}
    members = MEMBERS if model.partner is not None else ()
    labels = replace(Labels.of(config), max_length=reading.max_length,
                     unattended_ids=model.unattended_ids, members=members)
    if reading.windows is not None:
        labels = replace(labels, **asdict(reading.windows))
    if labels.task_type != "tags":
        return labels
    return replace(labels, word_prefix=word_prefix(model.tokenizer.backend_tokenizer))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a student's folder; `BadInput` where there is none."""
    try:
        return reading.json_object(path)
    except reading.Missing:
        raise BadInput(
            f"{path.parent}: no {path.name} in this folder; give the folder of a trained student"
        ) from None
