"""The verbs on trained students: export, evaluate, certify, predict, label."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import TYPE_CHECKING

from kdbench.base.errors import DONE, BadInput
from kdbench.cli.shared import variable_folder
from kdbench.cli.shared_arguments import SPLITS

if TYPE_CHECKING:
    from kdbench.data.rows import Rows
    from kdbench.runs.artefacts import DataPlace
    from kdbench.serve.about import About
    from kdbench.serve.predict import Answer, Predictor


def export(args: Namespace) -> int:
    """Export a student."""
    from kdbench.runs.artefacts import export_run

    rows = export_run(args.results_dir, args.run, args.out, args.formats.split(","),
                      variable_folder(args), args.latency, args.threads, data_place(args),
                      args.strict_privacy)
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


def evaluate(args: Namespace) -> int:
    """Score a student on another file."""
    from kdbench.base.progress import say
    from kdbench.runs.artefacts import evaluate_run

    report = evaluate_run(args.results_dir, args.run, args.file, args.time, args.threads,
                          data_place(args), args.out)
    if args.json:
        print(json.dumps(report, indent=1))
        return DONE
    for note in report["notes"]:
        say(note)
    print(f"{report['rows']:,} rows, {report['metric']} {times_100(report['score'])}")
    for name, score in report["all"].items():
        print(f"  {name} {times_100(score)}")
    print(f"  cut at {report['max_length']:,} tokens: {report['cut']:,} of {report['rows']:,} "
          "texts")
    if "windows" in report:
        print(f"  longer ones are read in windows: {report['windows']:,} texts")
    if "threshold" in report:
        print(f"  the last class is predicted from a probability of {report['threshold']:.4f}, "
              "which the training fixed")
    if (lost := report.get("beyond_limit")) and lost["words"]:
        print(f"  beyond the length limit, and scored as O: {lost['words']:,} of "
              f"{lost['all_words']:,} words, {lost['entities']:,} of {lost['all_entities']:,} "
              "entities")
    if args.time:
        latency = report["latency"]
        print(f"  p50 {latency['p50_ms']:.2f} ms, p95 {latency['p95_ms']:.2f} ms at batch 1")
    return DONE


def certify(args: Namespace) -> int:
    """Say whether a student keeps what its teacher knows; the exit code is the verdict's."""
    from kdbench.base.folders import write_text
    from kdbench.report.certificate import in_words
    from kdbench.runs.certify import CODES, Asked, certify

    asked = Asked(args.keep, args.per_label_loss, args.max_ms, args.max_mb, args.serve_on)
    report = certify(args.results_dir, args.run, args.teacher, args.file, asked, args.threads,
                     data_place(args))
    text = json.dumps(report, indent=1)
    if args.out is not None:
        write_text(args.out, f"{text}\n")
    print(text if args.json else in_words(report))
    return CODES[report["verdict"]]


def predict(args: Namespace) -> int:
    """Print what a student says of texts."""
    from kdbench.base.progress import say
    from kdbench.serve.predict import cut_note, render

    if bool(args.text) == bool(args.file):
        raise BadInput("give texts, or --file FILE")
    about, predictor = opened(args)
    found = answers_of(args, about, predictor)
    print(render(found, "json" if args.json else "table"))
    if note := cut_note(found, predictor.artefact.reads):
        say(note)
    return DONE


def label(args: Namespace) -> int:
    """Write a file's rows with the student's labels."""
    from kdbench.base.folders import refuse_source, write_text
    from kdbench.base.progress import say
    from kdbench.serve.label_file import labelled_file

    if bool(args.file) == bool(args.task) or not args.out:
        raise BadInput("give --file FILE of texts, or --task TASK for its splits, and -o FILE for "
                       "the labelled rows")
    if args.task:
        return label_splits(args)
    refuse_source(args.out, args.file)
    about, predictor = opened(args)
    text, missing, cut = labelled_file(predictor, rows_to_answer(args, about, predictor))
    if missing:
        say(f"{missing:,} rows without a text are left out")
    if cut:
        say(cut)
    write_text(args.out, text)
    print(f"{args.out}: {text.count(chr(10)):,} labelled rows; `bench.py run --task files --train "
          f"{args.out}` reads them, and `--teacher predictions:{args.out}` learns from them")
    return DONE


def label_splits(args: Namespace) -> int:
    """Write the splits of a task with the student's labels."""
    from kdbench.base.folders import write_text
    from kdbench.base.progress import say
    from kdbench.runs.planning import hashable, load_data
    from kdbench.serve.label_file import check_labels, labelled_splits

    _, predictor = opened(args)
    files = {split: path for split in SPLITS if (path := getattr(args, split)) is not None}
    _, data, _ = load_data(args.task, variable_folder(args), tuple(sorted(files.items())),
                           hashable(args.task_set))
    check_labels(predictor, data)
    text, cut = labelled_splits(predictor, data)
    if cut:
        say(cut)
    write_text(args.out, text)
    print(f"{args.out}: {text.count(chr(10)):,} rows of all splits; `bench.py run --task "
          f"{args.task} --teacher predictions:{args.out}` learns from them")
    return DONE


def opened(args: Namespace) -> tuple[About, Predictor]:
    """The student that the arguments name, and what it was trained for."""
    from kdbench.serve.about import About, student_folder
    from kdbench.serve.predict import load_predictor

    folder = student_folder(args.run)
    if folder is None:
        from kdbench.runs.artefacts import about_of, find_run

        record, folder = find_run(args.results_dir, args.run)
        about = about_of(record, folder)
    else:
        about = About.read(folder)
    return about, load_predictor(folder, args.backend, args.threads)


# --- what they share ------------------------------------------------------------------------------


def data_place(args: Namespace) -> DataPlace:
    """What the arguments say of the data of a run."""
    from kdbench.runs.artefacts import DataPlace

    files = {split: path for split in SPLITS if (path := getattr(args, split, None)) is not None}
    return DataPlace(files, variable_folder(args), args.task_set)


def times_100(score: float | None) -> str:
    """A score in points; `undefined` where there is none."""
    return "undefined" if score is None else f"{100 * score:.2f}"


def answers_of(args: Namespace, about: About, predictor: Predictor) -> list[Answer]:
    """The answers to the texts, words or rows that the arguments give."""
    if args.words:
        from kdbench.serve.given_words import given_words

        labels = predictor.artefact.labels
        return predictor.predict(given_words(args.text, args.file, labels.task_type))
    return answers_to_file(args, about, predictor) if args.file else predictor.predict(args.text)


def answers_to_file(args: Namespace, about: About, predictor: Predictor) -> list[Answer]:
    """The answers to the rows of a file; how it was read goes to standard error."""
    from kdbench.serve.asked import answers

    return answers(predictor, rows_to_answer(args, about, predictor))


def rows_to_answer(args: Namespace, about: About, predictor: Predictor) -> Rows:
    """The rows of the file that the arguments name; how it was read goes to standard error."""
    from kdbench.base.progress import say
    from kdbench.data.rows import reader_task

    read = reader_task().read_rows
    assert read is not None
    wanted = about.wanted(predictor.artefact.labels, args.task_set, plain=True)
    rows = read(args.file.expanduser(), wanted)
    for note in rows.notes:
        say(note)
    return rows
