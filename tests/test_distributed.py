"""Two processes at the same global batch give the losses of one: means are over the global batch."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import fresh
import numpy as np
import pytest

from kdbench.base.registry import METHODS
from kdbench.runs import store
from kdbench.runs.runner import Runner
from kdbench.train import processes

ROOT = Path(__file__).resolve().parent.parent
WORKER = Path(__file__).parent / "distributed_worker.py"
TASK = {"single": "chemprot", "multi": "hoc", "regression": "biosses", "tags": "bc2gm_iobes"}
GIVEN = {"takd": ("chemprot", {"assistant": "cut:1"}),
         # what it asks within a class is of a process's own texts: the documented exception
         "dist": ("chemprot", {"gamma": 0.0}),
         # a student that begins as its teacher has nothing to learn of it, and Adam makes steps of the rounding
         "tinybert": ("chemprot", {"general": False}),
         # likewise the layers
         "recipe": ("chemprot", {"layers": "no", "label_share": 0.5}),
         # a trained teacher's last digits move its vectors, which are stored in 16 bits and turned by their components
         "static": ("chemprot", {"vectors": "as_given"}),
         "dsg_kd": ("emr", {}), "ner_kd": ("bc2gm_iobes", {"dropout": 0.0}),
         # the tolerance acts on a process's own mean: the documented exception
         "ve_kd": ("gad", {"tolerance": 0.0, "new_tokens": 50, "min_frequency": 2, "pretrain_epochs": 2}),
         "adapt": ("gad", {"new_tokens": 50, "min_frequency": 2, "pretrain_epochs": 2})}


def surroundings() -> dict[str, str]:
    """The environment of every process here."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KDBENCH_DATA", "KDBENCH_PLUGINS")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def launch(count: int, *words: str) -> list[fresh.Started]:
    """`words` in so many processes, which are told of each other as torchrun tells them.

    torchrun itself has a slow test: it starts three interpreters that import everything.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    each = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    return [fresh.Started(words, env={**surroundings(), **({**each, **rank} if count > 1 else {})}) for rank in ranks]


def finished(process: fresh.Started) -> str:
    done = process.wait(900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# their trainings have the means of others: soft targets, states, words
FURTHER = ("dkd", "pkd", "annealing_kd", "pretrained_kd", "takd", "born_again", "tinybert", "static", "adapt")
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in FURTHER else name for name in METHODS.names()]


@pytest.fixture(scope="module")
def folders(request, tmp_path_factory) -> dict[int, Path]:
    """What the worker wrote of every method that is asked for, by the number of processes; all in one launch."""
    wanted = {item.callspec.params["method"] for item in request.session.items
              if item.name.startswith("test_two_processes_train_as_one[")}
    asked = {name: GIVEN.get(name, (TASK[METHODS.entry(name).task_types[0]], {})) for name in METHODS.names() if name in wanted}
    folders = {count: tmp_path_factory.mktemp(f"processes{count}") for count in (1, 2)}
    for count, folder in folders.items():
        for process in launch(count, str(WORKER), json.dumps(asked), str(folder)):
            finished(process)
    return folders


@pytest.fixture(scope="module")
def losses(folders) -> dict[int, dict[str, list[float]]]:
    return {count: json.loads((folder / "losses.json").read_text()) for count, folder in folders.items()}


@pytest.mark.parametrize("method", EACH)
def test_two_processes_train_as_one(method, losses):
    one, two = losses[1][method], losses[2][method]
    assert isinstance(one, list) and len(one) == len(two) >= 3, (one, two)
    assert two == pytest.approx(one, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("processes", [1, 2])
def test_doktra_leaves_the_classifier_alone_in_the_boundary_phase(processes, folders):
    """8 epochs, of which 6 transfer boundaries (gamma 0.8): no moments, no weight decay; from then on it is trained."""
    epochs = json.loads((folders[processes] / "classifier.json").read_text())
    assert len(epochs) == 8
    assert epochs[:6] == [[0, True]] * 6
    assert all(kept > 0 and not unchanged for kept, unchanged in epochs[6:])


def test_each_process_draws_noise_of_its_own_and_draws_it_again_after_a_kill(folders):
    (alone,) = (json.loads((folders[1] / "noise-0.json").read_text()),)
    both = [json.loads((folders[2] / f"noise-{rank}.json").read_text()) for rank in (0, 1)]
    assert both[0]["whole"] == alone["whole"] and len(alone["whole"]) == 6
    assert all(one != other for one, other in zip(both[0]["whole"], both[1]["whole"], strict=True))
    assert len({json.dumps(drawn) for drawn in both[1]["whole"]}) == 6
    for found in (alone, *both):
        assert found["again"] == found["whole"][4:]
        assert found["weights"][1] == found["weights"][0]


def test_the_sums_of_an_epoch_are_those_of_all_processes_after_a_kill_too(folders):
    for count in (1, 2):
        whole, again = json.loads((folders[count] / "noise-0.json").read_text())["history"]
        assert again[0]["terms"] == pytest.approx(whole[0]["terms"], rel=1e-12)


def test_counts_and_waits_go_through_gloo_and_outlast_another_run(folders, monkeypatch, tmp_path):
    assert json.loads((folders[2] / "noise-1.json").read_text())["backend"] == "gloo"
    given = {}
    monkeypatch.setattr("accelerate.Accelerator", lambda **named: given.update(named))
    _ = Runner(tmp_path, device="cpu").accelerator
    (handler,) = given["kwargs_handlers"]
    assert handler.to_kwargs()["timeout"] == processes.NCCL_WAIT >= timedelta(hours=1)
    assert timedelta(days=1) < processes.GLOO_WAIT


@pytest.mark.slow
def test_torchrun_from_the_command_line_writes_the_record_of_one_process(tmp_path):
    words = [str(ROOT / "bench.py"), "--plugin", str(WORKER.with_name("standin.py")), "--method", "logit_kd", "--task", "chemprot",
             "--teacher", "tiny:still", "--student", "tiny:still", "--device", "cpu", "--epochs", "2", "--batch-size", "16",
             "--max-train-examples", "160", "--max-dev-examples", "64", "--lr", "1e-3", "--latency", "off", "--results-dir"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node=2"]
    done = subprocess.run([*torchrun, *words, str(tmp_path / "2")], env=surroundings(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    (alone,) = launch(1, *words, str(tmp_path / "1"))
    tables = {1: finished(alone), 2: done.stdout}
    assert [table.count("\nlogit distillation") for table in tables.values()] == [1, 1]  # one process speaks
    one, two = ({r["id"]: r for r in store.records(tmp_path / str(count))} for count in (1, 2))
    assert one.keys() == two.keys() and len(one) == 2  # teacher and student are one model, so one control
    for name, record in one.items():
        assert two[name]["status"] == "done" and two[name]["score"] == record["score"]
        arrays = [np.load(store.path_of(tmp_path / str(count), name, "chemprot").with_suffix(".npz")) for count in (1, 2)]
        assert arrays[1]["test_predictions"] == pytest.approx(arrays[0]["test_predictions"], abs=1e-4)
        for entry, other in zip(record["curves"], two[name]["curves"], strict=True):
            assert other["terms"] == pytest.approx(entry["terms"], rel=1e-5, abs=1e-6)
