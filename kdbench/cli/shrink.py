"""The verb that looks for the smallest student."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from kdbench.base.errors import BadInput
from kdbench.base.registry import METHODS
from kdbench.cli.arguments import Parser, parse_count, parse_number
from kdbench.cli.shared_arguments import (
    add_assignments,
    add_data,
    add_json,
    add_results_dir,
    add_serve_on,
    add_settings,
    add_threads,
)
from kdbench.cli.teacher_arguments import add_teacher


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def add_shrink(verb: Parser) -> None:
    """A task, a teacher, what the student may take, and how long the search may."""
    verb.add_argument("--task", metavar="T", help="a task, or `files` for your own")
    add_data(verb)
    add_teacher(verb)
    verb.add_argument("--unlabelled", type=Path, metavar="FILE",
                      help="texts that the teacher labels, as further training examples")
    verb.add_argument("--max-ms", type=parse_number("--max-ms"), metavar="MS",
                      help="median milliseconds of one text, at most")
    verb.add_argument("--max-mb", type=parse_number("--max-mb"), metavar="MB",
                      help="megabytes of the weights, at most")
    verb.add_argument("--keep", type=parse_number("--keep", 2), default=0.98, metavar="SHARE",
                      help="share of the teacher's score to keep (default: 0.98)")
    verb.add_argument("--per-label-loss", type=parse_number("--per-label-loss", 1), metavar="LOSS",
                      help="and of each label's recall no more than this may be lost: 0.02")
    verb.add_argument("--hours", type=parse_number("--hours"), default=1.0, metavar="H",
                      help="of search and finals, after the teacher (default: 1)")
    verb.add_argument("--trials", type=parse_count("--trials"), metavar="N",
                      help="at most so many trials")
    verb.add_argument("--seeds", type=parse_count("--seeds"), metavar="N",
                      help="of the finals (default: 3, or 5 where the time allows)")
    verb.add_argument("--steps", type=parse_count("--steps"), metavar="N",
                      help="of a whole training (default: as the time allows)")
    verb.add_argument("--students", type=names, default=(), metavar="MODELS",
                      help="further models to look at, with commas")
    verb.add_argument("--methods", type=names, default=(), metavar="METHODS",
                      help="that are tried, with commas (default: those that are best known)")
    verb.add_argument("--forms", type=names, default=(), metavar="FORMATS",
                      help="that a student may be served in, with commas (default: onnx_int8,"
                      "onnx,safetensors; on cuda safetensors_fp16,safetensors_bf16,safetensors)")
    add_serve_on(verb)
    verb.add_argument("--sampler", default="tpe", choices=("tpe", "random", "qmc"),
                      metavar="sampler", help="tpe (default), random or qmc")
    verb.add_argument("--pruner", default="halving", choices=("halving", "none"),
                      metavar="pruner", help="halving (default) or none")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of the search (default: 0)")
    add_assignments(verb, "--set", "an option of the methods that have it, and not searched")
    add_settings(verb, ("epochs", "batch_size", "lr", "teacher_lr", "max_length", "labels",
                        "max_train_examples", "max_dev_examples", "precision"))
    add_results_dir(verb)
    add_threads(verb)
    verb.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"),
                      metavar="device", help="auto, cpu or cuda")
    verb.add_argument("--workers", type=parse_count("--workers"), default=1, metavar="N",
                      help="trials at a time")
    verb.add_argument("--engine", default="local", choices=("local", "ray"), metavar="engine",
                      help="local (default) or ray")
    verb.add_argument("--ray-address", metavar="ADDRESS",
                      help="a Ray cluster's; without it a local one is started")
    verb.add_argument("-o", "--out", type=Path, metavar="FOLDER",
                      help="the folder that is made: the student, its certificate and its card")
    add_json(verb)


def shrink(args: Namespace) -> int:
    """Look for the smallest student; the exit code is the certificate's."""
    if not args.task or args.out is None:
        raise BadInput("name a task and a folder for the student: bench.py shrink --task T "
                       "-o FOLDER")
    from kdbench.base import stopping
    from kdbench.cli.shared import data_folder, files_of
    from kdbench.runs.request import STUDENT, TEACHER, Request
    from kdbench.search.shapes import Budget
    from kdbench.search.shrink import shrink
    from kdbench.search.wish import Wish

    stopping.listen(False)
    request = Request(METHODS.baseline().name, args.task, args.teacher or TEACHER, STUDENT,
                      "corrected", args.set, args.settings, args.task_set, "default",
                      data_folder(args), files_of(args), args.unlabelled,
                      teacher_labels=args.teacher_labels,
                      teacher_options=args.teacher_set, teacher_weights=args.teacher_weights)
    wish = Wish(request, Budget(args.max_ms, args.max_mb), args.keep, args.per_label_loss,
                3600.0 * args.hours, args.students, args.methods, args.forms, args.seeds,
                args.trials, args.steps, args.threads, args.sampler, args.pruner, args.seed,
                args.serve_on)
    found = shrink(wish, args.results_dir, args.out, device=args.device, workers=args.workers,
                   engine=args.engine, address=args.ray_address)
    print(json.dumps(found.certificate, indent=1) if args.json else str(found))
    return found.code
