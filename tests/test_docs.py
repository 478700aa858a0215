"""What the documentation says is what the project does: its commands parse, its examples run, its generated page is current."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import fresh
import pytest
from students import write

from kdbench.base.registry import METHODS, TASKS
from kdbench.cli import parser, variants, verbs

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(?:python )?(bench\.py [^`]+)`")
ELSEWHERE = {  # what is part of commands that a test machine cannot run as they stand; that they parse is tested below
    ".venv": "the README's first command has a test of its own, and its second is the gate",
    "prepare": "needs the network", "pip install": "needs the network",
    "biobert": "needs weights from a hub", "kmbert": "needs weights from elsewhere",
    "--multi_gpu": "needs GPUs", "--ray-address": "needs a cluster", "sbatch": "needs SLURM",
    "mkdocs serve": "serves until it is stopped", "run cpu/chemprot-first": "needs real data and a model",
}
PLACEHOLDERS = {"TASK": "chemprot", "METHOD": "doktra"}


def blocks(page: Path, language: str, named: bool = True) -> list[str]:
    """The blocks of a page in a language; those that are files to save only where `named`."""
    return [text for found, name, text in BLOCK.findall(page.read_text()) if found == language and (named or not name)]


def files() -> dict[str, str]:
    """The files that the pages have their reader save, by name."""
    found: dict[str, str] = {}
    for page in PAGES:
        for _, name, text in BLOCK.findall(page.read_text()):
            assert name not in found, f"{page}: {name} is on two pages"
            if name:
                found[name] = text
    return found


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
    blocked = [line.partition("  #")[0].strip()
               for block in blocks(page, "bash", named=False) for line in block.replace("\\\n", " ").splitlines()]
    named = [f"python {' '.join(command.split())}" for command in INLINE.findall(BLOCK.sub("", page.read_text()))
             if not re.fullmatch(r"bench\.py (?!list)[a-z]+", command)]  # `bench.py convert`: a verb, and no command
    return [line for line in dict.fromkeys([*blocked, *named]) if line and not any(word in line for word in ELSEWHERE)]


def all_lines() -> list[str]:
    return list(dict.fromkeys(line for page in PAGES for line in lines(page)))


def is_quick(line: str) -> bool:
    """Does the command train nothing and start at once?"""
    words = shlex.split(line)
    looks = words[:2] == ["python", "bench.py"] and (words[2] in ("list", "show") or "--dry-run" in words)
    return looks and "--plugin" not in words  # which would stay registered in this process


def shortened(line: str) -> str:
    """The beginning of a command, by which pytest names its test: it takes no long ones."""
    return " ".join(line.split())[:90]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the files that the pages have their reader save, and what those that make files have made."""
    place = tmp_path_factory.mktemp("desk")
    saved = files()
    saved["my_method.py"] = saved["squared_logits.py"].replace("squared_logits", "my_method")
    for name, text in saved.items():
        (place / name).write_text(text.replace("python bench.py", f"python {ROOT / 'bench.py'}"))
    for name in saved:
        if name.startswith("make_"):
            subprocess.run([sys.executable, name], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def reader(desk):
    """The desk with all that the pages' reader has besides: corpora, a first run and its id."""
    from kdbench.data import corpora
    from kdbench.data.task import LoadOptions

    relations, genes = (corpora.load(TASKS.get(name), LoadOptions(None, {}, None)) for name in ("chemprot", "bc2gm_iobes"))
    (desk / "data" / "chemprot").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        rows = [{"id": e.id, "sentence": e.text, "label": relations.labels[e.label]} for e in getattr(relations, split)[:120]]
        (desk / "data" / "chemprot" / f"{split}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = ["".join(f"{w}\t{genes.labels[t]}\n" for w, t in zip(e.words, e.label, strict=True)) for e in getattr(genes, split)[:80]]
        (desk / f"{split}.tsv").write_text("\n".join(words))
    (desk / "other.tsv").write_text("sentence\tlabel\n" + "".join(f"{row['sentence']}\t{row['label']}\n" for row in rows))
    for study in ("chemprot-first", "bc2gm-low-resource", "gad"):
        shutil.copytree(ROOT / "results" / study, desk / "results" / study)
    write(desk / "models" / "minilm")
    first = "--method finetune --task chemprot --epochs 1 --no-controls"
    done = fresh.run([ROOT / "bench.py", *first.split()], cwd=desk, env=reading())
    assert done.returncode == 0, done.stderr
    return desk, re.search(r"Run (\w+)\.", done.stdout)[1]


def reading(models: Path | None = None) -> dict[str, str]:
    """The environment of somebody who reads the pages: no data, no plugin, `python` and `kdbench` are these.

    models  what stands for the hub, which the tests do not reach
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("KDBENCH")}
    kept |= {"KDBENCH_MODELS": str(models)} if models else {}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(ROOT)}


def filled(line: str, **placeholders: str) -> str:
    """The command with something in the place of each placeholder, and the program where it is."""
    for name, value in {**PLACEHOLDERS, **placeholders}.items():
        line = re.sub(rf"\b{name}\b", value, line)
    return re.sub(r"(?<![\w/])(bench\.py|tests/test_contracts\.py)", lambda found: str(ROOT / found[1]), line)


@pytest.mark.parametrize("line", [line for line in all_lines() if is_quick(line)], ids=shortened)
def test_every_quick_command_runs(desk, monkeypatch, capsys, line):
    monkeypatch.chdir(desk)
    assert verbs.main(shlex.split(filled(line))[2:]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize("line", [pytest.param(line, marks=[pytest.mark.ray] * ("ray" in line.split()), id=shortened(line))
                                  for line in all_lines() if not is_quick(line)])
def test_every_command_runs(reader, line):
    place, run = reader
    shutil.rmtree(place / "FOLDER", ignore_errors=True)
    told = filled(line, RUN=run)
    done = subprocess.run(["bash", "-c", told], cwd=place, capture_output=True, text=True, timeout=1800, env=reading(place / "models"))
    assert done.returncode == 0, f"{told}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["chemprot", "bc2gm_iobes"])
def test_the_script_without_kdbench_answers_like_predict(desk, tmp_path, task):
    """The page on production has a program that reads an export with ONNX Runtime alone."""
    import kdbench
    from kdbench.data.tags import lenient_spans
    from kdbench.serve.predict import load_predictor
    from kdbench.tasks.lookalikes import LOOKALIKES

    record = kdbench.run("finetune", task, latency="off", controls=False, results_dir=tmp_path / "results")
    exported = tmp_path / "student"
    words = ["export", record["id"], str(exported), "--results-dir", str(tmp_path / "results"), "--formats", "onnx", "--latency", "quick"]
    assert verbs.main(words) == 0
    texts = [example.text or " ".join(example.words) for example in LOOKALIKES[task]().test[:8]]
    done = subprocess.run([sys.executable, "serve_onnx.py", str(exported / "onnx"), *texts], cwd=desk, capture_output=True,
                          text=True, check=True)
    said = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    expected = load_predictor(exported / "onnx").predict(texts)
    if task == "chemprot":
        assert said == [(answer["label"], pytest.approx(answer["probability"], abs=1e-3)) for answer in expected]
        return
    found = []
    for sentence in said:
        spans = lenient_spans([tag for _, tag in sentence])
        found.append(["".join(word for word, _ in sentence[first:end]) for first, end, _ in spans])
    assert found == [[entity["text"].replace(" ", "") for entity in answer["entities"]] for answer in expected]
    assert any(found)


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
    plugin = tmp_path / "squared_logits.py"
    plugin.write_text(files()["squared_logits.py"])
    words = [str(ROOT / "tests" / "test_contracts.py"), "--plugin", str(plugin), "-k", "squared_logits", "-p", "no:cacheprovider",
             "-n", "0", "--color=no"]
    done = fresh.run(["-c", "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))", *words], cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b13 passed", done.stdout), done.stdout[-500:]


def test_the_example_of_a_task_runs(desk, tmp_path):
    words = ["--plugin", str(desk / "my_task.py"), "--data-dir", str(desk / "data")]
    environment = {k: v for k, v in os.environ.items() if k != "KDBENCH_DATA"}
    done = fresh.run([ROOT / "bench.py", "--method", "finetune", "--task", "mine", *words, "--no-controls", "--epochs", "1",
                      "--latency", "off", "--results-dir", tmp_path / "r"], env=environment)
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
