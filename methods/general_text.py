"""The text of a distillation that comes before the task, and models that can learn from it."""

from __future__ import annotations

from kdbench.base.errors import Skip
from kdbench.base.progress import say_once
from kdbench.data.contamination import test_among
from kdbench.data.task import Example
from kdbench.methods.attention_scores import can_give_scores
from kdbench.methods.expanded_vocabulary import further
from kdbench.methods.ner_students import same_tokens
from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.mlm import unlabelled
from kdbench.train.textfile import TextFile


def general_text(lab: Lab, corpus: str | None) -> list[Example]:
    """The lines of a text file; without one, the task's unlabelled or training text and what
    --unlabelled gives.
    """
    if corpus:
        return lines_of(lab, corpus)
    own = lab.data.domain_text or lab.texts()
    return unlabelled([*own, *(example.text for example in further(lab))])


def lines_of(lab: Lab, corpus: str) -> list[Example]:
    """The lines of a text file; where texts of test are among them, it is said and noted."""
    found = unlabelled(TextFile(corpus).texts())
    for note in test_among(lab.data, found):
        say_once(f"corpus: {note}, on which the student is scored; take them out")
        lab.answer_notes.add(f"corpus: {note}")
    return found


def check_layers(teacher: Model, student: Model, method: str, remedy: str = "") -> None:
    """`Skip` where the attention of these two cannot be compared token by token.

    remedy  what a user can do where a model does not hand it out
    """
    for model in (teacher, student):
        if not getattr(model.module.config, "num_attention_heads", None):
            raise Skip(f"{model.name} has no attention, and {method} compares it")
        if not can_give_scores(model.module):
            raise Skip(f"{model.name} does not hand out what {method} compares of its attention"
                       + remedy)
    check_tokens(teacher, student, method)


def check_tokens(teacher: Model, student: Model, method: str) -> None:
    """`Skip` where these two do not read the same tokens."""
    if not same_tokens(teacher.tokenizer, student.tokenizer):
        raise Skip(f"{method} compares token by token, and {student.name} has another tokenizer "
                   f"than {teacher.name}; take a student with the teacher's, cut:N say")
