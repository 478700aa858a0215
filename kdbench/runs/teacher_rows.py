"""The row of a teacher that only answers: its scores, where it has answers for a whole split.

It has no weights, so that it has no size, no latency and no artefact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdbench.base.errors import Skip
from kdbench.models.sources import Source
from kdbench.runs.packing import arrays_of, score_of_record
from kdbench.runs.stored import Record
from kdbench.score import metrics
from kdbench.train.answering import answers_for, predictions_of, trained_teacher
from kdbench.train.lab import Lab

NO_MODEL: Record = {"artefact": "", "size": {},
                    "latency": None, "rows_more": []}


def teacher_row(lab: Lab, source: Source, record: Record) -> Mapping[str, np.ndarray]:
    """Write the scores of a teacher into its record; its predictions of test, and the counts.

    `Skip` where it does not know all test texts.
    """
    teacher = trained_teacher(lab, source)
    assert not hasattr(teacher, "module")
    record["notes"] += lab.notes
    found: dict[str, Any] = {}
    scores: dict[str, metrics.Scores] = {}
    for split in ("dev", "test"):
        if lab.data.split(split):
            predictions = predictions_of(lab, teacher, split)
            if predictions is not None:
                info = metrics.info_for(lab.task, lab.data, split)
                scores[split] = metrics.evaluate(lab.task, info, lab.data.split(split), predictions)
                found[split] = predictions
    if "test" not in scores:
        answered, texts = len(answers_for(lab, teacher, lab.data.test)), lab.data.test
        raise Skip(f"teacher {source.name} has answers for {answered:,} of "
                   f"{len({example.key for example in texts}):,} test texts, so it has no score of "
                   "its own")
    record |= NO_MODEL
    record |= {"score": score_of_record(lab, scores), "status": "done"}
    return arrays_of(scores["test"], found["test"])
