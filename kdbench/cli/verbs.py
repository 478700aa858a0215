"""What each verb of the command line does. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.base.activity import doing
from kdbench.base.errors import BAD_INPUT, DONE, FAILED, BadInput, guarded, one_line
from kdbench.base.progress import forget_said
from kdbench.base.registry import METHODS, TASKS
from kdbench.base.visible import neutral_streams
from kdbench.cli.parser import parse, parser
from kdbench.cli.results import report, study, table, verify
from kdbench.cli.shared import data_folder, files_of, form, print_json, say_how_read
from kdbench.cli.shared_arguments import RESULTS
from kdbench.cli.shrink import shrink
from kdbench.cli.students import certify, evaluate, export, label, predict
from kdbench.cli.upkeep import clean, compare, runs

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell, LeftOut
    from kdbench.runs.store import Record
    from kdbench.runs.suite import Suite


def main(words: Sequence[str] | None = None) -> int:
    """Do what the words of a command say; returns the exit code."""

    def run_verb() -> int:
        args = parse(sys.argv[1:] if words is None else words)
        forget_said()
        if args.verb is None:
            parser().print_help()
            return BAD_INPUT
        with doing(f"{args.verb}: at work"):
            load_plugins(args.plugin or (), getattr(args, "no_plugins", False))
            return DO[args.verb](args)

    with neutral_streams():
        return guarded(run_verb)


def load_plugins(paths: Sequence[str], named_only: bool = False) -> None:
    """Load the plugins of the command, of KDBENCH_PLUGINS and of installed packages.

    named_only  those of the command alone
    """
    from kdbench.cli.unasked import leave_out, offered, tell

    unasked = [] if named_only else offered()
    if named_only:
        leave_out()
    if unasked:
        tell(unasked)
    before = os.environ.get("KDBENCH_PLUGINS")
    if paths:  # workers read the variable
        absolute = [str(Path(path).absolute()) for path in paths]
        os.environ["KDBENCH_PLUGINS"] = os.pathsep.join([*([before] if before else []), *absolute])
    if paths or unasked:
        from kdbench.runs import plugins

        plugins.load_plugins()


# --- run ------------------------------------------------------------------------------------------


def run(args: Namespace) -> int:
    """Run a suite, or one configuration, which is a suite of one request."""
    suite = named_suite(args) if args.suite else single_suite(args)
    from kdbench.base import stopping
    from kdbench.runs.dry_run import dry_run
    from kdbench.runs.grid import Engine, is_first, run_suite
    from kdbench.runs.planning import plan_suite
    from kdbench.runs.runner import Runner
    from kdbench.runs.store import check_writable

    check_writable(args.results_dir)
    stopping.listen(args.requeue)
    planned = plan_suite(suite, data_folder(args), args.seeds or (), device=args.device,
                         download=not (args.dry_run or args.check))
    if suite.single:
        say_if_short(args, planned)
    say_how_read(planned)
    if args.dry_run:
        print(dry_run(suite, planned, args.results_dir, args.engine, args.tracker))
        return DONE
    if args.check:
        return check_suite(args, planned)
    runner = Runner(args.results_dir, device=args.device, overwrite=args.overwrite,
                    threads=args.threads, profile=args.profile, tracker=args.tracker)
    engine = Engine(args.engine, args.workers, args.isolate, args.fail_fast, args.ray_address)
    trials = args.trials or suite.trials
    seconds = args.trial_seconds or suite.trial_seconds
    if trials or seconds:
        from kdbench.search.tuned import Effort, after_trials

        planned = after_trials(planned, runner, engine, Effort(trials, seconds))
    records = run_suite(suite, planned, runner, engine)
    if not is_first():
        return DONE
    if args.json:
        print_json(records)
    else:
        print_run(args, suite, records)
    return print_failures(records) or (print_skipped(records) if suite.single else DONE)


def check_suite(args: Namespace, planned: Sequence[Cell | LeftOut]) -> int:
    """Say what a machine without network lacks for these cells; nothing runs."""
    from kdbench.runs.dry_run import lacking

    missing = lacking(planned, args.results_dir, args.engine, args.tracker)
    if missing:
        raise BadInput(f"{len(missing)} missing: {'; '.join(missing)}")
    print(f"{len(planned)} cells: models, data and packages are here")
    return DONE


def single_suite(args: Namespace) -> Suite:
    """The suite of the one configuration that the arguments name."""
    if not args.method or not args.task:
        raise BadInput(
            "name a method and a task: bench.py --method M --task T (see `bench.py list`)")
    if args.only:
        raise BadInput("--only picks cells of a suite; name the suite, or leave it out")
    METHODS.entry(args.method)
    TASKS.entry(args.task)
    from kdbench.runs.request import STUDENT, TEACHER, Request
    from kdbench.runs.suite import Suite

    return Suite.of(Request(
        args.method, args.task, args.teacher or TEACHER, args.student or STUDENT, args.variant,
        args.set, args.settings, args.task_set, args.recipe, data_folder(args), files_of(args),
        args.unlabelled, args.seeds or (0,), not args.no_controls,
        teacher_labels=args.teacher_labels, teacher_options=args.teacher_set,
        teacher_weights=args.teacher_weights))


def named_suite(args: Namespace) -> Suite:
    """The suite that the arguments name; `BadInput` where they say what its file says."""
    from kdbench.runs import selection, suite

    found = suite.load(args.suite)
    if args.only:
        found = selection.only(found, args.only)
    for name in ("method", "task", "teacher", "student"):
        if getattr(args, name):
            raise BadInput(f"--{name} goes with a single run; for a part of a suite use --only "
                           f"'{name}=...'")
    own = {"set": args.set, "task-set": args.task_set, "unlabelled": args.unlabelled,
           "teacher-labels": args.teacher_labels, "teacher-set": args.teacher_set,
           "teacher-weights": args.teacher_weights, **args.settings}
    for name, value in own.items():
        if value:
            raise BadInput(f"--{name.replace('_', '-')} goes with a single run; a suite says it in "
                           f"its file ({suite.find(args.suite)})")
    files_of(args)
    return found


def say_if_short(args: Namespace, planned: Sequence[Cell | LeftOut]) -> None:
    """Tell the user that a large model is only tried on look-alike data."""
    from kdbench.base.progress import say
    from kdbench.runs.cell import Cell

    steps = [cell.settings.max_steps for cell in planned if isinstance(cell, Cell)]
    if steps and steps[0] and "max_steps" not in args.settings:
        say(f"{args.student} is too large for look-alike data: every training stops after "
            f"{steps[0]} steps (--max-steps for more), which shows that it runs, no more")


def print_run(args: Namespace, suite: Suite, records: list[Record]) -> None:
    """The table of a run, where the time went, and what can be done with a single student."""
    from kdbench.report.study import names_of
    from kdbench.report.tables import build, render, run_table

    if suite.single:
        print(run_table(records))
    else:
        print(render(build(records, chosen_names=names_of(args.results_dir)), *form()))
    if args.profile:
        print(profile(records))
    if suite.single and records[-1]["status"] == "done":
        print(next_steps(args.results_dir, records[-1]["id"]))


def print_failures(records: list[Record]) -> int:
    """A line for each cell that failed; returns the exit code."""
    failed = [record for record in records if record["status"] == "failed"]
    for record in failed:
        cell, error = record["cell"], record["error"]
        print(f"failed: {cell['method']} seed {cell['seed']}: {error['type']}: "
              f"{one_line(Exception(error['message']))}", file=sys.stderr)
    return FAILED if failed else DONE


def print_skipped(records: list[Record]) -> int:
    """A line where the one method that was asked for does not apply; returns the exit code."""
    own = [record for record in records if record["role"] == "method"]
    if not own or any(record["status"] != "skipped" for record in own):
        return DONE
    print(f"bench.py: method {own[0]['cell']['method']}: {own[0]['reason']}", file=sys.stderr)
    return BAD_INPUT


def next_steps(results_dir: Path, run: str) -> str:
    """What can be done with the student of a run."""
    where = "" if results_dir == RESULTS else f" --results-dir {results_dir}"
    return (f"\nRun {run}. Try: bench.py predict {run[:8]}{where} 'a text'; bench.py export "
            f"{run[:8]} FOLDER{where}; bench.py report{where}")


def profile(records: list[Record]) -> str:
    """Where the time of the cells that were trained now went, in seconds and shares."""
    lines = ["", "Where the time went (seconds):"]
    for record in records:
        if phases := record.get("cost", {}).get("profile"):
            total = phases["total"] or 1.0
            parts = [f"{name} {seconds:.1f} ({seconds / total:.0%})"
                     for name, seconds in phases.items() if name != "total"]
            lines.append(f"  {record['cell']['method']} {record['cell']['student']}: "
                         f"{', '.join(parts)}")
    return "\n".join(lines)


def pretrain(args: Namespace) -> int:
    """Train a model on a text corpus."""
    if args.method:
        METHODS.entry(args.method)
    from kdbench.runs.pretrain import pretrain

    stage = pretrain(args.method, args.student, args.teacher,
                     {**args.set, "corpus": str(args.corpus)}, args.out, variant=args.variant,
                     settings=args.settings, seed=args.seed, results_dir=args.results_dir,
                     device=args.device, threads=args.threads)
    print(f"{args.out}: {stage['steps']:,} steps in {stage['seconds']:.0f} s; an ordinary model "
          "folder")
    return DONE


# --- looking --------------------------------------------------------------------------------------


def list_names(args: Namespace) -> int:
    """Print what there is."""
    from kdbench.runs.listing import everything, render

    found = everything()
    if args.noun:
        found = {args.noun: found[args.noun]}
    if args.json:
        print_json(found)
    else:
        print(render(found))
    return DONE


def show(args: Namespace) -> int:
    """Print all about one name."""
    from kdbench.runs.listing import show, show_recipe

    print(show_recipe(args.name, args.task) if args.task else show(args.name))
    return DONE


def check(args: Namespace) -> int:
    """Print what a corpus looks like."""
    from kdbench.base.options import build
    from kdbench.cli import contamination
    from kdbench.data import corpora
    from kdbench.data.check import check as check_corpus
    from kdbench.data.check import render
    from kdbench.data.task import LoadOptions
    from kdbench.models.zoo import own_limit

    task = TASKS.get(args.task)
    folder, files = data_folder(args), files_of(args)
    chosen = None
    if task.options:
        chosen = build(task.options, "corrected", args.task_set, f"task {args.task}")
    data = corpora.load(task, LoadOptions(folder, files, chosen))
    most = own_limit(args.model) if args.model else None
    report = check_corpus(corpora.settled(task, data), data, args.model, most)
    found = contamination.counted(args, data)
    if args.json:
        print_json({**report, **({"against_corpus": found} if found else {})})
    else:
        print(render(report) + (f"\n\n{contamination.render(found)}" if found else ""))
    return DONE


# --- corpora and models ---------------------------------------------------------------------------


def prepare(args: Namespace) -> int:
    """Fetch corpora."""
    from kdbench.data.prepare import prepare

    if bool(args.task) == args.all:
        raise BadInput("name tasks, or --all")
    for name in args.task:
        TASKS.entry(name)
    names = args.task or [name for name in TASKS.names() if name != "files"]
    verdicts = {
        True: "verified", False: "NOT the published file", None: "nothing to verify it with",
    }
    for done in prepare(names, args.data_dir, args.source):
        if done["state"] == "by hand":
            print(f"{done['task']}: {done['how']}")
        else:
            print(f"{done['task']}/{done['file']}: {done['state']}, {done['bytes']:,} bytes, "
                  f"{verdicts[done.get('verified')]}")
    return DONE


def augment(args: Namespace) -> int:
    """Write a file of sentences and their copies."""
    from kdbench.base.options import build
    from kdbench.base.registry import AUGMENT_FILE, AUGMENT_OPTIONS

    chosen = build(AUGMENT_OPTIONS.load(), args.variant, args.set, "augmentation")
    done = AUGMENT_FILE.load()(args.source, args.target, chosen, args.seed)
    print(f"{args.target}: {done.sentences:,} sentences with {done.mentions:,} mentions, "
          f"from {done.sentences_read:,} with {done.mentions_read:,}")
    return DONE


def convert(args: Namespace) -> int:
    """Write a checkpoint as a folder of safetensors."""
    from kdbench.models.convert import convert

    done = convert(args.source, args.target)
    print(f"{args.target}: {done['architecture']}, {done['parameters']:,} parameters")
    for note in done["notes"]:
        print(f"  {note}")
    return DONE


def convert_data(args: Namespace) -> int:
    """Write a corpus as JSON lines."""
    from kdbench.data.layouts import Defaults, convert

    for line in convert(args.source, args.target, Defaults(encoding=args.encoding)):
        print(line)
    return DONE


DO: dict[str, Callable[[Namespace], int]] = {
    "run": run, "shrink": shrink, "list": list_names, "show": show, "check": check,
    "pretrain": pretrain, "prepare": prepare, "augment": augment, "convert": convert,
    "convert-data": convert_data, "export": export, "evaluate": evaluate, "certify": certify,
    "predict": predict, "label": label, "verify": verify, "study": study,
    "table": table, "report": report, "runs": runs, "compare": compare, "clean": clean,
}
