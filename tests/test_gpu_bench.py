"""The benchmark for a GPU runs without one, and says what failed; nothing here looks at a time."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu"


@pytest.fixture
def gpu(monkeypatch):
    """Imports a module of the benchmark, as `run.py` does."""
    monkeypatch.syspath_prepend(GPU)
    yield importlib.import_module
    for name in [name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(GPU))]:
        del sys.modules[name]


@pytest.mark.parametrize(("own", "expected"), [
    ([1.0, 2.001], {"steps": 2, "largest_difference": pytest.approx(5e-4), "equal": True}),
    ([1.0, 2.01], {"steps": 2, "largest_difference": pytest.approx(5e-3), "equal": False}),
    ([1.0], {"failed": "training: 1 steps, 2 on the CPU"})])
def test_losses_are_compared_step_by_step(gpu, own, expected):
    assert gpu("run").compare({"training": [1.0, 2.0]}, {"training": own}) == expected


def test_a_method_that_failed_is_no_equal_one(gpu):
    found = gpu("run").compare({"training": [1.0]}, {"failed": "ValueError: no"})
    assert found == {"failed": "ValueError: no"}


def test_a_section_that_fails_is_named_and_the_others_go_on(gpu, monkeypatch, tmp_path, capsys):
    run = gpu("run")

    def broken(*_):
        raise run.Failed("exit 1: no")

    monkeypatch.setattr(run, "SECTIONS", {"sharing": broken, "smoke": lambda *_: {"cells": 3, "seconds": 1.0, "again_seconds": 0.5}})
    monkeypatch.setattr(sys, "argv", ["run.py", "--json", str(tmp_path / "f.json")])
    assert run.main() == 1
    shown = capsys.readouterr()
    assert "FAILED sharing: exit 1: no" in shown.err and "3 cells" in shown.out
    assert json.loads((tmp_path / "f.json").read_text())["smoke"]["cells"] == 3


def test_the_committed_figures_are_shown(gpu):
    figures = json.loads((GPU / "figures.json").read_text())
    shown = gpu("tables").markdown(figures)
    assert "FAILED" not in shown
    assert figures["machine"]["accelerator"]["name"] in shown
    assert set(figures) <= {"date", *gpu("run").SECTIONS}
    assert all(one["equal"] for one in figures["equality"].values())
    assert not any(places for stages in figures["waits"].values() for places in stages.values())


@pytest.mark.slow
def test_its_sections_run_without_a_gpu(tmp_path, no_data):
    out = tmp_path / "figures.json"
    words = ["--device", "cpu", "--quick", "--only", "machine", "--only", "latency", "--json", out]
    subprocess.run([sys.executable, GPU / "run.py", *words], check=True, timeout=600)
    assert set(json.loads(out.read_text())) == {"date", "machine", "latency"}
