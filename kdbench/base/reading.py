"""Files that come from elsewhere, read within limits.

Whoever reads a file that somebody else may have made asks here: that it is a regular file, how
large it may be, and how deep. Each mistake is an `Unreadable`, which is a `BadInput` with file and
remedy, and a `ValueError` for readers that answer to damage in their own way.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import os
import stat
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.base.errors import BadInput, Broken, Skip, one_line

if TYPE_CHECKING:
    from numpy import ndarray

MEGABYTE = 2**20
# bytes of one JSON, TOML or CSV file; the largest tokenizer.json known has 35 MB
FILE_LIMIT = 128 * MEGABYTE
# bytes of a file of the user's texts, and its lines: a corpus of abstracts is far below both
TEXT_LIMIT, LINES_LIMIT = 2**30, 10_000_000
# lines of a file that is read as a stream, as the corpus of a pre-training
STREAM_LIMIT = 100_000_000
# bytes of one line of texts; the longest abstracts and notes are three orders of magnitude below it
LINE_LIMIT = 8 * MEGABYTE
# lists and objects within each other; what people and programs write has fewer than twenty
DEPTH_LIMIT = 100
# bytes of all arrays of one .npz, unpacked: a test set of a million rows with its predictions
ARRAYS_LIMIT = 2**30
# lists and objects of one JSON text, elements of XML: each takes some hundred bytes of memory
PARTS_LIMIT = 10_000_000
# times that a packed file may grow, beyond the first 64 MB; text grows three to twenty times
RATIO_LIMIT, RATIO_FREE = 100, 64 * MEGABYTE
# arrays of one .npz, and bytes of the list of them at its end
ARRAYS_MOST, ARRAYS_LIST = 1_000, MEGABYTE
# digits of a whole number that is a place or a size
DIGITS = 15
# a file may become a pipe after it was looked at, and to open one waits for its writer
NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
ZIP_END = struct.Struct("<4s4H2LH")  # of an archive without a comment: its last record
LFS = b"version https://git-lfs"  # how a file begins that stands for one elsewhere
ODD_FILE = "a folder, a pipe or a device"
# remedies
UTF8, AGAIN = "save the file as UTF-8 text", "get the file again"
RUN_AGAIN = "run it again, or move the file away"


class Unreadable(BadInput, ValueError):
    """A file that cannot be used: which (with the line, where there is one), why, what to do."""

    def __init__(self, where: object, why: str, remedy: str):
        super().__init__(where, why, remedy)
        self.where, self.why, self.remedy = where, why, remedy

    def __str__(self) -> str:
        return f"{self.where}: {self.why}; {self.remedy}"


class Missing(Unreadable):
    """No such file."""


def is_pointer(path: Path) -> bool:
    """Is this a text of Git LFS, which stands for a file that is not here?"""
    try:
        with path.open("rb") as stream:
            return stream.read(len(LFS)) == LFS
    except OSError:
        return False


def regular(path: Path) -> int:
    """The size of a regular file in bytes; `Unreadable` for anything else, which might never end.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise Missing(path, "no such file", "check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise cannot_be_read(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(path, f"cannot be read ({ODD_FILE})", "give a regular file")
    return found.st_size


def cannot_be_read(path: Path, error: Exception) -> Unreadable:
    """What is said where the system refuses to read a file."""
    why = getattr(error, "strerror", None) or one_line(error)
    return Unreadable(path, f"cannot be read ({why})", "check the path and its permissions")


def too_large(path: Path, most: int) -> Unreadable:
    """What is said of a file of more than `most` bytes."""
    return Unreadable(path, f"more than {most // MEGABYTE:,} MB", "is this the right file?")


def content(path: Path, most: int = FILE_LIMIT) -> bytes:
    """The bytes of a regular file of at most `most` bytes."""
    size = regular(path)
    if size > most:
        raise too_large(path, most)
    try:
        with open(os.open(path, os.O_RDONLY | NO_WAIT), "rb") as stream:
            found = stream.read(size + 1)
            if len(found) > size:  # it grows
                found += stream.read(most + 1 - size)
    except OSError as error:
        raise cannot_be_read(path, error) from None
    if len(found) > most:
        raise too_large(path, most)
    return found


def gunzipped(path: Path, packed: bytes, most: int = TEXT_LIMIT) -> bytes:
    """What a gzip file holds; `Unreadable` where it is damaged, or grows as no text does."""
    limit = min(most, max(RATIO_FREE, RATIO_LIMIT * len(packed)))
    found = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            while found.tell() <= limit and (part := stream.read(MEGABYTE)):
                found.write(part)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise Unreadable(path, "a damaged gzip file", "copy it anew") from None
    if found.tell() > limit:
        raise Unreadable(path, f"unpacks to more than {limit // MEGABYTE:,} MB",
                         "give it unpacked, or split it")
    return found.getvalue()


def inflated_size(path: Path, packed: bytes, most: int = TEXT_LIMIT) -> int:
    """How many bytes zlib data has when unpacked; `Unreadable` where it grows as no text does."""
    limit = min(most, max(RATIO_FREE, RATIO_LIMIT * len(packed)))
    unpacker, size, rest = zlib.decompressobj(), 0, packed
    while rest:
        size += len(unpacker.decompress(rest, MEGABYTE))
        rest = unpacker.unconsumed_tail
        if size > limit:
            raise Unreadable(path, f"unpacks to more than {limit // MEGABYTE:,} MB",
                             "is this the right file?")
    return size


def whole_number(digits: str) -> int | None:
    """The number that a few digits spell out; None for any other text, and for one that is no size
    and no place in a file.
    """
    known = digits.isascii() and digits.isdigit() and len(digits) <= DIGITS
    return int(digits) if known else None


def text(path: Path, most: int = FILE_LIMIT) -> str:
    """The UTF-8 text of a file of at most `most` bytes."""
    try:
        return content(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"cannot be read (byte {error.start + 1} is not UTF-8)",
                         UTF8) from None


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file of texts, blank ones included, without their ends (of any system).

    `Unreadable` where the file has more than `TEXT_LIMIT` bytes or `LINES_LIMIT` lines, or a line
    more than `LINE_LIMIT` bytes.
    """
    if regular(path) > TEXT_LIMIT:
        raise Unreadable(path, f"more than {TEXT_LIMIT // MEGABYTE:,} MB of text", "split the file")
    check_lines(path)
    raw = content(path, TEXT_LIMIT)
    try:
        found = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{path}:{line}", "cannot be read (not UTF-8)", UTF8) from None
    return found.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def check_lines(path: Path, most: int = LINES_LIMIT) -> None:
    """`Unreadable` where a file has more than `most` lines, or a line longer than `LINE_LIMIT`.

    The file is read in parts, so that no long line is held.
    """
    regular(path)
    checked = Counted(path, most)
    try:
        with open(os.open(path, os.O_RDONLY | NO_WAIT), "rb") as stream:
            while part := stream.read(MEGABYTE):
                checked.add(part)
    except OSError as error:
        raise cannot_be_read(path, error) from None


class Counted:
    """The lines of a file, counted and measured as its parts come.

    most     lines
    longest  bytes of one line; None: any
    """

    def __init__(self, path: Path, most: int = LINES_LIMIT, longest: int | None = LINE_LIMIT):
        self.path, self.most, self.longest = path, most, longest
        self.ended, self.open_bytes = 0, 0

    def add(self, part: bytes) -> None:
        """Count the next part of the file, which is no longer than a line may be."""
        last = part.rfind(b"\n")
        if self.longest is not None:
            first = part.find(b"\n") if last >= 0 else len(part)
            if self.open_bytes + first > self.longest:
                raise Unreadable(f"{self.path}:{self.ended + 1}", "a line longer than "
                                 f"{self.longest // MEGABYTE} MB", "is this one text a line?")
        self.open_bytes = len(part) - last - 1 if last >= 0 else self.open_bytes + len(part)
        self.ended += part.count(b"\n")
        if self.ended > self.most:
            raise Unreadable(self.path, f"more than {self.most:,} lines",
                             "remove blank lines, or split the file")


def check_content(path: Path, raw: bytes, longest: int | None = LINE_LIMIT) -> None:
    """As `check_lines`, of content that is at hand."""
    checked = Counted(path, longest=longest)
    for start in range(0, len(raw), MEGABYTE):
        checked.add(raw[start:start + MEGABYTE])


# ---- JSON, TOML, arrays --------------------------------------------------------------------------


def parsed(source: str) -> Any:
    """The value of a JSON text; `ValueError` for one that is none, too large, or nested too deep.
    """
    if source.count("[") + source.count("{") > PARTS_LIMIT:
        raise ValueError(f"more than {PARTS_LIMIT:,} lists and objects")
    try:
        value = json.loads(source)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except ValueError as error:
        if "integer string" in str(error):  # Python's own message is about a setting of Python
            raise ValueError("a number of thousands of digits") from None
        raise
    check_depth(value)
    return value


TOO_DEEP = f"more than {DEPTH_LIMIT} lists and objects within each other"


def check_depth(value: object) -> None:
    """`ValueError` where lists and objects are nested deeper than `DEPTH_LIMIT`."""
    level, depth = [value], 0
    while level:
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level, depth = below, depth + 1
        if depth > DEPTH_LIMIT + 1:
            raise ValueError(TOO_DEEP)


def json_value(path: Path, most: int = FILE_LIMIT) -> Any:
    """The value in a JSON file."""
    source = text(path, most)
    try:
        return parsed(source)
    except ValueError as error:
        raise Unreadable(path, f"not valid JSON ({one_line(error)})", AGAIN) from None


def json_object(path: Path, most: int = FILE_LIMIT) -> dict[str, Any]:
    """The object in a JSON file."""
    found = json_value(path, most)
    if not isinstance(found, dict):
        raise Unreadable(path, "not a JSON object", AGAIN)
    return found


def toml_table(path: Path) -> dict[str, Any]:
    """The content of a TOML file of at most 1 MB."""
    source = text(path, MEGABYTE)
    try:
        found = tomllib.loads(source)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else one_line(error)
        raise Unreadable(path, f"not valid TOML ({why})", "correct it there") from None
    return found


def arrays(path: Path) -> dict[str, ndarray]:
    """The arrays of an .npz file by name, none of them of objects.

    What they take in memory is read from their headers first.
    """
    import numpy as np

    check_list(path, regular(path))
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(map(array_bytes, [packed] * len(packed.namelist()), packed.infolist())) \
                    > ARRAYS_LIMIT:
                raise Unreadable(path, f"unpacks to more than {ARRAYS_LIMIT // MEGABYTE:,} MB",
                                 RUN_AGAIN)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Unreadable:
        raise
    # zip, zlib and NumPy have errors of their own for each sort of damage
    except Exception as error:
        why = one_line(error) or type(error).__name__
        raise Unreadable(path, f"cannot be read ({why})", RUN_AGAIN) from None


def check_list(path: Path, size: int) -> None:
    """`Unreadable` where the list at the end of a zip archive of `size` bytes has more entries than
    an .npz, or another length; zipfile reads all of it before anybody can ask.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, size - ZIP_END.size))
        end = stream.read()
    if len(end) < ZIP_END.size:
        return  # zipfile says what it is
    mark, _, _, _, entries, length, _, comment = ZIP_END.unpack(end)
    if mark == b"PK\5\6" and (entries > ARRAYS_MOST or length > ARRAYS_LIST or comment):
        raise Unreadable(path, f"an archive of {entries:,} files, and at most {ARRAYS_MOST:,} are "
                         "taken", RUN_AGAIN)
    if mark != b"PK\5\6":
        raise Unreadable(path, "cannot be read (it does not end as an archive of arrays)",
                         RUN_AGAIN)


def array_bytes(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Bytes of one array, by the larger of what the archive and the array's own header say."""
    from numpy.lib import format as npy

    with packed.open(member) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    return max(member.file_size, math.prod(shape) * dtype.itemsize)


# ---- what libraries read -------------------------------------------------------------------------


@contextlib.contextmanager
def foreign(what: str, remedy: str) -> Iterator[None]:
    """Whatever a library raises on somebody else's file, in one line.

    what    the file or folder
    remedy  what to do

    A library that reads a format raises errors of any class on a damaged file: transformers alone
    has attribute, type, key and division errors, and tokenizers' panics are no `Exception`.
    """
    try:
        yield
    except (BadInput, Broken, Skip, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        own = type(error).__module__.partition(".")[0] in ("kdbench", "tests")
        if own or not (isinstance(error, Exception) or "Panic" in type(error).__name__):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadInput(f"{what}: cannot be loaded ({lines[0][:300]}); {remedy}") from error
