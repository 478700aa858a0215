"""The fuzzer's cases of one seed: few in the gate, thousands with `-m slow`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def fuzz(*words):
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_a_case_is_decided_by_seed_and_number(tmp_path):
    import random

    from tests.fuzz.damage import damage

    said = []
    for place in ("a", "b"):
        (tmp_path / place).write_text('{"a": [1, 2, {"b": "c"}]}\n' * 3)
        said.append((damage(tmp_path / place, random.Random("5/17")), (tmp_path / place).read_bytes()))
    assert said[0] == said[1]


def test_some_cases_of_every_group():
    assert "60 cases, 0 failures" in fuzz("--cases", 60, "--seed", 7)


@pytest.mark.slow
def test_five_thousand_cases():
    assert "5000 cases, 0 failures" in fuzz("--cases", 5000, "--seed", 21)
