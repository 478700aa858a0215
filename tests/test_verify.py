"""Every kind of damage to a result is found, and what cannot be checked is said to be so."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from kdbench.base import identity
from kdbench.base.checksums import facts_of_files, files_of, sealed
from kdbench.base.registry import METHODS
from kdbench.cli.verbs import main
from kdbench.models.zoo import MODELS
from kdbench.report import findings, rerun, verify
from kdbench.report.evidence import Case, Corpora
from kdbench.report.study import studies
from kdbench.runs import grid, store
from kdbench.runs.plugins import load_plugin
from kdbench.score.statistics import Cache

RESULTS = Path(__file__).resolve().parent.parent / "results"
COMMITTED = [path for path in studies(RESULTS) if (path / "records").is_dir()]
BY_RECORD = ("file", "record", "data", "score", "counts", "naive", "student")
SMALL = {"student": "tiny:bert", "max_dev_examples": 50, "lr": 2e-3, "latency": "off",
         "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """A method that trains nothing."""
    loaded = load_plugin(Path(__file__).with_name("standin.py"))
    yield
    del METHODS._entries["standin"], MODELS._entries["tiny:still"], sys.modules[loaded]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs that learn: a teacher, a student and logit distillation, each with two seeds."""
    folder = tmp_path_factory.mktemp("verify") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KDBENCH_DATA", raising=False)
        grid.run("logit_kd", "gad", seeds=(0, 1), results_dir=folder, teacher="tiny:distilbert",
                   max_train_examples=600, epochs=6, **SMALL)
    assert main(["table", "--results-dir", str(folder)]) == 0  # makes intervals.json
    return folder


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify") / "tagged"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KDBENCH_DATA", raising=False)
        grid.run("finetune", "bc2gm_iobes", seeds=(0, 1), results_dir=folder, controls=False,
                   max_train_examples=200, epochs=4, **SMALL)
    return folder


@pytest.fixture
def folder(trained, tmp_path, no_data):
    return Path(shutil.copytree(trained, tmp_path / "made"))


@pytest.fixture
def bare(folder):
    """The same without weights, as studies are committed: soon verified."""
    shutil.rmtree(folder / "models")
    return folder


@pytest.fixture
def tags(tagged, tmp_path, no_data):
    return Path(shutil.copytree(tagged, tmp_path / "tagged"))


def paths(folder):
    return sorted(folder.glob("records/*/*.json"))


def verified(folder, run="", **given):
    return verify.verify(run or str(folder), folder, **given)


def differing(folder, run="", **given):
    """Of what differs in a folder, or in one run of it: {check: the first line about it}."""
    found = {}
    for one in verified(folder, run, **given):
        if one.state == findings.DIFFERS:
            found.setdefault(one.check, one.line)
    return found


def why(folder, check, **given):
    """Why a check could not be made."""
    return " ".join(findings.summary(verified(folder, **given))[check]["unchecked"])


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(sealed(record, files_of(record))))


def edit_arrays(path, **changes):
    """Each change takes an array of the record's .npz and gives another."""
    arrays = dict(np.load(path.with_suffix(".npz"), allow_pickle=False))
    arrays |= {name: change(arrays[name].copy()) for name, change in changes.items()}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    seal(path)


def seal(path):
    """Checksums of the record and of its predictions as they are now."""
    files = facts_of_files(path.parent, [path.with_suffix(".npz").name])
    path.write_text(json.dumps(sealed(json.loads(path.read_text()), files)))


def put(name, value):
    def change(record):
        *parents, last = name.split(".")
        for parent in parents:
            record = record[parent]
        record[last] = value
    return change


def test_what_was_trained_holds(folder, capsys):
    """All but what the record's format leaves out."""
    assert main(["verify", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["holds"] and not report["differences"] and not report["notes"]
    made = report["summary"]
    assert {check: made[check]["hold"] for check in BY_RECORD} == dict.fromkeys(BY_RECORD, 6)
    assert made["intervals"]["hold"] >= 2 and not made["intervals"]["unchecked"]
    scores = {record["score"]["test"] for record in store.records(folder)}
    assert len(scores) == 6 and min(scores) > 0.2, "figures that nothing learned show nothing"


@pytest.mark.parametrize(("change", "checks"), [
    (lambda r: r["score"].update(test=0.9), {"record"}),
    (lambda r: [r["score"].update(test=0.9), r["score"]["all"]["test"].update(f1_positive=0.9)],
     {"record", "score"}),
    (put("score.all.test.accuracy", 0.9), {"score"}),
    (put("score.all.test.accuracy", None), {"score"}),
    (put("score.naive.test", 0.5), {"naive"}),
    (put("score.dev", 0.9), {"record", "facts"}),
    (lambda r: [r["score"].update(dev=0.9), r["score"]["all"]["dev"].update(f1_positive=0.9)],
     {"facts"}),
    (put("models.student", "0" * 16), {"facts"}),
    (lambda r: r.update(role="control" if r["role"] == "teacher" else "teacher"), {"facts"}),
    (put("status", "skipped"), {"file"}),
    (lambda r: r["score"]["naive"].pop("test"), {"facts"}),
    (lambda r: r["score"]["all"]["test"].pop("accuracy"), {"facts"}),
    (put("data.rows.test", 399), {"record", "data"}),
    (put("data.rows.train", 599), {"data"}),
    (put("data.sha256.train", "0" * 64), {"data"}),
    (put("size.megabytes", float("nan")), {"record"}),
    (put("format", 0), {"file"}),
    (put("artefact", "../../elsewhere"), {"file"}),
    (put("cell.settings.max_dev_examples", 40), {"data", "id"}),
])
def test_a_changed_record(bare, change, checks):
    edit(paths(bare)[0], change)
    assert set(differing(bare)) == checks


def test_a_line_says_what_where_and_both_values(bare, capsys):
    path = paths(bare)[0]
    right = json.loads(path.read_text())["score"]["all"]["test"]["accuracy"]
    edit(path, put("score.all.test.accuracy", 0.125))
    assert main(["verify", str(bare)]) == 1
    out = capsys.readouterr().out
    line = f"made/{path.stem}: score: test accuracy: stored 0.125, found {right:.6g}"
    assert out.splitlines()[0] == line
    assert re.search(r"^score: .* 6 +5 +1 +0$", out, re.M)


def test_data_that_are_not_the_records_score_nothing(bare):
    edit(paths(bare)[0], put("data.sha256.test", "0" * 64))
    made = findings.summary(verified(bare))
    assert made["data"]["differ"] == 1
    for check in ("score", "counts", "naive"):
        assert made[check]["unchecked"] == {"the data found are not those of the record": 1}


def flipped(logits):
    logits[3] = logits[3, ::-1]
    return logits


def raised(logits):
    logits[3] += 0.5  # the answer stays
    return logits


@pytest.mark.parametrize(("changes", "checks"), [
    ({"test_predictions": flipped}, {"score", "counts", "student"}),
    ({"test_predictions": raised}, {"student"}),
    ({"test_predictions": lambda a: a[:-1]}, {"record", "score", "counts", "student"}),
    ({"test_predictions": lambda a: a * np.inf}, {"record"}),
    ({"test_counts": lambda a: a + (np.arange(len(a)) == 5)[:, None]}, {"record", "counts"}),
    ({"test_counts": lambda a: a[::-1]}, {"counts"}),
    ({"test_units": lambda a: a[::-1]}, {"counts"}),
])
def test_changed_predictions_and_counts(folder, changes, checks):
    path = paths(folder)[0]
    edit_arrays(path, **changes)
    found = set(differing(folder, path.stem))
    assert checks <= found if "record" in checks else checks == found


def test_exchanged_predictions(folder):
    one, other = (path.with_suffix(".npz") for path in paths(folder)[:2])
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    made = findings.summary(verified(folder))
    for check in ("record", "score", "student"):  # counts are exchanged, too
        assert made[check]["differ"] == 2


def students(folder):
    """The weights of two students of one architecture, and the id of the record of the first."""
    found = {record["cell"]["seed"]: record for record in store.records(folder)
             if record["cell"]["method"] == "finetune" and record["role"] != "teacher"}
    places = [folder / "models" / found[seed]["artefact"] / "model.safetensors" for seed in (0, 1)]
    return *places, found[0]["id"]


@pytest.mark.parametrize("kind", ["folder", "tags"])
def test_weights_of_another_student(kind, request):
    place = request.getfixturevalue(kind)
    own, other, run = students(place)
    shutil.copyfile(other, own)
    found = differing(place)
    assert set(found) == {"student", "weights"} and run in found["student"]
    assert "delete its stage.json" in found["student"]  # what is not what its checksum says is not loaded
    (own.parent / "stage.json").unlink()  # as a student from before there were checksums
    found = differing(place)
    assert set(found) == {"student"} and run in found["student"]
    assert re.search("% of its answers differ, .* more than rounding", found["student"])


def test_a_student_that_cannot_be_read(folder):
    own, _, run = students(folder)
    own.write_bytes(own.read_bytes()[:1000])
    assert run in differing(folder)["student"]
    shutil.rmtree(own.parent)
    assert why(folder, "student") == "its weights are not kept here"


def test_the_checksum_of_a_stage(folder):
    own, other, _ = students(folder)
    for path, seal in ((own, own), (other, own)):
        stage = json.loads((path.parent / "stage.json").read_text())
        stage["sha256"] = {"model.safetensors": identity.file_digest(seal)}
        (path.parent / "stage.json").write_text(json.dumps(stage))
    found = [one for one in verified(folder) if one.check == "weights"]
    states = {one.where.rpartition("/")[2]: one.state for one in found}
    assert states[own.parent.name] == "holds" and states[other.parent.name] == "differs"


@pytest.mark.parametrize("name", ["records/gad/0123456789abcdef.json", "records/hoc/{id}.json"])
def test_a_record_under_another_name(bare, name):
    path = paths(bare)[0]
    moved = bare / name.format(id=path.stem)
    moved.parent.mkdir(exist_ok=True)
    path.rename(moved)
    assert len(list(store.records(bare))) == 5, "tables leave it out in silence"
    assert set(differing(bare)) == {"file"}


def test_an_edited_cell_is_not_what_its_id_says(bare):
    made = findings.summary(verified(bare))
    assert made["id"]["hold"] == made["data"]["hold"] == 6
    edit(paths(bare)[0], put("cell.settings.lr", 3e-3))
    assert set(differing(bare)) == {"id"}


def test_content_that_is_not_that_of_the_data(bare):
    edit(paths(bare)[0], put("content.data.train", "0" * 16))
    found = differing(bare)
    assert set(found) == {"id", "data"} and "digest of the content of train" in found["data"]


def test_a_record_without_content_has_no_id_to_check(bare):
    edit(paths(bare)[0], lambda record: record.pop("content", None))
    assert "its id says nothing" in differing(bare)["id"]


def test_predictions_without_a_record(bare):
    paths(bare)[0].unlink()
    assert "is no record" in differing(bare)["file"]


def test_figures_of_other_code_are_not_judged(bare):
    def change(record):
        record["content"]["code"]["metrics"]["f1_positive"] = 0
        record["id"] = identity.record_id(record["cell"], record["content"])

    path = paths(bare)[0]
    edit(path, change)
    own = json.loads(path.read_text())["id"]
    for ending in (".json", ".npz"):
        path.with_suffix(ending).rename(path.with_name(f"{own}{ending}"))
    seal(path.with_name(f"{own}.json"))
    assert "metric f1_positive" in why(bare, "code") and "scored by other code" in why(bare, "score")
    assert not differing(bare)


def test_a_stage_without_a_checksum(folder):
    own, *_ = students(folder)
    stage = json.loads((own.parent / "stage.json").read_text())
    (own.parent / "stage.json").write_text(json.dumps({**stage, "sha256": {}}))
    assert "has no checksum" in differing(folder)["weights"]

def test_a_changed_interval(bare):
    path = bare / "intervals.json"
    stored = json.loads(path.read_text())
    key, interval = next((k, v) for k, v in stored["intervals"].items() if v["low"] is not None)
    interval["low"] += 0.01
    path.write_text(json.dumps(stored))
    found = differing(bare)
    assert set(found) == {"intervals"} and f"{key}: intervals: low" in found["intervals"]
    stored["code"] = "that of last year"
    path.write_text(json.dumps(stored))
    assert not differing(bare) and "made by other code" in why(bare, "intervals")
    assert Cache(path).known == {}, "or a table would show it"
    path.write_text("{")
    assert "cannot be read" in differing(bare)["intervals"]


def test_an_interval_of_counts_that_are_gone(bare):
    edit_arrays(paths(bare)[0], test_counts=lambda counts: counts[::-1])
    assert "no longer there" in why(bare, "intervals")


# ---- tags --------------------------------------------------------------------------------------


def test_tags_and_their_word_pieces(tags):
    made = findings.summary(verified(tags))
    checks = (*BY_RECORD, "word pieces")
    assert {check: made[check]["hold"] for check in checks} == dict.fromkeys(checks, 2)
    edit(paths(tags)[0], put("score.all.test.piece_tag_micro_f1", 0.5))
    assert set(differing(tags)) == {"word pieces"}
    shutil.rmtree(tags / "models")
    assert set(differing(tags)) == {"word pieces"}, "from what is stored, without the student"
    arrays = paths(tags)[0].with_suffix(".npz")
    with np.load(arrays) as stored:
        kept = {name: stored[name] for name in stored.files if "piece" not in name}
    np.savez_compressed(arrays, **kept)
    seal(paths(tags)[0])
    assert not differing(tags) and "pieces are not stored" in why(tags, "word pieces")


def test_what_is_reported_beside_a_metric(tags):
    """Precision and recall, what was read of the words, and how many were not."""
    record = json.loads(paths(tags)[0].read_text())
    named = record["score"]["all"]["test"]
    assert {
        "entity_precision_strict",
        "piece_tag_micro_recall",
        "entity_f1_seen",
        "entity_recall_seen",
    } <= named.keys()
    assert named.keys() == record["score"]["all"]["dev"].keys()
    assert set(record["content"]["code"]["metrics"]) == {
        "entity_f1_strict",
        "entity_f1",
        "piece_tag_micro_f1",
    }
    assert record["score"]["beyond_limit"]["test"]["all_words"] > 1000
    for name, check in (("entity_recall", "score"), ("entity_f1_seen", "word pieces"),
                        ("piece_tag_micro_precision", "word pieces")):
        edit(paths(tags)[0], put(f"score.all.test.{name}", 0.5))
        assert set(differing(tags)) == {check}
        edit(paths(tags)[0], put(f"score.all.test.{name}", named[name]))
    edit(paths(tags)[0], put("score.beyond_limit.test.words", 7))
    assert "beyond the length limit" in differing(tags)["word pieces"]
    edit(paths(tags)[0], put("score.beyond_limit", record["score"]["beyond_limit"]))
    edit(paths(tags)[0], lambda r: r["score"]["all"]["test"].pop("entity_recall"))
    assert set(differing(tags)) == {"facts"}, "one that is lacking"

    def as_before(record):
        del record["score"]["beyond_limit"]
        for split, scores in record["score"]["all"].items():
            kept = record["content"]["code"]["metrics"]
            record["score"]["all"][split] = {k: v for k, v in scores.items() if k in kept}

    edit(paths(tags)[0], as_before)
    assert not differing(tags), "a record from before they were reported"


def test_a_changed_tag(tags):
    path = paths(tags)[0]

    def change(predictions):
        word = int(np.flatnonzero(predictions)[0])
        predictions[word] = 0
        return predictions

    edit_arrays(path, test_predictions=change)
    assert {"score", "student"} <= set(differing(tags))


def test_rounding_may_exchange_tags_that_are_close():
    stored = [np.array([1, 0]), np.array([0])]
    logits = [np.array([[0.5, 0.4999], [2.0, 1.0]]), np.array([[np.nan, np.nan]])]
    found = rerun.compare_tags(stored, logits, 1e-3, outside=0)
    assert not found.unexplained and found.share == pytest.approx(1 / 3)
    assert [tags.tolist() for tags in found.predictions] == [[0, 0], [0]]
    assert "1 of 3" in rerun.compare_tags(stored, logits, 1e-5, outside=0).unexplained
    stored[1][0] = 1  # a tag of a word that nobody read
    assert "1 of 3" in rerun.compare_tags(stored, logits, 1e-3, outside=0).unexplained


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_rounding_may_move_logits_and_no_more(kind):
    stored = np.array([[1e-5, -1e-5], [8.0, -8.0]], dtype=np.float32)
    moved = -stored
    moved[1] = [8.004, -8]
    found = rerun.compare_logits(stored, moved, 1e-3, kind)
    assert found.share == 0.5 and not found.unexplained
    assert "1 of 2 texts" in rerun.compare_logits(stored, moved, 1e-4, kind).unexplained
    moved[0] = np.nan
    assert rerun.compare_logits(stored, moved, 1e-3, kind).unexplained


def test_answers_within_rounding_are_a_note(folder, monkeypatch, capsys):
    """A student whose answers differ on texts that it cannot decide, as on another machine."""
    monkeypatch.setattr(rerun, "FP32", 100.0)
    own, other, run = students(folder)
    shutil.copyfile(other, own)
    shutil.copyfile(other.parent / "stage.json", own.parent / "stage.json")
    assert main(["verify", str(folder)]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"{run}: student: [\d.]+% of its answers differ, all within rounding", out)


@pytest.mark.parametrize(("precision", "stored", "bf16"), [
    ("bf16", 0.1, True), ("fp32", 0.5, False), ("auto", 0.5, True), ("auto", 0.1, False),
])
def test_logits_show_the_precision(precision, stored, bf16, tmp_path):
    path = tmp_path / "made" / "records" / "gad" / "0.json"
    path.parent.mkdir(parents=True)
    logits = np.full((2, 2), stored, dtype=np.float32)
    np.savez(path.with_suffix(".npz"), test_predictions=logits)
    record = {"cell": {"settings": {"precision": precision}}}
    case = Case(path, tmp_path / "made", "made/0", record, Corpora(None, {}))
    assert rerun.in_bf16(case, None) == (bf16, False)


# ---- one's own files ---------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, no_data):
    """A run on the user's own files, which are changed or left away afterwards."""
    files = {}
    for split, n in (("train", 40), ("dev", 12), ("test", 20)):
        lines = [f"{split} text {i} of {'genes' if i % 2 else 'drugs'}\t{i % 2}" for i in range(n)]
        files[split] = tmp_path / f"{split}.tsv"
        files[split].write_text("text\tlabel\n" + "\n".join(lines) + "\n")
    grid.run("standin", "files", files=files, results_dir=tmp_path / "own", controls=False,
               **SMALL)
    return tmp_path / "own", files


def test_changed_data(own):
    folder, files = own
    assert findings.summary(verified(folder, files=files))["score"]["hold"] == 1
    files["test"].write_text(files["test"].read_text().replace("genes\t1", "genes\t0", 1))
    found = differing(folder, files=files)
    assert set(found) == {"data"} and "SHA-256 of test" in found["data"]
    # the run knows where its files lie
    assert "not those of the record" in why(folder, "score")
    for path in files.values():
        path.write_text(path.read_text() + "more\t1\n")
    assert not differing(folder, files=files), "files of some other run say nothing of this one"
    assert "not those of this run" in why(folder, "score", files=files)


def test_the_command_takes_the_files(own, capsys):
    folder, files = own
    words = [word for split, path in files.items() for word in (f"--{split}", str(path))]
    assert main(["verify", str(folder), "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["summary"]["score"]["hold"] == 1


def test_a_task_that_is_not_registered(bare):
    path = paths(bare)[0]
    (bare / "records" / "mine").mkdir()
    edit(path, put("cell.task", "mine"))
    record = json.loads(path.read_text())
    edit(path, put("id", own := identity.record_id(record["cell"], record["content"])))
    for ending in (".json", ".npz"):
        path.with_suffix(ending).rename(bare / "records" / "mine" / f"{own}{ending}")
    seal(bare / "records" / "mine" / f"{own}.json")
    assert "no task mine here" in why(bare, "score") and not differing(bare)


# ---- damage and bad input ----------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", '{"format": 1}', '{"id": "a", "cell": {}}', "\ud800", "[" * 100_000,
], ids=range(8))
def test_a_damaged_record_is_one_line(bare, text, capsys):
    path = paths(bare)[0]
    path.write_text(text, errors="surrogatepass")
    assert main(["verify", str(bare)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if path.stem in line]
    assert len(lines) == 1 and "is no record" in lines[0] and len(lines[0]) < 300


@pytest.mark.parametrize("part", ["score", "data", "cell", "artefact"])
def test_a_record_that_lacks_a_part_is_one_line(bare, part):
    edit(paths(bare)[0], lambda record: record.pop(part))
    found = differing(bare)
    assert set(found) == {"file"} and f"no {part}" in found["file"]


@pytest.mark.parametrize("value", [  # in each place of a record; two kinds are enough for the gate
    3, pytest.param([1], marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.slow), {"a": 1}], ids=str)
def test_odd_values_raise_nothing(bare, value):
    path = paths(bare)[0]
    whole = json.loads(path.read_text())
    whole["data"]["kind"] = "real"  # no corpus, so this is quick
    inner = [(one, two) for one, part in whole.items() if isinstance(part, dict) for two in part]
    for names in [*((name,) for name in whole), *inner]:
        record = json.loads(json.dumps(whole))
        put(".".join(names), value)(record)
        path.write_text(json.dumps(record))
        assert len(findings.as_text(verified(bare, path.stem)).splitlines()) < 40, names
    assert verified(bare)


def test_a_record_that_is_a_link(bare, tmp_path):
    path = paths(bare)[0]
    path.rename(tmp_path / "away.json")
    os.symlink(tmp_path / "away.json", path)
    assert "a link" in differing(bare)["file"]


@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b"", lambda b: b"text",
                                    lambda b: b[:200] + b"\0" * 50 + b[250:]], ids=range(4))
def test_damaged_predictions_are_one_line(bare, damage, capsys):
    path = paths(bare)[0].with_suffix(".npz")
    path.write_bytes(damage(path.read_bytes()))
    assert main(["verify", str(bare)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if path.stem in line]
    assert len(lines) == 1 and re.search(rf"{path.name} (cannot be read|has [\d,]+ bytes|is not what its checksum says)", lines[0])


def test_predictions_that_are_not_there(bare):
    paths(bare)[0].with_suffix(".npz").unlink()
    assert not differing(bare)
    assert "no predictions are stored" in why(bare, "score")


@pytest.mark.parametrize("words", [
    ["nowhere"], ["{empty}"], ["0", "--results-dir", "{empty}"], ["", "--results-dir", "{folder}"],
    ["{folder}", "--data-dir", "nowhere"], ["zz", "--results-dir", "{folder}"],
])
def test_bad_input_is_one_line(bare, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"folder": bare, "empty": tmp_path / "empty"}
    assert main(["verify", *(word.format(**places) for word in words)]) == 2
    said = capsys.readouterr()
    assert not said.out and len(said.err.splitlines()) == 1


def test_one_run_by_the_beginning_of_its_id(folder, capsys):
    path = paths(folder)[0]
    edit(paths(folder)[1], put("score.naive.test", 0.5))
    words = ["--results-dir", str(folder), "--json"]
    assert main(["verify", path.stem[:10], *words]) == 0
    made = json.loads(capsys.readouterr().out)["summary"]
    assert made["score"]["hold"] == 1 and "intervals" not in made
    assert main(["verify", paths(folder)[1].stem, *words]) == 1
    other = path.with_name(f"{path.stem[:10]}00.json")
    shutil.copyfile(path, other)
    assert main(["verify", path.stem[:10], *words]) == 2


def test_a_folder_of_studies(folder, tags, capsys):
    assert main(["verify", str(folder.parent), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["summary"]
    assert made["score"]["hold"] == 8 and made["intervals"]["hold"] >= 2


# ---- what is committed -------------------------------------------------------------------------


@pytest.mark.parametrize("study", COMMITTED, ids=lambda path: path.name)
def test_committed_records_agree_with_themselves(study):
    results = verified(study)
    made, records = findings.summary(results), [json.loads(p.read_text()) for p in paths(study)]
    assert [one.line for one in results if one.state == findings.DIFFERS] == []
    assert made["file"]["hold"] == made["record"]["hold"] == len(records)
    assert made["id"]["hold"] == sum("content" in record for record in records)


@pytest.mark.realdata
@pytest.mark.parametrize("study", COMMITTED, ids=lambda path: path.name)
def test_committed_figures_follow_from_predictions_and_data(study, data_dir):
    results = verified(study, data_dir=data_dir)
    made, records = findings.summary(results), paths(study)
    assert [one.line for one in results if one.state == findings.DIFFERS] == []
    for check in ("data", "score", "counts", "naive"):
        assert made[check]["hold"] == len(records), check
