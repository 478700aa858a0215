"""Arguments of the verbs on trained students: export, evaluate, certify, predict, label."""

from __future__ import annotations

from pathlib import Path

from kdbench.cli.arguments import Parser, data_path, parse_number
from kdbench.cli.shared_arguments import add_place, add_run_id, add_serve_on, add_task_options


def add_export(verb: Parser) -> None:
    """A run, a folder and formats."""
    add_run_id(verb)
    verb.add_argument("out", type=Path, help="the folder that is made")
    verb.add_argument("--formats", "--kinds", dest="formats",
                      default="safetensors,onnx,onnx_int8", metavar="LIST",
                      help="of safetensors, safetensors_fp16, safetensors_bf16, onnx, onnx_int8")
    verb.add_argument("--strict-privacy", action="store_true",
                      help="export nothing where the vocabulary holds rare words, numbers or names "
                      "of your own training text")
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


def add_certify(verb: Parser) -> None:
    """A student, its teacher, and what is asked of it."""
    add_run_id(verb)
    verb.add_argument("--teacher", required=True, metavar="RUN",
                      help="the run of the teacher (its row of the table), or a folder of it")
    verb.add_argument("--test", dest="file", type=data_path, metavar="FILE",
                      help="labelled rows, of any layout (default: the run's own test set)")
    add_place(verb, ("train", "dev"))
    verb.add_argument("--keep", type=parse_number("--keep", 2), default=0.98, metavar="SHARE",
                      help="share of the teacher's score to keep (default: 0.98)")
    verb.add_argument("--per-label-loss", type=parse_number("--per-label-loss", 1), metavar="LOSS",
                      help="and of each label's recall no more than this may be lost: 0.02")
    verb.add_argument("--max-ms", type=parse_number("--max-ms"), metavar="MS",
                      help="median milliseconds of one text, at most")
    verb.add_argument("--max-mb", type=parse_number("--max-mb"), metavar="MB",
                      help="megabytes of the weights, at most")
    add_serve_on(verb)
    verb.add_argument("-o", "--out", type=Path, metavar="FILE",
                      help="make a file of the certificate, JSON")


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
    verb.add_argument("--task", metavar="T",
                      help="or the splits of a task, with their ids")
    verb.add_argument("-o", "--out", type=Path, metavar="FILE",
                      help="the labelled rows: JSON lines that `run --task files` reads, and that "
                      "`run --teacher predictions:FILE` learns from")
    add_place(verb)
    verb.add_argument("--backend", choices=("torch", "onnxruntime"), metavar="backend",
                      help="torch or onnxruntime")
