"""Corpora for a data folder: downloaded and verified, or copied from another folder.

A download is resumed where it was cut (HTTP Range). It gets its name only after its size and its
git blob id are verified. Nothing unverified is kept: a file whose checksum is not known is not
fetched.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput
from kdbench.base.folders import new_file
from kdbench.base.progress import Progress, say
from kdbench.base.registry import DOWNLOADS, TASKS
from kdbench.data import corpora
from kdbench.data.task import LoadOptions, Task
from kdbench.data.transfer import Pace, open_part, open_url, part_size

BASE_URL = "https://raw.githubusercontent.com"
ATTEMPTS = 5  # in a row that bring no byte more
PAUSE = 0.2  # seconds after the first of them, twice as long after each further one
CHUNK = 1 << 16
COPIED = (".json", ".jsonl", ".tsv", ".csv")


@dataclass(frozen=True)
class Remote:
    """A file of a public repository at a commit.

    path          owner/name/commit/file
    size          in bytes
    blob          the file's git id
    sorted_lines  where that is not known but the rows are: the SHA-256 of the lines in sorted order
    """

    path: str
    size: int
    blob: str = ""
    sorted_lines: str = ""


@dataclass(frozen=True)
class Download:
    """What `prepare` fetches for a task.

    files    name in the task's folder -> where the file is published
    convert  called with each fetched file and the folder, where the task needs another format
    missing  what cannot be fetched and verified, and how a user gets it
    """

    files: Mapping[str, Remote]
    convert: Callable[[Path, Path], None] | None = None
    missing: str = ""


def prepare(names: Sequence[str], folder: Path, from_folder: Path | None = None,
            base_url: str = BASE_URL) -> list[dict[str, Any]]:
    """Put each corpus of `names` into ``folder/<task>``; returns one entry a file.

    from_folder  a data folder that has the corpora: they are read as a check and copied, and
                 nothing is downloaded
    entry        task, file, state (downloaded, already there, copied), bytes, verified (True,
                 False, or None: nothing to compare with); for a corpus that cannot be downloaded
                 task, state "by hand", how

    Raises `BadInput` after the last task, with the mistakes of all; also where all corpora are to
    be had by hand alone.
    """
    entries: list[dict[str, Any]] = []
    mistakes: list[str] = []
    for name in names:
        task = TASKS.get(name)
        try:
            _make(folder)
            if from_folder is None:
                entries += fetch(task, folder, base_url)
            else:
                entries += copy(task, from_folder, folder)
        except BadInput as error:
            mistakes.append(str(error))
    by_hand = [entry for entry in entries if entry["state"] == "by hand"]
    if by_hand and len(by_hand) == len(entries):
        mistakes += [f"task {entry['task']}: {entry['how']}" for entry in by_hand]
    if mistakes:
        raise BadInput("; ".join(mistakes))
    return entries


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{folder}: cannot be made ({error.strerror}); give a folder that you may write to"
        ) from None


def fetch(task: Task, folder: Path, base_url: str = BASE_URL) -> list[dict[str, Any]]:
    """Download the files of `task` into ``folder/<task>``, verify and convert them."""
    downloads: Mapping[str, Download] = DOWNLOADS.load()
    if task.name not in downloads:
        return [{"task": task.name, "state": "by hand", "how": task.how_to_get}]
    download, target = downloads[task.name], folder / task.name
    say(f"{task.name}: {task.source}; licence: {task.licence}")
    _make(target)
    entries = []
    for file, remote in download.files.items():
        state = download_file(f"{base_url.rstrip('/')}/{remote.path}", target / file, remote)
        say(f"{task.name}/{file}: {state}, {remote.size / 1e6:.1f} MB, verified")
        entries.append({
            "task": task.name, "file": file, "state": state, "bytes": remote.size, "verified": True
        })
        if download.convert is not None:
            download.convert(target / file, target)
    if download.missing:
        return [*entries, {"task": task.name, "state": "by hand", "how": download.missing}]
    if corpora.load(task, LoadOptions(data_dir=folder)).published_files is False:
        raise BadInput(f"{target}: the files are not the published ones; remove the folder and "
                       "prepare it again")
    return entries


def download_file(url: str, target: Path, remote: Remote) -> str:
    """Fetch `url` to `target` and verify it; returns "downloaded", or "already there".

    A cut transfer is resumed from the `.part` file, also that of an earlier call. Raises `BadInput`
    at once where another attempt would end in the same way (404, a wrong size or checksum), and
    after `ATTEMPTS` in a row that brought no byte more.
    """
    if target.exists():
        if _mistake(target, remote) is not None:
            raise BadInput(
                f"{target}: is not the published file, and is not overwritten; move it away")
        return "already there"
    part = target.with_name(f"{target.name}.part")
    if part_size(part) >= remote.size and _mistake(part, remote) is not None:
        part.unlink()
    farthest, failures = part_size(part), 0
    while part_size(part) != remote.size:
        reason = _attempt(url, part, remote)
        if part_size(part) > farthest:
            farthest, failures = part_size(part), 0
            continue
        failures += 1
        if failures == ATTEMPTS:
            raise BadInput(f"{url}: {farthest:,} of {remote.size:,} bytes, then {reason}; "
                           "call prepare again to resume, or use --from FOLDER")
        time.sleep(PAUSE * 2 ** (failures - 1))
    mistake = _mistake(part, remote)
    if mistake is not None:
        part.unlink()
        raise BadInput(
            f"{url}: {mistake}; nothing was kept: the file there is not the published one")
    os.replace(part, target)
    return "downloaded"


def _attempt(url: str, part: Path, remote: Remote) -> str:
    """One request; returns why it ended. Raises `BadInput` where another would end so too."""
    try:
        _transfer(url, part, remote)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is no beginning of this file
            part.unlink(missing_ok=True)
        elif error.code < 500:
            reason = " ".join(str(error.reason).split())
            raise BadInput(
                f"{url}: the server answers {error.code} {reason}; if the file has moved, get it "
                "by hand and use --from FOLDER") from None
        return f"the server answers {error.code}"
    # no connection, reset, silence, a full disk
    except (OSError, http.client.HTTPException) as error:
        return " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
    return "the transfer was cut"


def _transfer(url: str, part: Path, remote: Remote) -> None:
    """Append to `part` what it lacks; the whole file where the server does not resume."""
    offset = part_size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
    with (doing(f"fetching {url}"),
          open_url(request) as response):
        if response.status != 206:
            offset = 0
        length = response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and offset + int(length) != remote.size:
            raise BadInput(f"{url}: {offset + int(length):,} bytes instead of {remote.size:,}; "
                           "the file there is not the published one")
        progress = Progress(f"{part.parent.name}/{part.stem}", remote.size, "bytes", offset)
        pace = Pace(url)
        with open_part(part, append=offset > 0) as out:
            # `read1` gives what has come; `read` would wait for all of a chunk
            while chunk := response.read1(min(CHUNK, remote.size + 1 - offset)):
                offset += len(chunk)
                pace.add(len(chunk))
                out.write(chunk)
                progress.at(offset)
                if offset > remote.size:
                    break
    if offset > remote.size:
        part.unlink()
        raise BadInput(
            f"{url}: more than {remote.size:,} bytes; the file there is not the published one")
    progress.end()


def _mistake(path: Path, remote: Remote) -> str | None:
    """What is wrong with a fetched file; None where it is the published one."""
    if (size := reading.regular(path)) != remote.size:
        return f"{size:,} bytes instead of {remote.size:,}"
    content = path.read_bytes()
    if remote.blob:
        found, expected = git_blob_id(content), remote.blob
    else:
        found, expected = sorted_lines_id(content), remote.sorted_lines
    return None if found == expected else f"checksum {found[:12]}... instead of {expected[:12]}..."


def git_blob_id(content: bytes) -> str:
    """The id that `git hash-object` prints: SHA-1 of a header with the size, and the bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sorted_lines_id(content: bytes) -> str:
    """SHA-256 of the lines in sorted order: the same for the same rows in any order."""
    return hashlib.sha256(b"".join(sorted(content.splitlines(keepends=True)))).hexdigest()


def copy(task: Task, source: Path, folder: Path) -> list[dict[str, Any]]:
    """Copy the task's files from the data folder `source`, after reading them as a run would.

    Raises `BadInput` where they are wrong, lead out of `source`, or are the target.
    """
    if task.name == "files":
        raise BadInput("task files reads your files where they are: --train FILE --test FILE")
    data = corpora.load(task, LoadOptions(data_dir=source))
    origin, target = corpora.find_folder(task.name, source), folder / task.name
    if target.exists() and target.samefile(origin):
        raise BadInput(f"{origin} is where the files would go; they can be used as they are")
    _make(target)
    entries = []
    for path in sorted(origin.iterdir()):
        is_data = path.suffix in COPIED and path.is_file()
        if is_data and corpora.find_file(origin, source, [path.name]):
            with path.open("rb") as original, new_file(target / path.name, binary=True) as written:
                shutil.copyfileobj(original, written)
            entries.append({
                "task": task.name, "file": path.name, "state": "copied",
                "bytes": path.stat().st_size, "verified": data.published_files
            })
    return entries
