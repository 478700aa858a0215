"""What is read back is what was written, or it is told of and made anew; no answer is a number that is none."""

import fcntl
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from factory import record
from safetensors.torch import load_file, save_file
from students import write
from test_resume import Kill, fitting, lab_of, texts

from kdbench.base import checksums, folders
from kdbench.base.errors import BadInput, Broken
from kdbench.base.progress import Overall
from kdbench.cli.verbs import main
from kdbench.data.task import Data
from kdbench.runs import grid, store, workers
from kdbench.runs.runner import Runner
from kdbench.serve.labels import Labels
from kdbench.serve.predict import load_predictor, render
from kdbench.train import signals
from kdbench.train.losses import SoftTargets, Supervised
from kdbench.train.spec import Settings


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    """One bit of the last quarter, as a bad disk has it."""
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 1
    path.write_bytes(content)


def zeroed(path):
    """The second half is zeros, as after a check of the file system."""
    half = path.stat().st_size // 2
    path.write_bytes(path.read_bytes()[:half] + bytes(path.stat().st_size - half))


def with_tensors(change):
    def damage(path):
        tensors = load_file(path)
        change(tensors, max(tensors, key=lambda name: tensors[name].numel()))
        save_file(tensors, path)

    return damage


def with_json(**values):
    def damage(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return damage


ANY = {"cut": cut, "empty": empty, "a bit": flip, "zeros": zeroed, "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
       "gone": Path.unlink}
TENSORS = {
    "without a tensor": with_tensors(lambda tensors, name: tensors.pop(name)),
    "another shape": with_tensors(lambda tensors, name: tensors.update({name: torch.zeros(3)})),
    "half of the weights 0": with_tensors(lambda tensors, name: tensors[name][: len(tensors[name]) // 2].zero_()),
    "NaN": with_tensors(lambda tensors, name: tensors[name].fill_(float("nan"))),
}


GATE = ("a bit", "figure", "other counts", "{}", "without a tensor", "half of the weights 0", "old, without accumulate", "short")


def cases(table, gate=()):
    """Each kind of damage to each file; of a table with a `gate`, the others are slow."""
    made = []
    for name, kinds in table.items():
        for what, damage in kinds.items():
            marks = [pytest.mark.slow] if gate and what not in gate else []
            made.append(pytest.param(name, damage, id=f"{Path(name).name} {what}", marks=marks))
    return made


# ---- checkpoints ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The checkpoints of a training that was killed."""
    folder = tmp_path_factory.mktemp("checkpoints") / "killed"
    with pytest.raises(Kill):
        fitting(folder, 15).run()
    return folder


STATE = {"no object": lambda path: path.write_text("[]"), "step": with_json(step=10**9), "epoch": with_json(epoch=-3),
         "selection": with_json(selection={"best": {"score": 1.0}, "stalled": {}, "settled": []}),
         "no checksums": lambda path: path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "checksums"}))}
POINTER = {"elsewhere": lambda path: path.write_text("../step-15"), "no step": lambda path: path.write_text("step-99"),
           "a folder": lambda path: (path.unlink(), path.mkdir())}


@pytest.mark.parametrize(("name", "damage"), cases({
    "latest": {what: ANY[what] for what in ("empty", "not UTF-8")} | POINTER, "step/state.json": ANY | STATE,
    "step/trainee.safetensors": ANY | TENSORS, "step/best.safetensors": ANY, "step/state.safetensors": ANY | TENSORS}))
def test_a_damaged_checkpoint_is_told_of_once_and_training_begins_anew(killed, tmp_path, name, damage, capsys):
    folder = tmp_path / "killed"
    shutil.copytree(killed, folder)
    damage(folder / name.replace("step", (folder / "latest").read_text()))
    trainer = fitting(folder)
    before = [parameter.detach().clone() for parameter in trainer.student.parameters()]
    trainer.resume()
    said = capsys.readouterr().err
    assert said.count("is damaged") == 1 and "from the beginning" in said and said.count("\n") == 1
    assert (trainer.step, trainer.epoch, trainer.best_state) == (0, 0, None)
    assert all(torch.equal(one, other) for one, other in zip(before, trainer.student.parameters(), strict=True))
    fitting(folder).resume()
    assert capsys.readouterr().err == ""


def test_a_whole_checkpoint_is_gone_on_from_and_none_is_of_another_training(killed, tmp_path, capsys):
    shutil.copytree(killed, tmp_path / "killed")
    trainer = fitting(tmp_path / "killed")
    trainer.resume()
    assert trainer.step == 15 and capsys.readouterr().err == ""
    shutil.copytree(killed, tmp_path / "another")
    fitting(tmp_path / "another").resume()
    assert "it is of another training" in capsys.readouterr().err


def test_a_checkpoint_is_on_the_disk_before_the_pointer_moves(tmp_path, monkeypatch):
    """Else a crash of the machine leaves a pointer to half a checkpoint."""
    done, sync, rename = [], os.fsync, os.replace

    def synced(number):
        done.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        sync(number)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(Path(new).name), rename(old, new)))
    with pytest.raises(Kill):
        fitting(tmp_path, 1).run()
    pointed = done.index("latest")
    assert {"trainee.safetensors", "state.safetensors", "state.json", "step-1"} <= set(done[:pointed])
    assert tmp_path.name in done[pointed:], "before the last checkpoint is removed"


# ---- stages and signals --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A results folder with a teacher's signals and a student, and the student's weights."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(folder)


def train(folder):
    lab = lab_of(Data(tuple(texts(16, 1)), (), (), ("no", "yes")), Settings(batch_size=8, epochs=1, latency="off", select="last"), folder)
    model = lab.train(lab.student(), SoftTargets("single", 2.0, 0.5), stage="test", signals=lab.signals(lab.teacher()))
    return [stage["cached"] for stage in lab.stages], model.module.state_dict()


STAGE = {"{}": lambda path: path.write_text("{}"), "another's": with_json(key="0" * 24), "seconds": with_json(seconds="long"),
         "old, without accumulate": lambda path: path.write_text(json.dumps({"key": path.parent.name, "sha256": {}}))}


@pytest.mark.parametrize(("name", "damage"), cases({
    "models/*/stage.json": ANY | STAGE, "models/*/model.safetensors": ANY | TENSORS, "models/*/config.json": {"a bit": flip, "gone": Path.unlink},
    "models/*/tokenizer.json": {"cut": cut}, "signals/*": {k: v for k, v in ANY.items() if k != "gone"} | {
        "short": with_tensors(lambda tensors, name: tensors.update(values=tensors["values"][:-3].clone())),
        "seconds": with_tensors(lambda tensors, name: tensors["seconds"].fill_(float("nan")))}}, GATE))
def test_a_damaged_stage_is_told_of_once_and_made_anew(trained, tmp_path, name, damage, capsys):
    whole, (_, weights) = trained
    shutil.copytree(whole, tmp_path / "r")
    (path,) = (tmp_path / "r").glob(name)
    damage(path)
    capsys.readouterr()
    cached, again = train(tmp_path / "r")
    said = capsys.readouterr().err
    assert said.count("damaged") == 1 and "from the beginning" in said
    assert False in cached and all(torch.equal(value, again[name]) for name, value in weights.items())
    assert train(tmp_path / "r")[0] == [True, True] and capsys.readouterr().err == ""


def test_a_stage_from_before_there_were_checksums_is_taken(trained, tmp_path, capsys):
    shutil.copytree(trained[0], tmp_path / "r")
    (path,) = (tmp_path / "r").glob("models/*/stage.json")
    made = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in made.items() if name != "checksums"}))
    assert train(tmp_path / "r")[0] == [True, True] and capsys.readouterr().err == ""
    zeroed(path.with_name("model.safetensors"))
    assert train(tmp_path / "r")[0] == [True, False]


# ---- records -------------------------------------------------------------------------------------

ARRAYS = {"test_counts": np.ones((2, 3)), "test_units": np.array(["a", "b"]), "test_predictions": np.ones((2, 4), np.float32)}


def nan_counts(path):
    np.savez_compressed(path, **{**ARRAYS, "test_counts": np.full((2, 3), np.nan)})


def other_counts(path):
    np.savez_compressed(path, **{**ARRAYS, "test_counts": np.full((2, 3), 2.0)})


@pytest.fixture
def results(tmp_path):
    """Two records, and the path of the one that is damaged."""
    made = [record(seed=seed) for seed in (0, 1)]
    paths = [store.write(tmp_path, one, ARRAYS) for one in made]
    return tmp_path, made, paths[0]


RECORD = {"figure": with_json(score={"metric": "micro_f1", "dev": 1.0, "test": 1.0, "all": {"dev": {}, "test": {}}}),
          "{}": lambda path: path.write_text("{}"), "old, no score": lambda path: path.write_text(json.dumps(
              {k: v for k, v in json.loads(path.read_text()).items() if k not in ("score", "checksums")}))}


@pytest.mark.parametrize(("suffix", "damage"), cases({
    ".json": {k: v for k, v in ANY.items() if k != "gone"} | RECORD, ".npz": ANY | {"NaN": nan_counts, "other counts": other_counts}}, GATE))
def test_a_damaged_record_is_named_by_every_verb_that_reads_records(results, suffix, damage, capsys):
    folder, made, path = results
    damage(path.with_suffix(suffix))
    where = ["--results-dir", str(folder)]
    for verb in (["table", "--format", "csv"], ["report", "-o", str(folder / "page.html")], ["runs"]):
        assert main([*verb, *where]) == 0
        out, err = capsys.readouterr()
        said = out if verb == ["runs"] else err
        assert said.count("damaged: " if verb == ["runs"] else "damaged, left out: ") == 1 and path.stem in said and "run it again, or move the file away" in said
    assert f"{path.stem}" in (folder / "page.html").read_text() and "damaged, left out" in (folder / "page.html").read_text()
    assert (store.counts(folder, made[0]) is None) == (suffix == ".npz") and store.counts(folder, made[1]) is not None
    assert main(["verify", str(folder)]) == 1


@pytest.mark.parametrize("damage", [cut, nan_counts], ids=["cut", "NaN"])
def test_predictions_from_before_there_were_checksums_are_looked_at_too(results, damage, capsys):
    folder, made, path = results
    del made[0]["checksums"]
    path.write_text(json.dumps(made[0]))
    assert store.read(path) == made[0] and store.counts(folder, made[0]) is not None
    damage(path.with_suffix(".npz"))
    assert main(["table", "--results-dir", str(folder)]) == 0
    assert f"damaged, left out: {path.with_suffix('.npz')}" in capsys.readouterr().err


def test_checksums_of_a_record_survive_an_export_row_and_name_no_file_elsewhere(results):
    folder, made, path = results
    files = checksums.files_of(made[0])
    store.write(folder, {**made[0], "artefacts": [{"name": "onnx"}]})
    assert checksums.files_of(store.read(path)) == files
    lying = {"id": "x", "checksums": {"files": {"../../secret": {"bytes": 1, "sha256": ""}}}}
    assert "elsewhere" in checksums.damage_of_files(lying, folder)


def test_a_damaged_record_is_made_anew(tmp_path, no_data, capsys):
    words = ["--method", "finetune", "--task", "chemprot", "--no-controls", "--epochs", "1", "--max-train-examples", "16",
             "--max-dev-examples", "16", "--latency", "off", "--device", "cpu", "--results-dir", str(tmp_path)]
    assert main(words) == 0
    (first,) = store.records(tmp_path)
    (path,) = tmp_path.glob("records/*/*.json")
    for spoilt in (path, path.with_suffix(".npz")):
        flip(spoilt)
        capsys.readouterr()
        assert main(words) == 0
        assert capsys.readouterr().err.count("is damaged") == 1
        (again,) = store.records(tmp_path)
        assert {**again, "cost": 0, "checksums": 0} == {**first, "cost": 0, "checksums": 0}
        assert checksums.files_of(again) == checksums.files_of(first)
    folder = tmp_path / "models" / first["artefact"]
    for name, damage in (("model.safetensors", zeroed), ("labels.json", flip), ("config.json", flip)):
        kept = (folder / name).read_bytes()
        damage(folder / name)
        capsys.readouterr()
        assert main(["predict", first["id"], "a text", "--results-dir", str(tmp_path)]) == 2, name
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.startswith("bench.py: ")
        (folder / name).write_bytes(kept)
    assert main(["predict", first["id"], "a text", "--results-dir", str(tmp_path)]) == 0


def test_the_results_folder_that_is_gone_at_the_end(tmp_path, no_data, monkeypatch, capsys):
    run_here = grid.run_here

    def deleted(*given, **named):
        records = run_here(*given, **named)
        shutil.rmtree(tmp_path / "r" / "records")
        return records

    monkeypatch.setattr(grid, "run_here", deleted)
    assert main(["--method", "finetune", "--task", "chemprot", "--no-controls", "--max-steps", "1", "--max-train-examples", "16",
                 "--max-dev-examples", "16", "--latency", "off", "--device", "cpu", "--results-dir", str(tmp_path / "r")]) == 1
    assert "1 of 1 records are no longer there" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("change", "why"), [
    ({"artefact": "../../elsewhere"}, "its artefact is no key"), ({"artefact": "ABC"}, "its artefact is no key"),
    ({"score": {"metric": "accuracy", "test": float("nan")}}, "its score.test is not what it should be"),
    ({"status": "fine"}, "it has no known status")])
def test_a_record_from_elsewhere_chooses_no_file_and_has_figures(tmp_path, change, why, capsys):
    """Its checksum is right: somebody wrote it so."""
    made = record("finetune")
    path = store.write(tmp_path, made)
    assert store.read(path) is not None
    path.write_text(json.dumps(checksums.sealed({**made, **change})))
    assert store.read(path) is None and why in store.damaged(tmp_path)[0]
    assert not list(store.records(tmp_path)) and why in capsys.readouterr().err


# ---- labels.json and intervals.json --------------------------------------------------------------


@pytest.mark.parametrize(("change", "said"), [
    ({"labels": ["inhibits", "none", "activates"]}, "says 'inhibits' where config.json says 'none'"),
    ({"labels": ["none", "inhibits"]}, "has 2 labels, and config.json 3"), ({"kind": "multi"}, "says multi, and config.json single"),
    ({"threshold": float("nan")}, "threshold is nan, not a number from 0 to 1"), ({"max_length": 0}, "max_length is 0, not a whole number"),
    ({"word_pattern": "(a+)+$"}, "word_pattern is .* not a rule"), ({"word_prefix": 3}, "word_prefix is 3")])
def test_labels_that_do_not_fit_the_model_are_refused(tmp_path, change, said):
    path = write(tmp_path / "student") / "labels.json"
    made = {name: value for name, value in json.loads(path.read_text()).items() if name != "checksums"}
    path.write_text(json.dumps({**made, **change}))
    with pytest.raises(BadInput, match=said):
        load_predictor(path.parent)
    path.write_text(json.dumps(checksums.sealed(made) | change))
    with pytest.raises(BadInput, match="not what its checksum says"):
        load_predictor(path.parent)


def test_the_checksum_of_labels_changes_no_model(tmp_path):
    from kdbench.models.sources import folder_identity

    path = write(tmp_path / "student") / "labels.json"
    own = folder_identity(path.parent)
    content = json.loads(path.read_text())
    del content["checksums"]
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")  # as older versions wrote it
    assert folder_identity(path.parent) == own
    replace(Labels.read(path.parent), max_length=7).write(path.parent)
    assert folder_identity(path.parent) != own


@pytest.mark.parametrize("spoil", [cut, flip, empty, with_json(intervals={"k": {"delta": 1}}), with_json(intervals=3)])
def test_damaged_intervals_are_computed_anew(tmp_path, spoil, capsys):
    for method, role in (("finetune", None), ("doktra", None)):
        for seed in range(5):
            made = record(method, seed=seed, role=role)
            rng = np.random.default_rng(seed)
            units = np.array([f"u{i}" for i in range(30)])
            store.write(tmp_path, made, {"test_counts": rng.integers(1, 9, (30, 3)).astype(float), "test_units": units})
    words = ["table", "--results-dir", str(tmp_path), "--format", "csv"]
    assert main(words) == 0
    first, path = capsys.readouterr(), tmp_path / "intervals.json"
    assert first.err == ""
    spoil(path)
    assert main(words) == 0
    again = capsys.readouterr()
    assert again.out == first.out and again.err.count("computed anew") == 1
    assert main(words) == 0 and capsys.readouterr().err == ""


# ---- numbers that are none -----------------------------------------------------------------------


def nan_head(model):
    """The model with one weight of its head NaN."""
    with torch.no_grad():
        list(model.module.parameters())[-1][0] = float("nan")
    return model


def test_a_training_that_ends_without_numbers_leaves_no_stage(tmp_path):
    lab = lab_of(Data(tuple(texts(16, 1)), (), (), ("no", "yes")), Settings(batch_size=16, epochs=1, latency="off", select="last"), tmp_path)
    with pytest.raises(Broken, match="its weights are not finite after training .* lower the learning rate"):
        lab.train(lab.student(), Supervised("single"), stage="test", lr=float("inf"), warmup=0.0)
    assert not list(tmp_path.glob("models/*/stage.json"))


@pytest.mark.parametrize("task_type", ["single", "tags"])
def test_a_teacher_without_numbers_is_refused_by_name(tmp_path, task_type):
    examples = texts(8, 1)
    if task_type == "tags":
        examples = [replace(e, words=tuple(e.text.split()), text="", label=(0,) * len(e.text.split())) for e in examples]
    lab = lab_of(Data(tuple(examples), (), (), ("O", "B-X")), Settings(batch_size=8, latency="off"), tmp_path)
    lab.task = replace(lab.task, task_type=task_type)
    teacher = nan_head(lab.teacher())
    for ready, error in ((True, BadInput), (False, Broken)):
        for live in (False, True):
            with pytest.raises(error, match="tiny:bert gives logits that are not finite"):
                found = lab.signals(replace(teacher, ready=ready), live=live)
                lab.train(lab.student(), SoftTargets(task_type, 2.0, 0.5), stage="test", signals=found)
    with pytest.raises(Broken, match="not finite"):
        lab.predict(nan_head(lab.student()), examples)


def test_a_model_whose_weights_are_no_numbers_is_not_loaded(tmp_path, capsys, no_data):
    folder = write(tmp_path / "nan-teacher")
    TENSORS["NaN"](folder / "model.safetensors")
    assert main(["--method", "logit_kd", "--task", "chemprot", "--teacher", str(folder), "--max-steps", "1", "--latency", "off",
                 "--max-train-examples", "16", "--device", "cpu", "--no-controls", "--results-dir", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "model nan-teacher: its weights are not finite" in err


@pytest.mark.parametrize("task_type", ["single", "multi", "regression", "tags"])
def test_predict_prints_no_number_that_is_none(tmp_path, task_type, capsys):
    folder = write(tmp_path / "student", task_type=task_type)
    TENSORS["NaN"](folder / "model.safetensors")
    for style in ([], ["--json"]):
        assert main(["predict", str(folder), "a text", *style]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "no numbers" in err
    with pytest.raises(ValueError, match="not JSON compliant"):
        render([{"text": "a", "value": float("nan")}], "json")


# ---- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "said"), [
    (["run", "smoke", "--workers", "0"], "--workers '0': give a number from 1"), (["run", "smoke", "--workers", "-1"], "--workers '-1'"),
    (["run", "smoke", "--workers", "9" * 30], "--workers"), (["run", "smoke", "--threads", "-3"], "--threads '-3'"),
    (["predict", "x", "y", "--threads", "-3"], "--threads '-3'"), (["predict", "x", "y", "--threads", "0"], "--threads '0'"),
    (["run", "smoke", "--seeds", "0-2000000000"], "2,000,000,001 seeds, and at most 10,000"),
    (["--method", "finetune", "--task", "gad", "--lr", "inf"], "--lr: 'inf' is not a finite number"),
    (["--method", "finetune", "--task", "gad", "--lr", "nan"], "--lr: 'nan' is not a number"),
    (["--method", "finetune", "--task", "gad", "--epochs", "9" * 30], "is larger than 1,000,000,000,000,000"),
])
def test_a_number_that_is_none_of_its_kind(words, said, capsys, tmp_path, no_data):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_a_pool_without_workers_and_a_suite_with_too_many_seeds(tmp_path, capsys):
    with pytest.raises(BadInput, match="give 1 or more"):
        grid.Engine(workers=0)
    (tmp_path / "s.toml").write_text('seeds = 2000000000\n[[cells]]\nmethod = "finetune"\ntask = "gad"\n')
    assert main(["run", str(tmp_path / "s.toml"), "--dry-run"]) == 2
    assert "give 1 to 10,000" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["augment", "convert-data"])
def test_a_source_is_not_written_over(tmp_path, verb, capsys):
    path = tmp_path / "a.tsv"
    path.write_text("aspirin\tB\nworks\tO\n\nit\tO\n")
    os.link(path, tmp_path / "b.tsv")
    for target in (path, tmp_path / "b.tsv", tmp_path / "." / "a.tsv"):
        assert main([verb, str(path), str(target)]) == 2
        assert "is the source itself" in capsys.readouterr().err
    assert path.read_text().startswith("aspirin\tB\nworks\tO\n\nit")


def test_a_pool_whose_forking_process_was_killed_starts_it_anew(tmp_path, monkeypatch):
    pool = workers.Pool([], Runner(tmp_path, device="cpu"), 1, Overall(0, 0))
    tried = []

    class Process:
        def __init__(self, **given):
            self.sentinel = 0

        def start(self):
            tried.append(self)
            if len(tried) != 2:
                raise EOFError("unexpected EOF")

    monkeypatch.setattr(pool, "context", SimpleNamespace(Process=Process))
    assert pool.process("{}") is tried[1]
    with pytest.raises(Broken, match="give the same command again"):
        pool.process("{}")


# ---- leftovers -----------------------------------------------------------------------------------


def test_leftovers_of_killed_processes_are_swept_and_those_of_living_ones_stay(tmp_path):
    parts = [tmp_path / "records" / "gad" / f".x.json.{os.getpid()}.part", tmp_path / f".intervals.json.{2**22 + 1}.part",
             tmp_path / "models" / "abc" / ".labels.json.1.part", tmp_path / "models" / ".abc.0123abcd.partial" / "model.safetensors"]
    mine = [tmp_path / "models" / ".notes.part", tmp_path / "models" / "x.partial"]
    for path in (*parts, *mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    held = os.open(parts[0], os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with folders.new_file(tmp_path / "table.csv") as stream, folders.new_folder(tmp_path / "models" / "new") as partial:
        folders.sweep_results(tmp_path)
        assert Path(stream.name).exists() and partial.is_dir()
    assert [path.exists() for path in parts] == [True, False, False, False] and all(path.exists() for path in mine)
    os.close(held)
    folders.sweep_results(tmp_path)
    assert not parts[0].exists() and (tmp_path / "table.csv").exists() and (tmp_path / "models" / "new").is_dir()


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadInput, match="is no regular file"), folders.new_file(pipe):
        pass
    assert pipe.is_fifo()


def test_a_file_that_a_library_puts_in_place_of_ours_is_not_swept(tmp_path):
    target = tmp_path / "signals" / "x.safetensors"
    target.parent.mkdir()
    with folders.new_path(target) as path:
        save_file({"a": torch.zeros(3)}, path)  # it writes another file, and renames it
        folders.sweep_results(tmp_path)
        assert path.exists() and not target.exists()
    assert [one.name for one in target.parent.iterdir()] == ["x.safetensors"]


def test_signals_that_are_being_written_are_not_swept(tmp_path, monkeypatch):
    saved = signals.save_file

    def swept(tensors, path):
        saved(tensors, path)
        folders.sweep_results(tmp_path)

    monkeypatch.setattr(signals, "save_file", swept)
    (tmp_path / "signals").mkdir()
    signals.save(signals.StoredSignals("0" * 24, {"logits": {"ab" * 20: np.zeros(2)}}, "single"), tmp_path / "signals")
    assert [path.suffix for path in (tmp_path / "signals").iterdir()] == [".safetensors"]


def test_who_writes_a_file_removes_what_a_killed_process_left_of_it(tmp_path):
    old = [tmp_path / ".page.html.1.part", tmp_path / ".other.html.1.part"]
    for path in old:
        path.write_text("half")
    folders.write_text(tmp_path / "page.html", "whole")
    assert [path.exists() for path in old] == [False, True]
