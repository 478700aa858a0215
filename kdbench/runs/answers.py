"""What a trained student answers by, fixed when it is trained: labels, threshold, length limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kdbench.models.load import Model
from kdbench.score import metrics
from kdbench.serve.labels import Labels, labels_of
from kdbench.train.lab import Lab


def answer_labels(lab: Lab, student: Model) -> Labels:
    """What turns the student's logits into answers, as labels.json keeps it."""
    own = labels_of(student, lab.reading)
    if lab.task.tagging:
        rule = lab.data.word_rule
        own = replace(own, word_rule=rule.name, word_pattern=rule.pattern)
    return replace(own, task_type=lab.task.task_type, labels=lab.data.labels,
                   names=dict(lab.task.label_names), threshold=decision_threshold(lab),
                   positive_rate=rate_of_training(lab))


def decision_threshold(lab: Lab) -> float | None:
    """The probability from which the last class is predicted; None where the most probable class
    is.

    Where the task's metric is one at a rate, it is the share of the last class among the examples
    that the student was trained on, as published. It is fixed here, and the test score, exports,
    evaluations and answers all take it.
    """
    return rate_of_training(lab) if metrics.at_rate(lab.task.metric) else None


def rate_of_training(lab: Lab) -> float | None:
    """The share of the last class among the training examples; None where texts have no class."""
    return metrics.info_for(lab.task, lab.data, "test").positive_rate


def limits_of(lab: Lab, student: Model) -> dict[str, Any]:
    """The length limits of the student and of its teacher, and what they cut.

    An ensemble has those of its first member here, and of its second as the teacher.
    """
    return {"student": lab.limits(student), "teacher": lab.teacher_limits()}
