"""Every method on an accelerator, without one: the cases of `pretend_cases.py`, in one process.

A failure says which line of the project it was. `python tests/pretend_cases.py NAME` runs a case
alone, with its error. What is known to fail stands in `KNOWN` with its reason, and the tests say so
as soon as it works.
"""

import fnmatch
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pretend_cases import CASES

SCRIPT = Path(__file__).with_name("pretend_cases.py")

# words of an error, and the reason with the line of the project it comes from
MASK = ("via transformers/masking_utils.py",
        "kdbench/train/objective.py:100, signals.py:107, mlm.py:65, models/gelu_head.py:84, methods/ve_kd.py:221 and :234: "
        "transformers waits to see whether the padding mask hides anything")
LIVE = ("kdbench/train/signals.py:|kdbench/train/objective.py:65|via transformers/masking_utils.py",
        "kdbench/train/signals.py:115 and :53 bring live signals to the host row by row; objective.py:65 copies the "
        "teacher's batch unpinned; and the padding mask")
BUFFER = ("None is covering the entire storage",
          "kdbench/train/lab.py:611 and fit.py:372: safetensors refuses an LSTM's weights in cuDNN's one buffer")
COPIED = ("same device",
          "kdbench/train/lab.py:413: Teacher copies the model (signals.py:96) before lab.py:416 moves it to the device")
WITH_ATTENTION = ("dsg_kd", "dsg_kd, scores", "dsg_kd, other direction", "dsg_kd, ensemble", "dsg_kd, published")

# (cases, words of the error, reason); the first that fits counts
KNOWN: list[tuple[str, str, str]] = [
    *((f"*: {mode}, fp32", *COPIED) for mode in WITH_ATTENTION),
    ("*: dsg_kd, bf16", *COPIED),
    ("*: dsg_kd, ensemble, bf16", *COPIED),
    ("again: ner_kd, joint, fp32", *COPIED),
    ("run: *bilstm*", *BUFFER),
    ("again: *bilstm*", *BUFFER),
    ("resume: *bilstm*", *BUFFER),
    ("export: *bilstm*", *BUFFER),
    ("step: logit_kd, live, *", *LIVE),
    *((f"step: ner_kd, {mode}*", *LIVE) for mode in ("fp32", "bf16", "joint", "published", "bilstm, ")),
    *((f"step: {method}, *", *MASK) for method in ("logit_kd", "adapt", "ve_kd", "doktra", "dsg_kd", "ner_kd")),
    *((f"step: finetune, {mode}*", *MASK) for mode in ("fp32", "bf16", "several", "regression")),
    ("memory: a training *", "other weights",
     "kdbench/train/lab.py:342: the parameters keep the failed step's gradients, to which the retry adds"),
    ("memory: CUBLAS*", "CUBLAS_STATUS_ALLOC_FAILED", "kdbench/train/lab.py:644: known by torch.OutOfMemoryError alone"),
    ("memory: an AcceleratorError*", "CUDA error: out of memory", "kdbench/train/lab.py:644: as above"),
    ("memory: an evaluation *", "in two parts", "kdbench/train/lab.py:332 takes any lack of memory for the training's; lab.py:523 reads 64 texts at once"),
    ("memory: signals *", "out of memory", "kdbench/train/signals.py:99: nothing tries again with fewer texts"),
    ("memory: a checkpoint *", "of the weights' bytes", "kdbench/train/fit.py:394 clones AdamW's moments on the device"),
    ("precision: auto *", "emulate", "kdbench/train/lab.py:381: is_bf16_supported counts emulation"),
    ("precision: an LSTM *", "float16", "kdbench/models/bilstm.py:132: cuDNN computes in fp16 under any autocast, and no loss is scaled"),
    ("data: texts without labels *", "expected sequence of length", "kdbench/train/batching.py:156: a teacher's corpus has 0 classes (signals.py:135)"),
    ("provenance: *", "no name", "kdbench/runs/provenance.py:24: no accelerator, driver, CUDA or cuDNN"),
    ("profile: *", "host alone", "kdbench/base/progress.py:98: phases do not wait for the device"),
    ("latency: every shape *", "first run", "kdbench/serve/measure.py:202 warms up the first ten items of up to a hundred"),
    ("latency: onnxruntime *", "it answers on", "kdbench/serve/serving.py:245 does not ask which provider the session took"),
]


class KnownFailure(Exception):
    """The error that `KNOWN` expects."""


def known(name):
    return next(((words, reason) for pattern, words, reason in KNOWN if fnmatch.fnmatchcase(name, pattern)), None)


def explains(words, error):
    """Whether all that the error says is known: of the waits of a step, every one."""
    parts = words.split("|")
    stalls = [line for line in error.splitlines() if " x " in line]
    return all(any(part in line for part in parts) for line in stalls or [error])


def parameter(name):
    found = known(name)
    marks = [pytest.mark.xfail(reason=found[1], strict=True, raises=KnownFailure)] if found else []
    return pytest.param(name, id=name, marks=marks)


@pytest.fixture(scope="module")
def outcomes(request):
    """Error by case, of all that this session has selected."""
    chosen = [item.callspec.params["name"] for item in request.session.items
              if getattr(item, "originalname", "") == "test_it_works_on_an_accelerator"]
    done = subprocess.run([sys.executable, str(SCRIPT), "--json", *chosen], capture_output=True, text=True, timeout=1800)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    found = {line["case"]: line["error"] for line in lines}
    assert set(found) == set(chosen), done.stderr[-3000:]
    return found


@pytest.mark.parametrize("name", [parameter(name) for name in CASES])
def test_it_works_on_an_accelerator(name, outcomes):
    error, expected = outcomes[name], known(name)
    if error:
        raise (KnownFailure if expected and explains(expected[0], error) else AssertionError)(error)


@pytest.mark.parametrize("pattern", [pattern for pattern, _, _ in KNOWN])
def test_what_is_known_is_a_case(pattern):
    assert fnmatch.filter(CASES, pattern)
