"""Published settings by method and task, each with its source: what `--recipe paper` takes."""

from __future__ import annotations

from typing import Any

from kdbench.task import Recipe

_SCRIPT = "LinkBERT's script, repeated in VE-KD's README"
_TRAINER = {"weight_decay": "the script passes none, and the Trainer's default is 0",
            "select": "the script evaluates at the end only", "warmup_rule": "the Trainer rounds the steps of its warm-up up"}


def linkbert(*, in_ve_kd: bool = True, **values: Any) -> dict[str, Recipe]:
    """Fine-tuning as LinkBERT does it, which VE-KD repeats for its students on every task but BIOSSES."""
    source = _SCRIPT if in_ve_kd else "LinkBERT's script"
    recipe = Recipe({**values, "weight_decay": 0.0, "select": "last", "warmup_rule": "ceil"}, source, _TRAINER)
    return {"finetune": recipe, **({"ve_kd": recipe} if in_ve_kd else {})}


_DOKTRA = {"warmup": 0.0, "weight_decay": 0.0, "select": "last"}
_DOKTRA_CODE = dict.fromkeys(_DOKTRA, "DoKTra's code")

DOKTRA_CHEMPROT = Recipe(
    {"lr": 1e-5, "teacher_lr": 2e-5, "batch_size": 50, "epochs": 5, "max_length": 128, **_DOKTRA}, "DoKTra's README", _DOKTRA_CODE)
DOKTRA_CHEMPROT_STUDENT = Recipe(
    {"lr": 1e-5, "batch_size": 50, "epochs": 5, "max_length": 128, **_DOKTRA}, "DoKTra's README, initial fine-tuning of the student",
    _DOKTRA_CODE)
# of the other corpora no command is published
DOKTRA_DEFAULTS = Recipe({"lr": 2e-5, "teacher_lr": 2e-5, "batch_size": 10, "epochs": 5, "max_length": 256, **_DOKTRA},
                         "defaults of DoKTra's code", _DOKTRA_CODE)

_DSG_KD = {"batch_size": 64, "epochs": 15, "max_length": 384, "weight_decay": 0.01, "select": "best", "warmup_rule": "int"}
_DSG_KD_CODE = {"warmup_rule": "DSG-KD's code",
                "weight_decay": "DSG-KD's code: torch's default", "select": "DSG-KD's code", "warmup": "DSG-KD's code"}
DSG_KD = {
    "dsg_kd": Recipe({"lr": 1e-4, "warmup": 0.25, **_DSG_KD}, "DSG-KD's README", _DSG_KD_CODE),
    "finetune": Recipe({"lr": 1e-5, "warmup": 0.15, **_DSG_KD}, "DSG-KD's README",
                       {**_DSG_KD_CODE, "lr": "DSG-KD's run script of method `base`"}),
}

_NER_KD = {"lr": 1e-3, "teacher_lr": 1e-5, "batch_size": 32, "max_length": 202, "warmup": 0.0, "weight_decay": 0.01, "select": "best"}
_NER_KD_CODE = {"max_length": "biobert-distillation's code: 200 pieces and 2", "warmup": "biobert-distillation's code: constant rate",
                "select": "biobert-distillation's code: best on dev"}
NER_KD = {
    "ner_kd": Recipe({**_NER_KD, "epochs": 80}, "biobert-distillation's README",
                     {**_NER_KD_CODE, "epochs": "biobert-distillation's README: the teacher's"}, {"epochs": 50}),
    "finetune": Recipe({**_NER_KD, "epochs": 50}, "biobert-distillation's README, table without distillation", _NER_KD_CODE),
}
