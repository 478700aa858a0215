"""The arrow runs one way: methods and tasks import the core; the core reaches them through its registries alone."""

import ast
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("path", sorted((ROOT / "kdbench").glob("*.py")), ids=lambda path: path.name)
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
                assert "trust_remote_code" not in given, path
