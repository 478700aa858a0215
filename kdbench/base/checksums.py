"""Checksums of what is stored, kept in the JSON file that tells of it and compared when it is read.

Such a file has a key `checksums`: `content` is the SHA-256 of all else in the file, and `files` has
size and SHA-256 of the files beside it. Files from before there were checksums have no such key,
and are taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.identity import digest, file_digest

KEY = "checksums"
CHANGED = "its content is not what its checksum says"
AGAIN = "train it again with --overwrite, or get the folder again"

Content = dict[str, object]  # a JSON object
Files = dict[str, dict[str, int | str]]  # by name, the `bytes` and `sha256` of files


def content_digest(content: Mapping[str, object]) -> str:
    """The SHA-256 of a JSON object without its checksums, whatever the order of its keys."""
    rest = {name: value for name, value in content.items() if name != KEY}
    return digest(json.loads(json.dumps(rest)), 64)


def facts_of_files(folder: Path, names: Iterable[str]) -> Files:
    """Size and SHA-256 of the files `names` in `folder`."""
    found: Files = {}
    for name in sorted(names):
        path = folder / name
        found[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    return found


def sealed(content: Mapping[str, object], files: Files | None = None) -> Content:
    """A JSON object with its `checksums`: its own, and those of files beside it."""
    rest = {name: value for name, value in content.items() if name != KEY}
    sums: Content = {"content": content_digest(rest)}
    return {**rest, KEY: {**sums, "files": files} if files else sums}


def files_of(content: Mapping[str, object]) -> Files:
    """Size and SHA-256 of the files that a JSON object tells of, by name; none in old ones."""
    sums = content.get(KEY)
    files = sums.get("files") if isinstance(sums, dict) else None
    return cast(Files, files) if isinstance(files, dict) else {}


def damage(content: Mapping[str, object]) -> str:
    """What is wrong with a JSON object by its own checksum; empty where nothing is, or where it is
    older than checksums.
    """
    if KEY not in content:
        return ""
    sums = content[KEY]
    if not isinstance(sums, dict) or not isinstance(sums.get("files", {}), dict):
        return "its checksums cannot be read"
    return "" if sums.get("content") == content_digest(content) else CHANGED


def damage_of_files(content: Mapping[str, object], folder: Path) -> str:
    """What is wrong with the files that `content` tells of; empty where nothing is.

    Sizes are compared before any file is read: they tell of most damage, and at once.
    """
    files = files_of(content)
    try:
        for name, facts in files.items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                return f"it names a file elsewhere, {name}"
            size = (folder / name).stat().st_size
            if size != facts["bytes"]:
                return f"{name} has {size:,} bytes, not {facts['bytes']:,}"
        for name, facts in files.items():
            if file_digest(folder / name) != facts["sha256"]:
                return f"{name} is not what its checksum says"
    except OSError as error:
        return f"{Path(error.filename or name).name}: {error.strerror}"
    except (KeyError, TypeError, ValueError):
        return "its checksums cannot be read"
    return ""


def check_stage(folder: Path) -> None:
    """`BadInput` where the files of a trained model are not what its stage.json says; nothing where
    the folder has none, as exports and models from elsewhere have not.
    """
    made = folder / "stage.json"
    if not made.is_file():
        return
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in
              sorted(folder.rglob("*")) if path.is_file()]
    if wrong := damage_of_stage_files(made, tuple(stamps)):
        raise BadInput(f"model {folder}: damaged ({wrong}); {AGAIN}. If the change is yours, "
                       "delete its stage.json")


@lru_cache(maxsize=64)
def damage_of_stage_files(made: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    """What is wrong with the files that a stage.json tells of, looked at once.

    stamps  name, size and time of each file: what it is looked at again for
    """
    try:
        content = read_object(made)
    except ValueError as error:
        return str(error)
    if not content:
        return f"{made.name} is empty"
    if wrong := damage_of_files(content, made.parent):
        return wrong
    sums, known = content.get("sha256"), files_of(content)
    for name, sha256 in sums.items() if isinstance(sums, dict) else ():  # of an older version
        path = made.parent / Path(name).name
        if name not in known and (not path.is_file() or file_digest(path) != sha256):
            return f"{name} is not what its checksum says"
    return ""


def read_object(path: Path) -> Content:
    """The JSON object in a file that is what its checksum says, or is older than checksums.

    Raises `ValueError` with the reason where it is none.
    """
    try:
        content = reading.json_object(path)
    except reading.Unreadable as error:
        raise ValueError(f"{path.name}: {error.why}") from error
    if wrong := damage(content):
        raise ValueError(f"{path.name}: {wrong}")
    return content
