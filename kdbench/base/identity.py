"""Content hashes and named seeds: a cell has the same id and the same draws on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any


def canonical(value: object) -> str:
    """`value` as JSON with sorted keys and no blanks; dataclasses, tuples and sets included.

    Raises `TypeError` for a value of any other type.
    """

    def plain(item: object) -> object:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return dataclasses.asdict(item)
        if isinstance(item, (set, frozenset)):
            return sorted(item)
        raise TypeError(f"{type(item).__name__} cannot decide an identity")

    return json.dumps(value, default=plain, sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False)


def digest(value: object, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def record_id(cell: dict[str, Any], content: dict[str, Any]) -> str:
    """The id of a record: the hash of all that decides its result.

    cell     a record's `cell`: names, options, settings
    content  a record's `content`: digests of data and models, versions of the code, the device's
             type
    """
    return digest({"cell": cell, "content": content})


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seed_for(seed: int, *axes: str) -> int:
    """A 31-bit seed for the named axes of run `seed`; equal axes always draw equal numbers."""
    name = "/".join((str(seed), *axes))
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) & 0x7FFFFFFF
