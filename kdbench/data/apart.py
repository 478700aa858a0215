"""A part of dev that is kept apart: a search chooses by it among its trials, and looks at the test
split for the finals alone.

The rest of dev chooses the epochs, of the teacher, of the trials and of the finals alike.
"""

from __future__ import annotations

import random
from dataclasses import replace

from kdbench.base.errors import BadInput
from kdbench.data.task import Data

TRIAL, FINAL = "trial", "final"
SHARE = 0.5  # of dev's units
LEAST = 10  # units of each part


def with_dev_apart(data: Data, share: float, part: str) -> Data:
    """The data of a trial, whose test split is the part of dev that is kept apart, or of a final,
    whose test split is the test split.

    share  of the units of dev that are kept apart; whole documents, patients, ... are, where
           examples have groups. They are drawn by the units' names alone.

    `BadInput` where dev has too few units for two parts.
    """
    units = sorted({example.unit for example in data.dev})
    if len(units) < 2 * LEAST:
        raise BadInput(f"dev has {len(units)} units, and a search needs at least {2 * LEAST}: one "
                       "half chooses the epochs, the other one the student; give more rows of dev")
    random.Random("dev apart").shuffle(units)
    apart = set(units[:max(LEAST, min(round(share * len(units)), len(units) - LEAST))])
    kept = tuple(example for example in data.dev if example.unit not in apart)
    away = tuple(example for example in data.dev if example.unit in apart)
    return replace(data, dev=kept, test=away if part == TRIAL else data.test)
