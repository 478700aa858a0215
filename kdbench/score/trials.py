"""What a search of so many trials can be expected to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def expected_best(scores: Sequence[float]) -> list[float]:
    """E[max of n trials] for n = 1 to N, were the trials drawn from these N scores with
    replacement: Σ_i s_(i) ((i / N)^n - ((i - 1) / N)^n) over the sorted scores (Dodge et al. 2019,
    equation 5).
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    steps = np.arange(len(ordered) + 1) / max(1, len(ordered))
    return [float(ordered @ np.diff(steps**n)) for n in range(1, len(ordered) + 1)]
