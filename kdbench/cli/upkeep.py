"""The verbs that look after one's runs: runs, compare, clean."""

from __future__ import annotations

import math
import re
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdbench.base.errors import DONE, BadInput
from kdbench.cli.results import chosen_records
from kdbench.cli.shared import form, print_json, split_files, variable_folder

if TYPE_CHECKING:
    from kdbench.runs.inventory import Inventory


def runs(args: Namespace) -> int:
    """List runs, or print all about one."""
    from kdbench.report import run_list
    from kdbench.runs.inventory import Inventory
    from kdbench.runs.store import find_record

    inventory = Inventory.of(args.results_dir)
    if args.contains_text:
        return contains_text(args, inventory)
    width = form("text")[1]
    if is_id(args.suite, list(inventory.paths)):
        record = find_record(args.results_dir, args.suite)
        if args.json:
            print_json(run_list.detail(inventory, record))
        else:
            print(run_list.detail_text(inventory, record))
        return DONE
    chosen = inventory.records
    if args.suite:
        wanted = {record["id"] for record in chosen_records(args)}
        chosen = [record for record in chosen if record["id"] in wanted]
    if args.json:
        print_json(run_list.as_json(inventory, chosen))
    else:
        print(run_list.as_text(inventory, chosen, width))
    return DONE


def contains_text(args: Namespace, inventory: Inventory) -> int:
    """List what holds text or derives from it."""
    from kdbench.report import holding_list

    if args.suite:
        raise BadInput("--contains-text: lists a whole results folder; leave the name of a run, a "
                       "suite or a filter out")
    if args.json:
        print_json(holding_list.as_json(inventory))
    else:
        print(holding_list.as_text(inventory))
    return DONE


def is_id(text: str | None, ids: Sequence[str]) -> bool:
    """Is this the beginning of an id, and not a suite or a filter?"""
    if not text or not re.fullmatch(r"[0-9a-f]+", text):
        return False
    return len(text) >= 8 or any(one.startswith(text) for one in ids)


def compare(args: Namespace) -> int:
    """Print how two runs differ."""
    from kdbench.report import compare_text
    from kdbench.report.compare import as_json, compare

    if args.limit < 0:
        raise BadInput(f"--limit {args.limit}: give a number of rows, or 0 for all")
    folder = variable_folder(args)
    if folder is not None and not folder.is_dir():
        raise BadInput(f"data folder {folder}: no such folder; without it, only look-alikes count")
    found = compare(args.results_dir, args.run, args.other, folder, split_files(args),
                    texts=args.texts)
    if args.json:
        print_json(as_json(found, args.limit))
    else:
        print(compare_text.as_text(found, args.limit, form("text")[1]))
    return DONE


def clean(args: Namespace) -> int:
    """Print what nobody refers to, and delete it where that is asked for."""
    from kdbench.report import run_list
    from kdbench.runs.clean import remove, survey
    from kdbench.runs.inventory import Inventory

    if not 0 <= args.older_than < math.inf:
        raise BadInput(f"--older-than {args.older_than}: give a number of days")
    inventory = Inventory.of(args.results_dir)
    found = survey(inventory, args.older_than)
    gone = remove(inventory, found.leftovers) if args.yes else []
    if args.json:
        print_json(run_list.clean_json(found, gone, args.yes))
    else:
        print(run_list.clean_text(found, gone, args.yes))
    return DONE
