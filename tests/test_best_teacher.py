"""Nobody names a teacher: look-alike data get the toy, real data the best encoder that is there, or a refusal."""

import json
import shutil

import pytest
from students import write

from kdbench.base.errors import BadInput
from kdbench.base.progress import forget_said
from kdbench.cli.verbs import main
from kdbench.models.best import best_teacher
from kdbench.models.sources import resolve
from kdbench.models.zoo import MODELS
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.train.lab import Lab, Role


@pytest.fixture
def files(tmp_path):
    """Two files of a task, and no hub."""
    for name in ("train", "test"):
        rows = [{"text": f"{name} note {i} of a {'fall' if i % 2 else 'rest'}", "label": "yes" if i % 2 else "no"} for i in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    forget_said()

    def none(*_, **__):
        raise OSError("no route to the hub. Ask again")

    monkeypatch.setattr("kdbench.models.sources.snapshot_download", none)


def teacher_of(**request):
    return next(cell.teacher for cell in plan(Request("logit_kd", **request), device="cpu") if cell.role == "method")


def test_look_alike_data_get_the_toy(no_data, capsys):
    ours = plan(Request("logit_kd", "chemprot"), device="cpu")
    assert [cell.id for cell in ours] == [cell.id for cell in plan(Request("logit_kd", "chemprot", teacher="tiny-teacher"), device="cpu")]
    assert {cell.teacher.name for cell in ours if cell.teacher} == {"tiny-teacher"} and not capsys.readouterr().err


def test_the_toy_teaches_real_data_where_it_is_asked_for(files):
    assert teacher_of(task="files", files=files, teacher="tiny-teacher").name == "tiny-teacher"


def test_without_any_encoder_the_user_is_told_what_to_do(tmp_path, files, capsys, monkeypatch):
    words = ["--method", "logit_kd", "--task", "files", "--results-dir", str(tmp_path / "r")]
    words += [word for name, path in files.items() for word in (f"--{name}", str(path))]
    for models in (None, tmp_path):
        if models:
            monkeypatch.setenv("KDBENCH_MODELS", str(models))
        assert main(words) == 2
        out, err = capsys.readouterr()
        said = "names no folder with an encoder" if models else "KDBENCH_MODELS is not set"
        assert out == "" and err.count("\n") == 1 and err.startswith("bench.py: no --teacher, and none is here: ") and said in err
        assert "(no route to the hub)" in err and "put an encoder's folder into" in err and "--teacher tiny-teacher" in err
        assert not (tmp_path / "r").exists()


def test_a_run_that_has_no_teacher_asks_for_none(files):
    (cell,) = plan(Request("finetune", "files", files=files, controls=False), device="cpu")
    assert cell.teacher is None


def encoder(folder, layers=2, width=64, **changes):
    """A folder whose configuration says these sizes; nothing loads it."""
    write(folder)
    content = json.loads((folder / "config.json").read_text())
    content.update(num_hidden_layers=layers, hidden_size=width, **changes)
    (folder / "config.json").write_text(json.dumps(content))


def test_the_largest_encoder_up_to_base_size_is_taken(tmp_path, monkeypatch, files, capsys):
    monkeypatch.setenv("KDBENCH_MODELS", str(tmp_path / "models"))

    def best(*gone):
        for name in gone:
            shutil.rmtree(tmp_path / "models" / name)
        return best_teacher()[0]

    models = tmp_path / "models"
    encoder(models / "large", 24, 1024)
    encoder(models / "writer", 12, 768, model_type="gpt2")
    encoder(models / "spoilt", 12, 768)
    (models / "spoilt" / "model.safetensors").write_bytes(b"half")
    encoder(models / "ours", 6, 384)
    encoder(models / "minilm-pubmed", 6, 384)
    encoder(models / "small", 2, 64)
    (models / "empty").mkdir()
    (models / "README").write_text("models")
    assert best() == "minilm-pubmed"
    encoder(models / "new", 12, 768)
    assert best() == "new"
    encoder(models / "biobert", 12, 768)
    encoder(models / "cbert", 12, 768)
    assert best() == "biobert"
    assert best("biobert") == "cbert"
    assert best("cbert", "new", "minilm-pubmed") == "ours"
    assert teacher_of(task="files", files=files).folder == models / "ours"
    (line,) = capsys.readouterr().err.splitlines()
    assert line == ("no --teacher: ours teaches, the largest encoder up to the size of BERT base in the folder that KDBENCH_MODELS names")
    assert best("ours", "small") == "minilm", "of the hub"


def test_a_toy_is_trained_for_no_more_steps_than_its_recipe_says(monkeypatch):
    steps = MODELS.get("tiny-teacher").steps

    def trained(count):
        asked = {}

        class Quick(Lab):
            def __init__(self):
                self.stages = [{"key": "none"}]
                self.cache = type("Cache", (), {"stage": staticmethod(lambda key: key)})

            def pretrain(self, model, texts, *, epochs, batch_size, **_):
                asked["steps"] = epochs * -(-len(texts) // batch_size)

        lab = Quick()
        lab.data = type("Data", (), {"train": (), "domain_text": tuple(f"text {i}" for i in range(count))})
        monkeypatch.setattr("kdbench.train.lab.build", lambda *_, **__: None)
        lab._pretrained(resolve("tiny-teacher"), Role.TEACHER)
        return asked["steps"]

    assert trained(2) == steps
    assert trained(32 * steps * 3) == steps
    assert 0.9 * steps < trained(2000) < 1.1 * steps


def test_labels_of_a_teacher_are_part_of_the_id(tmp_path, files, capsys):
    write(tmp_path / "own", task_type="single")
    content = json.loads((tmp_path / "own" / "config.json").read_text())

    def planned(labels="", controls=True):
        request = Request("logit_kd", "files", teacher=str(tmp_path / "own"), files=files, teacher_labels=labels, controls=controls)
        return {(cell.role, cell.method_name): cell for cell in plan(request, device="cpu")}

    assert list(content["id2label"].values()) == ["none", "inhibits", "activates"]
    plain, named, other = planned(), planned("none=no,inhibits=yes,activates=yes"), planned("none=yes,inhibits=no,activates=no")
    for role in (("teacher", "finetune"), ("method", "logit_kd")):
        assert len({plans[role].id for plans in (plain, named, other)}) == 3
        assert len({json.dumps(plans[role].content, sort_keys=True) for plans in (plain, named, other)}) == 3
        assert named[role].description["settings"]["teacher_labels"] == "none=no,inhibits=yes,activates=yes"
        assert "teacher_labels" not in plain[role].description["settings"]
    control = ("control", "finetune")
    assert plain[control].id == named[control].id, "it has no teacher"
    with pytest.raises(BadInput, match="--teacher-labels none=maybe"):
        planned("none=maybe")
    words = ["--method", "logit_kd", "--task", "chemprot", "--teacher", "tiny:bert", "--teacher-labels", "a=b", "--results-dir", str(tmp_path / "r")]
    assert main(words) == 2 and "tiny:bert has no head of its own" in capsys.readouterr().err
