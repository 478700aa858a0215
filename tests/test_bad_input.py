"""Every mistake of a user is one line that names its cause, exit code 2, and leaves nothing written."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from factory import record
from students import write

import kdbench
from kdbench.base.errors import BadInput
from kdbench.cli.verbs import main
from kdbench.runs import store


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A valid chemprot folder of six sentences, to be spoilt by a test."""
    folder = tmp_path / "data" / "chemprot"
    folder.mkdir(parents=True)
    labels = ["0", "CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9"]
    for split in ("train", "dev", "test"):
        rows = [{"id": f"{split}{i}.T1.T2", "sentence": f"@CHEMICAL$ acts on @GENE$ in {split} {i}", "label": label}
                for i, label in enumerate(labels)]
        (folder / f"{split}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def refused(tmp_path, capsys, no_data):
    """Run the command line; it must refuse in one line and write nothing. Returns that line."""

    def run(*words: str, method="doktra", task="chemprot") -> str:
        results = tmp_path / "results"
        code = main(["--method", method, "--task", task, "--results-dir", str(results), *words])
        out, err = capsys.readouterr()
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1 and err.startswith("bench.py: ")
        assert not results.exists()
        return err

    return run


@pytest.mark.parametrize(("teacher", "what"), [("bilstm", "word pieces"), ("tinybert", "word pieces"), ("cut:1", "layers")])
def test_what_takes_from_a_teacher_is_none(refused, teacher, what):
    assert f"takes its {what} from a teacher" in refused("--teacher", teacher)


def test_unknown_names_come_with_a_suggestion_and_what_there_is(refused):
    assert "unknown method 'doktr'; did you mean 'doktra'? (valid: finetune, logit_kd" in refused(method="doktr")
    assert "unknown task 'chemprod'; did you mean 'chemprot'?" in refused(task="chemprod")
    assert "unknown model 'tiny-techer'; did you mean 'tiny-teacher'?" in refused("--teacher", "tiny-techer")
    line = refused("--set", "marginn=1", "--set", "gama=2")
    assert "did you mean 'margin'?" in line and "did you mean 'gamma'?" in line  # all mistakes at once
    assert "did you mean '--teacher" in refused("--techer", "x") or "--techer" in refused("--techer", "x")
    assert "did you mean 'published'?" in refused("--variant", "publishd")


@pytest.mark.parametrize(("words", "said"), [
    (["runn", "smoke"], "unknown verb 'runn'; did you mean 'run'?"),
    (["list", "method"], "unknown noun 'method'; did you mean 'methods'?"),
    (["run", "smoke", "--worker-count", "2"], "unknown option '--worker-count'"),
    (["table", "--no-interval=1"], "ignored explicit argument"),
    (["show"], "the following arguments are required: name; see `bench.py show --help`"),
    (["run", "--isolated", "smoke"], "did you mean '--isolate'"),
])
def test_a_mistake_on_the_command_line_is_one_line(words, said, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_an_unknown_setting_is_named(tmp_path):
    with pytest.raises(BadInput, match="unknown setting 'epoch'; did you mean 'epochs'"):
        kdbench.run("finetune", "chemprot", epoch=3, results_dir=tmp_path)


def test_pretraining_says_which_methods_have_it(tmp_path, capsys):
    (tmp_path / "text").write_text("one\n")
    words = ["pretrain", str(tmp_path / "out"), "--corpus", str(tmp_path / "text"), "--student", "tiny:bert"]
    assert main([*words, "--method", "doktra"]) == 2
    assert "no stage of pre-training; take ve_kd or adapt" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [
    (["--set", "margin=wide"], "option margin: 'wide' is not a number"),
    (["--set", "gamma=1.5"], "option gamma: 1.5 is above its maximum 1.0"),
    (["--set", "transfer=kl"], "option transfer: 'kl' is not one of abd, kld"),
    (["--set", "margin"], "write NAME=VALUE"),
    (["--epochs", "0"], "--epochs: 0 is below its minimum 1"),
    (["--epochs", "many"], "--epochs: 'many' is not a whole number"),
    (["--seeds", "1-"], "write 0-4 or 0,3,7"),
    (["--seeds", "1,1"], "twice"),
])
def test_options_of_the_wrong_type_or_range(refused, words, said):
    assert said in refused(*words)


def test_a_corpus_that_cannot_be_read_twice(refused, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing"):
        assert f"{name}: no such file" in refused("--set", f"corpus={tmp_path / name}", method="ve_kd", task="gad")


def test_a_missing_data_folder(refused, tmp_path, corpus):
    assert "no such folder" in refused("--data-dir", str(tmp_path / "nowhere"))
    # a folder that lacks the task is an error, never the look-alike
    assert "gad" in refused("--data-dir", str(corpus.parent), method="finetune", task="gad")


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda lines: lines[:2] + ['{"id": "x", "sent'] + lines[3:], "train.json:3"),
    (lambda lines: lines[:1] + ['{"id": "x", "label": "0"}'], "train.json:2"),
    (lambda lines: lines[:3] + ['{"id": "x", "sentence": "a b", "label": "CPR:7"}'], "CPR:7"),
    (lambda lines: [], "empty"),
    (lambda lines: [*lines, lines[0]], "train.json:7"),
], ids=["broken line", "missing field", "unknown label", "empty split", "id twice"])
def test_a_spoilt_file_is_named_with_its_line(refused, corpus, spoil, said):
    path = corpus / "train.json"
    path.write_text("".join(f"{line}\n" for line in spoil(path.read_text().splitlines())))
    assert said in refused("--data-dir", str(corpus.parent))


def test_models_that_cannot_be_loaded(refused, tmp_path):
    assert "no such folder" in refused("--student", str(tmp_path / "nothing"))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text('{"model_type": "bert"}')
    (pickled / "pytorch_model.bin").write_bytes(b"")
    assert "is not unpickled" in refused("--student", str(pickled))
    assert "cut:N" in refused("--student", "cut:x")


def test_a_results_folder_that_cannot_be_written(tmp_path, capsys, no_data):
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    assert main(["--method", "doktra", "--task", "chemprot", "--results-dir", str(occupied / "results")]) == 2
    assert "not writable" in capsys.readouterr().err


def test_a_method_that_does_not_fit_the_task(refused):
    assert "tags" in refused(method="doktra", task="bc2gm")


def outside(made):
    """Ways in which a record of somebody else's points out of its results folder."""
    yield {**made, "id": "../../../elsewhere"}
    yield {**made, "cell": {**made["cell"], "task": "../../elsewhere"}}
    for folder in ("../../elsewhere", "/elsewhere", 7):
        yield {**made, "artefact": folder}


def test_a_record_does_not_lead_out_of_the_results_folder(tmp_path):
    made = record()
    path = store.write(tmp_path / "results", made)
    assert store.read(path) == made
    for number, spoilt in enumerate(outside(made)):
        path.write_text(json.dumps(spoilt))
        assert list(store.records(tmp_path / "results")) == [], number


def test_links_out_of_the_results_folder_are_not_followed(tmp_path, capsys):
    made, results = {**record(), "artefact": "ab12"}, tmp_path / "results"
    path = store.write(results, made, {"test_counts": np.ones((2, 3)), "test_units": np.array(["a", "b"])})
    assert store.counts(results, made) is not None
    counts = path.with_suffix(".npz").rename(tmp_path / "elsewhere.npz")
    path.with_suffix(".npz").symlink_to(counts)
    assert store.counts(results, made) is None
    (results / "models").mkdir()
    (results / "models" / "ab12").symlink_to(write(tmp_path / "student"))
    assert main(["predict", made["id"], "--results-dir", str(results), "a text"]) == 2
    assert "leads out of the results folder" in capsys.readouterr().err
    (results / "models" / "ab12").unlink()
    (tmp_path / "student").rename(results / "models" / "ab12")
    (results / "models").rename(tmp_path / "large disk")  # all of it may lie elsewhere
    (results / "models").symlink_to(tmp_path / "large disk")
    assert main(["predict", made["id"], "--results-dir", str(results), "a text"]) == 0
