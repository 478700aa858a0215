"""The verbs of the command line, and its words as arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from kdbench import __version__
from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.cli.arguments import Parser
from kdbench.cli.record_arguments import (
    add_clean,
    add_compare,
    add_report,
    add_runs,
    add_study,
    add_table,
    add_verify,
)
from kdbench.cli.run_arguments import (
    add_augment,
    add_check,
    add_convert,
    add_convert_data,
    add_list,
    add_prepare,
    add_pretrain,
    add_run,
    add_show,
)
from kdbench.cli.shrink import add_shrink
from kdbench.cli.student_arguments import (
    add_certify,
    add_evaluate,
    add_export,
    add_label,
    add_predict,
)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; `verb` is None where it names none.

    Without a verb, the first word being an option, the verb is run.
    """
    words = list(words)
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help", "--version"):
        words.insert(0, "run")
    top = parser(words[0] if words else "")
    if words and not words[0].startswith("-") and words[0] not in top.verbs:
        raise BadInput(unknown("verb", words[0], top.verbs))
    args, rest = top.parse_known_args(words)
    if args.verb == "predict" and not any(word.startswith("-") for word in rest):
        args.text += rest  # argparse gives up on texts that stand behind an option
    elif rest:
        flags = top.verbs[args.verb or "run"].flags
        raise BadInput(unknown("option", rest[0].partition("=")[0], flags))
    return args


def parser(only: str | None = None) -> Parser:
    """The parser of all verbs, with the arguments of `only` this one."""
    top = Parser(
        prog="bench.py",
        description="Knowledge distillation for biomedical and clinical text, under one protocol.",
        epilog="`bench.py --method M --task T` is short for `bench.py run --method M --task T`.")
    top.add_argument("--version", action="version", version=f"kdbench {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="verb", parser_class=Parser)
    for name, (help, add_arguments) in VERBS.items():
        verb = top.verbs[name] = verbs.add_parser(
            name, help=help, description=help[0].upper() + help[1:] + ".")
        if only not in (None, name):
            continue
        verb.add_argument("--plugin", action="append", metavar="FILE",
                          help="a Python file that registers methods, tasks or models")
        verb.add_argument("--no-plugins", action="store_true",
                          help="load no other: none of KDBENCH_PLUGINS, none of installed packages")
        add_arguments(verb)
    return top


VERBS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "run": ("run one configuration with its controls, or a suite", add_run),
    "shrink": ("the smallest student that keeps what its teacher knows, under a budget",
               add_shrink),
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
    "certify": ("does a student keep what its teacher knows, within a budget? With intervals",
                add_certify),
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
