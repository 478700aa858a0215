"""What there is: methods, tasks and models by name.

The built-in names are one lazy index (name, where, kinds, one line), so that listing them imports
nothing; a plugin adds to it with the decorator.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from kdbench.base.errors import BadInput


@dataclass(frozen=True)
class Entry:
    """One name in a registry; `where` is ``module:attribute`` or the object itself."""

    name: str
    where: Any
    task_types: tuple[str, ...] = ()
    about: str = ""
    aliases: tuple[str, ...] = ()

    def load(self) -> Any:
        if not isinstance(self.where, str):
            return self.where
        module, _, attribute = self.where.partition(":")
        return getattr(importlib.import_module(module), attribute)


class Registry:
    """Names of one noun, loud on duplicates and helpful on misses."""

    all: ClassVar[list[Registry]] = []

    def __init__(self, noun: str, entries: Iterable[Entry] = ()):
        self.noun = noun
        Registry.all.append(self)
        self._entries: dict[str, Entry] = {}
        self._aliases: dict[str, str] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        for name in (entry.name, *entry.aliases):
            if name in self._entries or name in self._aliases:
                raise BadInput(
                    f"{self.noun} {name!r} is registered twice; give the new one another name")
        self._entries[entry.name] = entry
        self._aliases.update({alias: entry.name for alias in entry.aliases})

    def register(self, name: str, *, task_types: tuple[str, ...] = (),
                 about: str = "") -> Callable[[Any], Any]:
        """Decorator for plugins: ``@METHODS.register("mine", task_types=("single",), about="one
        line")``.
        """

        def add(thing: Any) -> Any:
            described = about or (getattr(thing, "__doc__", "") or "").strip().split("\n")[0]
            self.add(
                Entry(name, thing, tuple(task_types or getattr(thing, "task_types", ())),
                      described))
            return thing

        return add

    def entry(self, name: str) -> Entry:
        """The entry of `name` or of its alias; `BadInput` with a suggestion where there is none."""
        name = self._aliases.get(name, name)
        if name not in self._entries:
            raise BadInput(unknown(self.noun, name, [*self._entries, *self._aliases]))
        return self._entries[name]

    def get(self, name: str) -> Any:
        return self.entry(name).load()

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def names(self, pattern: str = "*") -> list[str]:
        return [name for name in self._entries if fnmatch.fnmatchcase(name, pattern)]

    def entries(self) -> list[Entry]:
        return list(self._entries.values())


def unknown(noun: str, name: str, valid: Iterable[str]) -> str:
    """One line for a name that is not there: what was meant, and what there is."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {noun} {name!r}{meant} (valid: {', '.join(valid)})"


CLASSIFICATION = ("single", "multi", "regression")
ANY = (*CLASSIFICATION, "tags")

# what `bench.py augment` calls; like the methods it lies outside the core
AUGMENT_OPTIONS = Entry("augmentation options", "kdbench.methods.augmentation:AugmentOptions")
AUGMENT_FILE = Entry("augmentation of a file", "kdbench.methods.augmentation:augment_file")

METHODS = Registry("method", [
    Entry("finetune", "kdbench.methods.finetune:Finetune", ANY,
          "control: the student fine-tuned without a teacher"),
    Entry("logit_kd", "kdbench.methods.logit_kd:LogitKD", ANY,
          "control: plain logit distillation (Hinton et al. 2015)"),
    Entry("doktra", "kdbench.methods.doktra:DoKTra", ("single", "multi"),
          "calibrated teacher, activation-boundary transfer (Choi et al. 2022)"),
    Entry("dsg_kd", "kdbench.methods.dsg_kd:DsgKD",
          ("single", ), "hidden states and attention of code-switched words (Cho et al. 2024)",
          aliases=("mlkd", )),
    Entry("ve_kd", "kdbench.methods.ve_kd:VeKD", ANY,
          "vocabulary expansion and tolerant masked-LM distillation (Gao et al. 2024)"),
    Entry("ner_kd", "kdbench.methods.ner_kd:NerKD", ("tags", ),
          "tagger to BiLSTM or TinyBERT with data augmentation (biobert-distillation, 2021)"),
    Entry("adapt", "kdbench.methods.adapt:Adapt", ANY,
          "control: masked-LM adaptation of the student, then fine-tuning"),
],
                   )
