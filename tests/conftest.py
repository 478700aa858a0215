"""What all tests share: real data only where its folder is named, slow ones only when asked for."""

import atexit
import dataclasses
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# what a user's shell may hold, and these tests do not expect
for name in ("KDBENCH_DEBUG", "KDBENCH_PLUGINS", "KDBENCH_MODELS", "MKL_NUM_THREADS", "PYTEST_ADDOPTS", "FORCE_COLOR", "PY_COLORS"):
    os.environ.pop(name, None)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # two workers side by side; more threads than cores would spin
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what they compare to the last digit, they compare on a CPU
os.environ["no_proxy"] = "127.0.0.1,localhost"
# The lock of measurements lies in the folder for temporary files. With a folder of its own, a worker
# does not wait for the trainings of the one beside it; no test reads how fast anything is.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="kdbench-tests-")
atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

# The files of half a minute and more, the longest first. A worker takes file after file in this
# order, so that no worker is left with a long file when the other one has ended.
LONG = ("test_contracts", "test_verify", "test_shrink", "test_study", "test_grid", "test_served", "test_identity", "test_pretend_device",
        "test_variants", "test_distributed", "test_certify", "test_fuzz", "test_chains", "test_recipe", "test_stopping", "test_resume",
        "test_logit_family", "test_layer_methods", "test_mutations", "test_glmd", "test_ner_kd", "test_site", "test_layouts",
        "test_metrics", "test_equal_steps", "test_speed_bench", "test_docs", "test_cli", "test_doktra", "test_onnx_example",
        "test_lookalikes", "test_own_files", "test_protocol", "test_limits")


# marks of tests that need an extra, and a library of it
OF_EXTRAS = {"ray": "ray", "spacy": "spacy", "site": "mkdocs"}


def has_cases(data: Path) -> bool:
    """Is there a folder `cases` in the folder of the corpora, or beside it?"""
    return any((folder / "cases").is_dir() for folder in (data, data.resolve().parent))


def pytest_addoption(parser):
    parser.addoption("--plugin", action="append", default=[], help="a file that registers a method, to be tested like the others")


def pytest_configure(config):
    from kdbench.runs.plugins import load_plugin

    for path in config.getoption("--plugin"):
        load_plugin(path)


def pytest_collection_modifyitems(config, items):
    """Deselect what this run is not for; nothing is skipped silently inside a test."""
    data = os.environ.get("KDBENCH_DATA")
    slow = "slow" in (config.option.markexpr or "")
    there = {"realdata": bool(data), "slow": slow, "cases": bool(data) and has_cases(Path(data))}
    there |= {mark: importlib.util.find_spec(library) is not None for mark, library in OF_EXTRAS.items()}
    lacking = {mark for mark, is_there in there.items() if not is_there}
    kept, left = [], []
    for item in items:
        (left if lacking.intersection(mark.name for mark in item.iter_markers()) else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = sorted(kept, key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="module")
def hasty():
    """The full protocol of latencies as short as the quick one, where no test reads how fast anything is."""
    from kdbench.serve import measure

    full, quick = measure.PROTOCOLS["full"], measure.PROTOCOLS["quick"]
    measure.PROTOCOLS["full"] = dataclasses.replace(quick, name="full")
    yield
    measure.PROTOCOLS["full"] = full


@pytest.fixture
def data_dir() -> Path:
    """The folder of the real corpora; only tests marked `realdata` ask for it."""
    return Path(os.environ["KDBENCH_DATA"])


@pytest.fixture
def no_data(monkeypatch):
    """Without KDBENCH_DATA a task gives its look-alike."""
    monkeypatch.delenv("KDBENCH_DATA", raising=False)
