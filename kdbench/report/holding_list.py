"""What on the shelf holds text or derives from it, as people and programs read it."""

from __future__ import annotations

from typing import Any

from kdbench.report.run_list import amount
from kdbench.runs.holdings import OWN, PUBLIC, UNKNOWN, Holding, holdings
from kdbench.runs.inventory import Inventory

HEADS = {
    OWN: "From text of your own (not generated, not verified to be a published corpus):",
    UNKNOWN: "From text that no run tells of:",
}


def as_json(inventory: Inventory) -> dict[str, Any]:
    """All of it, for programs."""
    return {"holdings": [{
        "path": str(one.path), "holds": one.holds, "text": one.text, "runs": list(one.runs),
        "bytes": one.bytes,
    } for one in holdings(inventory)]}


def as_text(inventory: Inventory) -> str:
    """All of it, for people; what derives from public text is counted."""
    found = holdings(inventory)
    lines = []
    for text, head in HEADS.items():
        chosen = [one for one in found if one.text == text]
        if chosen:
            lines += [head, *map(line_of, chosen)]
    public = sum(one.text == PUBLIC for one in found)
    if public:
        lines.append(f"{public} further place{'s' * (public != 1)} derive from generated text or "
                     "published corpora alone (--json names them)")
    if not found:
        return f"{inventory.folder}: nothing holds text or derives from it"
    lines.append("Your own files, what `prepare`, `augment`, `pretrain`, `convert-data`, `label` "
                 "and `evaluate -o` wrote, and ~/.cache are not looked at. Deleting a place "
                 "deletes what it holds.")
    return "\n".join(lines)


def line_of(one: Holding) -> str:
    """A place with its size and what it holds."""
    return f"{amount(one.bytes):>8}  {one.path}: {one.holds}"
