"""What a method is.

A method file reads like its paper's algorithm: it declares its options, builds objectives (named
loss terms) and runs its procedure in `fit(lab)` on the lab's tools. It does not evaluate, time,
save or print. All that it is written with is imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kdbench.base.options import option
from kdbench.train.objective import Batch, Objective, Term, early, loss_of

if TYPE_CHECKING:
    from kdbench.models.load import Model
    from kdbench.train.lab import Lab

__all__ = ["LOGITS", "MODEL", "Batch", "Method", "Objective", "Term", "early", "loss_of", "option"]


MODEL, LOGITS = "model", "logits"  # what a method reads of its teacher


class Method:
    """A published procedure. Subclass it, name the class attributes, write `fit`."""

    name: ClassVar[str] = ""
    # of a built-in method: raise it when its figures change (see `kdbench.base.code`)
    version: ClassVar[int] = 1
    title: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    equations: ClassVar[str] = ""  # plain text, for `bench.py show`
    needs: ClassVar[str] = ""  # of a teacher, in words
    task_types: ClassVar[tuple[str, ...]] = ("single",)
    uses_teacher: ClassVar[bool] = True
    # of the published code: (what, why not)
    not_reproduced: ClassVar[tuple[tuple[str, str], ...]] = ()
    builds_student: ClassVar[bool] = False  # whatever --student says
    Options: ClassVar[type]

    def __init__(self, options: Any):
        self.options = options

    @property
    def reads(self) -> str:
        """What it reads of its teacher: `MODEL`, the weights, tokens, vectors or whatever else a
        model has; or `LOGITS`, its answers alone, which a file of them and several teachers have
        too (`Lab.trained_teacher`).
        """
        return MODEL

    def check(self, lab: Lab) -> None:
        """Raise `Skip` with a reason where this teacher, student or task cannot apply."""

    def learns_words(self, own_text: bool) -> bool:
        """Does the method train a vocabulary on text that is the user's own? Then `--min-texts`
        decides what it holds, and is part of the cell's identity.

        own_text  are the examples, or the unlabelled texts, the user's own?
        """
        return False

    @classmethod
    def own_students(cls, width: int) -> Mapping[str, Mapping[str, Any]]:
        """Of a method that builds its student: those that a search looks at, for a teacher of that
        width, by a name, each with the options that give it.
        """
        return {}

    def untrained(self, lab: Lab) -> Model:
        """Such a student before any training: it is as large as the trained one, and as fast."""
        return lab.student()

    def fit(self, lab: Lab) -> Model:
        """The procedure: returns the trained student."""
        raise NotImplementedError
