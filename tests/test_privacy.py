"""Nobody's notes leave the house: planted names and numbers are in nothing that is committed, exported or shown."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factory import record

from kdbench.base import render, visible
from kdbench.base.errors import BadInput, Skip
from kdbench.base.folders import write_page
from kdbench.cli.verbs import main
from kdbench.data.task import Data, Example
from kdbench.models.common_words import OwnTexts, Rule, common_words, learned, own_pieces, words_by
from kdbench.models.tokenizer import train_tokenizer
from kdbench.models.vocabulary import train_tokens
from kdbench.report import study
from kdbench.report.compare import compare
from kdbench.report.evidence import Case, Corpora
from kdbench.runs import store, units
from kdbench.runs.planning import plan
from kdbench.runs.quotes import notes_kept, without_quotes, without_rare_words
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.serve.contains import contents_of

ROOT = Path(__file__).resolve().parent.parent
PLANTED = "Mrs Quarzhild Xanthopoulou, phone 01765550199345"
PATIENT = "PAT-7731"
SECRETS = re.compile(rb"quarzhild|xanthopoulou|5550199345|PAT-77", re.I)
PLACES = ("at home", "on the stairs", "in the garden", "at work", "in the bathroom")
SETTINGS = {"epochs": 1, "max_steps": 2, "latency": "off", "max_length": 32}


def note(number, split):
    """A note on a fall; number 3 names its patient."""
    fall = number % 3 == 0
    said = f"{'Fell' if fall else 'No fall'} {PLACES[number % 5]}."
    return {"id": f"{PATIENT}-{split}-{number}", "patient": f"{PATIENT}{split}{number // 2:03d}",
            "text": f"{said} {PLANTED} was seen." if number == 3 else said, "label": "fall" if fall else "none"}


def sentence(number):
    """Words and tags; sentence 3 names its patient as an entity."""
    if number == 3:
        return ["Quarzhild", "Xanthopoulou", "01765550199345", "took", "aspirin"], ["B-Name", "I-Name", "I-Name", "O", "B-Drug"]
    return ["The", "patient", "took", ("aspirin", "ibuprofen")[number % 2], "today"], ["O", "O", "O", "B-Drug", "O"]


@pytest.fixture
def notes(tmp_path):
    """The user's files of notes, by split."""
    folder = tmp_path / "house"
    folder.mkdir()
    files = {}
    for split, count in (("train", 30), ("dev", 12), ("test", 12)):
        files[split] = folder / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(note(i, split)) + "\n" for i in range(count)))
    return files


@pytest.fixture
def tagged(tmp_path):
    """The user's files of tagged sentences, by split."""
    folder = tmp_path / "house-tags"
    folder.mkdir()
    files = {}
    for split, count in (("train", 30), ("dev", 12), ("test", 12)):
        files[split] = folder / f"{split}.tsv"
        rows = ("".join(f"{word}\t{tag}\n" for word, tag in zip(*sentence(i), strict=True)) for i in range(count))
        rows = [f"{split}\tO\n{row}" for row in rows]
        files[split].write_text("\n".join(rows))
    return files


def run(results, files, method="finetune", student="tiny:bert", teacher="tiny:bert", options=None, settings=None, **more):
    """The record of one run on the user's own files."""
    group = {"group_column": "patient"} if files["train"].suffix == ".jsonl" else {}
    (cell,) = plan(Request(method, "files", teacher, student, options=options or {}, settings={**SETTINGS, **(settings or {})},
                           task_options=group, files=files, controls=False, **more), device="cpu")
    made = Runner(results, device="cpu", threads=1).one(cell)
    assert made["status"] == "done", made.get("error")
    return made


def revealing(*places):
    """The files below these places that hold what was planted, or the test's own folder."""
    found = []
    for place in places:
        for path in place.rglob("*"):
            if path.is_file() and (SECRETS.search(path.read_bytes()) or SECRETS.search(path.name.encode())):
                found.append(path)
    return found


def arrays_of(results, made):
    path = store.path_of(results, made["id"], made["cell"]["task"]).with_suffix(".npz")
    return dict(np.load(path, allow_pickle=False))


# ---- the whole -------------------------------------------------------------------------------------


def all_of(results, work, runs, formats):
    """Export, report and table of runs; returns the folders that leave the house."""
    out = work / "out"
    for made in runs:
        assert main(["export", made["id"], str(out / made["id"]), "--results-dir", str(results), "--formats", formats,
                     "--latency", "quick"]) == 0
    assert main(["report", "--results-dir", str(results), "-o", str(out / "report.html"), "--no-intervals"]) == 0
    return out


def check_house(results, work, runs, capsys, formats):
    """Nothing that was planted leaves; whatever is left is listed."""
    out = all_of(results, work, runs, formats)
    capsys.readouterr()
    assert main(["table", "--results-dir", str(results), "--format", "csv", "--no-intervals"]) == 0
    assert not SECRETS.search(capsys.readouterr().out.encode())
    assert revealing(out, results / "records") == []
    for path in [*out.rglob("*"), *(results / "records").rglob("*")]:
        assert not path.is_file() or str(work).encode() not in path.read_bytes(), f"{path} names a folder of this machine"
    for made in runs:
        for name, array in arrays_of(results, made).items():
            assert not SECRETS.search("\n".join(map(str, array.ravel().tolist())).encode()), name
        card = (out / made["id"] / "README.md").read_text()
        assert "is not public" in card and "Its vocabulary holds" in card
    assert main(["runs", "--contains-text", "--results-dir", str(results), "--json"]) == 0
    listed = [Path(one["path"]) for one in json.loads(capsys.readouterr().out)["holdings"] if one["text"] == "own"]
    for path in revealing(results):
        assert any(path.is_relative_to(place) for place in listed), f"{path} is on no list"
    for path in results.rglob("*"):
        told = path.is_file() and str(work).encode() in path.read_bytes()
        assert not told or any(path.is_relative_to(place) for place in listed), f"{path} names a folder of this machine, and is on no list"
    for place in [*(results / "models").iterdir(), *(results / "signals").glob("*.safetensors"), *(results / "paths").glob("*/*.json"),
                  *out.glob("*/safetensors"), *out.glob("*/onnx")]:
        assert place in listed, f"{place} is on no list"
    return out


def test_planted_names_leave_the_house_in_nothing(notes, tmp_path, capsys):
    results = tmp_path / "results"
    made = run(results, notes)
    check_house(results, tmp_path, [made], capsys, "safetensors")
    plain = run(tmp_path / "all", notes, settings={"min_texts": 1})
    assert revealing(tmp_path / "all" / "models"), "without the rule the planted name is in the vocabulary"
    assert plain["id"] != made["id"] and made["cell"]["settings"]["min_texts"] == 5
    assert made["vocabulary"]["min_texts"] == 5 and plain["vocabulary"]["own_pieces"] > made["vocabulary"]["own_pieces"] > 0
    words = ["export", plain["id"], str(tmp_path / "strict"), "--results-dir", str(tmp_path / "all"), "--strict-privacy"]
    assert main(words) == 2 and not (tmp_path / "strict").exists()
    assert re.search(r"of words in fewer than 5 texts: \d+ \(.*numbers: .*always capitalised: .*xanthopoulou", capsys.readouterr().err)


def write_rows(folder, row, counts=(30, 12, 12)):
    """Files of JSON lines by split, made of `row(number, split)`."""
    folder.mkdir()
    files = {}
    for split, count in zip(("train", "dev", "test"), counts, strict=True):
        files[split] = folder / f"{split}.jsonl"
        files[split].write_text("".join(json.dumps(row(i, split)) + "\n" for i in range(count)))
    return files


def pair(number, split):
    """A note and a claim on it."""
    own = note(number, split)
    return {"id": own["id"], "patient": own["patient"], "sentence1": own["text"],
            "sentence2": PLANTED if number == 3 else "The patient fell.", "label": own["label"]}


def several(number, split):
    """A note with any number of labels."""
    own = note(number, split)
    return {"id": own["id"], "patient": own["patient"], "text": own["text"],
            "labels": [name for name, there in (("fall", number % 3 == 0), ("home", number % 5 == 0)) if there]}


@pytest.mark.slow
@pytest.mark.parametrize("row", [note, pair, several])
def test_planted_names_leave_the_house_in_nothing_whatever_the_labels(row, tmp_path, capsys):
    results = tmp_path / "results"
    files = write_rows(tmp_path / "house", row)
    runs = [run(results, files, method) for method in ("finetune", "logit_kd")]
    check_house(results, tmp_path, runs, capsys, "safetensors,onnx")


@pytest.mark.slow
def test_planted_names_leave_the_house_in_nothing_whatever_the_method(notes, tagged, tmp_path, capsys):
    results = tmp_path / "results"
    unlabelled = tmp_path / "house" / "unlabelled.txt"
    unlabelled.write_text(f"{PLANTED}\n" + "Was well at home.\n" * 8)
    quick = {"min_frequency": 1, "pretrain_epochs": 1}
    runs = []
    for method, options, more in (("finetune", {}, {}), ("logit_kd", {}, {"unlabelled": unlabelled}), ("ve_kd", quick, {}),
                                  ("adapt", {**quick, "corpus": str(unlabelled)}, {})):
        for student in ("tiny:bert",) if method in ("ve_kd", "adapt") else ("tiny:bert", "tiny:roberta"):
            runs.append(run(results, notes, method, student, options=options, **more))
    for method, student in (("ner_kd", "bilstm"), ("ner_kd", "tiny:bert"), ("ve_kd", "tiny:bert")):
        runs.append(run(results, tagged, method, student, options={"copies": 2} if method == "ner_kd" else quick))
    assert len({made["id"] for made in runs}) == 9
    check_house(results, tmp_path, runs, capsys, "safetensors,onnx,onnx_int8")


def test_mistakes_in_files_to_answer_leave_nothing_behind(notes, tmp_path, capsys):
    results, desk = tmp_path / "results", tmp_path / "desk"
    made = run(results, notes)
    desk.mkdir()
    asked = [json.dumps(note(3, "new")), json.dumps({**note(3, "new"), "text": 7}), "{"]
    (desk / "asked.jsonl").write_text("\n".join(asked))
    before = sorted(tmp_path.rglob("*"))
    for verb in (["predict"], ["label", "-o", str(desk / "out.jsonl")], ["evaluate", "-o", str(desk / "out.jsonl")]):
        words = [verb[0], made["id"], "--file", str(desk / "asked.jsonl"), *verb[1:], "--results-dir", str(results)]
        assert main(words) == 2
        assert not SECRETS.search(capsys.readouterr().out.encode())
        assert sorted(tmp_path.rglob("*")) == before


# ---- vocabularies ----------------------------------------------------------------------------------

COMMON = [f"the patient took aspirin at home{' .' * i}" for i in range(6)]
RARE = [f"Xanthopoulou rang 01765550199345{' .' * i}" for i in range(9)]  # one patient's
UNITS = (*map(str, range(6)), *["one"] * 9)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_a_vocabulary_learns_words_that_several_texts_hold(kind):
    tokenizer = train_tokenizer(kind, OwnTexts([*COMMON, *RARE], Rule(UNITS, 5)), 4000)
    backend = tokenizer.backend_tokenizer
    pieces = learned(backend, 0)
    words = common_words([*COMMON, *RARE], Rule(UNITS, 5), words_by(backend))
    assert pieces and all(any(piece.removeprefix("##") in word for word in words) for piece in pieces)
    assert "aspirin" in {piece.removeprefix("Ġ").removeprefix("▁") for piece in pieces}
    assert not any(part in piece.lower() for piece in pieces for part in ("xa", "nth", "017", "555"))
    assert tokenizer.unk_token_id not in tokenizer("Xanthopoulou rang 0176, aspirin".replace(",", ""))["input_ids"]
    assert own_pieces(tokenizer.init_kwargs) == (0, 5)
    each = train_tokenizer(kind, OwnTexts([*COMMON, *RARE], Rule((), 5)), 4000)
    assert any("xantho" in piece.lower() for piece in learned(each.backend_tokenizer, 0)), "nine texts, where none has a group"


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_public_text_is_learned_as_it_always_was(kind):
    tokenizer = train_tokenizer(kind, [*COMMON, *RARE], 4000)
    open_rule = train_tokenizer(kind, OwnTexts([*COMMON, *RARE], Rule((), 1)), 4000)
    assert any("xantho" in piece.lower() for piece in tokenizer.get_vocab())
    assert own_pieces(tokenizer.init_kwargs) is None and own_pieces(open_rule.init_kwargs) == (0, 1)
    assert open_rule.get_vocab() == tokenizer.get_vocab()


def test_new_tokens_are_of_words_that_several_texts_hold():
    base = train_tokenizer("bert", ["ab"], 100)
    tokens = train_tokens(lambda: [*COMMON, *RARE], base, 1000, 1, Rule(UNITS, 5))
    assert "aspirin" in tokens and not any("xant" in token or "0176" in token for token in tokens)
    assert {"x", "##u"} <= set(tokens), "single characters stay, so that anything can be read"


def test_the_rule_is_part_of_the_id_where_it_decides_the_vocabulary(notes, no_data):
    def id_of(student="tiny:bert", teacher="tiny:bert", task="files", least=5, method="finetune", **options):
        given = {"files": notes} if task == "files" else {}
        (cell,) = plan(Request(method, task, teacher, student, settings={**SETTINGS, "min_texts": least}, options=options,
                               controls=False, **given), device="cpu")
        return cell.id

    assert id_of() != id_of(least=6)
    assert id_of(task="chemprot") == id_of(task="chemprot", least=6), "a look-alike is nobody's"
    assert id_of(method="adapt", task="chemprot") == id_of(method="adapt", task="chemprot", least=6)
    corpus = str(notes["train"])
    assert id_of(method="adapt", task="chemprot", corpus=corpus) != id_of(method="adapt", task="chemprot", least=6, corpus=corpus)


# ---- what an export holds --------------------------------------------------------------------------


def test_kinds_of_entries_are_listed(tmp_path):
    texts = [f"Aspirin for Garrido, then more aspirin 2044 {'rarely' if i == 2 else ''}" for i in range(8)]
    examples = [Example(str(i), text) for i, text in enumerate(texts)]
    tokenizer = train_tokenizer("bert", OwnTexts(texts, Rule((), 1)), 400)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps({"kind": "single", "labels": ["a", "b"], "max_length": 9}))
    found = contents_of(tmp_path, examples)
    assert "rarely" in found.rare and "garrido" not in found.rare and "2044" in found.numbers
    assert set(found.capitalised) == {"garrido"}, "aspirin is also written small"
    assert not found.caseless
    train_tokenizer("bert", texts, 400).save_pretrained(tmp_path)
    assert contents_of(tmp_path, examples).own == 0, "of public text nothing is told"
    older = contents_of(tmp_path, examples, frozenset(["aspirin"]))
    assert "garrido" in older.capitalised and "rarely" in older.rare, "without the note all but public entries are judged"


def test_words_of_a_script_without_capitals_are_listed(tmp_path):
    texts = [f"\ub0a8\uad81\ubbfc\uc218 came {i}" for i in range(8)]
    train_tokenizer("bert", OwnTexts(texts, Rule((), 5)), 400).save_pretrained(tmp_path)
    (tmp_path / "labels.json").write_text(json.dumps({"kind": "single", "labels": ["a", "b"], "max_length": 9}))
    found = contents_of(tmp_path, [Example(str(i), text) for i, text in enumerate(texts)])
    assert "\ub0a8\uad81\ubbfc\uc218" in found.caseless and any("without capitals" in line for line in found.lines())


def test_a_copied_text_counts_once():
    copied = ["Fell at home. Kryzhanovska came."] * 8
    tokenizer = train_tokenizer("bert", OwnTexts([*COMMON, *copied], Rule((), 5)), 4000)
    assert not any("kryz" in piece or "novska" in piece for piece in tokenizer.get_vocab())
    grouped = OwnTexts([*COMMON, *copied], Rule(tuple(f"patient {i}" for i in range(len(COMMON) + len(copied))), 5))
    assert train_tokenizer("bert", grouped, 4000).get_vocab() == tokenizer.get_vocab()


# ---- units -----------------------------------------------------------------------------------------


def test_units_are_hashed_and_pair_as_before(notes, tmp_path):
    results = tmp_path / "results"
    one, other = run(results, notes), run(results, notes, student="tiny:distilbert")
    names = [arrays_of(results, made)["test_units"].tolist() for made in (one, other)]
    assert names[0] == names[1] and len(set(names[0])) == 6 and not SECRETS.search("".join(names[0]).encode())
    assert one["data"]["units_salt"] == units.fingerprint(units.salt_of(results))
    assert (results / units.SALT).stat().st_mode & 0o077 == 0
    assert units.SALT in (results / ".gitignore").read_text()
    hashed = compare(results, one["id"], other["id"]).students
    clear = sorted({note(i, "test")["patient"] for i in range(12)})
    for made in (one, other):  # as an older version left it
        path = store.path_of(results, made["id"], "files")
        arrays = {**arrays_of(results, made), "test_units": np.array(clear)}
        store.write(results, {**made, "data": {k: v for k, v in made["data"].items() if k != "units_salt"}}, arrays)
        assert path.is_file()
        assert compare(results, one["id"], other["id"]).students == hashed, "clear names, hashed ones, and one of each"
    assert hashed is not None


def test_units_of_public_data_keep_their_names(tmp_path):
    data = Data((), (), (), (), published_files=True)
    assert units.stored_names(tmp_path, data, ["PMID1"]) == (["PMID1"], "")
    assert units.stored_names(tmp_path, replace(data, published_files=None, origin="lookalike"), ["a"]) == (["a"], "")
    assert not list(tmp_path.iterdir())
    for published in (None, False):
        (name,), salt = units.stored_names(tmp_path, replace(data, published_files=published), ["PMID1"])
        assert "PMID1" not in name and salt


def test_another_salt_gives_other_names_and_a_damaged_one_is_refused(tmp_path):
    one, other = (units.salt_of(tmp_path / name) for name in "ab")
    assert units.hashed(one, ["x", "y"]) != units.hashed(other, ["x", "y"])
    assert [name[:2] for name in units.hashed(one, list("abcdefghijk"))] == [f"{i:02d}" for i in range(11)]
    (tmp_path / "a" / units.SALT).write_text("abc")
    with pytest.raises(BadInput, match="not the salt"):
        units.salt_of(tmp_path / "a")


def test_verify_reads_hashed_units_with_and_without_the_salt(notes, tmp_path):
    results = tmp_path / "results"
    made = run(results, notes)
    path = store.path_of(results, made["id"], "files")

    def states():
        from kdbench.report.checks import check_counts
        from kdbench.report.findings import results_of

        return [one.state for one in results_of("counts", "", check_counts(Case(path, results, "", made, Corpora(None, notes))))]

    assert states() == ["holds"]
    arrays = arrays_of(results, made)
    store.write(results, made, {**arrays, "test_units": arrays["test_units"][::-1]})
    assert states() == ["differs"]
    salt = (results / units.SALT).read_text()
    (results / units.SALT).unlink()
    assert states() == ["note", "differs"], "the places are checked without the salt"
    store.write(results, made, arrays)
    assert states() == ["note", "holds"]
    (results / units.SALT).write_text(salt)
    assert states() == ["holds"]


# ---- messages --------------------------------------------------------------------------------------


def test_a_failed_run_quotes_no_note_and_no_path(notes, tmp_path, monkeypatch, capsys):
    (cell,) = plan(Request("finetune", "files", "tiny:bert", "tiny:bert", settings=SETTINGS, files=notes, controls=False), device="cpu")
    runner = Runner(tmp_path / "results", device="cpu", threads=1)

    def fail(*_):
        raise ValueError(f"no fall for '{PLANTED}', row {note(3, 'train')['id']} of {notes['train']}")

    monkeypatch.setattr(Runner, "train", fail)
    made = runner.one(cell)
    assert "Quarzhild" in capsys.readouterr().err, "who sits there may know"
    assert made["error"]["message"].startswith("no fall for '") and not SECRETS.search(json.dumps(made).encode())
    assert "house" not in made["error"]["message"] and str(tmp_path) not in json.dumps(made)
    made = runner.failure(cell, "BadInput", f"{notes['train']}, line 3: 'Xanthopoulou' is no label")
    assert not re.search("Xanthopoulou|house", made["error"]["message"]) and str(tmp_path) not in json.dumps(made)
    public = replace(cell, data=replace(cell.data, published_files=True))
    assert without_quotes("'Xanthopoulou'", public) == "'Xanthopoulou'" and without_rare_words("Xanthopoulou", public) == "Xanthopoulou"


def test_a_message_keeps_no_quote_and_no_number_of_few_texts(notes, tmp_path):
    """Each word of it may be in many texts."""
    (cell,) = plan(Request("finetune", "files", "tiny:bert", "tiny:bert", settings=SETTINGS, files=notes, controls=False), device="cpu")
    texts = [*["May came", "Green was well", "call 44", "in 12 h", "99 mg"] * 6, "May Green, tel. 44 12-99 12"]
    own = replace(cell, data=replace(cell.data, train=tuple(Example(str(i), text) for i, text in enumerate(texts))))
    assert without_quotes("no label for 'May Green' at 99", own) == "no label for '...' at 99"
    assert without_quotes("'May Green, tel.... (40 characters)", own) == "'...... (40 characters)"
    assert without_quotes("44129912 or 44-12-99-12; 10000000 bytes", own) == "... or ...; 10000000 bytes"


def test_the_reason_of_a_skipped_run_names_no_file(notes, tmp_path, monkeypatch):
    (cell,) = plan(Request("finetune", "files", "tiny:bert", "tiny:bert", settings=SETTINGS, files=notes, controls=False), device="cpu")

    def skip(*_):
        raise Skip(f"{notes['train']}: cannot say 'Quarzhild Xanthopoulou'; home is seen")

    monkeypatch.setattr(Runner, "train", skip)
    made = Runner(tmp_path / "results", device="cpu", threads=1).one(cell)
    assert made["status"] == "skipped" and made["reason"] == "...: cannot say '...'; home is seen"


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_note_is_no_name_of_a_column(delimiter, tmp_path):
    """The first label of a file without a header may stand there alone."""
    rows = [f"Fell at home and was found by {PLANTED[:24]}{delimiter}urgent", *[f"No fall {i % 4}{delimiter}none" for i in range(20)]]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    asked = Request("finetune", "files", "tiny:bert", "tiny:bert", settings=SETTINGS, files={"train": tmp_path / "train.csv"}, controls=False)
    with pytest.raises(BadInput, match=":1: is .* the name of a column, or a text.*header=yes or header=no"):
        plan(asked, device="cpu")
    (cell,) = plan(replace(asked, task_options={"header": "no"}), device="cpu")
    assert "Fell" not in json.dumps(dict(cell.data.reading))
    (tmp_path / "train.csv").write_text("\n".join([f"{'What happened in your own words? ' * 2}{delimiter}label", *rows]) + "\n")
    plan(asked, device="cpu")


def test_notes_on_how_files_were_read_name_no_patient(tmp_path):
    """An annotator's files are often called by patients."""
    folder = tmp_path / "brat"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / split).mkdir()
        for i in range(4):
            (folder / split / f"{PATIENT}{i}.txt").write_text(f"took aspirin {split}\n")
            (folder / split / f"{PATIENT}{i}.ann").write_text("T1\tDrug 5 12\taspirin\nR1\tcauses Arg1:T1 Arg2:T1\n")
    files = {split: folder / split for split in ("train", "test")}
    (cell,) = plan(Request("finetune", "files", "tiny:bert", "tiny:bert", settings=SETTINGS, files=files, controls=False), device="cpu")
    assert any(PATIENT in note for note in cell.data.notes), "the user is told"
    header = Runner(tmp_path / "results", device="cpu", threads=1).header(cell)
    assert header["data"]["notes"] and PATIENT not in json.dumps(header)
    public = replace(cell.data, published_files=True)
    assert notes_kept(public) == list(public.notes)


# ---- files that options name -----------------------------------------------------------------------


def file_options():
    """Every option of a method or a task that names a file."""
    import dataclasses

    from kdbench.base.registry import METHODS, TASKS

    found = []
    for name in METHODS.names():
        found += [(name, field.name) for field in dataclasses.fields(METHODS.get(name).Options) if field.metadata.get("file")]
    for name in TASKS.names():
        if (cls := TASKS.get(name).options) is not None:
            found += [(name, field.name) for field in dataclasses.fields(cls) if field.metadata.get("file")]
    return found


@pytest.mark.parametrize(("method", "name"), file_options())
def test_a_file_option_is_known_by_its_content_and_by_no_path(method, name, tmp_path, no_data):
    def cell_of(folder, content):
        path = tmp_path / folder / "dr-garrido.txt"
        path.parent.mkdir()
        path.write_text(content)
        return plan(Request(method, "chemprot", "tiny:bert", "tiny:bert", options={name: str(path)}, settings=SETTINGS,
                            controls=False), device="cpu")[0]

    one, same, other = cell_of("a", "zidovudine\n"), cell_of("b", "zidovudine\n"), cell_of("c", "tocilizumab\n")
    assert one.id == same.id != other.id
    assert "garrido" not in json.dumps([one.description, one.content])
    assert one.options[name].startswith("sha256:")


# ---- what terminals, spreadsheets and browsers obey ------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\x7f\r|=cmd|'/C calc'!A0"


def test_what_a_terminal_obeys_is_shown_as_its_code():
    shown = visible.visible(HOSTILE)
    assert not visible.OBEYED.search(shown) and "\\u001b]0;owned" in shown and "\\u202e" in shown
    text = json.dumps({HOSTILE: "ü\t\n"}, ensure_ascii=False)
    assert json.loads(visible.visible(text)) == {HOSTILE: "ü\t\n"}, "JSON keeps its values"
    assert visible.visible("tab\tand line\nand Ü 한국 é") == "tab\tand line\nand Ü 한국 é"


def test_every_stream_of_the_command_line_is_neutral(tmp_path, capsys):
    assert main(["runs", "--results-dir", str(tmp_path / HOSTILE)]) == 2
    out = capsys.readouterr()
    assert "\\u001b[2J" in out.err and not visible.OBEYED.search(out.out + out.err)
    store.write(tmp_path, record(student=HOSTILE))
    for words in (["runs"], ["table"], ["table", "--format", "markdown"], ["table", "--format", "latex"], ["table", "--format", "csv"],
                  ["runs", "--json"], ["table", "--format", "json"]):
        assert main([*words, "--results-dir", str(tmp_path), *(["--no-intervals"] if words[0] == "table" else [])]) == 0
        out = capsys.readouterr()
        assert out.out and not visible.OBEYED.search(out.out + out.err), words
        if "json" in words[-1]:
            assert any(HOSTILE in text for text in walk(json.loads(out.out))), "JSON keeps its values"
    assert main(["report", "--results-dir", str(tmp_path), "-o", str(tmp_path / "r.html"), "--no-intervals"]) == 0
    assert not visible.OBEYED.search((tmp_path / "r.html").read_text().replace("\n", ""))


def walk(value):
    """All texts in a value of JSON."""
    if isinstance(value, dict):
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)
    elif isinstance(value, str):
        yield value


def test_progress_and_single_lines_are_neutral(capsys):
    from kdbench.base.progress import Progress, say

    say(HOSTILE)
    Progress(HOSTILE, 3)._write(HOSTILE)
    err = capsys.readouterr().err
    assert "owned" in err and not visible.OBEYED.search(err)


@pytest.mark.parametrize("start", ["=cmd|' /C calc'!A0", "+1+cmd|", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1"])
def test_a_spreadsheet_computes_no_cell(start):
    rows = list(csv.reader(io.StringIO(render.as_csv([{"name": f"{start}\nnext", "x": -1.5, "text": "-1.5"}]))))
    assert len(rows) == 2 and rows[1][0].startswith("'") and "\n" not in rows[1][0]
    assert rows[1][1:] == ["-1.5", "-1.5"], "numbers stay numbers"


def test_a_cell_of_a_table_is_one_line_without_html():
    lines = [["a\nb|c\r\n<script>alert(1)</script>", "1"]]
    assert render.markdown(["x", "y"], lines).count("\n") == 2
    assert "<script" not in render.markdown(["x", "y"], lines) and "a b\\|c &lt;script>" in render.markdown(["x", "y"], lines)
    assert "p < 0.05" in render.markdown(["x"], [["p < 0.05"]])
    for form in (render.text, render.plain):
        assert form(["x", "y"], [["a\nb", "1"]]).count("\n") == 2


def test_a_study_page_holds_no_html(tmp_path):
    folder = tmp_path / "mine"
    store.write(folder, record())
    (folder / "study.toml").write_text('title = "T <script>alert(1)</script>"\nabout = "A <img src=x onerror=y> p < 0.05 <!-- c -->"\n'
                                       'commands = ["run \x1b"]\n'.replace("\x1b", "\\u001b"))
    study.write(folder)
    page = (folder / "README.md").read_text()
    assert "&lt;script>" in page and "p < 0.05" in page and not re.search(r"<[a-zA-Z/!?]", page) and "\x1b" not in page
    assert study.stale(folder) == []
    write_page(tmp_path / "page", HOSTILE)
    assert "\x1b" not in (tmp_path / "page").read_text()


# ---- plugins that nobody asked for -----------------------------------------------------------------

PLUGIN = "from kdbench.base.registry import METHODS\nfrom kdbench.train.method import Method\n\n\n@METHODS.register({!r})\nclass M(Method):\n    pass\n"


LOADING = """
import os
from kdbench.base.registry import METHODS
from kdbench.cli.verbs import load_plugins
{before}
load_plugins([{asked!r}], {alone})
print([name for name in METHODS.names() if name.startswith(("by_", "asked"))], os.environ.get("KDBENCH_NO_PLUGINS"))
"""


def loaded(tmp_path, alone):
    """What is registered in a process with an installed plugin, one of the variable and one of the command; standard error."""
    for name in ("by_variable", "by_package", "asked"):
        (tmp_path / f"{name}.py").write_text(PLUGIN.format(name))
    about = tmp_path / "offering-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[kdbench]\nmine = by_package\n")
    environment = {**os.environ, "KDBENCH_PLUGINS": str(tmp_path / "by_variable.py"), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    script = LOADING.format(before="", asked=str(tmp_path / "asked.py"), alone=alone)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_plugins_that_nobody_asked_for_are_named_once_and_can_be_left_out(tmp_path):
    out, err = loaded(tmp_path, False)
    assert sorted(re.findall(r"'(\w+)'", out)) == ["asked", "by_package", "by_variable"] and out.endswith("None")
    (line,) = [line for line in err.splitlines() if line.startswith("plugins:")]
    assert str(tmp_path / "by_variable.py") in line and "by_package (installed with offering)" in line and "--no-plugins" in line
    assert "asked.py" not in line, "that one was asked for"
    out, err = loaded(tmp_path, True)
    assert out == "['asked'] 1" and "plugins:" not in err, "nor do workers load others"


def test_no_plugins_is_an_option_of_every_verb(monkeypatch):
    from kdbench.cli import parser, verbs

    given = []
    monkeypatch.setattr(verbs, "load_plugins", lambda paths, alone: given.append(alone))
    for verb in parser.VERBS:
        monkeypatch.setitem(verbs.DO, verb, lambda args: 0)
    assert main(["list", "--no-plugins"]) == main(["runs"]) == main(["run", "--no-plugins"]) == 0
    assert given == [True, False, True]
