"""What soft votes of noisy annotators are worth to a student, against their majority label.

    python benchmarks/annotators.py --results-dir annotators [--task gad --annotators 3 ...]

Each text of a look-alike is labelled by simulated annotators: from its true label an annotator goes
to another one by a known confusion. Three students of one seed read the same votes: as they are
(`votes`), as the most frequent label (`majority`), and as they are, weighed by agreement. No gold
label is used in training (`alpha=0`); dev, which selects the epoch, and test have theirs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kdbench.base.registry import TASKS  # noqa: E402
from kdbench.data import corpora  # noqa: E402
from kdbench.data.task import Data, LoadOptions  # noqa: E402
from kdbench.runs.grid import run  # noqa: E402


class Way(NamedTuple):
    """How votes are read."""

    name: str
    majority: bool
    options: dict[str, str]


WAYS = (Way("majority", True, {}), Way("votes", False, {}),
        Way("votes by agreement", False, {"weight": "agreement"}))


def confusion(labels: int, right: float) -> np.ndarray:
    """(C, C) probabilities of what an annotator writes for each true label: the right one, and of
    the rest two thirds for the next label, one third for all others alike.

    Of the label i the share `right` is moved by i, so that no two labels are equally hard.
    """
    table = np.zeros((labels, labels))
    for true in range(labels):
        own = right + 0.1 * (0.5 - true / max(labels - 1, 1))
        rest = 1 - own
        table[true] = rest / 3 / max(labels - 2, 1) if labels > 2 else 0
        table[true, (true + 1) % labels] = rest * (2 / 3 if labels > 2 else 1)
        table[true, true] = own
    return table


def votes_of(data: Data, annotators: int, right: float, seed: int) -> list[Counter[str]]:
    """The votes for each training text."""
    draw, table = random.Random(f"annotators/{seed}"), confusion(len(data.labels), right)
    found = []
    for example in data.train:
        said = draw.choices(data.labels, table[example.label].tolist(), k=annotators)
        found.append(Counter(said))
    return found


def write(path: Path, data: Data, votes: Sequence[Counter[str]], majority: bool,
          seed: int) -> None:
    """A teacher's file: votes, or the label of most, drawn where several have as many."""
    draw = random.Random(f"ties/{seed}")
    with path.open("w", encoding="utf-8") as stream:
        for example, own in zip(data.train, votes, strict=True):
            row: dict[str, object] = {"id": example.id, "split": "train"}
            if majority:
                best = [label for label in data.labels if own[label] == max(own.values())]
                row["label"] = draw.choice(best)
            else:
                row["votes"] = dict(own)
            stream.write(json.dumps(row) + "\n")


def main() -> None:
    """Run all seeds and print a line each, then the means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results-dir", type=Path, required=True)
    parser.add_argument("--task", default="gad")
    parser.add_argument("--annotators", type=int, default=3)
    parser.add_argument("--right", type=float, default=0.65, help="share of right labels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", default="8")
    parser.add_argument("--temperature", default="1")
    args = parser.parse_args()
    data = corpora.load(TASKS.get(args.task), LoadOptions())
    args.results_dir.mkdir(parents=True, exist_ok=True)
    scores: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for seed in range(args.seeds):
        votes = votes_of(data, args.annotators, args.right, seed)
        for way in WAYS:
            path = args.results_dir / f"{'majority' if way.majority else 'votes'}-{seed}.jsonl"
            write(path, data, votes, way.majority, seed)
            record: Any = run(
                "logit_kd", args.task, seeds=(seed,), results_dir=args.results_dir, controls=False,
                teacher=f"predictions:{path}", student="tiny-student", teacher_options=way.options,
                options={"alpha": "0", "temperature": args.temperature}, epochs=args.epochs,
                latency="off")
            scores[way.name].append(100 * record["score"]["test"])
        print(seed, {name: round(values[-1], 1) for name, values in scores.items()}, flush=True)
    base = np.array(scores["majority"])
    for name, values in scores.items():
        gain = np.array(values) - base
        print(f"{name}: {np.mean(values):.1f} (SD {np.std(values, ddof=1):.1f}), over majority "
              f"{gain.mean():+.1f} (SD {gain.std(ddof=1):.1f}), better in {int((gain > 0).sum())} "
              f"of {len(gain)} seeds")


if __name__ == "__main__":
    main()
