"""One temperature that makes the probabilities of a trained student mean what they say.

The logits z are divided by a T that is fitted on texts which trained nothing (Guo et al. 2017,
section 4.2). No answer changes by it, as the order of a text's labels does not. T goes into the
weights of the output layer, so that every form of an export has it and costs what it did.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from kdbench.base.errors import BadInput, Broken
from kdbench.serve.labels import Labels
from kdbench.serve.serving import TorchArtefact, open_torch

CALIBRATED = ("single", "multi")  # the task types whose answers are probabilities
LEAST, MOST = 0.05, 20.0  # what is fitted; a student that is always right has no best one
CLOSE = 1e-3  # of logits behind a scaled layer, relative to what they should be


def log_loss(task_type: str, gold: ndarray, logits: ndarray, temperature: float) -> float:
    """Mean over texts of -log p(y) with p = softmax(z / T); of several labels, mean over texts and
    labels of the binary one with p = sigmoid(z / T).

    gold    (N,) class indices; of several labels (N, C) of 0 and 1
    logits  (N, C)
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if task_type == "multi":
        return float((np.logaddexp(0.0, scaled) - gold * scaled).mean())
    top = scaled.max(axis=1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
    return float((total - scaled[np.arange(len(gold)), gold]).mean())


def fitted(task_type: str, gold: ndarray, logits: ndarray) -> float:
    """The T from `LEAST` to `MOST` with the least `log_loss`, which has one minimum in 1 / T."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda log: log_loss(task_type, gold, logits, math.exp(log)),
                            bounds=(math.log(LEAST), math.log(MOST)), method="bounded")
    return float(f"{math.exp(found.x):.4g}")


def write_scaled(folder: Path, temperature: float, place: Path) -> None:
    """The student in `folder` as a new one in `place`, whose logits are divided by `temperature`.

    Its labels.json has the temperature, and its threshold means what it did: σ(σ⁻¹(p) / T).

    Raises `BadInput` for an ensemble, which averages the probabilities of its members, `Broken`
    where the last layer is none that scales the logits.
    """
    from kdbench.models.heads import output_layer

    labels = Labels.read(folder)
    if labels.members:
        raise BadInput(f"{folder}: an ensemble has no temperature of its own")
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("model*.safetensors*",
                                                                 "stage.json"))
    student = open_torch(folder, 1, "cpu")
    before = sample(student)
    layer = output_layer(student.module)
    layer.weight.data /= temperature
    if layer.bias is not None:
        layer.bias.data /= temperature
    if not np.allclose(sample(student), before / temperature, rtol=CLOSE, atol=CLOSE):
        raise Broken(f"{folder.name}: its last layer does not scale its logits")
    student.module.save_pretrained(place)
    replace(labels, temperature=temperature,
            threshold=scaled_probability(labels.threshold, temperature)).write(place)


@contextmanager
def divided(folder: Path, temperature: float | None) -> Iterator[Path]:
    """The folder of the student whose logits are divided by a temperature; without one, its own."""
    if temperature is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="kdbench-") as place:
        write_scaled(folder, temperature, Path(place) / folder.name)
        yield Path(place) / folder.name


def sample(student: TorchArtefact) -> ndarray:
    """Logits of two rows of any tokens."""
    return np.stack(list(student.logits([[1] * 9, [1] * 6])))


def scaled_probability(probability: float | None, temperature: float) -> float | None:
    """What a probability is behind a temperature; None, 0 and 1 stay."""
    if probability is None or not 0 < probability < 1:
        return probability
    return 1 / (1 + math.exp(-math.log(probability / (1 - probability)) / temperature))
