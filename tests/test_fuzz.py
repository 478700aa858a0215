"""The fuzzer's cases of one seed: some of them in the gate, a minute and thousands with `-m slow`."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fuzz import cases
from tests.fuzz.material import printed

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


OURS = "bench.py: a: wrong; do b\n"
DOES_NOT = subprocess.TimeoutExpired([], 1)


def ended(code, err="", out=""):
    return subprocess.CompletedProcess([], code, out, err)


@pytest.mark.parametrize(("done", "more", "what"), [
    (ended(0), {}, ""), (ended(2, OURS), {}, ""), (ended(1, "bench.py: no room\n"), {}, ""), (DOES_NOT, {}, "no end within"), (ended(-24), {}, "no end within"),
    (ended(1, 'Traceback (most recent call last):\n  File "kdbench/a.py", line 3\nKeyError: 1\n'), {}, "traceback: kdbench/a.py:3 KeyError: 1"),
    (ended(-6, "thread panicked at\n"), {}, "traceback"), (ended(0), {"peak": 2000}, "2000 MB"), (ended(1), {}, "exit code 1"), (ended(-11), {}, "exit code -11"),
    (ended(2), {}, "not one line"), (ended(2, OURS * 2), {}, "not one line"), (ended(2, OURS + "more\n"), {}, "not one line"),
    (ended(0, out="NaN"), {"words": ("predict", "--json")}, "no JSON"), (ended(143, OURS), {"signal": 15}, ""), (ended(-15), {"signal": 15}, ""),
    (ended(130, OURS), {"signal": 15}, "exit code 130"), (ended(143), {"signal": 15}, "not one line"),
    (ended(0, out="b"), {"before": "a", "answer": printed}, "another answer"), (ended(0, out="a"), {"before": "a", "answer": printed}, ""),
    (ended(0, "x: damaged, left out\n", "b"), {"before": "a", "answer": printed}, ""), (ended(2, OURS, "b"), {"before": "a", "answer": printed}, ""),
    (ended(0), {"finds": True}, "not found"), (ended(1), {"finds": True, "words": ("verify",)}, ""), (ended(0), {"finds": True, "same": True}, ""),
    (ended(0), {"ids": [["a", "other"]], "before": [["a", "data"]], "decides": True}, "the id is the same"),
    (ended(0), {"ids": [["b", "other"]], "before": [["a", "data"]], "decides": True}, ""),
])
def test_each_outcome_is_judged(tmp_path, done, more, what):
    case = cases.Case.__new__(cases.Case)
    case.folder, case.kind, case.words, case.environ = tmp_path, "x", ("run",), {}
    case.peak, case.decides, case.before, case.same, case.said = 0, False, None, False, ""
    case.prepared = SimpleNamespace(answer=more.pop("answer", None), finds=more.pop("finds", False))
    (tmp_path / "ids.json").write_text(json.dumps(more.pop("ids", [])))
    vars(case).update(more)

    def run():
        if isinstance(done, Exception):
            raise done
        return done

    case.run = run
    assert what in case.failure() if what else case.failure() == ""


def test_some_seeded_cases():
    assert "15 cases, 0 failures" in fuzz("--cases", 15, "--seed", 7)


@pytest.mark.slow
def test_a_seeded_minute():
    assert ", 0 failures" in fuzz("--minutes", 1, "--seed", 7)


@pytest.mark.slow
def test_five_thousand_cases():
    assert "5000 cases, 0 failures" in fuzz("--cases", 5000, "--seed", 21)
