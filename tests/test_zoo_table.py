"""The page on architectures and methods: it is of today's, and a sample of what it says holds."""

import re
from pathlib import Path

import pytest
import zoo_table

from kdbench.base.registry import METHODS
from kdbench.models.zoo import TINY


def tables() -> list[list[list[str]]]:
    """The tables of the page, each as rows of cells without the line of hyphens."""
    blocks = re.findall(r"(?:^\|.*\n)+", zoo_table.PAGE.read_text(encoding="utf-8"), re.M)
    found = []
    for block in blocks:
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


def test_the_page_has_a_row_for_each_architecture_and_a_column_for_each_method():
    """A new architecture or method makes the page stale: python -m tests.zoo_table > docs/reference/architectures.md"""
    works, has = tables()
    assert works[0] == ["architecture", *METHODS.names(), "cut:1", "ONNX", "int8"]
    assert [row[0] for row in works[1:]] == [row[0] for row in has[1:]] == [f"`tiny:{kind}`" for kind in TINY]


def test_each_no_has_its_reason_and_nothing_fails():
    text = zoo_table.PAGE.read_text(encoding="utf-8")
    works, _ = tables()
    cells = [cell for row in works[1:] for cell in row[1:]]
    assert set(re.findall(r"\((\d+)\)", " ".join(cells))) == set(re.findall(r"^\((\d+)\) ", text, re.M))
    assert all(re.fullmatch(r"yes(, with .+)?( \(\d+\))?|no \(\d+\)|\d+%", cell) for cell in cells), cells
    assert "fails" not in text and "Error" not in text


def test_the_second_table_is_what_the_architectures_have():
    _, has = tables()
    assert {row[0].strip("`").removeprefix("tiny:"): row[1:] for row in has[1:]} == {kind: zoo_table.anatomy(kind).cells() for kind in TINY}


# every kind that is new with a quick method, and methods that read more; the others with the whole page
SAMPLE = {"electra": "logit_kd", "mobilebert": "doktra", "mpnet": "adapt", "xlm-roberta": "logit_kd", "modernbert": "logit_kd", "eurobert": "logit_kd"}


@pytest.mark.parametrize("kind, method", SAMPLE.items())
def test_a_sample_of_the_page_holds(kind, method, tmp_path):
    works, _ = tables()
    column = works[0].index(method)
    said = next(row[column] for row in works if row[0] == f"`tiny:{kind}`")
    found = zoo_table.tried(kind, method, tmp_path, steps=1)
    assert found.works == said.startswith("yes") and (found.given in said)


def test_a_student_that_is_a_layer_of_its_teacher(tmp_path):
    assert zoo_table.cut("modernbert", tmp_path, steps=1).works


@pytest.mark.slow
def test_the_whole_page_is_what_runs_give():
    """But for the shares of the int8 exports, which depend on the processor."""
    def plain(text: str) -> str:
        return re.sub(r"\d+%", "N%", text)

    assert plain(zoo_table.page()) == plain(Path(zoo_table.PAGE).read_text(encoding="utf-8"))
