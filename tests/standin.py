"""A method that trains nothing: cells for tests of the machinery around methods."""

import os
import time
from dataclasses import dataclass

from kdbench.method import Method, option
from kdbench.registry import METHODS


@METHODS.register("standin", kinds=("single",), about="gives the student as it came")
class StandIn(Method):
    name = "standin"
    title = citation = equations = "none"
    needs = "nothing"
    kinds = ("single",)
    uses_teacher = False

    @dataclass(frozen=True)
    class Options:
        seconds: float = option(0.0, "how long it takes", minimum=0)
        fails: bool = option(False, "raise instead")
        dies: bool = option(False, "take the whole process down, as a lack of memory does")

    def fit(self, lab):
        time.sleep(self.options.seconds)
        if self.options.fails:
            raise RuntimeError("asked to fail")
        if self.options.dies:
            os.kill(os.getpid(), 9)
        return lab.student()
