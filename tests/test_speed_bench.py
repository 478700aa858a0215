"""The speed comparisons run, write their fields, and compare like with like; nothing here looks at a time."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

SPEED = Path(__file__).resolve().parent.parent / "benchmarks" / "speed"
FIELDS = {"name", "ours_ms", "reference_ms", "ratio", "ratio_fp32", "ratio_min", "ratio_max", "ours_mb", "reference_mb", "what"}
NAMES = {"dsg_kd_8", "dsg_kd_32", "ve_kd", "bilstm_minilm", "bilstm_bert_base", "doktra", "augmentation", "finetune_vs_trainer_grouped",
         "finetune_vs_trainer_default", "distill_vs_trainer_grouped", "distill_vs_trainer_default", "overhead", "busy", "grid"}


@pytest.fixture
def speed(monkeypatch, no_data):
    """Imports a module of the benchmark, as `run.py` does."""
    monkeypatch.syspath_prepend(SPEED)
    yield importlib.import_module
    for name in [name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(SPEED))]:
        del sys.modules[name]


@pytest.mark.slow
def test_it_writes_every_field_and_the_order_of_its_figures_holds(tmp_path, no_data):
    out = tmp_path / "speed.json"
    words = ["--only", "overhead", "--quick", "--device", "cpu", "--json", out]
    subprocess.run([sys.executable, SPEED / "run.py", *words], check=True, timeout=900)
    (row,) = json.loads(out.read_text())
    assert set(row) >= FIELDS
    assert row["name"] == "overhead"
    assert 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"]
    assert row["ratio"] == pytest.approx(row["reference_ms"] / row["ours_ms"], rel=0.01, abs=1e-3)
    assert min(row["ours_mb"], row["reference_mb"]) > 50


def test_every_comparison_is_in_its_module(speed):
    run = speed("run")
    assert set(run.MODULES) == NAMES
    for name, module in run.MODULES.items():
        assert name in speed(module).NAMES
        assert speed(module).what(name)


def test_augmentation_needs_no_torch(tmp_path, no_data):
    """Its memory would be torch's else."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import run, augmentation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, SPEED], check=True, timeout=900)


@pytest.mark.parametrize("name", ["dsg_kd_8", "ve_kd", "doktra"])
def test_both_ways_compute_the_same_loss(speed, name):
    bench = speed("timing").Bench(quick=True, device="cpu")
    ways = speed(speed("run").MODULES[name]).ways(name, bench)
    ours, reference = ways["ours_fp32"](), ways["reference"]()
    indices = list(range(4))
    assert ours.loss(indices) == pytest.approx(reference.loss(indices), rel=1e-3)


# one of each module; of dsg_kd and ve_kd the test above takes both ways through a loss
STEPPED = ("augmentation", "bilstm_minilm", "distill_vs_trainer_grouped", "doktra")
MORE_STEPPED = ("distill_vs_trainer_default", "dsg_kd_8", "finetune_vs_trainer_grouped", "ve_kd")


@pytest.mark.parametrize("name", [*STEPPED, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_STEPPED)])
def test_every_way_takes_its_steps(speed, name):
    bench = speed("timing").Bench(quick=True, device="cpu")
    for way in speed(speed("run").MODULES[name]).ways(name, bench).values():
        made = way()
        made.prepare()
        made.round()
        assert made.steps > 0


def test_ratios_pair_rounds_and_a_slow_reference_stands_for_the_rounds_it_was_spared(speed):
    timing = speed("timing")
    assert timing.ratios([100.0, 110.0], [10.0, 10.0, 11.0]) == [10.0, 11.0, 10.0]
    made = timing.compare([10.0, 10.0, 11.0], [100.0, 110.0])
    assert (made["ratio"], made["ratio_min"], made["ratio_max"]) == (10.0, 10.0, 11.0)


def test_a_slow_way_runs_twice_and_every_round_goes_through_all_ways(speed, monkeypatch):
    timing = speed("timing")
    calls = []

    class Fake(timing.Way):
        def __init__(self, name, spent):
            self.name, self.spent = name, spent

        def seconds(self):
            calls.append(self.name)
            return self.spent

    monkeypatch.setattr(timing, "SECONDS", 0.0)
    spent = timing.interleave({"ours": Fake("ours", 0.5), "reference": Fake("reference", timing.SLOW + 1)}, quick=False)
    assert calls == ["ours", "reference", "ours", "reference", "ours"]
    assert spent == {"ours": [500.0] * 3, "reference": [1000 * (timing.SLOW + 1)] * 2}


@pytest.mark.parametrize("processor", ["amx", "avx512"])
def test_the_readme_has_the_committed_figures(speed, processor):
    rows = json.loads((SPEED / f"figures-{processor}.json").read_text())
    assert [row["name"] for row in rows] == [name for name in speed("run").MODULES if name not in ("busy", "grid")]
    assert speed("run").table(rows) in (SPEED / "README.md").read_text()
