"""Files and folders that are written whole or not at all, and the check of a file of weights."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from kdbench.base.errors import BadInput, one_line

# folders of an ensemble: the trained model, and the one whose probabilities are averaged with its
MEMBERS = ("student", "teacher")


@contextlib.contextmanager
def new_file(target: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A temporary file beside `target` that takes its place when the block ends well, and is
    removed when it does not.

    Until then, and after a kill, `target` is what it was before.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    # a leftover of a killed process, or a link that somebody put there: never written through
    partial.unlink(missing_ok=True)
    mode, encoding, newline = ("xb", None, None) if binary else ("x", "utf-8", "\n")
    try:
        with partial.open(mode, encoding=encoding, newline=newline) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Replace the content of `target` with `text` in one step."""
    with new_file(target) as stream:
        stream.write(text)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when the block ends well, and is
    removed when it does not.

    `BadInput` where `target` is a file, holds something already, or cannot be made.
    """
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target}: is a file; give the name of a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise BadInput(
            f"{target}: is not empty and is never overwritten; give the name of a new folder")
    # not the process id: in containers a killed process and the next one have the same
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise BadInput(
            f"{target}: cannot be made ({error.strerror}); give a folder that you may write to"
        ) from error
    try:
        yield partial
        if target.is_dir():
            target.rmdir()  # it is empty; not every system renames onto a folder
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():
            for parent in missing:
                with contextlib.suppress(OSError):
                    parent.rmdir()


def damage(weights: Path) -> str:
    """What is wrong with a safetensors file, by its header and its length; empty for a whole one.

    An interrupted download leaves half a file, and so does a crash of the machine soon after a file
    got its name.
    """
    try:
        with safe_open(weights, "np"):
            return ""
    except (OSError, SafetensorError) as error:
        return one_line(error)
