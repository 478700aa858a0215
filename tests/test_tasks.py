"""Every task: its facts, what its files become, `check`, and the real corpora against their published counts."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from kdbench.base.errors import BadInput
from kdbench.base.options import build
from kdbench.base.registry import DOWNLOADS, METHODS, TASKS
from kdbench.cli.verbs import main
from kdbench.data import corpora
from kdbench.data.check import check, render
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.score.metrics import METRICS
from kdbench.tasks import blurb_seqcls
from kdbench.train import spec

BLURB = ("chemprot", "ddi", "gad", "hoc", "bioasq", "pubmedqa", "bc2gm", "jnlpba", "ebmnlp", "ncbi-disease",
         "bc5cdr-disease", "bc5cdr-chem")
CORPORA = [name for name in TASKS.names() if name != "files"]


def put(folder, **files):
    """Write `train` to ``folder/train.json``, `train__tsv` to ``folder/train.tsv``; lists become JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        stem, _, ending = name.partition("__")
        if not isinstance(content, str):
            content = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{stem}.{ending or 'json'}").write_text(content, encoding="utf-8")


def load(name, folder=None, files=None, seed=0, **settings):
    task = TASKS.get(name)
    chosen = build(task.options, "corrected", settings, name) if settings else None
    return corpora.load(task, LoadOptions(folder, files or {}, chosen, seed))


# -- the facts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CORPORA)
def test_a_task_says_what_a_table_must_state(name):
    task, entry = TASKS.get(name), TASKS.entry(name)
    assert task.name == name and (task.task_type,) == entry.task_types and entry.about
    assert task.metric == task.metrics[0]
    for metric in task.metrics:
        assert task.task_type in METRICS[metric].task_types, f"{metric} does not score {task.task_type}"
    assert task.about and task.citation and task.licence and task.source and task.unit
    for recipe in task.recipes.values():
        assert {"lr", "batch_size", "epochs", "max_length", "warmup", "weight_decay", "select"} <= set(recipe.values)
        assert recipe.source
        given = {f"--set {option}" for option in recipe.options}
        assert set(recipe.sources) <= {*recipe.values, *given}
    for key, recipe in task.recipes.items():  # settings of a mode: of a method that has it
        method, _, mode = key.partition(" ")
        chosen = dict([mode.split("=")] if mode else [])
        build(METHODS.get(method).Options, "published", {**chosen, **recipe.options}, key)
    assert "finetune" in task.recipes
    assert set(task.negative) <= set(task.labels) and set(task.label_names) <= set(task.labels)
    assert task.task_type == "regression" or len(task.labels) > 1
    assert name in DOWNLOADS.load() or task.how_to_get, "neither a download nor a word on how to get it"
    assert all(0 < score < 100 for _, score in task.published)


@pytest.mark.parametrize(("method", "name", "values"), [
    ("finetune", "chemprot", {"lr": 3e-5, "batch_size": 32, "epochs": 10, "weight_decay": 0.0, "select": "last"}),
    ("doktra", "chemprot", {"lr": 1e-5, "teacher_lr": 2e-5, "batch_size": 50, "epochs": 5, "max_length": 128, "weight_decay": 0.0}),
    ("doktra", "chemprot_tsv", {"lr": 1e-5, "teacher_lr": 2e-5, "batch_size": 50, "select": "last"}),
    ("ner_kd", "bc2gm_iobes", {"lr": 1e-3, "teacher_lr": 1e-5, "epochs": 80, "weight_decay": 0.01, "select": "best"}),
    ("dsg_kd", "emr", {"lr": 1e-4, "batch_size": 64, "epochs": 15, "select": "best"}),
    ("finetune", "emr", {"lr": 1e-5, "warmup": 0.15, "batch_size": 32}),
    ("doktra", "gad_tsv", {"lr": 2e-5, "batch_size": 10, "epochs": 5, "max_length": 256}),
    ("finetune", "chemprot_tsv", {"lr": 1e-5, "teacher_lr": 2e-5}),
    ("logit_kd", "chemprot", {"lr": 3e-5, "batch_size": 32}),  # not published: plain fine-tuning's
])
def test_published_settings_are_those_of_a_method_on_a_task(method, name, values):
    found = asdict(spec.settings({}, TASKS.get(name), lookalike=False, recipe="paper", method=method))
    assert {key: found[key] for key in values} == values
    given = spec.settings({"lr": "5e-4"}, TASKS.get(name), lookalike=False, recipe="paper", method=method)
    assert given.lr == 5e-4  # what the user says comes first


@pytest.mark.parametrize("variant", ["corrected", "published"])
def test_a_mode_has_the_settings_that_its_own_script_gives(variant, no_data):
    def last(**chosen):
        request = Request("mlkd", "emr", student="tiny:bert", variant=variant, recipe="paper",
                          **chosen)
        return plan(request)[-1]

    base, distilled = last(options={"mode": "base"}), last()
    kept = base.settings
    assert (kept.lr, kept.batch_size, kept.warmup) == (1e-5, 32, 0.15)  # run_base.sh
    assert (base.options["head_lr"], base.options["warmup"]) == (1e-2, 0.15)
    kept = distilled.settings
    assert (kept.lr, kept.batch_size, kept.warmup) == (1e-4, 64, 0.25)
    assert [distilled.options[name] for name in ("head_lr", "alpha", "beta")] == [1e-3, 0.6, 0.2]
    mine = last(options={"mode": "base", "head_lr": 3e-3}, settings={"lr": 2e-5})
    assert (mine.settings.lr, mine.options["head_lr"]) == (2e-5, 3e-3)


def test_defaults_of_a_program_are_not_called_published(capsys, no_data):
    """Without a command of the README, DoKTra's settings are its program's, all of them."""
    cell = plan(Request("doktra", "ddi_tsv", recipe="paper"))[-1]
    taken = [cell.options[name] for name in ("beta_student", "gamma", "distil_epochs")]
    assert taken == [0.3, 0.7, 5] and "a command for ChemProt alone" in capsys.readouterr().err
    for name in ("gad_tsv", "ddi_tsv", "hoc_tsv", "i2b2", "fpb", "fts"):
        assert main(["show", "doktra", "--task", name]) == 0
        note, rows = capsys.readouterr().out.split("\n", 2)[1:]
        assert "a command for ChemProt alone" in note and "README" not in rows, name
        assert re.search(r"gamma +0\.7 +default of DoKTra's code", rows), name
    assert main(["show", "doktra", "--task", "chemprot_tsv"]) == 0
    out = capsys.readouterr().out
    assert "ChemProt alone" not in out and re.search(r"gamma +0\.8 +DoKTra's README", out)


def test_show_says_what_the_recipe_takes_and_where_each_value_is_from(capsys, no_data):
    assert main(["show", "doktra", "--task", "chemprot"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert lines["teacher_lr"][1] == "2e-05" and "README" in lines["teacher_lr"] and "code" in lines["weight_decay"]
    assert " ".join(lines["accumulate"][2:]) == "default of the protocol"
    assert main(["show", "ner_kd", "--task", "bc2gm_iobes"]) == 0
    assert re.search(r"--set epochs +50 +biobert-distillation's README", capsys.readouterr().out)
    assert main(["show", "mlkd", "--task", "emr"]) == 0
    plain, base = capsys.readouterr().out.split("\n\n")
    assert base.startswith("dsg_kd on emr with --recipe paper --set mode=base\n")
    assert re.search(r"\n  lr +0.0001 +DSG-KD's README", plain)
    assert re.search(r"\n  lr +1e-05 +DSG-KD's run_base.sh", base)
    assert re.search(r"--set head_lr +0.01 +DSG-KD's run_base.sh", base)
    assert main(["show", "logit_kd", "--task", "chemprot"]) == 0
    assert "no settings of logit_kd are published" in capsys.readouterr().out
    assert main(["show", "finetune", "--task", "files"]) == 2
    assert "no published settings" in capsys.readouterr().err


def test_a_plan_takes_the_recipes_options_and_says_where_there_is_none(capsys, no_data):
    cells = plan(Request("ner_kd", "bc2gm_iobes", student="bilstm", recipe="paper"))
    assert cells[-1].options["epochs"] == 50 and cells[-1].settings.epochs == 80
    assert cells[0].training_settings.lr == 1e-5
    assert "the controls train for the teacher's 80 epochs" in capsys.readouterr().err
    asked = Request("ner_kd", "bc2gm_iobes", student="bilstm", recipe="paper", settings={"epochs": 3})
    cell = plan(asked)[-1]
    assert cell.settings.epochs == 3 and cell.options["epochs"] is None, "what a user gives stands before a recipe"
    plan(Request("logit_kd", "chemprot", recipe="paper"))
    assert "logit_kd has no published settings on chemprot" in capsys.readouterr().err


def test_the_blurb_tasks_have_its_table():
    for name in (*BLURB, "biosses"):
        assert dict(TASKS.get(name).published)["PubMedBERT"] > 50
    assert dict(TASKS.get("chemprot").published) == {
        "BERT": 71.86, "RoBERTa": 72.98, "BioBERT": 76.14, "SciBERT": 75.24, "ClinicalBERT": 72.04, "BlueBERT": 71.46,
        "PubMedBERT": 77.24, "BioLinkBERT-base": 77.57}


def test_facts_need_the_standard_library_alone():
    code = ("import sys; from kdbench.base.registry import TASKS, DOWNLOADS; [TASKS.get(name) for name in TASKS.names()]; "
            "DOWNLOADS.load(); print(*sorted({m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names))")
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = {"torch", "transformers", "datasets", "pandas", "scipy", "sklearn", "numpy", "tokenizers", "tabulate"}
    assert "kdbench" in loaded and not foreign & set(loaded)


@pytest.mark.parametrize("name", CORPORA)
def test_a_look_alike_has_the_shape_of_its_task(name):
    task = TASKS.get(name)
    data = task.lookalike(seed=1, train=60, dev=20, test=20)
    assert data.origin == "lookalike" and data.rows == {"train": 60, "dev": 20, "test": 20}
    assert data.labels == task.labels
    assert corpora.task_type_of(data.train) == task.task_type
    assert corpora.settled(task, data).scheme == task.scheme


def test_without_a_folder_it_is_the_look_alike():
    data = load("chemprot")
    assert data.origin == "lookalike" and data.published_files is None


# -- the layouts -------------------------------------------------------------------------------------------------------


def test_blurb_classification_rows(tmp_path):
    row = {"id": "12.T1.T2", "sentence": "@CHEMICAL$ blocks @GENE$.", "label": "CPR:4"}
    put(tmp_path / "seqcls" / "ChemProt_hf", train=[row], dev=[{**row, "id": "13.T1.T2"}],
        test=[{**row, "id": "14.T9.T2"}])
    example = load("chemprot", tmp_path).train[0]
    assert (example.id, example.text, example.label, example.group) == ("12.T1.T2", row["sentence"], 2, "12")


def test_groups_are_documents():
    assert blurb_seqcls.before_dot("DDI-DrugBank.d10.s0.p1") == "DDI-DrugBank.d10"
    assert blurb_seqcls.before_dot("16357751.T1.T2") == "16357751"
    assert blurb_seqcls.before_underscore("22239943_s12") == "22239943"


def test_question_and_context_are_a_pair(tmp_path):
    rows = [{"id": str(i), "sentence1": f"Is {i} even?", "sentence2": "Half of them are.", "label": "maybe"}
            for i in range(3)]
    put(tmp_path / "pubmedqa", train=rows[:1], dev=rows[1:2], test=rows[2:])
    example = load("pubmedqa", tmp_path).train[0]
    assert (example.text, example.pair, example.label) == ("Is 0 even?", "Half of them are.", 2)


def test_hallmarks_by_sentence_and_by_abstract(tmp_path):
    def hot(*places):
        return [int(i in places) for i in range(10)]

    rows = [{"id": "7_s0", "sentence": "One.", "label": hot(1)}, {"id": "8_s0", "sentence": "Other.", "label": hot()},
            {"id": "7_s1", "sentence": "Two.", "label": hot(1, 9)}]
    put(tmp_path / "hoc", train=rows, dev=rows[:1], test=rows[1:])
    assert [(e.text, e.group) for e in load("hoc", tmp_path).train] == [("One.", "7"), ("Other.", "8"), ("Two.", "7")]
    merged = load("hoc", tmp_path, level="abstract").train
    assert [(e.id, e.text, e.group) for e in merged] == [("7", "One. Two.", "7"), ("8", "Other.", "8")]
    assert [e.label for e in merged] == [tuple(hot(1, 9)), tuple(hot())]


@pytest.mark.parametrize("scheme, expected", [
    ("IOB", ["O", "B", "I", "B"]), ("IO", ["O", "I", "I", "I"]), ("IOBES", ["O", "B", "E", "S"])])
def test_tags_in_the_scheme_that_is_asked_for(tmp_path, scheme, expected):
    row = {"id": "0", "tokens": ["In", "lung", "cancer", "COPD"], "ner_tags": ["O", "B", "I", "B"]}
    put(tmp_path / "ncbi-disease", train=[row], dev=[{**row, "id": "1"}], test=[{**row, "id": "2"}])
    data = load("ncbi-disease", tmp_path, scheme=scheme)
    assert [data.labels[i] for i in data.train[0].label] == expected and data.train[0].words == tuple(row["tokens"])
    assert corpora.settled(TASKS.get("ncbi-disease"), data).scheme == scheme
    assert any("touch count as one" in note for note in data.notes) == (scheme == "IO")


@pytest.mark.parametrize("ending", ["json", "tsv"])
def test_biosses_in_linkberts_and_in_blues_layout(tmp_path, ending):
    for i, split in enumerate(("train", "dev", "test")):
        if ending == "json":
            content = [{"id": "a", "sentence1": f"One {i}.", "sentence2": '"Two".', "label": 2.4}]
        else:
            content = f'\tgenre\tsentence1\tsentence2\tscore\na\tG\tOne {i}.\t"Two".\t2.4\n'
        put(tmp_path / "biosses", **{f"{split}__{ending}": content})
    example = load("biosses", tmp_path).train[0]
    assert (example.id, example.text, example.pair, example.label) == ("a", "One 0.", '"Two".', 2.4)


def test_a_similarity_is_a_number(tmp_path):
    row = {"id": "a", "sentence1": "x", "sentence2": "y", "label": "many"}
    put(tmp_path / "biosses", train=[row], dev=[{**row, "label": "1"}], test=[row])
    with pytest.raises(BadInput, match=r"train.json:1: label is 'many', not a finite number"):
        load("biosses", tmp_path)


COLUMNS = "The\tO\np53\tB-GENE\ngene\tE-GENE\n\n"


def test_iobes_files_with_and_without_a_test_file(tmp_path):
    folder = tmp_path / "bc2gm_iobes"
    sentences = [COLUMNS.replace("p53", f"p{i}") for i in range(20)]
    put(folder, train__tsv="".join(sentences), val__tsv=COLUMNS + COLUMNS)
    data = load("bc2gm_iobes", tmp_path)
    assert data.rows == {"train": 18, "dev": 2, "test": 2} and "val.tsv is test; dev: 2 of the 20" in data.notes[0]
    assert not {e.words for e in data.train} & {e.words for e in data.dev}
    assert data == load("bc2gm_iobes", tmp_path) and data.dev != load("bc2gm_iobes", tmp_path, seed=1).dev
    both = load("bc2gm_iobes", tmp_path, dev="val")
    assert both.dev == both.test and len(both.train) == 20 and "both dev and test" in both.notes[0]
    put(folder, test__tsv=COLUMNS)
    assert load("bc2gm_iobes", tmp_path).rows == {"train": 20, "dev": 2, "test": 1}


def test_doktras_header_flags(tmp_path):
    plain, headed = "@GENE$ x\tCPR:3\n@GENE$ v\tfalse\n", "index\tsentence\tlabel\n1\t@GENE$ y\tfalse\n"
    put(tmp_path / "chemprot_tsv", train__tsv=plain, dev__tsv=plain.replace("x", "z"), test__tsv=headed)
    data = load("chemprot_tsv", tmp_path)
    assert [(e.text, data.labels[e.label]) for e in (*data.train, *data.test)] == [
        ("@GENE$ x", "CPR:3"), ("@GENE$ v", "false"), ("@GENE$ y", "false")]
    with pytest.raises(BadInput, match="2 columns, not 3 .a header expected.*--task-set header=all or header=none"):
        load("chemprot_tsv", tmp_path, header="all")
    put(tmp_path / "chemprot_tsv", train__tsv=headed.replace("y", "w"), dev__tsv=headed.replace("y", "z"))
    with pytest.raises(BadInput, match="3 columns, not 2 .no header expected"):
        load("chemprot_tsv", tmp_path)
    assert load("chemprot_tsv", tmp_path, header="all").rows == {"train": 1, "dev": 1, "test": 1}


def test_blues_hallmarks(tmp_path):
    head, labels = "labels\tsentence\tindex\n", ",".join(f"{i}_{int(i in (0, 9))}" for i in range(10))
    for i, split in enumerate(("train", "dev", "test")):
        put(tmp_path / "hoc_tsv", **{f"{split}__tsv": f"{head}{labels}\tText {i}.\t123_s{i}\n"})
    example = load("hoc_tsv", tmp_path).train[0]
    assert (example.label, example.text, example.group) == ((1, 0, 0, 0, 0, 0, 0, 0, 0, 1), "Text 0.", "123")
    put(tmp_path / "hoc_tsv", train__tsv=f"{head}0_0,1_1\tText.\t123_s0\n")
    with pytest.raises(BadInput, match=r"train.tsv:2: labels are '0_0,1_1', not 0_v,1_v"):
        load("hoc_tsv", tmp_path)


def test_dsg_kds_two_files(tmp_path):
    folder = tmp_path / "emr"
    for i, split in enumerate(("train", "val", "test")):
        put(folder, **{f"X_{split}__csv": f",ER_DHX\n0,\ubcf5\ud1b5 {i} abd pain\n1,\n2,fever\n",
                       f"y_{split}__csv": ",LABEL\n0,1\n1,0\n2,0.0\n"})
    data = load("emr", tmp_path)
    assert [(e.text, e.label) for e in data.train] == [("\ubcf5\ud1b5 0 abd pain", 1), ("fever", 0)]
    assert data.notes[0] == "train: 1 rows without text or label dropped"
    put(folder, y_train__csv=",LABEL\n1,1\n0,0\n2,0\n")
    with pytest.raises(BadInput, match="y_train.csv:2: column 1 is '1' but '0' in X_train.csv; bring the rows"):
        load("emr", tmp_path)
    put(folder, y_train__csv=",LABEL\n0,1\n")
    with pytest.raises(BadInput, match="X_train.csv has 3 rows but .*y_train.csv has 1"):
        load("emr", tmp_path)


def test_one_file_of_notes_is_split_by_patient(tmp_path):
    rows = "".join(f"note {i},{i % 2},p{i // 4}\n" for i in range(200))
    put(tmp_path / "emr", data__csv="NOTE,URGENT,PATIENT\n" + rows)
    columns = {"text_column": "NOTE", "label_column": "URGENT", "group_column": "PATIENT"}
    data = load("emr", tmp_path, **columns)
    assert [len(data.split(name)) for name in ("train", "dev", "test")] == [140, 20, 40]
    groups = [{e.group for e in data.split(name)} for name in ("train", "dev", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    (tmp_path / "emr" / "data.csv").rename(tmp_path / "emr" / "notes.csv")
    with pytest.raises(BadInput, match="no train files .looked for X_train.csv with y_train.csv, train.csv, data.csv"):
        load("emr", tmp_path, **columns)


# -- bring your own ----------------------------------------------------------------------------------------------------


def own(tmp_path, train, dev=None, test=None, name="{}.txt", **settings):
    files = {}
    for split, content in (("train", train), ("dev", dev), ("test", test or train + "\n")):
        if content is not None:
            files[split] = tmp_path / name.format(split)
            files[split].write_text(content, encoding="utf-8")
    data = load("files", files=files, **settings)
    return data, corpora.settled(TASKS.get("files"), data)


def test_a_two_column_file_of_another_corpus(tmp_path):
    text = "".join(f"Patient{i}\tO\nhas\tO\nlung\tB-DIS\ncancer\tI-DIS\nand\tO\naspirin\tB-DRUG\n\n" for i in range(20))
    data, task = own(tmp_path, text)
    assert (task.task_type, task.metric, task.scheme) == ("tags", "entity_f1", "IOB")
    assert task.labels == ("O", "B-DIS", "I-DIS", "B-DRUG", "I-DRUG")
    assert data.notes == ("read as tags: two columns, a word and its tag",
                          "no dev file: 2 of the 20 rows of train, by seed 0")
    with pytest.raises(BadInput, match=r"train.txt:3: tag I-DIS of word 3 breaks IOB.*repair=yes"):
        own(tmp_path, text.replace("B-DIS", "I-DIS", 1))
    assert own(tmp_path, text.replace("B-DIS", "I-DIS", 1), repair=True)[0].rows["train"] == 18


@pytest.mark.parametrize("text, layout", [
    ("note,triage\n" + "".join(f'"pain, day {i}",{("low", "high")[i % 2]}\n' for i in range(30)),
     "CSV with header, text from 'note', label from 'triage'"),
    ("befund;stufe\n" + "".join(f"Schmerz seit Tag {i};{('low', 'high')[i % 2]}\n" for i in range(30)),
     "CSV with semicolons with header, text from 'befund', label from 'stufe'"),
    ("".join(f"{('low', 'high')[i % 2]}\t\"pain since day {i}\n" for i in range(30)),
     "TSV without header, text from 'column 2', label from 'column 1'"),
    ("".join(json.dumps({"abstract": f"day {i}", "pmid": i, "class": ("low", "high")[i % 2]}) + "\n"
             for i in range(30)),
     "JSON lines, text from 'abstract', label from 'class'"),
    (",ER_DHX,LABEL\n" + "".join(f"{i},pain on day {i},{('low', 'high')[i % 2]}\n" for i in range(30)),
     "CSV with header, text from 'ER_DHX', label from 'LABEL'"),
])
def test_texts_and_labels_of_other_corpora(tmp_path, text, layout):
    data, task = own(tmp_path, text)
    assert (task.task_type, task.metric, task.labels) == ("single", "macro_f1", ("high", "low"))
    assert data.notes[0] == f"read as single: {layout}"
    assert data.rows == {"train": 27, "dev": 3, "test": 30} and data.origin == "real" and data.published_files is None
    assert "day 0" in data.test[0].text or "Tag 0" in data.test[0].text


def rows(*values, n=30, **fields):
    return "".join(json.dumps({"text": f"t {i}", "label": values[i % len(values)], **fields}) + "\n" for i in range(n))


@pytest.mark.parametrize("values, kind, labels, metric", [
    ((0, 1, 2), "single", ("0", "1", "2"), "macro_f1"),
    (("10", "9"), "single", ("9", "10"), "macro_f1"),
    ((1.0, 0.0), "single", ("0", "1"), "macro_f1"),
    ((True, False), "single", ("False", "True"), "macro_f1"),
    ((0.5, 3, 2.25), "regression", (), "pearson"),
    (range(25), "regression", (), "pearson"),
    (([0, 1, 0], [1, 1, 0]), "multi", ("0", "1", "2"), "micro_f1"),
    ((["a"], [], ["b", "a"]), "multi", ("a", "b"), "micro_f1"),
])
def test_the_kind_is_read_from_the_labels(tmp_path, values, kind, labels, metric):
    data, task = own(tmp_path, rows(*values))
    assert (task.task_type, task.labels, task.metric) == (kind, labels, metric)
    assert data.notes[0].startswith(f"read as {kind}: ")


def test_pairs_and_columns_by_option(tmp_path):
    text = "".join(json.dumps({"question": f"q {i}?", "context": "c", "label": "yn"[i % 2]}) + "\n" for i in range(30))
    assert own(tmp_path, text)[0].test[0].pair == "c"
    text = "a,b,c,d,e\n" + "".join(f"left {i},right,{i % 2},{i % 3 // 2},p{i // 2}\n" for i in range(30))
    with pytest.raises(BadInput, match=r"t:2: which column has the text\? .* 'a, b, c, d, e'; say --task-set text_"):
        own(tmp_path, text)
    data, task = own(tmp_path, text, text_column="a", pair_column="b", label_column="c,d", group_column="e")
    assert (task.task_type, task.labels, data.test[5].label) == ("multi", ("c", "d"), (1, 1))
    assert (data.test[5].text, data.test[5].pair, data.test[5].group) == ("left 5", "right", "p2")
    assert not {e.group for e in data.train} & {e.group for e in data.dev}
    with pytest.raises(BadInput, match="train.txt:2: e is 'p0'; columns of a multi-label task have 0 or 1"):
        own(tmp_path, text, text_column="a", label_column="c,e")
    with pytest.raises(BadInput, match="no field 'z'"):
        own(tmp_path, text, text_column="z", label_column="c")


@pytest.mark.parametrize("train, test, said", [
    (rows("a", "b"), rows("a", "c"), r"test.txt:2: unknown label 'c'; those of train are 'a, b'"),
    (rows("a"), None, "label is 'a' in every row"),
    (rows("a", None), None, "train.txt:2: label is None"),
    (rows(*(f"free text {i}" for i in range(30))), None, "30 different values of label in 30 rows are no labels"),
    (rows([0, 1], [0, 1, 1]), None, "train.txt:2: label has 3 values; give 2"),
    (rows(["a"], "b"), None, "train.txt:2: label is 'b'; give a list of label names"),
    ("[1, 2]", None, "train.txt, item 1: a JSON int, not an object"),
    ("just words\nand more\n", None, "neither JSON lines nor columns"),
    (rows("a", "b", id="7"), None, "train.txt:2: id '7' is also on line 1"),
    (json.dumps({"tokens": ["a"], "tags": ["O"]}), None, "no word of the file has an entity tag"),
    (json.dumps({"tokens": ["a", "b"], "tags": ["B-X", "L-X"]}), None, "train.txt:1: unknown tag 'L-X'"),
])
def test_own_files_that_cannot_be_used(tmp_path, train, test, said):
    with pytest.raises(BadInput, match=said):
        own(tmp_path, train, test=test)


def test_own_files_must_be_given(tmp_path):
    with pytest.raises(BadInput, match="give --train FILE"):
        load("files")
    (tmp_path / "a.csv").write_text("text,label\n" + "fever,1\nwell,0\n" * 9)
    with pytest.raises(BadInput, match="no training file"):
        load("files", files={"test": tmp_path / "a.csv"})
    with pytest.raises(BadInput, match="the train and test files are byte-identical"):
        load("files", files={"train": tmp_path / "a.csv", "test": tmp_path / "a.csv"})
    with pytest.raises(BadInput, match=r"b.csv: cannot be read \(No such file or directory\)"):
        load("files", files={"train": tmp_path / "b.csv", "test": tmp_path / "a.csv"})


def dataset_dict(**splits):
    import datasets

    features = datasets.Features({
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-DIS", "I-DIS"]))})
    return datasets.DatasetDict({name: datasets.Dataset.from_dict(
        {"tokens": [["lung", "cancer", f"{name}{i}"] for i in range(size)], "ner_tags": [[1, 2, 0]] * size},
        features=features) for name, size in splits.items()})


def test_a_folder_of_the_datasets_library(tmp_path):
    dataset_dict(train=20, validation=4, test=5).save_to_disk(str(tmp_path / "saved"))
    data = load("files", files={"train": tmp_path / "saved"})
    assert data.rows == {"train": 20, "dev": 4, "test": 5} and data.labels == ("O", "B-DIS", "I-DIS")
    assert data.train[0].words == ("lung", "cancer", "train0") and data.train[0].label == (1, 2, 0)
    assert data.notes == ("read as tags: datasets rows, words from 'tokens', tags from 'ner_tags'",)
    assert len(set(data.sha256.values())) == 3
    with pytest.raises(BadInput, match="no folder written by save_to_disk"):
        load("files", files={"train": tmp_path})


def test_a_hub_id_asks_the_hub(tmp_path, monkeypatch):
    import datasets

    asked = []

    def hub(name):
        asked.append(name)
        if name != "someone/notes":
            raise ConnectionError("no network here")
        return dataset_dict(train=20, test=5)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    data = load("files", files={"train": Path("someone/notes")})
    assert data.rows == {"train": 18, "dev": 2, "test": 5} and asked[0] == "someone/notes"
    with pytest.raises(BadInput, match=r"someone/else: no file .*, nor to be had from the hub \(ConnectionError\)"):
        load("files", files={"train": Path("someone/else")})


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_counts_by_hand(tmp_path):
    long = "the very same words of a sentence"
    put(tmp_path / "gad",
        train=[{"id": "0", "sentence": f"{long}!", "label": "1"}, {"id": "1", "sentence": f"{long}!", "label": "0"},
               {"id": "2", "sentence": "short", "label": "1"}],
        dev=[{"id": "0", "sentence": "another short one", "label": "0"}],
        test=[{"id": "0", "sentence": long.upper(), "label": "0"}, {"id": "1", "sentence": "short", "label": "0"}])
    report = check(TASKS.get("gad"), load("gad", tmp_path))
    assert report["splits"]["train"] == {
        "rows": 3, "mentions": None, "runs": None, "groups": 3, "labels": {"0": 1, "1": 2},
        # about so many: 1.6 a word and 2 more
        "tokens": {"min": 4, "median": 14, "p95": 14, "max": 14, "cut": 0, "of": 3, "limit": 256},
        "words": {"min": 1, "median": 7, "p95": 7, "max": 7}, "repeated": 1, "conflicting": 1}
    assert report["overlap"]["train/test"] == {"texts": 1, "rows": 1, "other_label": 0}
    assert report["overlap"]["train/dev"]["rows"] == 0
    assert report["samples"][0] == {"id": "0", "text": f"{long}!", "label": "1 (association)"}
    assert len(report["samples"]) == 3 and report["published_files"] is False


def test_check_of_tags_decodes_mentions(tmp_path):
    row = {"id": "0", "tokens": ["A", "B", "C", "D"], "ner_tags": ["B-PAR", "B-PAR", "O", "B-INT"]}
    put(tmp_path / "ebmnlp", train=[row], dev=[{**row, "id": "1"}], test=[{**row, "id": "2"}])
    report = check(TASKS.get("ebmnlp"), load("ebmnlp", tmp_path))
    assert (report["splits"]["train"]["mentions"], report["splits"]["train"]["runs"]) == (3, 2)
    assert report["samples"] == [{"id": "0", "text": "A B C D", "label": "A [PAR], B [PAR], D [INT]"}]
    assert report["splits"]["train"]["labels"] == {"O": 1, "B-INT": 1, "B-OUT": 0, "B-PAR": 2}


def test_check_counts_tokens_of_a_model(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = [{"id": str(size), "sentence1": "a a?", "sentence2": "a " * size, "label": "yes"} for size in (4, 600, 2)]
    put(tmp_path / "bioasq", train=rows, dev=rows[:1], test=rows[2:])
    report = check(TASKS.get("bioasq"), load("bioasq", tmp_path), tmp_path)
    assert report["splits"]["train"]["tokens"] == {"min": 5, "median": 7, "p95": 7, "max": 603, "cut": 1,
                                                   "of": 3, "limit": 512}
    with pytest.raises(BadInput, match="no tokenizer.json"):
        check(TASKS.get("bioasq"), load("bioasq", tmp_path), tmp_path / "bioasq")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="tokenizer.json: cannot be loaded"):
        check(TASKS.get("bioasq"), load("bioasq", tmp_path), tmp_path)


def test_the_printed_report_fits(tmp_path):
    text = "".join(json.dumps({"text": f"word{i} " * 300, "label": f"a label of {i % 25} words " * 4}) + "\n"
                   for i in range(60))
    data, task = own(tmp_path, text)
    printed = render(check(TASKS.get("files"), data))
    assert max(map(len, printed.splitlines())) <= 100
    assert "files: single, metric macro_f1; real data, not comparable with published files" in printed
    assert "and 5 more labels" in printed and "note: no dev file" in printed


# -- the real corpora --------------------------------------------------------------------------------------------------

REAL = {  # rows and mentions of train, dev, test; is every file a published one
    "chemprot": ((18035, 11268, 15745), None, True),
    "ddi": ((25296, 2496, 5716), None, None),  # train has the rows of the published file in another order
    "gad": ((4261, 535, 534), None, True),
    "hoc": ((12119, 1798, 3547), None, True),
    "bioasq": ((670, 75, 140), None, True),
    "pubmedqa": ((450, 50, 500), None, True),
    "bc2gm": ((12574, 2519, 5038), (15197, 3061, 6325), True),
    "jnlpba": ((16807, 1739, 3856), (46750, 4551, 8662), True),
    "ebmnlp": ((19821, 4981, 2076), (167551, 41740, 16364), False),  # about half of the published train and dev
    "ncbi-disease": ((5424, 923, 940), (5134, 787, 960), True),
    "bc5cdr-disease": ((4560, 4581, 4797), (4182, 4246, 4424), True),
    "bc5cdr-chem": ((4560, 4581, 4797), (5203, 5347, 5385), True),
}
SHARED = {"jnlpba": (105, 110), "bc2gm": (14, 20), "ddi": (131, 140), "chemprot": (5, 5), "gad": (5, 8),
          "ebmnlp": (3, 4), "hoc": (1, 1), "ncbi-disease": (1, 1)}  # texts and test rows that train has too


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_check_agrees_with_the_real_corpora(name):
    counts, mentions, published = REAL[name]
    data = load(name, Path(os.environ["KDBENCH_DATA"]))
    report = check(TASKS.get(name), data)
    splits = [report["splits"][split] for split in ("train", "dev", "test")]
    assert tuple(split["rows"] for split in splits) == counts
    assert tuple(split["mentions"] for split in splits) == (mentions or (None, None, None))
    assert report["published_files"] is published
    overlap = report["overlap"]["train/test"]
    assert (overlap["texts"], overlap["rows"]) == SHARED.get(name, (0, 0))
    if name == "ebmnlp":
        assert [split["runs"] for split in splits] == [32684, 8002, 4190]
    if name == "hoc":
        assert [split["groups"] for split in splits] == [1295, 186, 371]
    if name == "ddi":
        assert overlap["other_label"] == 28 and splits[0]["conflicting"] == 18 and splits[2]["conflicting"] == 1
    if name == "gad":
        assert report["overlap"]["train/dev"]["rows"] == 39
    assert max(map(len, render(report).splitlines())) <= 100


@pytest.mark.realdata
def test_hoc_by_abstract_and_the_other_real_corpora():
    folder = Path(os.environ["KDBENCH_DATA"])
    assert load("hoc", folder, level="abstract").rows == {"train": 1295, "dev": 186, "test": 371}
    data = load("bc2gm_iobes", folder)
    assert (data.rows["train"] + data.rows["dev"], data.rows["test"], data.published_files) == (12574, 2519, True)
    mentions = [corpora.count_mentions(data, split) for split in ("train", "dev", "test")]
    assert (mentions[0] + mentions[1], mentions[2]) == (15197, 3061)
    data = load("ktas_ed", folder)
    assert data.rows == {"train": 887, "dev": 126, "test": 254} and data.published_files is True
    assert [sum(e.label for e in data.split(split)) for split in ("train", "dev", "test")] == [513, 73, 147]


@pytest.mark.realdata
def test_real_files_are_read_as_own_files():
    folder = Path(os.environ["KDBENCH_DATA"])
    blurb = folder / "blurb"
    iobes = folder / "bc2gm_iobes"
    data = load("files", files={"train": iobes / "train.tsv", "test": iobes / "val.tsv"})
    assert corpora.settled(TASKS.get("files"), data).scheme == "IOBES" and data.rows["test"] == 2519
    for name, kind in (("seqcls/chemprot", "single"), ("seqcls/hoc", "multi"), ("seqcls/bioasq", "single"),
                       ("tokcls/jnlpba", "tags")):
        data = load("files", files={split: blurb / name / f"{split}.json" for split in ("train", "dev", "test")})
        assert corpora.settled(TASKS.get("files"), data).task_type == kind
        assert tuple(data.rows.values()) == REAL[name.partition("/")[2]][0]


def test_a_lookalike_is_marked_as_one_whatever_its_task_says():
    example = Example("1", "a text", label=0)
    forgetful = Data((example,), (example,), (example,), ("no", "yes"))
    task = Task(name="mine", task_type="single", about="", metric="accuracy", load=lambda _: forgetful,
                lookalike=lambda seed=0: forgetful)
    assert corpora.load(task, LoadOptions()).origin == "lookalike"
