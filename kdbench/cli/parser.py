"""The verbs of the command line, and the arguments that each takes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from kdbench import __version__
from kdbench.base.errors import BadInput
from kdbench.base.options import VARIANTS
from kdbench.base.places import shipped
from kdbench.base.registry import unknown
from kdbench.cli.arguments import (
    Assignment,
    Parser,
    Setting,
    TaskOption,
    data_path,
    parse_count,
    parse_seeds,
    parse_threads,
)
from kdbench.train.spec import Settings, flag_of

REPORTED = shipped("results") / "reported.csv"
RESULTS = Path("results/local")
SPLITS = ("train", "dev", "test")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; `verb` is None where it names none.

    Without a verb, the first word being an option, the verb is run.
    """
    words = list(words)
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
        words.insert(0, "run")
    top = parser()
    if words and not words[0].startswith("-") and words[0] not in top.verbs:
        raise BadInput(unknown("verb", words[0], top.verbs))
    args, rest = top.parse_known_args(words)
    if args.verb == "predict" and not any(word.startswith("-") for word in rest):
        args.text += rest  # argparse gives up on texts that stand behind an option
    elif rest:
        flags = top.verbs[args.verb or "run"].flags
        raise BadInput(unknown("option", rest[0].partition("=")[0], flags))
    return args


def parser() -> Parser:
    """The parser of all verbs."""
    top = Parser(
        prog="bench.py",
        description="Knowledge distillation for biomedical and clinical text, under one protocol.",
        epilog="`bench.py --method M --task T` is short for `bench.py run --method M --task T`.")
    top.add_argument("--version", action="version", version=f"kdbench {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="verb", parser_class=Parser)
    for name, (help, add_arguments) in VERBS.items():
        verb = verbs.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        verb.add_argument("--plugin", action="append", metavar="FILE",
                          help="a Python file that registers methods, tasks or models")
        add_arguments(verb)
        top.verbs[name] = verb
    return top


# --- what several verbs take ----------------------------------------------------------------------


def add_results_dir(verb: Parser, help: str = "default: results/local") -> None:
    """Where records are."""
    verb.add_argument("--results-dir", type=Path, default=RESULTS, metavar="DIR", help=help)


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


# --- the verbs ------------------------------------------------------------------------------------


def add_run(verb: Parser) -> None:
    """One configuration or a suite."""
    verb.add_argument("suite", nargs="?",
                      help="a name in benchmarks/ or a path; without it: --method and --task")
    verb.add_argument("--method", metavar="M", help="a method (see `list methods`)")
    verb.add_argument("--task", metavar="T", help="a task, or `files` for your own")
    add_data(verb)
    verb.add_argument("--teacher", default=None, metavar="MODEL",
                      help="a model's name, folder (NAME=FOLDER to name it) or hub id (default: "
                      "on real data the best encoder of KDBENCH_MODELS, else minilm; on look-alike "
                      "data tiny-teacher)")
    verb.add_argument("--teacher-labels", default="", metavar="A=B,...",
                      help="which labels of a fine-tuned teacher are which of the task's, where "
                      "the names differ; or a label for every row of its head, in their order")
    verb.add_argument("--student", default=None, metavar="MODEL",
                      help="likewise; cut:N takes N of the teacher's layers")
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
                      help="suite: the cells that fit, as in 'method=M*,seed=0'")
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
    add_settings(verb, ("max_length", "accumulate", "precision", "checkpoint_seconds"))
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


def add_export(verb: Parser) -> None:
    """A run, a folder and formats."""
    add_run_id(verb)
    verb.add_argument("out", type=Path, help="the folder that is made")
    verb.add_argument("--formats", "--kinds", dest="formats",
                      default="safetensors,onnx,onnx_int8", metavar="LIST",
                      help="of safetensors, safetensors_fp16, safetensors_bf16, onnx, onnx_int8")
    add_place(verb)
    verb.add_argument("--latency", default="full", choices=("full", "quick"), metavar="protocol",
                      help="full (default) or quick")


def add_evaluate(verb: Parser) -> None:
    """A student and a file."""
    add_run_id(verb)
    verb.add_argument("--file", type=data_path, metavar="FILE",
                      help="labelled rows, of any layout (default: the run's own test set)")
    verb.add_argument("--test", dest="file", type=data_path, metavar="FILE",
                      help="the same as --file")
    add_place(verb, ("train", "dev"))
    verb.add_argument("-o", "--out", type=Path, metavar="FILE",
                      help="make a file of predictions: JSON lines with row, id, gold, answer")
    verb.add_argument("--time", action="store_true", help="take its latency too")


def add_predict(verb: Parser) -> None:
    """A run and texts."""
    add_run_id(verb)
    verb.add_argument("text", nargs="*", help="texts")
    verb.add_argument("--file", type=data_path, metavar="FILE",
                      help="texts: one a line, or rows with a column of texts (CSV, JSON, ...)")
    add_task_options(verb)
    verb.add_argument("--words", action="store_true",
                      help="taggers: the texts are cut into words already: a JSON list, words with "
                      "blanks between, or a file of one word a line")
    verb.add_argument("--backend", choices=("torch", "onnxruntime"), metavar="backend",
                      help="torch or onnxruntime")


def add_label(verb: Parser) -> None:
    """A student, a file of texts, and a file that is made."""
    add_run_id(verb)
    verb.add_argument("--file", type=data_path, metavar="FILE",
                      help="texts: one a line, or rows with a column of texts (CSV, JSON, ...)")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE",
                      help="the labelled rows: JSON lines that `run --task files` reads")
    add_task_options(verb)
    verb.add_argument("--backend", choices=("torch", "onnxruntime"), metavar="backend",
                      help="torch or onnxruntime")


def add_verify(verb: Parser) -> None:
    """A folder or a run, and the data."""
    verb.add_argument("target", metavar="FOLDER|RUN",
                      help="a results folder, or a record's id (its beginning)")
    add_results_dir(verb, "of a RUN (default: results/local)")
    add_corpora(verb)
    add_run_files(verb)
    add_json(verb)


def add_study(verb: Parser) -> None:
    """A folder."""
    verb.add_argument("folder", type=Path)
    verb.add_argument("--check", action="store_true",
                      help="write nothing; exit code 1 where a page is not what its records give")


def add_records(verb: Parser) -> None:
    """Which records, and what stands beside them."""
    verb.add_argument("suite", nargs="?", metavar="SUITE|FILTER",
                      help="a suite, or a filter as in 'method=M*,seed=0'")
    add_results_dir(verb)
    verb.add_argument("--against", type=Path, nargs="?", const=REPORTED, metavar="CSV",
                      help="published figures beside ours (default: results/reported.csv)")
    verb.add_argument("--no-intervals", action="store_true", help="means and SDs alone, at once")


def add_table(verb: Parser) -> None:
    """Records, a format and columns."""
    add_records(verb)
    verb.add_argument(
        "--format", choices=("text", "markdown", "csv", "latex", "json"), metavar="format",
        help="text, markdown, csv, latex or json (default: text at a terminal, else markdown)")
    verb.add_argument("--columns", metavar="LIST", help="columns by name")


def add_report(verb: Parser) -> None:
    """Records and a file."""
    add_records(verb)
    verb.add_argument("-o", "--out", type=Path, default=Path("report.html"), metavar="FILE",
                      help="default: report.html")


def add_runs(verb: Parser) -> None:
    """Which runs, or one."""
    verb.add_argument("suite", nargs="?", metavar="RUN|SUITE|FILTER",
                      help="a run's id (its beginning), a suite, or a filter as in 'method=M*'")
    add_results_dir(verb)
    add_json(verb)


def add_compare(verb: Parser) -> None:
    """Two runs, and their data."""
    verb.add_argument("run", metavar="RUN", help="a record's id, or its beginning")
    verb.add_argument("other", metavar="RUN", help="another one, scored on the same data")
    verb.add_argument("--limit", type=int, default=20, metavar="N",
                      help="rows to show of those on which they differ (default: 20; 0: all)")
    verb.add_argument("--texts", action="store_true", help="show the texts of these rows too")
    add_results_dir(verb)
    add_corpora(verb)
    add_run_files(verb)
    add_json(verb)


def add_clean(verb: Parser) -> None:
    """What may go."""
    add_results_dir(verb)
    verb.add_argument("--yes", action="store_true", help="delete; without it, only look")
    verb.add_argument("--older-than", type=float, default=0.0, metavar="DAYS",
                      help="only what was last written so many days ago")
    add_json(verb)


VERBS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "run": ("run one configuration with its controls, or a suite", add_run),
    "list": ("what there is: methods, tasks, models, suites", add_list),
    "show": ("all about one method, task or model", add_show),
    "check": ("look at a corpus: rows, labels, lengths, overlap, samples", add_check),
    "pretrain": ("masked-LM training on a text corpus: plain or distilled", add_pretrain),
    "prepare": ("fetch a corpus from its public source and verify it", add_prepare),
    "augment": ("augment a file of tagged sentences: the originals and their copies", add_augment),
    "convert": ("turn .bin/.pt weights or a TF1 BERT checkpoint into a safetensors folder",
                add_convert),
    "convert-data": ("write a corpus of any layout as JSON lines", add_convert_data),
    "export": ("export a run's student, scored and timed as it would be served", add_export),
    "evaluate": ("score a run's student on another file", add_evaluate),
    "predict": ("labels with probabilities, or entities, of new texts", add_predict),
    "label": ("label a file of texts with a student: training data for another", add_label),
    "runs": ("one's runs: ids, scores, sizes, and where models lie", add_runs),
    "compare": ("how two runs differ: the interval, and the rows", add_compare),
    "clean": ("delete what no run refers to (first it only looks)", add_clean),
    "verify": ("recompute what records say from what lies beside them", add_verify),
    "study": ("write the generated pages of a study (results/NAME with study.toml and records)",
              add_study),
    "table": ("records to a table", add_table),
    "report": ("records to one HTML page", add_report),
}
