"""The same number of optimiser steps for every student, however many trainings its method has.

How many trainings a method has, and how long each is, shows only when it runs. So it runs twice:
first a rehearsal, whose trainings are of one step and are counted by the steps that they would
take; then in earnest, these steps scaled to the number that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

from kdbench.base.errors import BadInput, Broken
from kdbench.models.load import Role
from kdbench.train.training import Training


class Steps(NamedTuple):
    """The most steps of a training (None: any), and the cell that it rehearses for."""

    most: int | None
    owner: str | None = None


@dataclass
class StepBudget:
    """The steps of a cell's student, shared out among its trainings as the method's epochs are.

    total      of all trainings together; a control that the method adds has as many for itself
    owner      of the cell: what is trained in its rehearsal is found by no other
    asked      of each training, in order: the steps that it would take without a budget
    rehearsed  is the rehearsal over?
    begun      trainings since then
    trained    the keys of what the rehearsal has trained
    """

    total: int
    owner: str
    asked: list[float] = field(default_factory=list)
    rehearsed: bool = False
    begun: int = 0
    trained: list[str] = field(default_factory=list)

    def rehearse(self, training: Training, role: Role, steps: float) -> Training:
        """A training of one step in place of `training`, whose `steps` are counted."""
        if role is Role.STUDENT:
            self.asked.append(steps)
        return replace(training, select="last", eval_steps=None, patience=None)

    def next(self, role: Role) -> int:
        """The steps of the training that begins now; `Broken` where the rehearsal had fewer."""
        if role is Role.CONTROL:
            return self.total
        if self.begun == len(self.asked):
            raise Broken(f"training {self.begun + 1} of the student is one more than its rehearsal "
                         "had: a method that decides by scores what it trains takes no "
                         "--steps-equal")
        self.begun += 1
        return shares(self.total, self.asked)[self.begun - 1]

    def check_spent(self) -> None:
        """`Broken` where the rehearsal had trainings that have not come."""
        if self.begun < len(self.asked):
            raise Broken(f"{self.begun} trainings of the student, and its rehearsal had "
                         f"{len(self.asked)}: a method that decides by scores what it trains takes "
                         "no --steps-equal")


def shares(total: int, asked: list[float]) -> list[int]:
    """`total` steps in the proportion of `asked`, at least one each."""
    rest = total - len(asked)
    if rest < 0:
        raise BadInput(f"--steps-equal {total}: this method has {len(asked)} trainings, and each "
                       f"takes a step; give at least {len(asked)}")
    ends = [round(rest * end / sum(asked)) for end in accumulate(asked)]
    return [1 + end - start for start, end in pairwise([0, *ends])]
