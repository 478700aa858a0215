"""The published loss functions, number by number, through the objectives that the methods train with.

Every `*.json` in tests/golden, or in the folder that KDBENCH_GOLDEN names, is a list of cases: inputs, and under
`expected` what the published code returned for them. The start of a file's name says whose they are.
"""

import json
import os
from pathlib import Path

import golden_losses
import pytest

FOLDER = Path(os.environ.get("KDBENCH_GOLDEN") or Path(__file__).parent / "golden")
METHODS = {"doktra": "doktra", "dsg_kd": "dsg_kd", "ner_distillation": "ner_kd", "ve_kd": "ve_kd"}


def cases():
    for path in sorted(FOLDER.glob("*.json")):
        for index, case in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            yield pytest.param(path.stem, case, id=f"{path.stem}-{index}")


def method_of(stem: str) -> str:
    """The method whose published losses a golden file of this name holds."""
    found = [module for start, module in METHODS.items() if stem.startswith(start)]
    assert found, f"{stem}.json: golden files begin with one of {', '.join(METHODS)}"
    return found[0]


@pytest.mark.parametrize("stem, case", cases())
def test_published_numbers(stem, case):
    found = getattr(golden_losses, method_of(stem))(case)
    missing = set(case["expected"]) - set(found)
    assert not missing, f"golden_losses gives nothing for {', '.join(sorted(missing))}"
    expected = {name: pytest.approx(value, rel=1e-5, abs=1e-5) for name, value in case["expected"].items()}
    assert {name: found[name] for name in expected} == expected


def test_every_method_has_its_cases():
    """An empty or misspelt folder must not pass for a reproduction."""
    files = [path.stem for path in FOLDER.glob("*.json")]
    assert files, f"no golden files in {FOLDER}"
    if "KDBENCH_GOLDEN" not in os.environ:
        assert {method_of(stem) for stem in files} == set(METHODS.values())
