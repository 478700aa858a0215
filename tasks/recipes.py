"""Published settings by method and task, each with its source: what `--recipe paper` takes."""

from __future__ import annotations

from typing import Any

from kdbench.data.task import Recipe

_SCRIPT = "LinkBERT's script, repeated in VE-KD's README"
_TRAINER = {
    "weight_decay": "the script passes none, and the Trainer's default is 0",
    "select": "the script evaluates at the end only",
    "warmup_rule": "the Trainer rounds the steps of its warm-up up",
}


def linkbert(*, in_ve_kd: bool = True, **values: Any) -> dict[str, Recipe]:
    """Fine-tuning as LinkBERT does it, which VE-KD repeats for its students on every task but
    BIOSSES.
    """
    source = _SCRIPT if in_ve_kd else "LinkBERT's script"
    recipe = Recipe(
        {**values, "weight_decay": 0.0, "select": "last", "warmup_rule": "ceil"}, source, _TRAINER
    )
    return {"finetune": recipe, **({"ve_kd": recipe} if in_ve_kd else {})}


_DOKTRA = {"warmup": 0.0, "weight_decay": 0.0, "select": "last"}
_DOKTRA_CODE = dict.fromkeys(_DOKTRA, "DoKTra's code")
_README = {
    "lr": 1e-5, "teacher_lr": 2e-5, "batch_size": 50, "epochs": 5, "max_length": 128, **_DOKTRA}

DOKTRA_CHEMPROT = Recipe(_README, "DoKTra's README", _DOKTRA_CODE,
                         {"beta_teacher": 0.3, "beta_student": 0.5, "gamma": 0.8})
DOKTRA_CHEMPROT_STUDENT = Recipe(
    _README, "DoKTra's README, initial fine-tuning of the student",
    _DOKTRA_CODE | {"teacher_lr": "DoKTra's README, its calibrated teacher"})

_NO_COMMAND = ("DoKTra's README has a command for ChemProt alone; these are the defaults of its "
               "programs, not known to be the paper's")
_DEFAULT = "default of DoKTra's code"
_DEFAULTS = {
    "lr": 2e-5, "teacher_lr": 2e-5, "batch_size": 10, "epochs": 5, "max_length": 256, **_DOKTRA}
DOKTRA_DEFAULTS = {
    "doktra": Recipe(_DEFAULTS, _DEFAULT, _DOKTRA_CODE, {
        "beta_teacher": 0.3, "beta_student": 0.3, "gamma": 0.7, "distil_epochs": 5}, _NO_COMMAND),
    "finetune": Recipe(_DEFAULTS, _DEFAULT, _DOKTRA_CODE, note=_NO_COMMAND),
}

_DSG_KD = {
    "epochs": 15, "max_length": 384, "weight_decay": 0.01, "select": "best", "warmup_rule": "int"}
_DSG_KD_CODE = {
    "warmup_rule": "DSG-KD's code", "weight_decay": "DSG-KD's code: torch's default",
    "select": "DSG-KD's code", "warmup": "DSG-KD's code", "max_length": "DSG-KD's README and code"}
_SCRIPTS = "DSG-KD's run_1.sh and run_2.sh"
_BASE = {**_DSG_KD, "lr": 1e-5, "batch_size": 32, "warmup": 0.15}
DSG_KD = {
    "dsg_kd": Recipe(
        {**_DSG_KD, "lr": 1e-4, "batch_size": 64, "warmup": 0.25}, "DSG-KD's README",
        _DSG_KD_CODE | {"--set head_lr": f"{_SCRIPTS} (README: 1e-2)",
                        "--set alpha": f"{_SCRIPTS}, code (README: 0.5)",
                        "--set beta": f"{_SCRIPTS}, code (README: 0.1)"},
        {"head_lr": 1e-3, "alpha": 0.6, "beta": 0.2}),
    "dsg_kd mode=base": Recipe(
        _BASE, "DSG-KD's run_base.sh", _DSG_KD_CODE, {"head_lr": 1e-2}),
    "finetune": Recipe(_BASE, "DSG-KD's run_base.sh", _DSG_KD_CODE),
}

_NER_KD = {
    "lr": 1e-3,
    "teacher_lr": 1e-5,
    "batch_size": 32,
    "max_length": 202,
    "warmup": 0.0,
    "weight_decay": 0.01,
    "select": "best",
}
_NER_KD_CODE = {
    "max_length": "biobert-distillation's code: 200 pieces and 2",
    "warmup": "biobert-distillation's code: constant rate",
    "select": "biobert-distillation's code: best on dev",
}
NER_KD = {
    "ner_kd": Recipe(
        {**_NER_KD, "epochs": 80},
        "biobert-distillation's README",
        {**_NER_KD_CODE, "epochs": "biobert-distillation's README: the teacher's"},
        {"epochs": 50},
        "the controls train for the teacher's 80 epochs, the method for 50; of the README's table "
        "without distillation are the 50 of `--method finetune`",
    ),
    "finetune": Recipe(
        {**_NER_KD, "epochs": 50},
        "biobert-distillation's README, table without distillation",
        _NER_KD_CODE,
    ),
}
