"""What the documentation says is what the project does: its commands parse, its examples run, its generated page is current."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kdbench.base.registry import METHODS
from kdbench.cli import parser, variants

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(?:python )?(bench\.py [^`]+)`")
ELSEWHERE = {  # commands that a test machine cannot run as they stand; that they parse is tested below
    ".venv": "the README's first command has a test of its own, and its second is the gate", "prepare": "needs the network",
    "biobert": "needs weights from a hub", "--multi_gpu": "needs GPUs", "--ray-address": "needs a cluster",
    "pip install": "needs the network", "run cpu/chemprot-first": "needs real data and a model",
    "kmbert": "needs weights from elsewhere",
}


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path) -> list[list[str]]:
    """The `bench.py` calls of a page as words."""
    found = []
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;", line.partition("#")[0]):
                words = shlex.split(part)
                if any(word.endswith("bench.py") for word in words):
                    found.append(words[next(i for i, word in enumerate(words) if word.endswith("bench.py")) + 1:])
    return found


def lines(page: Path) -> list[str]:
    """Every command of a page as it stands: the lines of its shell blocks, and what its text names."""
    blocked = [line.partition("  #")[0].strip() for block in blocks(page, "bash") for line in block.replace("\\\n", " ").splitlines()]
    named = [f"python {' '.join(command.split())}" for command in INLINE.findall(BLOCK.sub("", page.read_text()))]
    return [line for line in dict.fromkeys([*blocked, *named]) if line and not any(word in line for word in ELSEWHERE)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A folder with all that the pages' reader has: their examples as files, corpora, a first run and its id."""
    from kdbench.base.registry import TASKS
    from kdbench.data import corpora
    from kdbench.data.task import LoadOptions

    place = tmp_path_factory.mktemp("reader")
    method = next(text for text in blocks(ROOT / "docs" / "adding-a-method.md", "python") if "register" in text)
    (place / "squared_logits.py").write_text(method)
    (place / "my_method.py").write_text(method.replace("squared_logits", "my_method"))
    (place / "my_task.py").write_text(next(text for text in blocks(ROOT / "docs" / "adding-a-task.md", "python") if "TASKS.add" in text))
    mine(place / "data" / "mine")
    relations, genes = (corpora.load(TASKS.get(name), LoadOptions(None, {}, None)) for name in ("chemprot", "bc2gm_iobes"))
    (place / "data" / "chemprot").mkdir()
    for split in ("train", "dev", "test"):
        rows = [{"id": e.id, "sentence": e.text, "label": relations.labels[e.label]} for e in getattr(relations, split)[:120]]
        (place / "data" / "chemprot" / f"{split}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ["".join(f"{w}\t{genes.labels[t]}\n" for w, t in zip(e.words, e.label, strict=True)) for e in getattr(genes, split)[:80]]
        (place / f"{split}.tsv").write_text("\n".join(words))
    (place / "other.tsv").write_text("sentence\tlabel\n" + "".join(f"{row['sentence']}\t{row['label']}\n" for row in rows))
    for study in ("chemprot-first", "bc2gm-low-resource"):
        shutil.copytree(ROOT / "results" / study, place / "results" / study)
    first = "--method finetune --task chemprot --epochs 1 --no-controls"
    done = subprocess.run([sys.executable, str(ROOT / "bench.py"), *first.split()], cwd=place, capture_output=True,
                          text=True, timeout=600, env=reading())
    assert done.returncode == 0, done.stderr
    return place, re.search(r"Run (\w+)\.", done.stdout)[1]


def reading() -> dict[str, str]:
    """The environment of somebody who reads the pages: no data, no plugin, `python` is this one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KDBENCH")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


@pytest.mark.slow
@pytest.mark.parametrize("line", [pytest.param(line, marks=[pytest.mark.ray] * ("ray" in line.split()))
                                  for line in dict.fromkeys(line for page in PAGES for line in lines(page))])
def test_every_command_runs(reader, line):
    place, run = reader
    shutil.rmtree(place / "FOLDER", ignore_errors=True)
    told = re.sub(r"\bRUN\b", run, line).replace("show TASK", "show chemprot")
    told = re.sub(r"(?<![\w/])(bench\.py|tests/test_contracts\.py)", lambda found: str(ROOT / found[1]), told)
    done = subprocess.run(["bash", "-c", told], cwd=place, capture_output=True, text=True, timeout=1800, env=reading())
    assert done.returncode == 0, f"{told}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.parametrize(("page", "words"), [(page.name, words) for page in PAGES for words in commands(page)],
                         ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60])
def test_every_command_is_one_that_there_is(page, words):
    if words and words[0].startswith("-") and words[0] not in ("--help", "--version"):
        words = ["run", *words]
    args, rest = parser.parser().parse_known_args(words)
    assert not [word for word in rest if word.startswith("-")]
    if getattr(args, "method", None) and not args.plugin:
        assert args.method in METHODS


def test_the_example_of_a_method_passes_the_contracts(tmp_path):
    code = next(text for text in blocks(ROOT / "docs" / "adding-a-method.md", "python") if "register" in text)
    plugin = tmp_path / "squared_logits.py"
    plugin.write_text(code)
    done = subprocess.run([sys.executable, "-m", "pytest", str(ROOT / "tests" / "test_contracts.py"), "--plugin", str(plugin),
                           "-k", "squared_logits", "-p", "no:cacheprovider", "-n", "0", "--color=no"],
                          cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b13 passed", done.stdout), done.stdout[-500:]


def mine(folder: Path) -> None:
    """The files that the page on tasks reads."""
    folder.mkdir(parents=True)
    for split, rows in (("train", 40), ("dev", 10), ("test", 11)):
        found = [f"{i % 2} note {i} of {split} is {'urgent' if i % 2 else 'calm'}\n" for i in range(rows)]
        (folder / f"{split}.txt").write_text("".join(found))


def test_the_example_of_a_task_runs(tmp_path):
    code = next(text for text in blocks(ROOT / "docs" / "adding-a-task.md", "python") if "TASKS.add" in text)
    (tmp_path / "my_task.py").write_text(code)
    mine(tmp_path / "data" / "mine")
    words = ["--plugin", str(tmp_path / "my_task.py"), "--data-dir", str(tmp_path / "data")]
    environment = {k: v for k, v in os.environ.items() if k != "KDBENCH_DATA"}
    done = subprocess.run([sys.executable, str(ROOT / "bench.py"), "--method", "finetune", "--task", "mine", *words, "--no-controls",
                           "--epochs", "1", "--latency", "off", "--results-dir", str(tmp_path / "r")],
                          capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr
    assert "macro_f1" in done.stdout


def test_the_page_on_variants_is_the_generated_one():
    assert (ROOT / "docs" / "variants.md").read_text() == variants.page()


def test_no_page_speaks_of_a_machine():
    for page in [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("results/*.md"), *ROOT.glob("results/*/*.md")]:
        assert not re.search(r"/(tmp|home|root|opt)/", page.read_text()), page


@pytest.mark.slow
def test_the_readmes_first_command_in_a_fresh_environment(tmp_path):
    """Clone, install, run the main job: what a visitor does first."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    first = next(line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines() if "--method doktra" in line)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KDBENCH")}
    done = subprocess.run(["bash", "-c", first], cwd=tmp_path / "clone", capture_output=True, text=True, timeout=1200, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = {row: float(score) for row, score in re.findall(r"^(naive|teacher|doktra)\s+[\d.]+\s+([\d.]+)", done.stdout, re.M)}
    assert scores["teacher"] > scores["doktra"] > scores["naive"]
