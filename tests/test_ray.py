"""The Ray engine: the same records as the local one, lost workers are tried again, needs that no machine has are refused."""

import sys
from pathlib import Path

import pytest

from kdbench.base.errors import BadInput
from kdbench.base.registry import METHODS
from kdbench.cli.verbs import main
from kdbench.models.zoo import MODELS
from kdbench.runs import ray_engine, store, suite
from kdbench.runs.planning import plan_suite
from kdbench.runs.plugins import load_plugin
from kdbench.runs.ray_engine import needs
from kdbench.runs.runner import Runner
from kdbench.runs.workers import message

STANDIN = str(Path(__file__).parent / "standin.py")
SUITE = """
about = "a real method and one that is lost once"
seeds = 1

[defaults]
task = "chemprot"
latency = "off"
epochs = 1
max_train_examples = 64
max_dev_examples = 16
resources = {{ cpus = 1, memory_gb = 0.5 }}

[[cells]]
method = "logit_kd"
teacher = "tiny:bert"

[[cells]]
method = "standin"
controls = false
options.standin.dies_before = "{lost}"
"""
MACHINE = {"CPU": 8.0, "GPU": 2.0, "memory": 32e9}


def test_a_cell_gets_what_the_suite_says_else_a_share_of_the_smallest_machine():
    small = {"CPU": 4.0, "memory": 8e9}
    assert needs({}, [MACHINE], workers=4, gpu=True) == {"CPU": 2, "GPU": 0.5, "memory": 2_000_000_000}
    assert needs({}, [MACHINE, small], workers=1, gpu=True) == {"CPU": 4, "GPU": 1.0, "memory": 2_000_000_000}
    assert needs({}, [small], workers=8, gpu=True) == {"CPU": 1, "GPU": 0.0, "memory": 1_000_000_000}
    asked = {"cpus": 3, "gpus": 0.25, "memory_gb": 20}
    assert needs(asked, [MACHINE, small], workers=1, gpu=True) == {"CPU": 3, "GPU": 0.25, "memory": 20_000_000_000}
    assert needs(asked, [MACHINE], workers=1, gpu=False)["GPU"] == 0.0


def test_what_no_machine_has_is_refused_instead_of_waited_for():
    with pytest.raises(BadInput, match="64.0 GB"):
        needs({"memory_gb": 64}, [MACHINE], workers=1, gpu=True)


def test_ray_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ray_engine, "installed", lambda: False)
    words = ["run", "smoke", "--engine", "ray", "--only", "method=finetune,task=chemprot", "--results-dir", str(tmp_path)]
    assert main(words) == 2
    assert "pip install kdbench[ray]" in capsys.readouterr().err
    assert main([*words, "--dry-run"]) == 0
    assert "pip install kdbench[ray]" in capsys.readouterr().out


@pytest.fixture
def plugin(monkeypatch):
    monkeypatch.setenv("KDBENCH_PLUGINS", STANDIN)
    monkeypatch.delenv("KDBENCH_DATA", raising=False)
    loaded = load_plugin(STANDIN)
    yield
    del METHODS._entries["standin"], MODELS._entries["tiny:still"], sys.modules[loaded]


def test_a_worker_out_of_sight_of_the_results_folder_returns_record_and_predictions(tmp_path, monkeypatch, plugin):
    for name, value in (("HOME", str(tmp_path / "home")), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    (tmp_path / "lost").touch()
    (tmp_path / "suite.toml").write_text(SUITE.format(lost=tmp_path / "lost"))
    planned = plan_suite(suite.load(str(tmp_path / "suite.toml")))
    cell = next(cell for cell in planned if cell.method_name == "standin")
    runner = Runner(tmp_path / "driver", device="cpu", threads=1)
    text = {**message(cell, runner, "", 1), "marker": str(tmp_path / "not here"), "cache_name": "of-this-driver"}
    record, arrays = ray_engine.run_cell(text)
    assert record["status"] == "done" and arrays["test_predictions"].shape == (400, 6)
    assert (tmp_path / "home/.cache/kdbench/of-this-driver/records").is_dir() and not (tmp_path / "driver").exists()

    Path(text["marker"]).touch()
    again, nothing = ray_engine.run_cell(text)
    assert nothing is None and again["score"] == record["score"]
    assert store.find(tmp_path / "driver", record["id"], "chemprot") == again


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_cluster_gives_the_records_of_the_local_engine_and_a_lost_worker_is_retried(tmp_path, capfd, plugin):
    lost, path = tmp_path / "lost", tmp_path / "suite.toml"
    path.write_text(SUITE.format(lost=lost))

    def figures(folder: Path) -> dict:
        kept = ("status", "cell", "score", "data", "models", "curves")
        return {r["id"]: {name: r.get(name) for name in kept} for r in store.records(folder)}

    words = ["run", str(path), "--device", "cpu", "--threads", "1", "--results-dir"]
    assert main([*words, str(tmp_path / "ray"), "--engine", "ray", "--workers", "2"]) == 0
    assert lost.exists()  # a worker was killed in the middle of its cell
    assert "[4/4" in capfd.readouterr().err
    assert main([*words, str(tmp_path / "local")]) == 0
    assert figures(tmp_path / "ray") == figures(tmp_path / "local") and len(figures(tmp_path / "ray")) == 4
