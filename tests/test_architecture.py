"""The arrow runs one way: methods and tasks import the core; the core reaches them through its registries alone."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

from kdbench.base.registry import METHODS, TASKS

ROOT = Path(__file__).resolve().parent.parent


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "kdbench").glob("**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_no_method_and_no_task(path):
    assert not [name for name in imports(path) if name.startswith(("kdbench.methods", "kdbench.tasks", "methods", "tasks"))]


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*.py")), ids=lambda path: path.name)
def test_tasks_know_no_method(path):
    assert not [name for name in imports(path) if name.startswith("kdbench.methods")]


def test_nothing_is_unpickled_and_no_remote_code_is_run():
    for folder in ("kdbench", "methods", "tasks", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                called = ast.unparse(node.func)
                assert not called.endswith("pickle.load") and not called.endswith("pickle.loads"), path
                if called == "torch.load":
                    assert ast.unparse(given["weights_only"]) == "True", path
                if called == "np.load":
                    assert ast.unparse(given["allow_pickle"]) == "False", path
                if called.endswith(".from_pretrained"):  # unsaid, it asks, and a yes would run it
                    assert ast.unparse(given["trust_remote_code"]) == "False", f"{path}:{node.lineno}"


WINGS = ("base", "data", "models", "score", "train", "serve", "runs", "report", "search", "cli")


def core_files() -> dict[str, Path]:
    """The files of the core by `WING.NAME`."""
    found = {}
    for path in sorted((ROOT / "kdbench").glob("*/**/*.py")):
        if path.stem != "__init__":
            found[".".join(path.relative_to(ROOT / "kdbench").with_suffix("").parts)] = path
    return found


def needed(path: Path) -> set[str]:
    """Files of the core, `WING.NAME`, that a file imports; those for type checkers alone left out."""
    def walk(node: ast.AST):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    names = set()
    for node in walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kdbench."):
            wing, _, name = node.module.removeprefix("kdbench.").partition(".")
            names |= {f"{wing}.{name}"} if name else {f"{wing}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("kdbench.") for alias in node.names}
    return names


def test_every_file_of_the_core_is_in_a_wing():
    assert {path.stem for path in (ROOT / "kdbench").glob("*.py")} == {"__init__", "__main__"}
    assert {name.partition(".")[0] for name in core_files()} == set(WINGS)


def test_the_map_names_the_wings_in_their_order_and_files_that_are_there():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    assert [wing for wing, _, _ in rows] == list(WINGS)
    for wing, _, files in rows:
        assert all((ROOT / "kdbench" / wing / name).is_file() for name in re.findall("`(.+?)`", files)), wing


@pytest.mark.parametrize("name", core_files())
def test_a_wing_imports_those_before_it(name):
    wing = WINGS.index(name.partition(".")[0])
    above = [other for other in needed(core_files()[name]) if other.partition(".")[0] in WINGS[wing + 1:]]
    assert not above


def test_no_two_files_of_the_core_import_each_other():
    files = core_files()
    arrows = {name: needed(path) & files.keys() for name, path in files.items()}
    assert sum(map(len, arrows.values())) > 100
    graphlib.TopologicalSorter(arrows).prepare()  # a circle is raised, with its files


# --- names ------------------------------------------------------------------------------------------

PAPERS = ("DoKTra", "DSG-KD", "VE-KD", "MLKD", "KM-BERT", "BioBERT-distillation", "vekd")
# Names that are words of this code as well: the task of the user's own files, which the command line
# has options for, and two verbs (in quotes, the verbs are the methods); an abbreviation of Python's;
# and two methods that are called as the models are that they made; "static" is a word of Python's.
ORDINARY = {"files", "finetune", "adapt", "dist", "minilm", "tinybert", "recipe", "static"}
QUOTED = re.compile(r"""["'`](finetune|adapt)["'`]""")
# Files with names in them that are still to be cleaned.


def names_outside_the_core() -> set[str]:
    """What methods, tasks, corpora and papers are called."""
    indices = (*METHODS.entries(), *TASKS.entries())
    names = {name for entry in indices if isinstance(entry.where, str) for name in (entry.name, *entry.aliases)}
    return (names | set(PAPERS)) - ORDINARY


def named_in(text: str, names: set[str]) -> list[str]:
    """The names that stand in a text as words of their own, in whatever case."""
    one = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?!\w)", re.I)
    return sorted({found.lower() for found in (*one.findall(text), *QUOTED.findall(text))})


def test_a_name_is_found_as_a_word_and_not_inside_of_one():
    names = {"gad", "ve_kd", "VE-KD"}
    assert named_in("# as in ve-kd, on GAD", names) == ["gad", "ve-kd"]
    assert named_in("brigade = ve_kd_like", names) == []
    assert named_in('lab.finetune(model), "finetune"', names) == ["finetune"] != named_in("lab.finetune(model)", names)
    assert {"doktra", "mlkd", "chemprot", "bc2gm_iobes"} <= names_outside_the_core()


@pytest.mark.parametrize("path", sorted((ROOT / "kdbench").glob("**/*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_names_no_method_no_paper_and_no_corpus(path):
    """Neither in code nor in comments and strings: whoever adds a method changes nothing here."""
    found = named_in(path.read_text(encoding="utf-8"), names_outside_the_core())
    assert not found
