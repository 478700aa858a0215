"""What several verbs read from their arguments, and how they print."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base.errors import BadInput
from kdbench.cli.shared_arguments import SPLITS

if TYPE_CHECKING:
    from kdbench.runs.cell import Cell, LeftOut


def variable_folder(args: Namespace) -> Path | None:
    """The folder of the corpora, by the option or by the variable."""
    named = os.environ.get("KDBENCH_DATA")
    return args.data_dir or (Path(named) if named else None)


def split_files(args: Namespace) -> dict[str, Path]:
    """The files that the arguments name, by split."""
    files = {split: getattr(args, split) for split in SPLITS}
    return {split: path for split, path in files.items() if path is not None}


def data_folder(args: Namespace) -> Path | None:
    """The folder of the corpora; `BadInput` where it does not exist."""
    folder = variable_folder(args)
    if folder is not None and not folder.is_dir():
        raise BadInput(
            f"data folder {folder}: no such folder; leave --data-dir out for the embedded "
            f"look-alike, "
            f"or fetch the corpus with `bench.py prepare {args.task or 'TASK'}`")
    return folder


def files_of(args: Namespace) -> dict[str, Path]:
    """The files of task `files`, by split; `BadInput` where the task is another."""
    files = split_files(args)
    if files and args.task != "files":
        raise BadInput("--train, --dev and --test go with --task files")
    return files


def form(named: str | None = None) -> tuple[str, int]:
    """The format of a table and its width: the named one, else text at a terminal, else
    markdown.
    """
    width = shutil.get_terminal_size((100, 24)).columns
    return named or ("text" if sys.stdout.isatty() else "markdown"), width


def print_json(value: Any) -> None:
    """A value for programs."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def say_how_read(planned: Sequence[Cell | LeftOut]) -> None:
    """Tell the user how files were read, and what was decided, converted or left out on the way."""
    from kdbench.base.progress import say
    from kdbench.runs.cell import Cell

    cells = [cell for cell in planned if isinstance(cell, Cell) and cell.data.reading]
    for note in dict.fromkeys(note for cell in cells for note in cell.data.notes):
        say(note)
