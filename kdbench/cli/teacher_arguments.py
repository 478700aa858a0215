"""Arguments about teachers: models, files of answers, several of them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from kdbench.cli.arguments import Assignment, Parser

AND = " + "  # between the names of several teachers; as `kdbench.models.teachers` reads them


class Teachers(argparse.Action):
    """Collects the names of several teachers in one text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        """Put the name behind those before it."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{before}{AND}{values}" if before else values)


class TeacherOption(argparse.Action):
    """An option of a file of answers that has a flag of its own."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: str | Sequence[Any] | None, option_string: str | None = None) -> None:
        """Put the value beside those of `--teacher-set`."""
        namespace.teacher_set = {**namespace.teacher_set, self.dest: values}


def add_teacher(verb: Parser) -> None:
    """Who teaches, and how answers are read."""
    verb.add_argument("--teacher", action=Teachers, default=None, metavar="MODEL",
                      help="a model's name, folder (NAME=FOLDER to name it) or hub id, or "
                      "predictions:FILE, answers of anything as JSON lines; several times: the "
                      "mean of their probabilities (default: on real data the best encoder of "
                      "KDBENCH_MODELS, else minilm; on look-alike data tiny-teacher)")
    verb.add_argument("--teacher-labels", default="", metavar="A=B,...",
                      help="which labels of a fine-tuned teacher, or of a file, are which of the "
                      "task's, where the names differ; or a label for every row of a head, in "
                      "their order")
    verb.add_argument("--teacher-set", action=Assignment, default={}, metavar="NAME=VALUE",
                      help="of predictions:FILE: min_confidence, smoothing, weight (equal or "
                      "agreement), spans (characters or words), missing and unusable (shares that "
                      "are admitted)")
    verb.add_argument("--min-confidence", action=TeacherOption, default=argparse.SUPPRESS,
                      metavar="P", help="of predictions:FILE: answers below it teach nothing")
    verb.add_argument("--teacher-weights", default="", metavar="W,...",
                      help="of several teachers: numbers, or dev for their dev scores (default: "
                      "all alike)")
