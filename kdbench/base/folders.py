"""Files and folders that are written whole or not at all, and the check of a file of weights.

What is being written has a hidden name and is locked by its process; the lock ends with the
process, however it ends. So a leftover that nobody holds can go.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from kdbench.base.errors import BadInput, one_line
from kdbench.base.visible import visible

try:
    import fcntl
except ImportError:  # Windows: nothing is known of who writes, and so nothing is swept
    fcntl = None  # type: ignore[assignment]

# folders of an ensemble: the trained model, and the one whose probabilities are averaged with its
MEMBERS = ("student", "teacher")
UNFINISHED = re.compile(r"\..+\.(\d+\.part|[0-9a-f]{8}\.partial)")


@contextlib.contextmanager
def new_file(target: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A temporary file beside `target` that takes its place when the block ends well, and is
    removed when it does not.

    Until then, and after a kill, `target` is what it was before. A device or a pipe is no place for
    a file: it would be replaced by one.
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        raise BadInput(f"{target}: is no regular file, and is not replaced by one; give another "
                       "name")
    sweep(target.parent, target.name)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    mode, encoding, newline = ("wb", None, None) if binary else ("w", "utf-8", "\n")
    with held(partial, lambda: make_file(partial)):
        try:
            with open(partial, mode, encoding=encoding, newline=newline,
                      opener=through_no_link) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file; a link or a pipe that somebody put there goes, and is not followed."""
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        path.unlink()
    with open(path, "ab", opener=through_no_link):
        pass


def through_no_link(path: str, flags: int) -> int:
    """An opener for `open` that refuses a symbolic link, where the system can."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def refuse_source(target: Path, source: Path | None) -> None:
    """`BadInput` where a file that is to be made is the one it is made from, by whatever name."""
    if source is not None and target.exists() and source.exists() and target.samefile(source):
        raise BadInput(f"{target}: is the source itself, which is never overwritten; give the name "
                       "of another file")


@contextlib.contextmanager
def new_path(target: Path) -> Iterator[Path]:
    """A path for a library that writes a file by its name, and may put another one in its place;
    what lies there becomes `target` when the block ends well.

    `new_file` would lose its lock with the file that it has opened.
    """
    sweep(target.parent, target.name)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    with held(partial, lambda: partial.mkdir(exist_ok=True)):
        try:
            yield partial / target.name
            sync(partial / target.name)
            os.replace(partial / target.name, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Replace the content of `target` with `text` in one step."""
    with new_file(target) as stream:
        stream.write(text)


def write_page(target: Path, text: str) -> None:
    """As `write_text`, for a page that people read: what a terminal obeys stands in it as codes."""
    write_text(target, visible(text))


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
    with contextlib.ExitStack() as stack:
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent, target.name)
            stack.enter_context(held(partial, lambda: partial.mkdir(exist_ok=True)))
        except OSError as error:
            raise BadInput(f"{target}: cannot be made ({error.strerror}); give a folder that you "
                           "may write to") from error
        try:
            yield partial
            sync_below(partial)
            if target.is_dir():
                target.rmdir()  # it is empty; not every system renames onto a folder
            partial.rename(target)
            sync(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if not target.exists():
                for parent in missing:
                    with contextlib.suppress(OSError):
                        parent.rmdir()


# ---- what is on the disk -------------------------------------------------------------------------


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk; where the system cannot (a folder
    on Windows), nothing is done.
    """
    with contextlib.suppress(OSError):
        place = os.open(path, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def sync_below(folder: Path) -> None:
    """Have all files below a folder written to the disk, and then their names."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            sync(path)


# ---- who writes ----------------------------------------------------------------------------------


@contextlib.contextmanager
def held(path: Path, make: Callable[[], object]) -> Iterator[None]:
    """Make an unfinished file or folder, and hold it while the block runs.

    Somebody who sweeps may come between the two; then it is made again.
    """
    make()
    while (place := grasp(path)) is None:
        time.sleep(0.01)  # another process of the same number, in a container say, writes it
        make()
    try:
        yield
    finally:
        if place >= 0:
            os.close(place)


def grasp(path: Path) -> int | None:
    """A handle on `path` that holds its lock; -1 where the system has no such locks, None where
    another process has it or it is no longer there.
    """
    if fcntl is None:
        return -1
    place = -1
    try:
        place = os.open(path, os.O_RDONLY)
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(place), os.stat(path)):
            return place
        lost: int | None = None
    except (BlockingIOError, FileNotFoundError):
        lost = None
    except OSError:  # a file system without locks
        lost = -1
    if place >= 0:
        os.close(place)
    return lost


def remove_abandoned(path: Path) -> None:
    """Remove an unfinished file or folder whose process has ended.

    Its lock is kept until it is gone: somebody who takes it in between would lose what he writes.
    """
    if not UNFINISHED.fullmatch(path.name) or path.is_symlink():
        return
    place = grasp(path)
    if place is None or place < 0:
        return
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(place)


def is_abandoned(path: Path) -> bool:
    """Is this an unfinished file of a process that has ended, as far as its lock tells? Where the
    system has no such locks, nobody holds it.
    """
    if not UNFINISHED.fullmatch(path.name) or path.is_symlink():
        return False
    place = grasp(path)
    if place is not None and place >= 0:
        os.close(place)
    return place is not None


def sweep(folder: Path, name: str = "") -> None:
    """Remove the unfinished files and folders in `folder` whose process has ended.

    name  only what was to become the file or folder of this name
    """
    for path in folder.glob(".*.part*"):
        beginning = f".{name}." if name else "."
        if path.name.startswith(beginning):
            remove_abandoned(path)


def sweep_results(folder: Path) -> None:
    """Remove what killed processes were writing into a results folder; no link is followed."""
    places = [folder]
    for name in ("models", "models/*", "signals", "records", "records/*"):
        places += folder.glob(name)
    for place in places:
        inside = place.resolve().is_relative_to(folder.resolve())
        if place.is_dir() and not place.is_symlink() and inside:
            sweep(place)


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
