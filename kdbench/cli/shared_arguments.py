"""Arguments that several verbs take."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from kdbench.base.options import VARIANTS
from kdbench.cli.arguments import (
    Assignment,
    Parser,
    Setting,
    TaskOption,
    data_path,
    parse_count,
    parse_threads,
)
from kdbench.train.spec import Settings, flag_of

RESULTS = Path("results/local")
SPLITS = ("train", "dev", "test")


def add_results_dir(verb: Parser, help: str = "default: results/local") -> None:
    """Where records are."""
    verb.add_argument("--results-dir", type=Path, default=RESULTS, metavar="DIR", help=help)


def add_serve_on(verb: Parser) -> None:
    """The device that a student is timed and answers on."""
    verb.add_argument("--serve-on", default="cpu", choices=("cpu", "cuda"), metavar="device",
                      help="the student is timed and answers on: cpu (default) or cuda")


def add_threads(verb: Parser, auto: bool = False) -> None:
    """How many threads torch has; with `auto`, a word that lets each cell choose."""
    more = "; auto: one for a tiny model, else the cores that are idle" if auto else ""
    verb.add_argument("--threads", type=parse_threads if auto else parse_count("--threads"),
                      default=None, metavar="N",
                      help=f"CPU threads (default: all cores{more})")


def add_json(verb: Parser, help: str = "for programs") -> None:
    """JSON instead of text."""
    verb.add_argument("--json", action="store_true", help=help)


def add_corpora(verb: Parser) -> None:
    """Where corpora are."""
    verb.add_argument("--data-dir", type=Path, metavar="DIR",
                      help="where the corpora are (also: KDBENCH_DATA)")


def add_assignments(verb: Parser, flag: str, help: str) -> None:
    """An option that is given as NAME=VALUE, several times."""
    verb.add_argument(flag, action=Assignment, default={}, metavar="NAME=VALUE", help=help)


def add_run_files(verb: Parser, splits: Sequence[str] = SPLITS) -> None:
    """The files of a run of task `files`, where they are not where the run had them."""
    for split in splits:
        verb.add_argument(f"--{split}", type=data_path, metavar="FILE",
                          help=f"task files: {split}, where it is not where the run had it")


def add_data(verb: Parser) -> None:
    """The data of a task."""
    verb.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="where the corpora are (also: the variable KDBENCH_DATA); "
        "without it the embedded look-alike is used")
    verb.add_argument("--train", type=data_path, metavar="FILE",
                      help="task files: training examples")
    verb.add_argument("--dev", type=data_path, metavar="FILE",
                      help="task files: development examples (default: a part of --train)")
    verb.add_argument("--test", type=data_path, metavar="FILE",
                      help="task files: test examples (default: a part of --train)")
    add_task_options(verb)
    verb.add_argument("--name", action=TaskOption, default=argparse.SUPPRESS, metavar="NAME",
                      help="task files: what tables call this corpus")
    verb.add_argument(
        "--labels-from", action=TaskOption, default=argparse.SUPPRESS, metavar="SPLITS",
        help="task files: all, where dev or test has a label that train has not (default: train)")


def add_task_options(verb: Parser) -> None:
    """Options of the task, and how its files are read."""
    add_assignments(verb, "--task-set", "an option of the task (see `show TASK`)")
    verb.add_argument("--encoding", action=TaskOption, default=argparse.SUPPRESS, metavar="NAME",
                      help="task files: cp949, latin-1, ... (default: UTF-8)")


def add_place(verb: Parser, splits: Sequence[str] = SPLITS) -> None:
    """Where the data of a run lie now."""
    add_corpora(verb)
    add_run_files(verb, splits)
    add_task_options(verb)


def add_training(verb: Parser, auto_threads: bool = False) -> None:
    """How a method trains, besides the settings of the protocol."""
    verb.add_argument(
        "--variant", default="corrected", choices=VARIANTS, metavar="variant",
        help="what the method means (corrected, the default) or what the authors' code computes "
        "(published)")
    add_assignments(verb, "--set", "an option of the method (see `show METHOD`)")
    add_results_dir(verb)
    verb.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"),
                      metavar="device", help="auto, cpu or cuda")
    add_threads(verb, auto_threads)


def add_settings(verb: Parser, names: Sequence[str] | None = None) -> None:
    """The settings of the protocol, all of them or those of these names."""
    verb.set_defaults(settings={})
    for field in dataclasses.fields(Settings):
        if names is None or field.name in names:
            # where it is None, the text says what that means
            default = "" if field.default is None else f" (default: {field.default})"
            verb.add_argument(flag_of(field.name), action=Setting, default=argparse.SUPPRESS,
                              metavar="X", help=f"{field.metadata['help']}{default}")


def add_seed(verb: Parser) -> None:
    """One seed."""
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def add_run_id(verb: Parser) -> None:
    """A finished run, and how its student is put to work."""
    verb.add_argument("run", metavar="RUN",
                      help="a record's id, or its beginning; predict and evaluate take the folder "
                      "of a student too")
    add_results_dir(verb)
    add_threads(verb)
    add_json(verb)
