"""Names of test units in what is kept of a run: hashed, where they may be numbers of patients.

Statistics pair runs by their test units: notes, documents, patients. Where the data are neither
generated nor verified to be a published corpus, `ID.npz` holds of each unit its place in the order
of the names and an HMAC of its name: ``017-9f2c6b0d1e3a5c74``. The key of the HMAC, the salt, lies
in `units.salt` of the results folder, and is not committed with the records: without it nobody can
find a patient by trying all numbers. The places keep the units in the order of their names, so that
an interval is the same, digit for digit, as with the names themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.folders import held, write_text
from kdbench.data.task import Data

SALT = "units.salt"
IGNORED = ".gitignore"
BYTES = 32


def stored_names(folder: Path, data: Data, units: Sequence[str]) -> tuple[list[str], str]:
    """The names of these units as a record's arrays keep them, and the salt's fingerprint; where
    the data are public the names themselves, and no fingerprint.

    folder  the results folder, which gets a salt if it has none
    """
    if not data.own_text:
        return list(units), ""
    salt = salt_of(folder)
    return hashed(salt, units), fingerprint(salt)


def hashed(salt: bytes, units: Sequence[str]) -> list[str]:
    """Place and HMAC-SHA-256 (its first 16 hexadecimal digits) of each unit, in the order given."""
    macs = []
    for unit in units:
        mac = hmac.new(salt, str(unit).encode("utf-8", "surrogatepass"), hashlib.sha256)
        macs.append(mac.hexdigest()[:16])
    return in_their_places(macs, len(macs))


def in_their_places(names: Sequence[str], count: int) -> list[str]:
    """Hashed names of `count` units, each behind the place where it stands; other places that they
    had before are left out.
    """
    width, found = len(str(count)), []
    for place in range(count):
        mac = names[place].rpartition("-")[2] if place < len(names) else ""
        found.append(f"{place:0{width}d}-{mac}")
    return found


def fingerprint(salt: bytes) -> str:
    """What tells salts apart and says nothing of them."""
    return hashlib.sha256(b"kdbench units " + salt).hexdigest()[:16]


def salt_of(folder: Path) -> bytes:
    """The salt of a results folder, made where there is none; of two processes that make one, the
    first one's is taken.
    """
    path = folder / SALT
    if (found := known_salt(folder)) is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f".{SALT}.{os.getpid()}.part"
    with held(made, lambda: write_salt(made)):
        try:
            take_name(made, path)
        finally:
            made.unlink(missing_ok=True)
    ignore(folder)
    found = known_salt(folder)
    assert found is not None
    return found


def write_salt(path: Path) -> None:
    """Write a new salt, which nobody else can read from its first moment on, to the disk: what is
    hashed with it must not outlive it.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(BYTES) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def take_name(made: Path, path: Path) -> None:
    """Give a file its name unless another has it already."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(made, path)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:  # a file system without hard links, where the later of two is kept
            if not path.exists():
                os.replace(made, path)


def known_salt(folder: Path) -> bytes | None:
    """The salt of a results folder; None where it has none. `BadInput` where the file is no
    salt.
    """
    path = folder / SALT
    try:
        text = path.read_text(encoding="ascii").strip()
        salt = bytes.fromhex(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        salt = b""
    if len(salt) != BYTES:
        raise BadInput(f"{path}: is not the salt of a results folder; put the file back, or move "
                       "it away (runs before and after then hash their units differently)")
    return salt


def ignore(folder: Path) -> None:
    """Keep git from taking the salt, beside the rules that a results folder has."""
    path = folder / IGNORED
    with contextlib.suppress(OSError, UnicodeDecodeError):
        rules = path.read_text(encoding="utf-8") if path.is_file() else ""
        if SALT not in rules.splitlines():
            ended = rules + "\n" if rules and not rules.endswith("\n") else rules
            why = "# the key to the hashed units of the records; not for others"
            write_text(path, f"{ended}{why}\n{SALT}\n")


# ---- reading -------------------------------------------------------------------------------------


def is_own(record: Mapping[str, Any]) -> bool:
    """Was this run scored on data that are neither generated nor a verified published corpus?"""
    data = record.get("data")
    if not isinstance(data, dict):
        return False
    return data.get("kind") != "lookalike" and data.get("published_files") is not True


def is_own_text(record: Mapping[str, Any]) -> bool:
    """Has a run read text that is neither generated nor a verified published corpus?"""
    return is_own(record) or "vocabulary" in record


def salt_behind(record: Mapping[str, Any]) -> str:
    """The fingerprint of the salt by which a record's units are hashed; empty where they stand in
    clear.
    """
    data = record.get("data")
    return str(data.get("units_salt") or "") if isinstance(data, dict) else ""


def pairing_names(record: Mapping[str, Any], units: Sequence[str]) -> tuple[str, ...]:
    """The names by which statistics pair the units of runs.

    Units of one's own data are known by their place among those of the test set with this digest:
    a digest holds the names of all units, and they are kept in the order of their names. So runs
    pair whatever salt hashed them, older ones without any too.
    """
    content = record.get("content")
    data = content.get("data") if isinstance(content, dict) else None
    test = data.get("test") if isinstance(data, dict) else None
    if not is_own(record) or not test:
        return tuple(units)
    width = len(str(len(units)))
    return tuple(f"{place:0{width}d} of {test}" for place in range(len(units)))
