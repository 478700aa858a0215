"""Committed studies equal what their records give."""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from factory import STORE, UNITS, study

from kdbench.base.errors import BadInput
from kdbench.cli.verbs import main
from kdbench.models.sources import resolve
from kdbench.models.zoo import MODELS
from kdbench.report.page import cell
from kdbench.report.study import facts, pages, stale, studies, table_of, write
from kdbench.runs.cell import identity
from kdbench.train.spec import Settings

RESULTS = Path(__file__).resolve().parent.parent / "results"

TOML = '''title = "Made-up study"
about = "What was asked: nothing. What can be concluded: nothing."
commands = ["python bench.py run smoke --results-dir results/made-up"]
'''


@pytest.fixture
def folder(tmp_path):
    """A study in the layout of the store."""
    folder = tmp_path / "made-up"
    (folder / "records" / "chemprot").mkdir(parents=True)
    for made in study():
        path = folder / "records" / "chemprot" / f"{made['id']}.json"
        path.write_text(json.dumps(made))
        np.savez_compressed(path.with_suffix(".npz"), test_counts=STORE[made["id"]],
                            test_units=np.array([f"PMID{i}" for i in range(UNITS)]))
    (folder / "study.toml").write_text(TOML)
    return folder


def test_committed_pages_equal_the_regenerated_ones():
    wrong = [line for committed in studies(RESULTS) for line in stale(committed, RESULTS / "reported.csv")]
    if matplotlib.__version__ < "3.11":  # which writes other digits into a drawing than that of constraints.txt
        wrong = [line for line in wrong if ".svg: " not in line]
    assert wrong == []


@pytest.mark.parametrize("folder", [path for path in studies(RESULTS) if (path / "study.toml").is_file()], ids=lambda path: path.name)
def test_the_report_of_a_committed_study_has_its_table(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("kdbench.report.html.learning", lambda section: [])  # a hundred pictures, of which test_report has some
    assert main(["report", "--results-dir", str(folder), "--no-intervals", "-o", str(tmp_path / "r.html")]) == 0
    page = re.sub(r"<[^>]+>", " ", (tmp_path / "r.html").read_text())
    lines = [[cell.strip(" *") for cell in line.split("|")] for line in (folder / "README.md").read_text().partition("## Tables")[2].splitlines()]
    head = next(cells for cells in lines if "method" in cells)
    rows = [dict(zip(head, cells, strict=True)) for cells in lines[lines.index(head) + 2:] if len(cells) == len(head)]
    rows = [row for row in rows if row["method"] != "method" and row["method"].strip("-")]  # of further tables
    assert len(rows) >= 4
    for row in rows:
        assert re.search(rf"{re.escape(row['method'])}\s+{re.escape(row['student'])}\s.*?{re.escape(row['test'])}\s", page, re.S), row


def test_new_settings_and_fields_of_recipes_leave_committed_cells_alone():
    """Their identities are made of these; a suite goes on from them."""
    found = [json.loads(path.read_text()) for study in studies(RESULTS) for path in study.glob("records/*/*.json")]
    assert found
    for record in found:
        made = record["cell"]
        beside = ("unlabelled", "dev_apart", "part", "tuned", "alone", "labels_seed", "teacher_settings")  # of a search, no settings of the protocol
        own = {name: value for name, value in made["settings"].items() if name not in beside}
        assert Settings(**own).identity() == own
        if made["student"] in MODELS and MODELS.get(made["student"]).config or made["student"].startswith("cut:"):
            assert identity(resolve(made["student"])) == record["models"]["student"]


def test_pages_hold_tables_columns_and_commands(folder):
    text = pages(folder, RESULTS / "reported.csv")["README.md"]
    for part in ("# Made-up study", "run smoke", "table --results-dir results/made-up", "### chemprot · micro_f1",
                 "**Δ plain**", "**p50 ms**", "## Published figures", "**n**: number of seeds"):
        assert part in text, part
    assert "Score against latency" in pages(folder)["trade-offs-chemprot.svg"]
    assert "**p50 ms**: median latency" in text and " | a " in text, "with intervals and tie groups"


def test_a_study_chooses_its_columns(folder):
    with (folder / "study.toml").open("a") as toml:
        toml.write('columns = ["test", "dev:micro_f1", "kept:dev:micro_f1"]\n')
    for path in folder.glob("records/*/*.json"):
        made = json.loads(path.read_text())
        share = {"teacher": 0.8}.get(made["role"], 0.6)
        made["score"]["all"] = {"dev": {"micro_f1": share}, "test": {}}
        path.write_text(json.dumps(made))
    text = pages(folder)["README.md"]
    assert "| test " in text and "| dev micro_f1 " in text and "p50 ms" not in text
    assert "75.0%" in text and "**kept dev micro_f1**: share of the teacher's micro_f1 on dev" in text
    assert "table --results-dir results/made-up --columns test,dev:micro_f1,kept:dev:micro_f1" in text
    picture = pages(folder)["trade-offs-chemprot.svg"]
    assert "Gain over no teacher" in picture and "Score against" not in picture, "costs that the table does not show"
    table = table_of(folder)
    assert cell(table, "doktra", "small-student", "dev:micro_f1") == "60.0 ± 0.0"


def test_written_pages_are_fresh_until_a_figure_changes(folder):
    assert sorted(path.name for path in write(folder)) == ["README.md", "table.csv", "trade-offs-chemprot.svg"]
    assert stale(folder) == []
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("66.", "67.", 1) + "more\n")
    (difference,) = stale(folder)
    assert "made-up/README.md: line" in difference
    (folder / "table.csv").unlink()
    assert len(stale(folder)) == 2


@pytest.mark.parametrize("text, message", [
    ("title = ", "study.toml"), ('titel = "x"', "did you mean 'title'"), ('title = "x"', "no about"),
    (TOML.replace('["python bench.py run smoke --results-dir results/made-up"]', '"x"'), "commands must be a list"),
])
def test_a_broken_study_file_is_one_line(folder, text, message):
    (folder / "study.toml").write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        facts(folder)
    assert "\n" not in str(error.value)


def test_a_missing_study_file_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        facts(tmp_path)


def with_two_rates(folder: Path) -> None:
    """The study's rows of doktra become two, by their option `kd`."""
    for path in list(folder.glob("records/*/*.json")):
        made = json.loads(path.read_text())
        if made["cell"]["method"] == "doktra":
            made["cell"]["options"] = {"kd": [True], "lr": 2e-5, "teacher": ""}
            path.write_text(json.dumps(made))
            other = {**made, "id": f"other-{made['id']}", "cell": {**made["cell"], "options": {"kd": [], "lr": 3e-5, "teacher": ""}}}
            path.with_name(f"{other['id']}.json").write_text(json.dumps(other))


def test_a_study_names_its_rows(folder, capsys):
    with_two_rates(folder)
    unnamed = pages(folder)["README.md"]
    assert "| doktra [kd=, lr=3e-05]" in unnamed and "| doktra [kd=True, lr=2e-05]" in unnamed
    (folder / "study.toml").write_text(TOML + '[names]\n"slow" = "doktra lr=2e-05 teacher="\n')
    assert cell(table_of(folder), "doktra [slow]", "small-student", "n") == "5"
    text = pages(folder, RESULTS / "reported.csv")["README.md"]
    assert "| doktra [kd=, lr=3e-05]" in text and "- doktra [slow]: kd=True, lr=2e-05" in text
    assert main(["table", "--results-dir", str(folder), "--no-intervals"]) == 0
    assert "| doktra [slow]" in capsys.readouterr().out
    assert main(["report", "--results-dir", str(folder), "--no-intervals", "-o", str(folder / "r.html")]) == 0
    assert "doktra [slow]" in (folder / "r.html").read_text()


@pytest.mark.parametrize(("names", "message"), [
    ('"a" = "doktra"', "'a' fits several rows of small-student"),
    ('"a" = "doktra lr=2e-05"\n"b" = "doktra kd=True"', "'a' and 'b' fit one row"),
    ('"a" = "doktra lr=1"', "'a' is no row's name"),
    ('"a" = "doktra fast"', "write a method and its options"), ('"a" = ""', "write a method"),
])
def test_a_name_that_fits_no_row_or_several(folder, names, message):
    with_two_rates(folder)
    (folder / "study.toml").write_text(f"{TOML}[names]\n{names}\n")
    with pytest.raises(BadInput, match=message):
        pages(folder)


def test_text_has_figures_of_the_table(folder):
    (folder / "study.toml").write_text(TOML.replace("What was asked", "The test score is {logit_kd | small-student | test}"))
    line = next(line for line in pages(folder)["README.md"].splitlines() if line.startswith("| logit_kd"))
    said = next(line for line in pages(folder)["README.md"].splitlines() if line.startswith("The test score is"))
    figure = said.removeprefix("The test score is ").partition(": ")[0]
    assert figure and f" {figure} " in line.replace("*", " ")


def test_a_page_over_studies(folder):
    page = folder.parent / "page.md"
    page.write_text("# Results\n\nSeeds: {made-up | logit_kd | small-student | n}, {a set} stays.\n")
    assert folder.parent in studies(folder.parent) and folder in studies(folder.parent)
    write(folder.parent)
    assert (folder.parent / "README.md").read_text() == "# Results\n\nSeeds: 5, {a set} stays.\n"
    assert stale(folder.parent) == []


def test_a_figure_of_one_of_several_tables(folder):
    """The same rows on two tasks: the words of a table's title say which is meant."""
    (folder / "records" / "gad").mkdir()
    for made in study():
        made["cell"]["task"] = "gad"
        made["score"]["test"] /= 2
        path = folder / "records" / "gad" / f"{made['id']}.json"
        path.write_text(json.dumps(made))
    row = "logit_kd | small-student"
    first, second = (cell(table_of(folder), "logit_kd", "small-student", "test", title=task) for task in ("chemprot", "gad"))
    assert first != second
    (folder.parent / "page.md").write_text(f"{{made-up | chemprot | {row} | test}}, {{made-up | gad data | {row} | test}}")
    assert pages(folder.parent)["README.md"] == f"{first}, {second}"
    with pytest.raises(BadInput, match="2 rows are called so; put words of the title of one table before the method"):
        cell(table_of(folder), "logit_kd", "small-student", "test")


@pytest.mark.parametrize(("figure", "message"), [
    ("{made | logit_kd | small-student | n}", "did you mean 'made-up'"), ("{made-up | logit | S | n}", "unknown row"),
    ("{made-up | logit_kd | small-student | tast}", "did you mean 'test'"), ("{logit_kd | n}", "write {study | method | student | column}"),
])
def test_a_figure_that_is_not_there(folder, figure, message):
    (folder.parent / "page.md").write_text(f"text {figure}")
    with pytest.raises(BadInput) as error:
        pages(folder.parent)
    assert message in str(error.value) and "page.md" in str(error.value) and figure in str(error.value)
