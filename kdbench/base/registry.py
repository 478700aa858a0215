"""What there is: methods, tasks and models by name.

The built-in methods and tasks lie outside the core, in an index that is read at the first look-up:
name, place, task types and one line each, so that listing them imports none of them. A plugin adds
to it with the decorator.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from kdbench.base.errors import BadInput

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Entry:
    """One name in a registry.

    where      ``module:attribute``, or the object itself
    control    of a method that is run beside every other: what its row is called in tables
    toy_steps  of a model too large for look-alike data: the steps that a training there takes
               where the user says nothing, which shows that it runs
    """

    name: str
    where: Any
    task_types: tuple[str, ...] = ()
    about: str = ""
    aliases: tuple[str, ...] = ()
    control: str = ""
    toy_steps: int | None = None

    def load(self) -> Any:
        """The object that the entry names; this imports its module."""
        return attribute(self.where) if isinstance(self.where, str) else self.where


def attribute(where: str) -> Any:
    """What ``module:attribute`` names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


class Registry:
    """Names of one noun, loud on duplicates and helpful on misses.

    index  ``module:attribute`` of the built-in entries outside the core
    """

    all: ClassVar[list[Registry]] = []

    def __init__(self, noun: str, entries: Iterable[Entry] = (), index: str = ""):
        self.noun, self.index = noun, index
        Registry.all.append(self)
        self._own = list(entries)
        self._found: dict[str, Entry] = {}
        self._aliases: dict[str, str] = {}
        self._read = False

    @property
    def _entries(self) -> dict[str, Entry]:
        if not self._read:
            self._read = True
            for entry in [*self._own, *(attribute(self.index) if self.index else ())]:
                self.add(entry)
        return self._found

    def add(self, entry: Entry) -> None:
        """Add one entry; `BadInput` where its name or an alias is taken."""
        for name in (entry.name, *entry.aliases):
            if name in self._entries or name in self._aliases:
                raise BadInput(
                    f"{self.noun} {name!r} is registered twice; give the new one another name")
        self._found[entry.name] = entry
        self._aliases.update({alias: entry.name for alias in entry.aliases})

    def register(self, name: str, *, task_types: tuple[str, ...] = (), about: str = "",
                 control: str = "") -> Callable[[Thing], Thing]:
        """Decorator for plugins: ``@METHODS.register("mine", task_types=("single",))``.

        about    one line; without it, the first line of the docstring
        control  see `Entry`: with it, the method is run beside every other one
        """

        def add(thing: Thing) -> Thing:
            summary = about or (getattr(thing, "__doc__", "") or "").strip().split("\n")[0]
            types = tuple(task_types or getattr(thing, "task_types", ()))
            self.add(Entry(name, thing, types, summary, control=control))
            return thing

        return add

    def entry(self, name: str) -> Entry:
        """The entry of `name` or of its alias; `BadInput` with a suggestion where there is none."""
        entries = self._entries
        name = self._aliases.get(name, name)
        if name not in entries:
            raise BadInput(unknown(self.noun, name, [*entries, *self._aliases]))
        return entries[name]

    def get(self, name: str) -> Any:
        """The object of that name or alias."""
        return self.entry(name).load()

    def controls(self) -> list[Entry]:
        """The entries that register themselves as controls, in the order of registration.

        The first is the baseline, which also trains the teacher's row, and from which the gain of
        all others is measured.
        """
        return [entry for entry in self._entries.values() if entry.control]

    def baseline(self) -> Entry:
        """The first control."""
        return self.controls()[0]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def names(self, pattern: str = "*") -> list[str]:
        """The names that fit a shell pattern, without aliases."""
        return [name for name in self._entries if fnmatch.fnmatchcase(name, pattern)]

    def entries(self) -> list[Entry]:
        """All entries, in the order in which they were added."""
        return list(self._entries.values())


def unknown(noun: str, name: str, valid: Iterable[str]) -> str:
    """One line for a name that is not there: what was meant, and what there is."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {noun} {name!r}{meant} (valid: {', '.join(valid)})"


CLASSIFICATION = ("single", "multi", "regression")
ANY = (*CLASSIFICATION, "tags")

METHODS = Registry("method", index="kdbench.methods.index:METHODS")
TASKS = Registry("task", index="kdbench.tasks.index:TASKS")

# what verbs of the command line take from outside the core, as they do methods and tasks
AUGMENT_OPTIONS = Entry("augmentation options", "kdbench.methods.augmentation:AugmentOptions")
AUGMENT_FILE = Entry("augmentation of a file", "kdbench.methods.augmentation_files:augment_file")
PRETRAIN = Entry("the method that pre-trains where none is named", "kdbench.methods.index:PRETRAIN")
SEARCHED = Entry("the methods that a search tries", "kdbench.methods.index:SEARCHED")
DOWNLOADS = Entry("downloads", "kdbench.tasks.downloads:DOWNLOADS")
