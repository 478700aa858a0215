"""The verbs that read records: table, report, study, verify."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdbench.base.errors import DONE, FAILED, BadInput
from kdbench.base.registry import unknown
from kdbench.cli.arguments import assignments
from kdbench.cli.parser import REPORTED
from kdbench.cli.shared import form, split_files, variable_folder

if TYPE_CHECKING:
    from kdbench.runs.store import Record
    from kdbench.score.statistics import Cache

FILTERS = ("method", "task", "variant", "teacher", "student", "seed")  # fields of a record's cell


def chosen_records(args: Namespace) -> list[Record]:
    """The records of the results folder that belong to the suite, or fit the filter."""
    from kdbench.runs.store import records

    found = list(records(args.results_dir))
    if args.suite and "=" not in args.suite:
        from kdbench.runs import selection, suite

        found = selection.records_of(suite.load(args.suite, thorough=False), found)
    elif args.suite:
        wanted = assignments(args.suite.split(","), "filter")
        for name in wanted:
            if name not in FILTERS:
                raise BadInput(unknown("field of the filter", name, FILTERS))
        found = [record for record in found if fits_filter(record, wanted)]
    if not found:
        which = f" fits {args.suite!r}" if args.suite else ""
        raise BadInput(f"{args.results_dir}: no record{which}; run something first")
    return found


def fits_filter(record: Record, wanted: dict[str, str]) -> bool:
    """Do the fields of a record's cell fit the patterns?"""
    from fnmatch import fnmatchcase

    cell = record["cell"]
    return all(fnmatchcase(str(cell.get(name, "")), pattern) for name, pattern in wanted.items())


def counts_of(args: Namespace) -> tuple[Callable[[Record], Any] | None, Cache | None]:
    """Where statistics find the counts, and where intervals are kept."""
    if args.no_intervals:
        return None, None
    from kdbench.runs.store import counts
    from kdbench.score.statistics import Cache

    cache = Cache(args.results_dir / "intervals.json")
    return (lambda record: counts(args.results_dir, record)), cache


def table(args: Namespace) -> int:
    """Print a table of records."""
    from kdbench.report import reported
    from kdbench.report.study import names_of
    from kdbench.report.tables import build, render

    found, names = chosen_records(args), names_of(args.results_dir)
    if args.against:
        comparisons = reported.against(found, reported.load(args.against), names)
        print(reported.render(comparisons, *form(args.format)))
        return DONE
    counts, cache = counts_of(args)
    columns = args.columns.split(",") if args.columns else None
    print(render(build(found, counts, columns, cache, names), *form(args.format)))
    return DONE


def report(args: Namespace) -> int:
    """Write a page of records."""
    from kdbench.base.folders import write_text
    from kdbench.report import reported
    from kdbench.report.html import report
    from kdbench.report.study import facts, names_of
    from kdbench.runs.store import damaged

    found, names = chosen_records(args), names_of(args.results_dir)
    counts, cache = counts_of(args)
    figures = reported.load(args.against) if args.against else []
    comparisons = reported.against(found, figures, names) if args.against else []
    title = f"Results: {args.results_dir.name}"
    if (args.results_dir / "study.toml").is_file():
        title = facts(args.results_dir)["title"]
    if args.suite:
        title = f"{title}: {args.suite}"
    page = report(found, counts, title=title, comparisons=comparisons, cache=cache,
                  chosen_names=names, damaged=damaged(args.results_dir))
    write_text(args.out, page)
    print(f"{args.out}: {len(found)} records, {len(page.encode()) / 1e6:.1f} MB; opens offline")
    return DONE


def study(args: Namespace) -> int:
    """Write the pages of a study, or check them."""
    from kdbench.report import study

    published = REPORTED if REPORTED.is_file() else None
    if not args.check:
        study.write(args.folder, published)
        print(f"{args.folder}: pages written")
        return DONE
    stale = study.stale(args.folder, published)
    for name in stale:
        print(f"{args.folder / name}: not what its records give; write it with `bench.py study "
              f"{args.folder}`", file=sys.stderr)
    return FAILED if stale else DONE


def verify(args: Namespace) -> int:
    """Recompute the figures of records."""
    from kdbench.report import verify

    folder = variable_folder(args)
    if folder is not None and not folder.is_dir():
        raise BadInput(f"data folder {folder}: no such folder; without it, only look-alikes count")
    results = verify.verify(args.target, args.results_dir, folder, split_files(args))
    print(verify.as_json(results) if args.json else verify.as_text(results, form()[1]))
    return DONE if verify.holds(results) else FAILED
