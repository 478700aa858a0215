"""A plugin for tests of the machinery around methods: a method that trains nothing, and a model without dropout."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from kdbench.base.registry import METHODS, Entry
from kdbench.models.zoo import MODELS, tiny
from kdbench.train.method import Method, option

STILL = tiny("bert")
MODELS.add(Entry("tiny:still", replace(STILL, config={**STILL.config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
                 about="tiny:bert without dropout"))


@METHODS.register("standin", task_types=("single",), about="gives the student as it came")
class StandIn(Method):
    name = "standin"
    title = citation = equations = "none"
    needs = "nothing"
    task_types = ("single",)
    uses_teacher = False

    @dataclass(frozen=True)
    class Options:
        seconds: float = option(0.0, "how long it takes", minimum=0)
        fails: bool = option(False, "raise instead")
        dies: bool = option(False, "take the whole process down, as a lack of memory does")
        dies_before: str = option("", "a file: take the process down where it is not there yet, and make it")

    def fit(self, lab):
        time.sleep(self.options.seconds)
        if self.options.fails:
            raise RuntimeError("asked to fail")
        if self.options.dies_before and not Path(self.options.dies_before).exists():
            Path(self.options.dies_before).touch()
            os.kill(os.getpid(), 9)
        if self.options.dies:
            os.kill(os.getpid(), 9)
        return lab.student()
