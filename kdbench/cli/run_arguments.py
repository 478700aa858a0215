"""Arguments of the verbs that train, and of those that make models and data ready."""

from __future__ import annotations

import argparse
from pathlib import Path

from kdbench.base.options import VARIANTS
from kdbench.cli.arguments import Parser, data_path, parse_count, parse_number, parse_seeds
from kdbench.cli.shared_arguments import (
    add_assignments,
    add_data,
    add_json,
    add_seed,
    add_settings,
    add_training,
)
from kdbench.cli.teacher_arguments import add_teacher


def add_run(verb: Parser) -> None:
    """One configuration or a suite."""
    verb.add_argument("suite", nargs="?",
                      help="a name in benchmarks/ or a path; without it: --method and --task")
    verb.add_argument("--method", metavar="M", help="a method (see `list methods`)")
    verb.add_argument("--task", metavar="T", help="a task, or `files` for your own")
    add_data(verb)
    add_teacher(verb)
    verb.add_argument("--student", default=None, metavar="MODEL",
                      help="a model, likewise; cut:N takes N of the teacher's layers")
    add_training(verb, auto_threads=True)
    verb.add_argument("--seeds", type=parse_seeds, default=None, metavar="LIST",
                      help="seeds: 0-4, or 0,3,7 (default: 0, or the suite's)")
    verb.add_argument(
        "--recipe", default="default", choices=("default", "paper"), metavar="recipe",
        help="fine-tuning settings: default, or paper (the published ones of the method on the "
        "task)")
    verb.add_argument(
        "--unlabelled", type=Path, metavar="FILE",
        help="texts that the teacher labels, as further training examples; "
        "or `rest`: the training examples that --max-train-examples leaves out, without their "
        "labels")
    add_settings(verb)
    verb.add_argument("--trials", type=parse_count("--trials"), metavar="N",
                      help="trials that every method and control gets to find its settings with, "
                      "chosen on a part of dev (`show METHOD` prints what is searched)")
    verb.add_argument("--trial-seconds", type=parse_number("--trial-seconds"), metavar="S",
                      help="in place of a number, or beside it: seconds of its trials after which "
                      "none of a method begins")
    add_engine(verb)
    verb.add_argument("--tracker", choices=("tensorboard", "wandb"), metavar="tracker",
                      help="loss terms of every epoch to tensorboard or wandb (default: none)")
    verb.add_argument("--no-controls", action="store_true", help="run the method alone")
    verb.add_argument("--overwrite", action="store_true", help="run anew what is finished")
    verb.add_argument("--profile", action="store_true", help="record and print where the time went")
    add_json(verb, "print the records instead of the table")


def add_engine(verb: Parser) -> None:
    """Which cells of a suite run, and where."""
    verb.add_argument("--only", metavar="PATTERN",
                      help="suite: the cells that fit, as in 'method=M*,task=T' (their seeds: "
                      "--seeds)")
    verb.add_argument("--dry-run", action="store_true",
                      help="list the cells, what is finished and what is missing")
    verb.add_argument("--check", action="store_true",
                      help="name what is missing (models, data, packages); exit 2 if anything is")
    verb.add_argument("--requeue", action="store_true",
                      help="end with exit code 85 at SIGTERM, after a checkpoint, as at SIGUSR1")
    verb.add_argument("--fail-fast", action="store_true", help="stop at the first cell that fails")
    verb.add_argument("--isolate", action=argparse.BooleanOptionalAction, default=None,
                      help="each cell in a process of its own (a suite's default on a GPU)")
    verb.add_argument("--engine", default="local", choices=("local", "ray"), metavar="engine",
                      help="local (default) or ray")
    verb.add_argument("--workers", type=parse_count("--workers"), default=1, metavar="N",
                      help="cells at a time, devices shared out")
    verb.add_argument("--ray-address", metavar="ADDRESS",
                      help="a Ray cluster's; without it a local one is started")


def add_list(verb: Parser) -> None:
    """One noun, or all."""
    verb.add_argument("noun", nargs="?", choices=("methods", "tasks", "models", "suites"),
                      metavar="noun", help="methods, tasks, models or suites")
    add_json(verb)


def add_show(verb: Parser) -> None:
    """A name, and a task for its published settings."""
    verb.add_argument("name")
    verb.add_argument(
        "--task", metavar="T",
        help="of a method: the settings that --recipe paper takes on this task, with their sources")


def add_check(verb: Parser) -> None:
    """A corpus."""
    verb.add_argument("task")
    add_data(verb)
    verb.add_argument("--model", metavar="FOLDER",
                      help="count lengths in this model's tokens (default: an estimate)")
    verb.add_argument("--against-corpus", type=Path, metavar="FILE",
                      help="count the test texts that stand in this text (one sequence a line); "
                           "with --model, note it beside the model that was pre-trained on it")
    add_json(verb)


def add_pretrain(verb: Parser) -> None:
    """A corpus, a student and a teacher."""
    verb.add_argument("out", type=Path, help="the folder that is made")
    verb.add_argument("--method", metavar="M",
                      help="a method with such a stage (default: the plain one, without a teacher)")
    verb.add_argument("--corpus", type=Path, required=True, metavar="FILE",
                      help="text, one sequence a line")
    verb.add_argument("--student", required=True, metavar="MODEL",
                      help="the encoder that is trained")
    verb.add_argument(
        "--teacher", metavar="MODEL",
        help="whose vocabulary is expanded, and who is followed (default: the student)")
    add_settings(verb, ("max_length", "accumulate", "precision", "checkpoint_seconds",
                        "min_texts"))
    add_training(verb)
    add_seed(verb)


def add_prepare(verb: Parser) -> None:
    """Corpora, and where they go."""
    verb.add_argument("task", nargs="*", help="tasks; or --all")
    verb.add_argument("--all", action="store_true", help="all that can be fetched")
    verb.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR",
                      help="where to (default: data)")
    verb.add_argument("--from", dest="source", type=Path, metavar="FOLDER",
                      help="take the files from here instead")


def add_augment(verb: Parser) -> None:
    """A file of sentences, and how they are augmented."""
    verb.add_argument("source", type=Path,
                      help="two columns (word, tag), or JSON lines (tokens, ner_tags)")
    verb.add_argument("target", type=Path, help="the file that is made")
    verb.add_argument("--variant", default="corrected", choices=VARIANTS, metavar="variant",
                      help="corrected (default) or published")
    add_assignments(verb, "--set", "augment, copies, p_mention, ...")
    add_seed(verb)


def add_convert(verb: Parser) -> None:
    """A checkpoint and a folder."""
    verb.add_argument("source", type=Path)
    verb.add_argument("target", type=Path)


def add_convert_data(verb: Parser) -> None:
    """A corpus and what it becomes."""
    verb.add_argument("source", type=data_path, help="a file or folder, as for --train")
    verb.add_argument("target", type=Path,
                      help="the file that is made; of a folder of splits, a new folder")
    verb.add_argument("--encoding", default="", metavar="NAME",
                      help="of text files: cp949, latin-1, ... (default: UTF-8)")
