"""`check --against-corpus`: how much of a task's test split stands in a text."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.progress import say
from kdbench.data.contamination import RUN, SHORTEST, against
from kdbench.data.task import Data

Counts = dict[str, Any]  # the values of `kdbench.data.contamination.Overlap`


def counted(args: Namespace, data: Data) -> Counts | None:
    """The counts, noted in the model of --model where the file is its corpus; None where nobody
    asks for them.
    """
    if args.against_corpus is None:
        return None
    found = asdict(against(data.test, args.against_corpus))
    if args.model:
        note(Path(args.model), found, data)
    return found


def note(folder: Path, found: Counts, data: Data) -> None:
    """Write the counts beside the model that was pre-trained on the file."""
    from kdbench.models.has_read import FILE, note_overlap

    counts = {name: found[name] for name in ("texts", "exact", "shared")}
    if not folder.is_dir():
        raise BadInput(f"--model {folder}: no such folder; the counts belong to the model that "
                       "`pretrain` has made")
    if note_overlap(folder, found["sha256"], data.digests["test"], counts):
        say(f"{folder / FILE}: the counts are noted, and runs from now on say whether their "
            "teacher has read the test texts (those that are there: with --overwrite)")
    else:
        say(f"{folder}: was not pre-trained on this file by `pretrain`, so that nothing is noted "
            "there")


def render(found: Counts) -> str:
    """The counts for people."""
    of = f"of {found['texts']:,} test texts"
    short = ""
    if found["short"]:
        short = (f"; {found['short']:,} more have under {SHORTEST} letters, of which "
                 f"{found['short_exact']:,} are a line there")
    return (f"against a corpus of {found['lines']:,} lines (sha256 {found['sha256'][:12]}): "
            f"{found['exact']:,} {of} stand there whole, {found['shared'] - found['exact']:,} more "
            f"share a run of {RUN} letters and digits or longer{short}")
