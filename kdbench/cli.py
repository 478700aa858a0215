"""The command line. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from kdbench import __version__
from kdbench.errors import BadInput, Broken, Skip
from kdbench.registry import METHODS, load_entry_points, load_plugin, unknown
from kdbench.spec import Settings
from kdbench.task_index import TASKS
from kdbench.zoo import MODELS

DONE, FAILED, BAD_INPUT = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, dispatch, and turn every foreseen error into one line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
        words.insert(0, "run")  # the flat form
    try:
        args = parser().parse_args(words)
        if args.verb is None:
            parser().print_help()
            return BAD_INPUT
        for path in getattr(args, "plugin", None) or ():
            load_plugin(path)
        load_entry_points()
        return args.do(args) or DONE
    except (BadInput, Skip) as error:
        print(f"bench.py: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except Broken as error:
        print(f"bench.py: {one_line(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("bench.py: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (the reader of a pipe went away; nothing is lost)
        return DONE
    except OSError as error:
        if error.errno is None:
            raise
        print(f"bench.py: {error.filename or 'writing'}: {error.strerror}; make room or give another folder", file=sys.stderr)
        return FAILED


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class Parser(argparse.ArgumentParser):
    """One line instead of the usage text, with a suggestion where a word is close to a known one."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise BadInput(unknown(action.metavar or action.dest, str(value), [str(c) for c in action.choices]))


def parser() -> Parser:
    top = Parser(prog="bench.py", description="Knowledge distillation for biomedical and clinical text, under one protocol.",
                 epilog="`bench.py --method M --task T` is short for `bench.py run --method M --task T`.")
    top.add_argument("--version", action="version", version=f"kdbench {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="verb", parser_class=Parser)

    def verb(name: str, do: Any, help: str) -> Parser:
        made = verbs.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        made.set_defaults(do=do)
        made.add_argument("--plugin", action="append", metavar="FILE", help="a Python file that registers methods, tasks or models")
        return made

    run = verb("run", do_run, "run one configuration with its controls, or a suite")
    run.add_argument("suite", nargs="?", help="a name in benchmarks/ or a path; without it: --method and --task")
    add_run_options(run)

    listing = verb("list", do_list, "what there is: methods, tasks, models, suites")
    listing.add_argument("noun", nargs="?", choices=("methods", "tasks", "models", "suites"), metavar="noun",
                         help="methods, tasks, models or suites")
    listing.add_argument("--json", action="store_true", help="for programs")

    show = verb("show", do_show, "all about one method, task or model")
    show.add_argument("name")

    check = verb("check", do_check, "look at a corpus: rows, labels, lengths, overlap, samples")
    add_data_options(check, positional=True)
    check.add_argument("--model", metavar="FOLDER", help="count lengths in this model's tokens too")
    check.add_argument("--json", action="store_true", help="for programs")
    return top


def add_data_options(to: argparse.ArgumentParser, *, positional: bool = False) -> None:
    if positional:
        to.add_argument("task")
    else:
        to.add_argument("--task", metavar="T", help="a task, or `files` for your own")
    to.add_argument("--data-dir", type=Path, metavar="DIR", help="where the corpora are (also: the variable KDBENCH_DATA); "
                    "without it the embedded look-alike is used")
    to.add_argument("--train", type=Path, metavar="FILE", help="task files: training examples")
    to.add_argument("--dev", type=Path, metavar="FILE", help="task files: development examples (default: a part of --train)")
    to.add_argument("--test", type=Path, metavar="FILE", help="task files: test examples")
    to.add_argument("--task-set", action="append", default=[], metavar="NAME=VALUE", help="an option of the task (see `show TASK`)")


def add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--method", metavar="M", help="a method (see `list methods`)")
    add_data_options(run)
    run.add_argument("--teacher", default=None, metavar="MODEL", help="a model's name, folder (NAME=FOLDER to name it) or hub id")
    run.add_argument("--student", default=None, metavar="MODEL", help="likewise; cut:N takes N of the teacher's layers")
    run.add_argument("--variant", default="corrected", choices=("corrected", "published"), metavar="variant",
                     help="what the method means (corrected, the default) or what the authors' code computes (published)")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the method (see `show METHOD`)")
    run.add_argument("--seeds", default="0", metavar="LIST", help="seeds: 0-4, or 0,3,7 (default: 0)")
    run.add_argument("--recipe", default="default", choices=("default", "paper"), metavar="recipe",
                     help="fine-tuning settings: default, or paper (the task's published ones)")
    run.add_argument("--unlabelled", type=Path, metavar="FILE", help="texts that the teacher labels, as further training examples")
    for field in dataclasses.fields(Settings):
        run.add_argument(f"--{field.name.replace('_', '-')}", default=None, metavar="X",
                         help=f"{field.metadata['help']} (default: {field.default})")
    run.add_argument("--results-dir", type=Path, default=Path("results/local"), metavar="DIR", help="default: results/local")
    run.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), metavar="device", help="auto, cpu or cuda")
    run.add_argument("--threads", type=int, default=None, metavar="N", help="CPU threads (default: all cores)")
    run.add_argument("--no-controls", action="store_true", help="run the method alone")
    run.add_argument("--overwrite", action="store_true", help="run anew what is finished")
    run.add_argument("--profile", action="store_true", help="record and print where the time went")
    run.add_argument("--json", action="store_true", help="print the records instead of the table")


# --- verbs: run ---------------------------------------------------------------------------------


def do_run(args: argparse.Namespace) -> int:
    if not args.method or not args.task:
        raise BadInput("name a method and a task: bench.py --method M --task T (see `bench.py list`)")
    METHODS.entry(args.method)
    TASKS.entry(args.task)
    seeds = parse_seeds(args.seeds)
    data_dir, files = data_options(args)
    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(Settings) if getattr(args, f.name) is not None}
    chosen, task_chosen = assignments(args.set, "--set"), assignments(args.task_set, "--task-set")
    from kdbench.store import check_writable

    check_writable(args.results_dir)

    from kdbench.runner import Request, Runner, plan
    from kdbench.tables import run_table

    teacher, student = args.teacher or "tiny-teacher", args.student or "tiny-student"
    request = Request(args.method, args.task, teacher, student, args.variant, chosen, given, task_chosen,
                      args.recipe, data_dir, files, args.unlabelled)
    jobs = plan(request, seeds, controls=not args.no_controls)
    runner = Runner(args.results_dir, device=args.device, overwrite=args.overwrite, threads=args.threads, profile=args.profile)
    records = runner.run(jobs)
    if not runner.accelerator.is_main_process:
        return DONE
    if args.json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
    else:
        print(run_table(records))
        if args.profile:
            print(profile(records))
    failed = [record for record in records if record["status"] == "failed"]
    for record in failed:
        print(f"failed: {record['cell']['method']} seed {record['cell']['seed']}: {record['error']['type']}: "
              f"{one_line(Exception(record['error']['message']))}", file=sys.stderr)
    return FAILED if failed else DONE


def profile(records: list[dict[str, Any]]) -> str:
    """Where the time of the cells that were trained now went, in seconds and shares."""
    lines = ["", "Where the time went (seconds):"]
    for record in records:
        if phases := record.get("cost", {}).get("profile"):
            total = phases["total"] or 1.0
            parts = ", ".join(f"{name} {value:.1f} ({value / total:.0%})" for name, value in phases.items() if name != "total")
            lines.append(f"  {record['cell']['method']} {record['cell']['student']}: {parts}")
    return "\n".join(lines)


def data_options(args: argparse.Namespace) -> tuple[Path | None, dict[str, Path]]:
    """The data folder (option or variable), which must exist, and the files of task `files`."""
    files = {split: path for split in ("train", "dev", "test") if (path := getattr(args, split)) is not None}
    if files and args.task != "files":
        raise BadInput("--train, --dev and --test go with --task files")
    folder = args.data_dir or (Path(os.environ["KDBENCH_DATA"]) if os.environ.get("KDBENCH_DATA") else None)
    if folder is not None and not folder.is_dir():
        raise BadInput(f"data folder {folder}: no such folder; leave --data-dir out for the embedded look-alike, "
                       f"or fetch the corpus with `bench.py prepare {args.task}`")
    return folder, files


def parse_seeds(text: str) -> list[int]:
    """0-4 or 0,3,7 as a list of whole numbers."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise BadInput(f"--seeds {text!r}: write 0-4 or 0,3,7")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) != len(seeds) or not seeds:
        raise BadInput(f"--seeds {text!r}: a seed stands there twice, or none")
    return seeds


def assignments(given: Sequence[str], flag: str) -> dict[str, str]:
    """NAME=VALUE words as a dictionary."""
    found: dict[str, str] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadInput(f"{flag} {word!r}: write NAME=VALUE")
        if name in found:
            raise BadInput(f"{flag} {name}: given twice")
        found[name] = value
    return found


# --- verbs: looking ------------------------------------------------------------------------------


def do_list(args: argparse.Namespace) -> int:
    from kdbench.listing import everything, render

    found = everything()
    if args.noun:
        found = {args.noun: found[args.noun]}
    print(json.dumps(found, indent=1, ensure_ascii=False) if args.json else render(found))
    return DONE


def do_show(args: argparse.Namespace) -> int:
    from kdbench.listing import show

    print(show(args.name))
    return DONE


def do_check(args: argparse.Namespace) -> int:
    from kdbench import corpora
    from kdbench.options import build
    from kdbench.task import LoadOptions

    task = TASKS.get(args.task)
    folder, files = data_options(args)
    chosen = build(task.options, "corrected", assignments(args.task_set, "--task-set"), f"task {args.task}") if task.options else None
    data = corpora.load(task, LoadOptions(folder, files, chosen))
    report = corpora.check(corpora.settled(task, data), data, args.model)
    print(json.dumps(report, indent=1, ensure_ascii=False) if args.json else corpora.render_check(report))
    return DONE


__all__ = ["METHODS", "MODELS", "TASKS", "main", "parser"]
