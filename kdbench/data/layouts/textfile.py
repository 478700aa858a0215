"""A text file as lines, in any encoding, packed by gzip or not.

UTF-8 is expected (with or without its mark). Of a file that is not, the error names an encoding to
try, from the characters that it would have.
"""

from __future__ import annotations

import codecs
import hashlib
from pathlib import Path

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.data.readers import Source

CHUNK = 2**20
GZIP = b"\x1f\x8b"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# encoding, first and last character of its script, share of characters beyond ASCII that must be in
# it, and share of such characters among all letters: single bytes decode as anything, and what is
# nearly all ASCII is rather French than Greek
SCRIPTS = (("shift_jis", "\u3040", "\u30ff", 0.3, 0.0), ("cp949", "\uac00", "\ud7a3", 0.6, 0.0),
           ("gb18030", "\u4e00", "\u9fff", 0.6, 0.0), ("cp1251", "\u0400", "\u04ff", 0.9, 0.5),
           ("cp1253", "\u0370", "\u03ff", 0.9, 0.5), ("cp1252", "\u0080", "\u024f", 0.5, 0.0))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file, unpacked; `BadInput` where it cannot be had or has no end."""
    content = reading.content(path, reading.TEXT_LIMIT)
    return reading.gunzipped(path, content) if content.startswith(GZIP) else content


def source_of(path: Path, content: bytes, encoding: str = "") -> Source:
    """The lines of a text file; the checksum is of its content as unpacked.

    Raises `BadInput` where it is empty, no text, or not in `encoding` (empty: UTF-8).
    """
    # a whole corpus in JSON may stand in one line; its texts are measured where they are read
    in_json = content[:100].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    reading.check_content(path, content, None if in_json else reading.LINE_LIMIT)
    lines = tuple(line.removesuffix("\r") for line in decoded(path, content, encoding).split("\n"))
    lines = lines[:-1] if lines[-1] == "" else lines
    if not any(line.strip() for line in lines):
        raise BadInput(f"{path}: the file is empty; give one with at least one record")
    return Source(path, lines, hashlib.sha256(content).hexdigest())


def decoded(path: Path, content: bytes, encoding: str = "") -> str:
    """The text of `content`; `BadInput` names the first byte that is not in the encoding."""
    try:
        text = content.decode(encoding or "utf-8").removeprefix("\ufeff")
    except LookupError:
        raise BadInput(f"{path}: unknown encoding {encoding!r}; say cp949, latin-1, utf-16, "
                       "or another that Python knows") from None
    except UnicodeDecodeError as error:
        raise BadInput(_undecodable(path, content, encoding, error.start)) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInput(f"{path}:{line}: a NUL byte; save the file as UTF-8 text "
                       "(UTF-16 is full of NULs)")
    return text


def _undecodable(path: Path, content: bytes, encoding: str, start: int) -> str:
    line = content.count(b"\n", 0, start) + 1
    byte = start - content.rfind(b"\n", 0, start)
    guess = likely_encoding(content)
    remedy = "save the file as UTF-8"
    if guess and guess != encoding:
        remedy += f", or say --encoding {guess}"
    return f"{path}:{line}: byte {byte} of the line is not {encoding or 'UTF-8'}; {remedy}"


def likely_encoding(content: bytes) -> str:
    """The first encoding in which most characters beyond ASCII are of one script; empty: none."""
    if content.startswith(UTF16):
        return "utf-16"
    sample = content[:CHUNK]
    if b"\0" in sample:
        return ""
    for encoding, first, last, share, among_letters in SCRIPTS:
        # a sample may end within a character
        text = codecs.getincrementaldecoder(encoding)("replace").decode(sample)
        found = [char for char in text if not char.isascii()]
        fitting = sum(first <= char <= last for char in found)
        many = len(found) >= among_letters * sum(map(str.isalpha, text))
        if found and "\ufffd" not in found and fitting >= share * len(found) and many:
            return encoding
    return ""
