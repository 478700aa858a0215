"""Arguments of the verbs on records: tables, pages, runs, and what they are checked by."""

from __future__ import annotations

from pathlib import Path

from kdbench.base.places import shipped
from kdbench.cli.arguments import Parser
from kdbench.cli.shared_arguments import (
    add_corpora,
    add_json,
    add_results_dir,
    add_run_files,
)

REPORTED = shipped("results") / "reported.csv"


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
    verb.add_argument("--contains-text", action="store_true",
                      help="list what holds text that was read, or derives from it")
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
