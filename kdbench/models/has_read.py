"""Has a model read what it is tested on? From what is known of the encoders with a name, and from
what `pretrain` notes beside the models that it makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.folders import write_text
from kdbench.models.encoders import NO, UNKNOWN, YES, Reading, encoder_of, of_encoder
from kdbench.models.sources import Source, local_folder

FILE = "pretraining.json"  # beside the weights of a model that `pretrain` has made


def has_read(source: Source | None, texts: str, test: str = "") -> Reading:
    """Whether a model has read the test texts of a task.

    source  of the model; None: nobody knows which
    texts   what the task's texts are, `KINDS` of `encoders`; empty: not known
    test    digest of the test split, as of `Data.digests`
    """
    if source is None or (source.cut and source.base is None):
        return Reading(UNKNOWN)
    if source.base is not None:
        return has_read(source.base, texts, test)
    if source.recipe is not None and source.recipe.config:
        return Reading(NO, "it has random weights before the run")
    known = encoder_of(source.hub or source.name) if named_here(source) else None
    own = of_encoder(known, texts)
    made = noted(source.folder) if source.folder is not None else None
    return own if made is None else with_pretraining(own, made, texts, test)


def named_here(source: Source) -> bool:
    """Is the model's name one of this project's, and not what a user calls a folder?"""
    return source.folder is None or local_folder(source.name) == source.folder


# ---- what `pretrain` notes -----------------------------------------------------------------------


def note_pretraining(folder: Path, source: Source, sha256: str, lines: int) -> None:
    """Write beside a model which corpus it has read, after what the one that it began as has read.

    source  of the model that it began as
    """
    before = noted(source.folder) if source.folder is not None else None
    base = before["from"] if before else states_of(source)
    corpora = [*(before["corpora"] if before else ()), {"sha256": sha256, "lines": lines}]
    write(folder, {"from": base, "corpora": corpora})


def states_of(source: Source) -> dict[str, str]:
    """By kind of text, whether a model has read such."""
    return {kind: has_read(source, kind).state for kind in ("abstracts", "notes")}


def note_overlap(folder: Path, sha256: str, test: str, counts: dict[str, int]) -> bool:
    """Write beside a model how much of a test split stands in one of its corpora; False where the
    file with this digest is none of them.

    test    digest of the split
    counts  texts, exact, shared: see `kdbench.data.contamination.Overlap`
    """
    content = noted(folder)
    if content is None:
        return False
    of_it = [corpus for corpus in content["corpora"] if corpus.get("sha256") == sha256]
    for corpus in of_it:
        corpus["overlap"] = {**corpus.get("overlap", {}), test: counts}
    if of_it:
        write(folder, content)
    return bool(of_it)


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write the note."""
    write_text(folder / FILE, json.dumps(content, indent=2) + "\n")


def noted(folder: Path | None) -> dict[str, Any] | None:
    """What `pretrain` has noted beside a model; None where it has not, or it cannot be read."""
    if folder is None or not (folder / FILE).is_file():
        return None
    try:
        content = reading.json_object(folder / FILE)
    except reading.Unreadable:
        return None
    states, corpora = content.get("from"), content.get("corpora")
    if not isinstance(states, dict) or not isinstance(corpora, list):
        return None
    return {"from": states, "corpora": [each for each in corpora if isinstance(each, dict)]}


def with_pretraining(own: Reading, made: dict[str, Any], texts: str, test: str) -> Reading:
    """What is known of a model that `pretrain` has made: what it began as, and its corpora.

    own  what is known of it by its name
    """
    state = own.state if own.state != UNKNOWN else str(made["from"].get(texts, UNKNOWN))
    counted = [overlap_of(corpus, test) for corpus in made["corpora"]]
    shared = sum(counts["shared"] for counts in counted if counts)
    if shared:
        total = max(counts["texts"] for counts in counted if counts)
        return Reading(YES, f"{shared:,} of {total:,} test texts stand in the text of its "
                            "pre-training, whole or in part")
    if state == YES:
        return Reading(YES, own.why or "the model that it was made of has read such texts")
    if None in counted or state not in (YES, NO):
        return Reading(UNKNOWN, "its pre-training is not compared with the test texts" if
                       None in counted else "")
    return Reading(NO, "no test text stands in the text of its pre-training")


def overlap_of(corpus: dict[str, Any], test: str) -> dict[str, int] | None:
    """The counts of a test split; None where they were never taken, or are none."""
    by_split = corpus.get("overlap")
    counts = by_split.get(test) if isinstance(by_split, dict) else None
    if not isinstance(counts, dict):
        return None
    fitting = all(type(counts.get(name)) is int for name in ("texts", "exact", "shared"))
    return counts if fitting else None
