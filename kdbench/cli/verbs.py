"""The command line. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from kdbench import __version__
from kdbench.base.errors import BAD_INPUT, DONE, FAILED, BadInput, guarded, one_line
from kdbench.base.places import shipped
from kdbench.base.registry import METHODS, TASKS, unknown
from kdbench.train.spec import Settings

FILTERS = ("method", "task", "variant", "teacher", "student", "seed")  # fields of a record's cell
REPORTED = shipped("results") / "reported.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and dispatch; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
        words.insert(0, "run")  # the flat form
    return guarded(lambda: obey(words))


def obey(words: Sequence[str]) -> int | None:
    args, rest = parser().parse_known_args(words)
    if rest and not (args.verb == "predict" and all(not word.startswith("-") for word in rest)):
        raise BadInput(unrecognised(rest[0], args.verb))
    if rest:  # argparse gives up on texts that stand behind an option
        args.text += rest
    if args.verb is None:
        parser().print_help()
        return BAD_INPUT
    if getattr(args, "plugin", None):  # workers read the variable
        before = [os.environ["KDBENCH_PLUGINS"]] if os.environ.get("KDBENCH_PLUGINS") else []
        os.environ["KDBENCH_PLUGINS"] = os.pathsep.join(
            [*before, *(str(Path(path).absolute()) for path in args.plugin)])
    if plugins_named():
        from kdbench.runs.plugins import load_plugins

        load_plugins()
    return args.do(args)


def plugins_named() -> bool:
    """Is there any plugin, named by the variable or offered by an installed package?"""
    from importlib.metadata import entry_points

    return bool(os.environ.get("KDBENCH_PLUGINS") or entry_points(group="kdbench"))


def unrecognised(word: str, verb: str | None) -> str:
    actions = next(a for a in parser()._actions
                   if isinstance(a, argparse._SubParsersAction)).choices[verb or "run"]._actions
    flags = [flag for action in actions for flag in action.option_strings if flag.startswith("--")]
    return unknown("option", word.partition("=")[0], flags)


class Parser(argparse.ArgumentParser):
    """One line instead of the usage text, with a suggestion where a word is close to a known
    one.
    """

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise BadInput(
                unknown(str(action.metavar or action.dest), str(value),
                        [str(c) for c in action.choices]))


def parser() -> Parser:
    top = Parser(
        prog="bench.py",
        description="Knowledge distillation for biomedical and clinical text, under one protocol.",
        epilog="`bench.py --method M --task T` is short for `bench.py run --method M --task T`.")
    top.add_argument("--version", action="version", version=f"kdbench {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="verb", parser_class=Parser)

    def verb(name: str, do: Any, help: str) -> Parser:
        made = verbs.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        made.set_defaults(do=do)
        made.add_argument("--plugin", action="append", metavar="FILE",
                          help="a Python file that registers methods, tasks or models")
        return made

    run = verb("run", do_run, "run one configuration with its controls, or a suite")
    run.add_argument("suite", nargs="?",
                     help="a name in benchmarks/ or a path; without it: --method and --task")
    add_run_options(run)

    listing = verb("list", do_list, "what there is: methods, tasks, models, suites")
    listing.add_argument("noun", nargs="?", choices=("methods", "tasks", "models", "suites"),
                         metavar="noun", help="methods, tasks, models or suites")
    listing.add_argument("--json", action="store_true", help="for programs")

    show = verb("show", do_show, "all about one method, task or model")
    show.add_argument("name")
    show.add_argument(
        "--task", metavar="T",
        help="of a method: the settings that --recipe paper takes on this task, with their sources")

    check = verb("check", do_check, "look at a corpus: rows, labels, lengths, overlap, samples")
    add_data_options(check, positional=True)
    check.add_argument("--model", metavar="FOLDER", help="count lengths in this model's tokens too")
    check.add_argument("--json", action="store_true", help="for programs")

    pretrain = verb("pretrain", do_pretrain,
                    "masked-LM training on a text corpus: plain (adapt) or distilled (ve_kd)")
    pretrain.add_argument("out", type=Path, help="the folder that is made")
    pretrain.add_argument("--method", default="adapt", metavar="M",
                          help="adapt (plain, the default) or ve_kd (distilled)")
    pretrain.add_argument("--corpus", type=Path, required=True, metavar="FILE",
                          help="text, one sequence a line")
    pretrain.add_argument("--student", required=True, metavar="MODEL",
                          help="the encoder that is trained")
    pretrain.add_argument(
        "--teacher", metavar="MODEL",
        help="whose vocabulary is expanded, and who is followed (default: the student)")
    add_setting_options(pretrain, ("max_length", "accumulate", "precision", "checkpoint_seconds"))
    add_common_options(pretrain)
    pretrain.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")

    prepare = verb("prepare", do_prepare, "fetch a corpus from its public source and verify it")
    prepare.add_argument("task", nargs="*", help="tasks; or --all")
    prepare.add_argument("--all", action="store_true", help="all that can be fetched")
    prepare.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR",
                         help="where to (default: data)")
    prepare.add_argument("--from", dest="source", type=Path, metavar="FOLDER",
                         help="take the files from here instead")

    augment = verb("augment", do_augment,
                   "augment a file of tagged sentences: the originals and their copies")
    augment.add_argument("source", type=Path,
                         help="two columns (word, tag), or JSON lines (tokens, ner_tags)")
    augment.add_argument("target", type=Path, help="the file that is made")
    augment.add_argument("--variant", default="corrected", choices=("corrected", "published"),
                         metavar="variant", help="corrected (default) or published")
    augment.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                         help="augment, copies, p_mention, ...")
    augment.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")

    convert = verb("convert", do_convert,
                   "turn .bin/.pt weights or a TF1 BERT checkpoint into a safetensors folder")
    convert.add_argument("source", type=Path)
    convert.add_argument("target", type=Path)

    def of_run(name: str, do: Any, help: str) -> Parser:
        made = verb(name, do, help)
        made.add_argument("run", metavar="RUN", help="a record's id, or its beginning")
        made.add_argument("--results-dir", type=Path, default=Path("results/local"), metavar="DIR",
                          help="default: results/local")
        made.add_argument("--threads", type=int, default=None, metavar="N",
                          help="CPU threads (default: all cores)")
        made.add_argument("--json", action="store_true", help="for programs")
        return made

    export = of_run("export", do_export,
                    "export a run's student, scored and timed as it would be served")
    export.add_argument("out", type=Path, help="the folder that is made")
    export.add_argument("--formats", "--kinds", dest="formats",
                        default="safetensors,onnx,onnx_int8", metavar="LIST",
                        help="of safetensors, safetensors_fp16, safetensors_bf16, onnx, onnx_int8")
    export.add_argument("--data-dir", type=Path, metavar="DIR",
                        help="where the corpora are (also: KDBENCH_DATA)")
    export.add_argument("--latency", default="full", choices=("full", "quick"), metavar="protocol",
                        help="full (default) or quick")

    evaluate = of_run("evaluate", do_evaluate, "score a run's student on another file")
    evaluate.add_argument("--test", type=Path, required=True, metavar="FILE")
    evaluate.add_argument("--time", action="store_true", help="take its latency too")

    predict = of_run("predict", do_predict, "labels with probabilities, or entities, of new texts")
    predict.add_argument("text", nargs="*", help="texts")
    predict.add_argument("--file", type=Path, metavar="FILE",
                         help="texts, one a line (or JSON lines)")
    predict.add_argument("--backend", choices=("torch", "onnxruntime"), metavar="backend",
                         help="torch or onnxruntime")

    check = verb("verify", do_verify, "recompute what records say from what lies beside them")
    check.add_argument("target", metavar="FOLDER|RUN",
                       help="a results folder, or a record's id (its beginning)")
    check.add_argument("--results-dir", type=Path, default=Path("results/local"), metavar="DIR",
                       help="of a RUN (default: results/local)")
    check.add_argument("--data-dir", type=Path, metavar="DIR",
                       help="where the corpora are (also: KDBENCH_DATA)")
    for split in ("train", "dev", "test"):
        check.add_argument(f"--{split}", type=Path, metavar="FILE",
                           help=f"task files: {split}, as the run had it")
    check.add_argument("--json", action="store_true", help="for programs")

    study = verb("study", do_study,
                 "write the generated pages of a study (results/NAME with study.toml and records)")
    study.add_argument("folder", type=Path)
    study.add_argument("--check", action="store_true",
                       help="write nothing; exit code 1 where a page is not what its records give")

    tabling = ("table", do_table, "records to a table")
    reporting = ("report", do_report, "records to one HTML page")
    for name, do, help in (tabling, reporting):
        made = verb(name, do, help)
        made.add_argument("suite", nargs="?", metavar="SUITE|FILTER",
                          help="a suite, or a filter as in 'task=chemprot,method=dok*'")
        made.add_argument("--results-dir", type=Path, default=Path("results/local"), metavar="DIR",
                          help="default: results/local")
        made.add_argument("--against", type=Path, nargs="?", const=REPORTED, metavar="CSV",
                          help="published figures beside ours (default: results/reported.csv)")
        made.add_argument("--no-intervals", action="store_true",
                          help="means and SDs alone, at once")
        if name == "table":
            made.add_argument(
                "--format", choices=("text", "markdown", "csv", "latex", "json"), metavar="format",
                help=
                "text, markdown, csv, latex or json (default: text at a terminal, else markdown)")
            made.add_argument("--columns", metavar="LIST", help="columns by name")
        else:
            made.add_argument("-o", "--out", type=Path, default=Path("report.html"), metavar="FILE",
                              help="default: report.html")
    return top


def add_data_options(to: argparse.ArgumentParser, *, positional: bool = False) -> None:
    if positional:
        to.add_argument("task")
    else:
        to.add_argument("--task", metavar="T", help="a task, or `files` for your own")
    to.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="where the corpora are (also: the variable KDBENCH_DATA); "
        "without it the embedded look-alike is used")
    to.add_argument("--train", type=Path, metavar="FILE", help="task files: training examples")
    to.add_argument("--dev", type=Path, metavar="FILE",
                    help="task files: development examples (default: a part of --train)")
    to.add_argument("--test", type=Path, metavar="FILE", help="task files: test examples")
    to.add_argument("--task-set", action="append", default=[], metavar="NAME=VALUE",
                    help="an option of the task (see `show TASK`)")


def add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--method", metavar="M", help="a method (see `list methods`)")
    add_data_options(run)
    run.add_argument("--teacher", default=None, metavar="MODEL",
                     help="a model's name, folder (NAME=FOLDER to name it) or hub id")
    run.add_argument("--student", default=None, metavar="MODEL",
                     help="likewise; cut:N takes N of the teacher's layers")
    add_common_options(run)
    run.add_argument("--seeds", default=None, metavar="LIST",
                     help="seeds: 0-4, or 0,3,7 (default: 0, or the suite's)")
    run.add_argument(
        "--recipe", default="default", choices=("default", "paper"), metavar="recipe",
        help="fine-tuning settings: default, or paper (the published ones of the method on the "
             "task)"
    )
    run.add_argument(
        "--unlabelled", type=Path, metavar="FILE",
        help="texts that the teacher labels, as further training examples; "
        "or `rest`: the training examples that --max-train-examples leaves out, without their "
        "labels"
    )
    add_setting_options(run)
    run.add_argument("--only", metavar="PATTERN",
                     help="suite: the cells that fit, as in 'method=doktra,task=chem*'")
    run.add_argument("--dry-run", action="store_true",
                     help="list the cells, what is finished and what is missing")
    run.add_argument("--fail-fast", action="store_true", help="stop at the first cell that fails")
    run.add_argument("--isolate", action=argparse.BooleanOptionalAction, default=None,
                     help="each cell in a process of its own (a suite's default on a GPU)")
    run.add_argument("--engine", default="local", choices=("local", "ray"), metavar="engine",
                     help="local (default) or ray")
    run.add_argument("--workers", type=int, default=1, metavar="N",
                     help="cells at a time, devices shared out")
    run.add_argument("--ray-address", metavar="ADDRESS",
                     help="a Ray cluster's; without it a local one is started")
    run.add_argument("--tracker", choices=("tensorboard", "wandb"), metavar="tracker",
                     help="loss terms of every epoch to tensorboard or wandb (default: none)")
    run.add_argument("--no-controls", action="store_true", help="run the method alone")
    run.add_argument("--overwrite", action="store_true", help="run anew what is finished")
    run.add_argument("--profile", action="store_true", help="record and print where the time went")
    run.add_argument("--json", action="store_true", help="print the records instead of the table")


def add_setting_options(to: argparse.ArgumentParser, names: Sequence[str] | None = None) -> None:
    """The protocol's settings as options; text that `kdbench.train.spec.settings` checks."""
    for field in dataclasses.fields(Settings):
        if names is None or field.name in names:
            to.add_argument(f"--{field.name.replace('_', '-')}", default=None, metavar="X",
                            help=f"{field.metadata['help']} (default: {field.default})")


def add_common_options(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--variant", default="corrected", choices=("corrected", "published"), metavar="variant",
        help=
        "what the method means (corrected, the default) or what the authors' code computes "
        "(published)"
    )
    to.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                    help="an option of the method (see `show METHOD`)")
    to.add_argument("--results-dir", type=Path, default=Path("results/local"), metavar="DIR",
                    help="default: results/local")
    to.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), metavar="device",
                    help="auto, cpu or cuda")
    to.add_argument("--threads", type=int, default=None, metavar="N",
                    help="CPU threads (default: all cores)")


def chosen_settings(args: argparse.Namespace) -> dict[str, str]:
    return {
        f.name: value
        for f in dataclasses.fields(Settings)
        if (value := getattr(args, f.name, None)) is not None
    }


# --- verbs: run ---------------------------------------------------------------------------------


def do_run(args: argparse.Namespace) -> int:
    if args.suite:
        return run_suite(args)
    if not args.method or not args.task:
        raise BadInput(
            "name a method and a task: bench.py --method M --task T (see `bench.py list`)")
    if args.only:
        raise BadInput("--only picks cells of a suite; name the suite, or leave it out")
    METHODS.entry(args.method)
    TASKS.entry(args.task)
    seeds = parse_seeds(args.seeds or "0")
    data_dir, files = data_options(args)
    given = chosen_settings(args)
    chosen, task_chosen = assignments(args.set, "--set"), assignments(args.task_set, "--task-set")
    from kdbench.runs.store import check_writable

    check_writable(args.results_dir)

    from kdbench.base.progress import say
    from kdbench.report.tables import run_table
    from kdbench.runs import grid
    from kdbench.runs.cells import Cell
    from kdbench.runs.runner import Request, Runner, plan
    from kdbench.runs.suite import Planned, Suite

    teacher, student = args.teacher or "tiny-teacher", args.student or "tiny-student"
    request = Request(args.method, args.task, teacher, student, args.variant, chosen, given,
                      task_chosen, args.recipe, data_dir, files, args.unlabelled)
    jobs = plan(request, seeds, controls=not args.no_controls, device=args.device,
                download=not args.dry_run)
    planned = Planned({"method": args.method, "task": args.task, "options": chosen}, given,
                      tuple(seeds))
    suite = Suite(f"{args.method} on {args.task}", "one configuration", (planned,))
    cells = [Cell(request, job.cell.seed, job, planned) for job in jobs]
    most = jobs[0].cell.settings.max_steps
    if most and args.max_steps is None:
        say(f"{student} is too large for look-alike data: every training stops after {most} steps "
            f"(--max-steps for more), "
            "which shows that it runs, no more")
    if args.dry_run:
        print(grid.dry_run(suite, cells, args.results_dir, args.engine, args.tracker))
        return DONE
    runner = Runner(args.results_dir, device=args.device, overwrite=args.overwrite,
                    threads=args.threads, profile=args.profile, tracker=args.tracker)
    if args.engine != "local" or args.workers > 1 or args.isolate:
        records = grid.run(suite, cells, runner, engine=args.engine, workers=args.workers,
                           isolate=args.isolate, fail_fast=args.fail_fast,
                           ray_address=args.ray_address)
    else:
        records = runner.run(jobs, fail_fast=args.fail_fast)
    if not runner.accelerator.is_main_process:
        return DONE
    if args.json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
    else:
        print(run_table(records))
        if args.profile:
            print(profile(records))
        print(use(args, jobs[-1].cell.id))
    return outcome(records)


def run_suite(args: argparse.Namespace) -> int:
    """`run SUITE`: the grid, its table, and exit code 1 with a list where cells failed."""
    from kdbench.runs import suite as suites
    from kdbench.runs.store import check_writable

    suite = suites.load(args.suite)
    if args.only:
        suite = suites.only(suite, args.only)
    given = [name for name in ("method", "task", "teacher", "student") if getattr(args, name)]
    if given:
        raise BadInput(
            f"--{given[0]} goes with a single run; for a part of a suite use --only "
            f"'{given[0]}=...'"
        )
    if args.set or args.task_set or args.unlabelled or (given := list(chosen_settings(args))):
        asked = {"set": args.set, "task-set": args.task_set, "unlabelled": args.unlabelled}
        own = [name for name, value in asked.items() if value]
        name = own[0] if own else given[0].replace("_", "-")
        raise BadInput(
            f"--{name} goes with a single run; a suite says it in its file "
            f"({suites.find(args.suite)})"
        )
    data_dir, _ = data_options(args)
    check_writable(args.results_dir)

    from kdbench.runs import grid
    from kdbench.runs.cells import cells_of
    from kdbench.runs.runner import Runner

    cells = cells_of(suite, data_dir,
                     parse_seeds(args.seeds) if args.seeds else None, args.device, not args.dry_run)
    if args.dry_run:
        print(grid.dry_run(suite, cells, args.results_dir, args.engine, args.tracker))
        return DONE
    runner = Runner(args.results_dir, device=args.device, overwrite=args.overwrite,
                    threads=args.threads, profile=args.profile, tracker=args.tracker)
    records = grid.run(suite, cells, runner, engine=args.engine, workers=args.workers,
                       isolate=args.isolate, fail_fast=args.fail_fast, ray_address=args.ray_address)
    if os.environ.get("RANK", "0") != "0":  # torchrun: the first process speaks for all
        return DONE
    if args.json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
    else:
        from kdbench.report.study import names_of
        from kdbench.report.tables import build, render

        print(render(build(records, chosen_names=names_of(args.results_dir)), *shown_as()))
    return outcome(records)


def outcome(records: list[dict[str, Any]]) -> int:
    """Exit code 1 with a list where cells failed."""
    failed = [record for record in records if record["status"] == "failed"]
    for record in failed:
        print(
            f"failed: {record['cell']['method']} seed {record['cell']['seed']}: "
            f"{record['error']['type']}: "
            f"{one_line(Exception(record['error']['message']))}", file=sys.stderr)
    return FAILED if failed else DONE


def use(args: argparse.Namespace, run: str) -> str:
    """What can be done with the student now."""
    where = f" --results-dir {args.results_dir}" if args.results_dir != Path(
        "results/local") else ""
    return (f"\nRun {run}. Try: bench.py predict {run[:8]}{where} 'a text'; bench.py export "
            f"{run[:8]} FOLDER{where}; bench.py report{where}")


def profile(records: list[dict[str, Any]]) -> str:
    """Where the time of the cells that were trained now went, in seconds and shares."""
    lines = ["", "Where the time went (seconds):"]
    for record in records:
        if phases := record.get("cost", {}).get("profile"):
            total = phases["total"] or 1.0
            parts = ", ".join(
                f"{name} {value:.1f} ({value / total:.0%})" for name, value in phases.items()
                if name != "total")
            lines.append(f"  {record['cell']['method']} {record['cell']['student']}: {parts}")
    return "\n".join(lines)


def data_options(args: argparse.Namespace) -> tuple[Path | None, dict[str, Path]]:
    """The data folder (option or variable), which must exist, and the files of task `files`."""
    files = {
        split: path
        for split in ("train", "dev", "test")
        if (path := getattr(args, split)) is not None
    }
    if files and args.task != "files":
        raise BadInput("--train, --dev and --test go with --task files")
    folder = args.data_dir or (Path(os.environ["KDBENCH_DATA"])
                               if os.environ.get("KDBENCH_DATA") else None)
    if folder is not None and not folder.is_dir():
        raise BadInput(
            f"data folder {folder}: no such folder; leave --data-dir out for the embedded "
            f"look-alike, "
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


def do_pretrain(args: argparse.Namespace) -> int:
    METHODS.entry(args.method)
    from kdbench.runs.pretrain import pretrain

    given = {**assignments(args.set, "--set"), "corpus": str(args.corpus)}
    made = pretrain(args.method, args.student, args.teacher, given, args.out, variant=args.variant,
                    settings=chosen_settings(args), seed=args.seed, results_dir=args.results_dir,
                    device=args.device, threads=args.threads)
    print(
        f"{args.out}: {made['steps']:,} steps in {made['seconds']:.0f} s; an ordinary model folder")
    return DONE


# --- verbs: looking ------------------------------------------------------------------------------


def do_list(args: argparse.Namespace) -> int:
    from kdbench.runs.listing import everything, render

    found = everything()
    if args.noun:
        found = {args.noun: found[args.noun]}
    print(json.dumps(found, indent=1, ensure_ascii=False) if args.json else render(found))
    return DONE


def do_show(args: argparse.Namespace) -> int:
    from kdbench.runs.listing import show, show_recipe

    print(show_recipe(args.name, args.task) if args.task else show(args.name))
    return DONE


def do_check(args: argparse.Namespace) -> int:
    from kdbench.base.options import build
    from kdbench.data import corpora
    from kdbench.data.check import check, render
    from kdbench.data.task import LoadOptions

    task = TASKS.get(args.task)
    folder, files = data_options(args)
    chosen = build(task.options, "corrected", assignments(args.task_set, "--task-set"),
                   f"task {args.task}") if task.options else None
    data = corpora.load(task, LoadOptions(folder, files, chosen))
    report = check(corpora.settled(task, data), data, args.model)
    print(json.dumps(report, indent=1, ensure_ascii=False) if args.json else render(report))
    return DONE


# --- verbs: corpora and artefacts -----------------------------------------------------------------


def do_prepare(args: argparse.Namespace) -> int:
    from kdbench.data.prepare import prepare

    if bool(args.task) == args.all:
        raise BadInput("name tasks, or --all")
    for name in args.task:
        TASKS.entry(name)
    names = args.task or [name for name in TASKS.names() if name != "files"]
    for done in prepare(names, args.data_dir, args.source):
        fate = {
            True: "verified", False: "NOT the published file", None: "nothing to verify it with"
        }.get(done.get("verified"), "")
        print(f"{done['task']}: {done['how']}" if done["state"] == "by hand" else
              f"{done['task']}/{done['file']}: {done['state']}, {done['bytes']:,} bytes, {fate}")
    return DONE


def do_augment(args: argparse.Namespace) -> int:
    from kdbench.base.options import build
    from kdbench.base.registry import AUGMENT_FILE, AUGMENT_OPTIONS

    chosen = build(AUGMENT_OPTIONS.load(), args.variant, assignments(args.set, "--set"),
                   "augmentation")
    done = AUGMENT_FILE.load()(args.source, args.target, chosen, args.seed)
    print(f"{args.target}: {done.sentences:,} sentences with {done.mentions:,} mentions, "
          f"from {done.sentences_read:,} with {done.mentions_read:,}")
    return DONE


def do_convert(args: argparse.Namespace) -> int:
    from kdbench.models.convert import convert

    done = convert(args.source, args.target)
    print(f"{args.target}: {done['architecture']}, {done['parameters']:,} parameters")
    for note in done["notes"]:
        print(f"  {note}")
    return DONE


def data_folder(args: argparse.Namespace) -> Path | None:
    return args.data_dir or (Path(os.environ["KDBENCH_DATA"])
                             if os.environ.get("KDBENCH_DATA") else None)


def do_export(args: argparse.Namespace) -> int:
    from kdbench.runs.artefacts import export_run

    rows = export_run(args.results_dir, args.run, args.out, args.formats.split(","),
                      data_folder(args), args.latency, args.threads)
    if args.json:
        print(json.dumps(rows, indent=1))
        return DONE
    for row in rows:
        kept = f"; left in fp32: {', '.join(row['fp32_layers'])}" if row["fp32_layers"] else ""
        print(
            f"{row['name']:<12} test {row['score']['metric']} {100 * row['score']['test']:.2f}, "
            f"{row['size']['megabytes']:.2f} MB, "
            f"p50 {row['latency']['p50_ms']:.2f} ms, p95 {row['latency']['p95_ms']:.2f} ms{kept}")
    return DONE


def do_evaluate(args: argparse.Namespace) -> int:
    from kdbench.runs.artefacts import evaluate_run

    report = evaluate_run(args.results_dir, args.run, args.test, args.time, args.threads)
    if args.json:
        print(json.dumps(report, indent=1))
        return DONE
    print(f"{report['rows']:,} rows, {report['metric']} {100 * report['score']:.2f}")
    for name, score in report["all"].items():
        print(f"  {name} {score if score is None else round(100 * score, 2)}")
    if (lost := report.get("beyond_limit")) and lost["words"]:
        print(f"  beyond the length limit, and scored as O: {lost['words']:,} of "
              f"{lost['all_words']:,} words, {lost['entities']:,} of {lost['all_entities']:,} "
              "entities")
    if args.time:
        print(
            f"  p50 {report['latency']['p50_ms']:.2f} ms, p95 {report['latency']['p95_ms']:.2f} ms "
            f"at batch 1"
        )
    return DONE


def do_predict(args: argparse.Namespace) -> int:
    from kdbench.serve.predict import load_predictor, read_texts, render

    if bool(args.text) == bool(args.file):
        raise BadInput("give texts, or --file FILE")
    folder = Path(args.run)
    if not folder.is_dir():
        from kdbench.runs.artefacts import find_run

        folder = find_run(args.results_dir, args.run)[1]
    predictor = load_predictor(folder, args.backend, args.threads)
    texts = args.text or read_texts(args.file, predictor.artefact.labels.task_type)
    print(render(predictor.predict(texts), "json" if args.json else "table"))
    return DONE


# --- verbs: results ------------------------------------------------------------------------------


def chosen_records(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The records of the results folder that belong to the suite, or fit the filter."""
    import fnmatch

    from kdbench.runs.store import records

    found = list(records(args.results_dir))
    if args.suite and "=" not in args.suite:
        from kdbench.runs import suite as suites

        found = suites.records_of(suites.load(args.suite, thorough=False), found)
    elif args.suite:
        wanted = assignments(args.suite.split(","), "filter")
        if strange := [name for name in wanted if name not in FILTERS]:
            raise BadInput(unknown("field of the filter", strange[0], FILTERS))
        found = [
            record for record in found if all(
                fnmatch.fnmatchcase(str(record["cell"].get(name, "")), pattern)
                for name, pattern in wanted.items())
        ]
    if not found:
        raise BadInput(
            f"{args.results_dir}: no record{f' fits {args.suite!r}' if args.suite else ''}; run "
            f"something first"
        )
    return found


def counts_of(args: argparse.Namespace) -> tuple[Any, Any]:
    """Where statistics find the counts, and where intervals are kept."""
    if args.no_intervals:
        return None, None
    from kdbench.runs.store import counts
    from kdbench.score.statistics import Cache

    return (lambda record: counts(args.results_dir, record)), Cache(args.results_dir /
                                                                    "intervals.json")


def shown_as(format: str | None = None) -> tuple[str, int]:
    """The format of a table and its width: as asked, else what fits a terminal, and markdown where
    there is none.
    """
    return format or ("text" if sys.stdout.isatty() else "markdown"), shutil.get_terminal_size(
        (100, 24)).columns


def do_table(args: argparse.Namespace) -> int:
    from kdbench.report import reported
    from kdbench.report.study import names_of
    from kdbench.report.tables import build, render

    found, chosen = chosen_records(args), names_of(args.results_dir)
    if args.against:
        print(
            reported.render(reported.against(found, reported.load(args.against), chosen),
                            *shown_as(args.format)))
        return DONE
    counts, cache = counts_of(args)
    print(
        render(
            build(found, counts,
                  args.columns.split(",") if args.columns else None, cache, chosen),
            *shown_as(args.format)))
    return DONE


def do_study(args: argparse.Namespace) -> int:
    from kdbench.report import study

    published = REPORTED if REPORTED.is_file() else None
    if args.check:
        old = study.stale(args.folder, published)
        for name in old:
            print(
                f"{args.folder / name}: not what its records give; write it with `bench.py study "
                f"{args.folder}`",
                file=sys.stderr)
        return FAILED if old else DONE
    study.write(args.folder, published)
    print(f"{args.folder}: pages written")
    return DONE


def do_verify(args: argparse.Namespace) -> int:
    from kdbench.report import verify

    folder = data_folder(args)
    if folder is not None and not folder.is_dir():
        raise BadInput(f"data folder {folder}: no such folder; without it, only look-alikes count")
    given = {split: getattr(args, split) for split in ("train", "dev", "test")}
    files = {split: path for split, path in given.items() if path is not None}
    results = verify.verify(args.target, args.results_dir, folder, files)
    print(verify.as_json(results) if args.json else verify.as_text(results, shown_as()[1]))
    return DONE if verify.holds(results) else FAILED


def do_report(args: argparse.Namespace) -> int:
    from kdbench.base.folders import write_text
    from kdbench.report import reported
    from kdbench.report.html import report
    from kdbench.report.study import facts, names_of

    found, chosen = chosen_records(args), names_of(args.results_dir)
    counts, cache = counts_of(args)
    beside = reported.against(found, reported.load(args.against), chosen) if args.against else ()
    named = facts(args.results_dir)["title"] if (
        args.results_dir / "study.toml").is_file() else f"Results: {args.results_dir.name}"
    page = report(found, counts, title=f"{named}: {args.suite}" if args.suite else named,
                  comparisons=beside, cache=cache, chosen_names=chosen)
    write_text(args.out, page)
    print(f"{args.out}: {len(found)} records, {len(page.encode()) / 1e6:.1f} MB; opens offline")
    return DONE
