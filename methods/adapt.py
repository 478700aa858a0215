"""The control of VE-KD: the same student, vocabulary, corpus and masks, without the teacher's
losses.
"""

from __future__ import annotations

from kdbench.methods.expanded_vocabulary import (
    ExpansionOptions,
    check_models,
    finetuned,
    learns_words,
)
from kdbench.methods.ve_kd import pretrained
from kdbench.models.load import Model
from kdbench.train.lab import Lab
from kdbench.train.method import Method


class Adapt(Method):
    """Masked-LM training of the student on domain text, then fine-tuning."""

    name = "adapt"
    version = 2
    title = "Masked-LM adaptation of the student"
    citation = "Gururangan et al. 2020, Don't Stop Pretraining, ACL 2020, 740"
    equations = """
    L_mlm = CE over the expanded vocabulary at masked positions
    then fine-tuning on the task: L = CE(z_S, y)"""
    needs = "of the teacher its vocabulary alone, so that the student is the one that ve_kd trains"
    task_types = ("single", "multi", "regression", "tags")
    Options = ExpansionOptions
    options: ExpansionOptions

    def check(self, lab: Lab) -> None:
        """As `check_models`: what ve_kd cannot do here, its control cannot either."""
        check_models(lab)

    def learns_words(self, own_text: bool) -> bool:
        """Where it trains its new entries on the text."""
        return learns_words(self.options, own_text)

    def fit(self, lab: Lab) -> Model:
        """The masked-LM training, then the fine-tuning."""
        return finetuned(lab, self.options, self.pretrain(lab))

    def pretrain(self, lab: Lab) -> Model:
        """The student after its masked-LM training, not yet fine-tuned."""
        return pretrained(lab, self.options)
