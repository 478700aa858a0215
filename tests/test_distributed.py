"""Two processes at the same global batch give the losses of one: means are over the global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.registry import METHODS

WORKER = Path(__file__).parent / "distributed_worker.py"
TASK = {"single": "chemprot", "multi": "hoc", "regression": "biosses", "tags": "bc2gm_iobes"}
GIVEN = {"dsg_kd": ("emr", {}), "ner_kd": ("bc2gm_iobes", {"dropout": 0.0}),
         # the tolerance acts on a process's own mean: the documented exception
         "ve_kd": ("gad", {"tolerance": 0.0, "new_tokens": 50, "min_frequency": 2, "pretrain_epochs": 2}),
         "adapt": ("gad", {"new_tokens": 50, "min_frequency": 2, "pretrain_epochs": 2})}


def losses(folder: Path, processes: int, method: str, task: str, given: dict) -> list[float]:
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "KDBENCH_DATA"}
    environment.update(OMP_NUM_THREADS="1", PYTHONPATH=str(WORKER.parent.parent))
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run([*launch, str(WORKER), method, task, str(folder), json.dumps(given)], env=environment,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "losses.json").read_text())


@pytest.mark.parametrize("method", METHODS.names())
def test_two_processes_train_as_one(method, tmp_path):
    task, given = GIVEN.get(method, (TASK[METHODS.entry(method).kinds[0]], {}))
    one = losses(tmp_path / "one", 1, method, task, given)
    two = losses(tmp_path / "two", 2, method, task, given)
    assert len(one) == len(two) > 10
    assert two == pytest.approx(one, rel=1e-6, abs=1e-6)
