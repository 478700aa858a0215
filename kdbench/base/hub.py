"""Ids of the hub and paths of this machine: which of them a name is, and whether the hub answers.

A name with a slash may be either, and a mistyped path must not leave the machine. So a name is an
id only where nothing speaks for a path.
"""

from __future__ import annotations

import difflib
import os
import re
import ssl
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ENDPOINT = "https://huggingface.co"
OWNER_AND_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# of files that people name; ids have dots too (`owner/model-0.5B`)
ENDINGS = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".conll", ".iob", ".iob2", ".bio", ".ann",
           ".parquet", ".feather", ".arrow", ".spacy", ".pubtator", ".xml", ".gz", ".zip", ".xlsx",
           ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".h5"}
ALIKE = 0.75  # of the names of two folders, as difflib measures it
SECONDS = 5.0  # that the hub has for an answer


def is_id(name: str) -> bool:
    """``owner/name`` for which nothing here speaks: see `why_path`."""
    return not why_path(name)


def why_path(name: str) -> str:
    """Why a name is a path and no id of the hub, in words; empty where it is an id.

    ``./a``, ``~/a``, ``a/b/c``, ``a\\b``, the ending of a file, a folder `owner` in this folder, or
    one whose name is nearly `owner`.
    """
    if not OWNER_AND_NAME.fullmatch(name) or ".." in name:
        return "not of the form owner/name"
    if Path(name).suffix.lower() in ENDINGS:
        return f"it ends in {Path(name).suffix}, as a file"
    owner = name.partition("/")[0]
    if Path(owner).exists():
        return f"{owner} is here and has no {name.partition('/')[2]}"
    close = meant(name)
    return f"is {close} meant?" if close else ""


def meant(name: str) -> str:
    """The path whose first folder is here and is nearly that of `name`; empty where there is none.
    """
    owner, _, rest = name.partition("/")
    try:
        folders = [entry.name for entry in os.scandir() if entry.is_dir()]
    except OSError:  # this folder was removed, or may not be listed
        return ""
    close = difflib.get_close_matches(owner, folders, 1, ALIKE) if rest else []
    return f"{close[0]}/{rest}" if close else ""


def switched_off() -> bool:
    """Has the user forbidden to ask the hub? Its libraries then give up at once."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def unreachable() -> str:
    """Why the hub cannot be asked, in words; empty where it answers.

    One short request: the libraries try six times, for half a minute.
    """
    if switched_off():
        return "HF_HUB_OFFLINE is set"
    address = os.environ.get("HF_ENDPOINT", ENDPOINT)
    try:
        with urlopen(Request(address, method="HEAD"), timeout=SECONDS):
            return ""
    except HTTPError:  # an answer all the same
        return ""
    except (OSError, ValueError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLError):
            return ""  # the libraries may know other certificates
        return f"{address} does not answer"
