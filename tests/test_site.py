"""The site is built without a warning, its generated pages say what the program says, and records have the shape that it states."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

import kdbench
from kdbench.base import options
from kdbench.base.errors import Skip
from kdbench.base.registry import METHODS, TASKS
from kdbench.cli import verbs as cli
from kdbench.cli.parser import VERBS
from kdbench.models.zoo import MODELS
from kdbench.runs import store

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted((ROOT / "results").glob("*/records/*/*.json"))
READ_FROM_OUTSIDE = re.compile(r"""environ(?:\.get|\.setdefault|\.pop)?[\[(]\s*"([A-Za-z_]+)"|\b(KDBENCH_[A-Z_]+)\b""")


def hook(name: str):
    """A module of `docs/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages():
    return hook("generate").pages()


@pytest.fixture(scope="module")
def schema():
    found = json.loads((ROOT / "docs" / "reference" / "record.schema.json").read_text())
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


# --- the site -------------------------------------------------------------------------------------


@pytest.mark.site
def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path):
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "index.html").read_text()
    picture = re.search(r'<img [^>]*src="([^"]+\.svg)"', home)
    assert (tmp_path / picture[1]).is_file()
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r'<(?:script|link|img)\b[^>]*(?:src|href)="(?:https?:)?//', page.read_text()), page
    python = (tmp_path / "reference" / "python.html").read_text()
    assert all(f'id="{name}"' in python for name in (
        "kdbench.runs.grid.run", "kdbench.runs.store.load", "kdbench.train.lab.Lab.signals", "kdbench.train.objective.Term"))
    assert "<li><code>inputs</code>: what the student" in re.sub(r"</?p>|\n", "", python)  # two columns of a docstring


def test_every_method_has_a_page_with_its_equations_and_options(pages):
    for name in METHODS.names():
        page, method = pages[f"reference/methods/{name}.md"], METHODS.get(name)
        assert method.citation in page and method.equations.strip().split("\n")[0].strip() in page
        for option in options.describe(method.Options):
            assert f"| `{option['name']}` |" in page, f"{name}: {option['name']}"
        assert f"](methods/{name}.md)" in pages["reference/methods.md"]


def test_every_task_model_and_suite_is_listed(pages):
    assert re.findall(r"^## (\S+)$", pages["reference/tasks.md"], re.M) == TASKS.names()
    assert all(f"| `{name}`" in pages["reference/models.md"] for name in MODELS.names())
    suites = [path.relative_to(ROOT / "benchmarks").with_suffix("").as_posix() for path in (ROOT / "benchmarks").rglob("*.toml")]
    assert all(f"| `{name}` |" in pages["reference/suites.md"] for name in suites)


def test_the_page_on_the_command_line_has_every_verb_with_its_help(pages, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    page = pages["reference/command-line.md"]
    verbs = re.findall(r"^## ([\w-]+)$", page, re.M)
    assert len(set(verbs)) == len(verbs) >= 15
    for verb in verbs:
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        assert capsys.readouterr().out.strip() in page
    assert sorted(verbs) == sorted(VERBS)


def test_every_environment_variable_is_on_its_page():
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    found = set()
    for folder in ("kdbench", "methods", "tasks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= {one or other for one, other in READ_FROM_OUTSIDE.findall(path.read_text())}
    assert {"KDBENCH_DATA", "KDBENCH_DEBUG", "OMP_NUM_THREADS", "RANK"} <= found
    tests_own = {"PYTEST_DEBUG_TEMPROOT", "no_proxy", "HF_HUB_CACHE", "PATH", "KDBENCH_", "OPTIMUM_PYTHON", "SIGNALLED_IN"}
    assert not [name for name in sorted(found - tests_own) if f"`{name}`" not in page]


@pytest.mark.parametrize(("docstring", "markdown"), [
    ("One line.", "One line."),
    ("Gives x.\n\nseed    draws it\n        and more\nx, y  both", "Gives x.\n\n\n- `seed`: draws it\n    and more\n- `x, y`: both"),
    ("a  first\n\nThen text.", "\n- `a`: first\n\nThen text."),
    ("a  first\nThen text.", "\n- `a`: first\n\nThen text."),
    ("Shapes: (B, C) for texts.  Two blanks.", "Shapes: (B, C) for texts.  Two blanks."),
])
@pytest.mark.site
def test_two_columns_of_a_docstring_become_a_list(docstring, markdown):
    assert hook("docstrings").as_markdown(docstring) == markdown


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == kdbench.__version__ and cited["license"] == "Apache-2.0"
    assert cited["cff-version"] and cited["message"] and cited["title"] and cited["authors"]


# --- records --------------------------------------------------------------------------------------


def mistakes(schema, record) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in schema.iter_errors(record)]


def test_every_committed_record_has_the_stated_shape(schema):
    assert len(RECORDS) > 100
    for path in RECORDS:
        assert not mistakes(schema, json.loads(path.read_text())), path


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A record as it is written today, of a tagger: the kind with the most figures."""
    folder = tmp_path_factory.mktemp("records")
    kdbench.run("finetune", "bc2gm_iobes", epochs=1, max_train_examples=16, controls=False, results_dir=folder)
    return next(store.records(folder))


def test_a_fresh_record_has_the_stated_shape(schema, fresh):
    assert fresh["status"] == "done" and "beyond_limit" in fresh["score"]
    assert not mistakes(schema, fresh)


@pytest.mark.parametrize(("raised", "status"), [(RuntimeError("it broke"), "failed"), (Skip("not for this task"), "skipped")])
def test_a_record_without_a_student_has_the_stated_shape(schema, tmp_path, monkeypatch, raised, status):
    def fit(self, lab):
        raise raised

    monkeypatch.setattr(METHODS.get("finetune"), "fit", fit)
    record = kdbench.run("finetune", "chemprot", controls=False, results_dir=tmp_path)
    assert record["status"] == status
    assert not mistakes(schema, record)


@pytest.mark.parametrize("change", [
    {"status": "well"}, {"format": 2}, {"id": "x"}, {"host": "a name"}, {"score": None}, {"artefact": "../x"},
    {"size": {"parameters": 1}}, {"role": "best"}, {"provenance": {}},
])
def test_another_shape_is_refused(schema, fresh, change):
    assert mistakes(schema, {**fresh, **change})
    assert mistakes(schema, {name: value for name, value in fresh.items() if name != "score"})
