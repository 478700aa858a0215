"""Every method on an accelerator, without one: the cases of `pretend_cases.py`, in one process.

A failure says which line of the project it was. `python tests/pretend_cases.py NAME` runs a case
alone, with its error.
"""

import fnmatch
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pretend_cases import CASES

SCRIPT = Path(__file__).with_name("pretend_cases.py")

# One of each method and of each way to train, save and go on; the rest is slow.
GATE = ("device: *", "memory: *", "precision: *", "data: *", "provenance: *", "profile: *", "latency: *",
        "signals: *", "blocks: *", "ahead: logit_kd, live, fp32", "ahead: ve_kd, fp32", "ahead: dsg_kd, fp32",
        *(f"{kind}: {run}" for kind in ("run", "step") for run in (
            "finetune, bf16", "finetune, bilstm, fp32", "logit_kd, live, fp32", "logit_kd, several labels, fp32", "adapt, fp32", "ve_kd, fp32",
            "doktra, fp32", "dsg_kd, fp32", "ner_kd, joint, fp32", "minilm, bf16", "recipe, fp32")),
        *(f"run: {run}" for run in ("dist, tags, fp32", "tinybert, fp32", "glmd, bf16", "pkd, fp32", "static, fp32")),
        "run: doktra, bilstm, fp32", "step: dsg_kd, live, fp32", "step: finetune, fp32", "again: dsg_kd, fp32", "resume: finetune, bilstm, fp32", "export: finetune, bilstm, fp32")


def parameter(name):
    in_gate = any(fnmatch.fnmatchcase(name, pattern) for pattern in GATE)
    return pytest.param(name, id=name, marks=[] if in_gate else [pytest.mark.slow])


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
    assert not outcomes[name], outcomes[name]


@pytest.mark.parametrize("pattern", GATE)
def test_what_is_named_is_a_case(pattern):
    assert fnmatch.filter(CASES, pattern)
