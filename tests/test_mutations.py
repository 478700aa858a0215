"""The gate of `tests/mutations.py`: what it lists is there, and tests notice it when it is broken.

A plain run tries one of the mutations, another each day; KDBENCH_MUTATION_SEED says which. All of
them: `-m slow`.
"""

import os
import re
from datetime import date

import mutations
import pytest
from mutations import MUTATIONS, ROOT, Mutation, Outcome, Unusable, changed, run, sample, summary

SEED = int(os.environ.get("KDBENCH_MUTATION_SEED") or date.today().toordinal())
# what no test can notice: the gate has to say so
HARMLESS = Mutation("harmless", "kdbench/score/statistics.py", "Is the gain real?", "Is the gain there?",
                    mutations.tests_of("test_statistics", "test_wilcoxon_only_from_six_tasks_on"))


def test_every_mutation_stands_once_in_its_file_and_names_tests_that_are_there():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names) >= 40
    for mutation in MUTATIONS:
        text = (ROOT / mutation.file).read_text(encoding="utf-8")
        assert changed(mutation, ROOT) != text, mutation.name
        assert "\n" not in mutation.old + mutation.new and mutation.tests, mutation.name
        for test in mutation.tests:
            path, _, function = test.partition("::")
            assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.M), test


def test_a_text_that_is_no_longer_there_is_said_by_name(tmp_path):
    (tmp_path / "a.py").write_text("one = 1\nanother = 1\n")
    for old in ("two", "= 1"):
        with pytest.raises(Unusable, match="stale: a.py has .* not once"):
            changed(Mutation("stale", "a.py", old, "", ()), tmp_path)


def test_seeds_one_after_another_try_them_all():
    tried = {mutation.name for day in range(SEED, SEED + len(MUTATIONS)) for mutation in sample(1, day)}
    assert tried == {mutation.name for mutation in MUTATIONS}
    assert sample(2, SEED) == sample(2, SEED) != sample(2, SEED + 1)
    assert len(sample(1000, 3)) == len(MUTATIONS)


class Fake:
    """A copy in which the tests end as they are told to."""

    def __init__(self, folder):
        pass

    def run(self, tests, seconds):
        return 1, "FAILED tests/test_a.py::test_b"

    def close(self):
        pass


def test_tests_that_fail_without_a_change_prove_nothing(monkeypatch, capsys):
    monkeypatch.setattr(mutations, "Copy", Fake)
    with pytest.raises(Unusable, match="without any change"):
        run([HARMLESS])
    assert mutations.main([MUTATIONS[0].name]) == 2
    assert "without any change" in capsys.readouterr().err


def test_a_survivor_is_listed_and_ends_in_1(monkeypatch, capsys):
    first, second = MUTATIONS[:2]
    found = [Outcome(first, "tests/test_a.py::test_b", 1.0), Outcome(second, "", 1.0)]
    monkeypatch.setattr(mutations, "run", lambda chosen, workers: found)
    assert mutations.main([]) == 1
    out = capsys.readouterr().out
    assert out.endswith(f"1 of 2 die; no test notices {second.name}\n")
    assert re.search(rf"^{first.name} +tests/test_a.py::test_b$", out, re.M)
    assert mutations.main(["no-such"]) == 2
    assert "no mutation is called 'no-such'" in capsys.readouterr().err


def test_one_of_them_dies_and_what_changes_nothing_survives():
    print(f"seed {SEED}")
    outcomes = run([*sample(1, SEED), HARMLESS])
    survivors = [found.mutation.name for found in outcomes if not found.by]
    assert survivors == ["harmless"], f"KDBENCH_MUTATION_SEED={SEED}\n{summary(outcomes)}"


@pytest.mark.slow
def test_all_die():
    outcomes = run(MUTATIONS)
    assert all(found.by for found in outcomes), summary(outcomes)
