"""Has the teacher read the test texts: counted in a text, noted beside a model, shown in tables."""

import json
import random
from types import SimpleNamespace

import pytest
from factory import counts_of, record, study

from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.cli.verbs import main
from kdbench.data import contamination
from kdbench.data.contamination import against, letters_of
from kdbench.data.task import Example
from kdbench.models.encoders import ENCODERS, KINDS, NO, UNKNOWN, YES, encoder_of, of_encoder
from kdbench.models.has_read import FILE, has_read, note_overlap, note_pretraining, noted
from kdbench.models.sources import Source, resolve
from kdbench.report.tables import build, render
from kdbench.runs.reading import reading_of

ABSTRACT = "Diclofenac does not interact with codeine metabolism in vivo, as 24 healthy volunteers showed."
HALF = "we asked whether Diclofenac does not interact with codeine metabolism in vivo at all, and it did in rats of all ages"


def examples(*texts):
    return [Example(str(i), text=text) for i, text in enumerate(texts)]


def corpus_of(tmp_path, *lines):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# --- counting ---------------------------------------------------------------------------------------


def test_whole_texts_and_runs_of_fifty_are_counted_apart(tmp_path):
    corpus = corpus_of(tmp_path, "Nothing of this is in the test set, not a single run of it.", f"BACKGROUND: {ABSTRACT.upper()} End.")
    found = against(examples(ABSTRACT, HALF, "another text of more than fifty letters that stands nowhere else", "too short"), corpus)
    assert (found.texts, found.short, found.exact, found.shared, found.lines) == (3, 1, 1, 2, 2)


def test_a_run_of_forty_nine_is_none(tmp_path):
    run = "abcdefghijklmnopqrstuvwxyz0123456789qwertzuiopasdf"
    corpus = corpus_of(tmp_path, f"before{run}after")
    assert len(run) == 50
    assert against(examples("x" * 60 + run + "y" * 60), corpus).shared == 1
    assert against(examples("x" * 60 + run[:-1] + "!" + "y" * 60, "x" * 60 + run[1:] + "y" * 60), corpus).shared == 0


def test_a_run_is_found_wherever_it_begins(tmp_path):
    run = "abcdefghijklmnopqrstuvwxyz0123456789qwertzuiopasdf"
    for before in range(30):
        assert against(examples("x" * 60 + run + "y" * 60), corpus_of(tmp_path, "z" * before + run + "z" * 30)).shared == 1, before


def test_tagged_words_pairs_and_repeated_texts(tmp_path):
    corpus = corpus_of(tmp_path, ABSTRACT)
    words = tuple(ABSTRACT.replace(",", " ,").replace(".", " .").split())
    tagged = [Example("1", words=words, label=(0,) * len(words)), Example("2", words=words, label=(1,) * len(words))]
    assert against(tagged, corpus).texts == against(tagged, corpus).exact == 1
    assert against([Example("1", text=ABSTRACT[:30], pair=ABSTRACT[30:])], corpus).exact == 1


def test_a_short_text_counts_where_it_is_a_line(tmp_path):
    short = "no interaction was observed here"
    assert 25 <= len(letters_of(short)) < 50
    assert against(examples(short), corpus_of(tmp_path, "first", short.title())).exact == 1
    assert against(examples(short), corpus_of(tmp_path, f"they said {short}")).exact == 0


def test_a_text_is_found_wherever_the_pieces_of_the_corpus_end(tmp_path, monkeypatch):
    draw = random.Random(0)
    lines = ["".join(draw.choices("abcdefghij", k=draw.randint(20, 200))) for _ in range(40)]
    whole = "".join(lines)
    texts = [whole[start:start + 120] for start in range(0, len(whole) - 120, 37)]
    monkeypatch.setattr(contamination, "PIECE", 90)
    found = against(examples(*texts), corpus_of(tmp_path, *lines))
    assert found.exact == found.shared == found.texts == len(texts)


@pytest.mark.parametrize("content, said", [(b"\xff\xfe bad", "UTF-8"), (None, "no such file")])
def test_a_corpus_that_is_none_is_refused_in_a_line(tmp_path, content, said):
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=said):
        against(examples(ABSTRACT), path)


# --- what is known of a model -----------------------------------------------------------------------


def test_the_states_are_three_and_what_is_not_stated_is_not_known():
    assert {encoder.abstracts for encoder in ENCODERS.values()} == {YES, NO, UNKNOWN}
    assert of_encoder(encoder_of("biobert"), "abstracts").state == YES
    assert of_encoder(encoder_of("bert"), "abstracts").state == NO
    assert of_encoder(encoder_of("roberta"), "abstracts").state == UNKNOWN
    assert of_encoder(encoder_of("biobert"), "notes").state == NO != of_encoder(encoder_of("cbert"), "notes").state
    assert of_encoder(encoder_of("biobert"), "").state == of_encoder(None, "abstracts").state == UNKNOWN


def test_names_aliases_and_hub_ids_are_one_model_and_a_users_folder_of_the_name_is_not(tmp_path, monkeypatch):
    for name in ("biomedbert", "pubmedbert", "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext", "cut:3:biomedbert"):
        assert has_read(resolve(name), "abstracts").state == YES, name
    assert has_read(resolve("tiny:bert"), "abstracts").state == NO
    folder = tmp_path / "biobert"
    folder.mkdir()
    assert has_read(Source("biobert", folder=folder), "abstracts").state == UNKNOWN
    monkeypatch.setenv("KDBENCH_MODELS", str(tmp_path))
    assert has_read(Source("biobert", folder=folder), "abstracts").state == YES


def test_a_pretrained_model_is_known_by_the_counts_of_its_corpus(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    note_pretraining(made, resolve("bert"), "ab" * 32, 10)
    source = Source("made", folder=made)
    assert has_read(source, "abstracts", "test").state == UNKNOWN
    assert not note_overlap(made, "cd" * 32, "test", {"texts": 9, "exact": 0, "shared": 0})
    assert note_overlap(made, "ab" * 32, "test", {"texts": 9, "exact": 0, "shared": 0})
    assert has_read(source, "abstracts", "test").state == NO
    assert has_read(source, "abstracts", "another test").state == UNKNOWN
    note_overlap(made, "ab" * 32, "another test", {"texts": 1200, "exact": 1, "shared": 3})
    found = has_read(source, "abstracts", "another test")
    assert found.state == YES and "3 of 1,200" in found.why


def test_a_chain_of_pretrainings_keeps_all_corpora_and_what_it_began_as(tmp_path):
    folders = []
    for name, source in (("first", resolve("biobert")), ("second", None)):
        folder = tmp_path / name
        folder.mkdir()
        note_pretraining(folder, source or Source("first", folder=folders[-1]), name.encode().hex(), 5)
        folders.append(folder)
    assert [corpus["sha256"] for corpus in noted(folders[-1])["corpora"]] == [b"first".hex(), b"second".hex()]
    assert has_read(Source("second", folder=folders[-1]), "abstracts", "test").state == YES


@pytest.mark.parametrize("content", ["[]", "{", '{"from": 1, "corpora": []}', '{"from": {}, "corpora": [1, {"overlap": 3}]}'])
def test_a_damaged_note_says_nothing(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert has_read(Source("x", folder=tmp_path), "abstracts", "test").state == UNKNOWN


def test_every_task_says_what_its_texts_are_or_nothing():
    assert {TASKS.get(name).texts for name in TASKS.names()} == {*KINDS, ""}


def test_generated_texts_have_been_read_by_nobody():
    cell = SimpleNamespace(data=SimpleNamespace(origin="lookalike"), role="method")
    assert reading_of(cell).state == NO


# --- tables -----------------------------------------------------------------------------------------


def table_of(records, columns=("test", "teacher_read")):
    return build(records, counts_of, list(columns))


def said(state, texts="abstracts"):
    return {"student": "ab", "teacher": "cd", "teacher_read": {"texts": texts, "state": state, "why": ""}}


def test_the_column_is_there_where_it_is_asked_for_and_in_the_data():
    records = [record(teacher="biobert", models=said(YES)), record("logit_kd", teacher="roberta", models=said(UNKNOWN))]
    shown = render(table_of(records))
    assert "teacher has read" in shown and " yes" in shown and "not known" in shown
    assert "teacher has read" not in render(build(records, counts_of))
    rows = json.loads(render(table_of(records), "json"))
    assert sorted(row["teacher_read"] for row in rows) == [UNKNOWN, YES]


def test_a_record_from_before_is_known_by_its_teachers_name():
    real = {"kind": "real", "rows": {"test": 3}, "sha256": {}, "published_files": None, "unit": "x", "notes": []}
    for teacher, state in (("biobert", YES), ("bert", NO), ("my-own", UNKNOWN)):
        row, = json.loads(render(table_of([record(teacher=teacher, data=real)]), "json"))
        assert row["teacher_read"] == state, teacher
    row, = json.loads(render(table_of([record(teacher="biobert")]), "json"))  # a look-alike
    assert row["teacher_read"] == NO
    row, = json.loads(render(table_of([record("finetune", data=real)]), "json"))
    assert row["teacher_read"] is None


@pytest.mark.parametrize("states, words", [
    ({"biobert": YES, "bert": NO}, "has read texts like those of test (biomedical abstracts): biobert"),
    ({"biobert": YES, "roberta": UNKNOWN}, "has read texts like those of test (biomedical abstracts): biobert, not known of roberta"),
    ({"roberta": UNKNOWN}, "whether it has read texts like those of test (biomedical abstracts) is not known of the teacher roberta"),
    ({"bert": NO}, None),
])
def test_the_caption_names_who_has_read_and_who_may_have(states, words):
    records = [record(teacher=name, models=said(state)) for name, state in states.items()]
    section, = build(records, counts_of).sections
    assert (words in section.caption) if words else "has read" not in section.caption


def test_tables_of_older_records_are_what_they_were():
    section, = build(study(), counts_of).sections
    assert "read" not in section.caption


# --- the command line -------------------------------------------------------------------------------


OTHERS = ("the second group had no more fever than the first group of them", "nothing else was seen in the wards of the hospital that day")


@pytest.fixture
def files(tmp_path):
    """Three small files of one's own, as arguments of the command line."""
    rows = dict(zip((ABSTRACT, HALF, *OTHERS), "abab", strict=True))
    given = []
    for split in ("train", "dev", "test"):
        path = tmp_path / f"{split}.jsonl"
        own = rows if split == "test" else {f"{split}: {text}": label for text, label in rows.items()}
        path.write_text("".join(json.dumps({"sentence": text, "label": label}) + "\n" for text, label in own.items()))
        given += [f"--{split}", str(path)]
    return given


def test_check_counts_notes_and_the_next_run_says_it(tmp_path, capsys, files):
    corpus = corpus_of(tmp_path, ABSTRACT, *("a line about the kinase and its inhibitors in cells",) * 8)
    results, made = str(tmp_path / "results"), str(tmp_path / "made")
    assert main(["pretrain", made, "--student", "tiny:bert", "--corpus", str(corpus), "--results-dir", results,
                 "--set", "new_tokens=0", "--set", "pretrain_epochs=1"]) == 0
    assert "corpora" in noted(tmp_path / "made")
    assert main(["check", "files", *files, "--model", made, "--against-corpus", str(corpus)]) == 0
    out = capsys.readouterr()
    assert "1 of 4 test texts stand there whole, 1 more share a run of 50" in out.out and "noted" in out.err
    assert main(["check", "files", *files, "--json", "--against-corpus", str(corpus)]) == 0
    assert json.loads(capsys.readouterr().out)["against_corpus"]["shared"] == 2
    assert main(["--method", "logit_kd", "--task", "files", *files, "--teacher", made, "--student", "cut:1", "--max-steps", "1",
                 "--results-dir", results, "--latency", "off"]) == 0
    assert main(["table", "--results-dir", results]) == 0
    shown = capsys.readouterr().out
    assert "has read texts like those of test: made" in " ".join(shown.split())
    found = [json.loads(path.read_text()) for path in (tmp_path / "results" / "records").rglob("*.json")]
    states = [each["models"]["teacher_read"]["state"] for each in found if "teacher_read" in each["models"]]
    assert set(states) == {YES} and len(states) >= 2  # of the method, and the row of the teacher


def test_check_against_a_file_that_is_not_there_ends_with_a_line(tmp_path, capsys, files):
    assert main(["check", "files", *files, "--against-corpus", str(tmp_path / "none.txt")]) == 2
    assert "corpus" in capsys.readouterr().err
    corpus = corpus_of(tmp_path, "nothing of it")
    assert main(["check", "files", *files, "--against-corpus", str(corpus), "--model", str(tmp_path / "none")]) == 2
    assert main(["check", "files", *files, "--against-corpus", str(corpus)]) == 0
    assert "0 of 4" in capsys.readouterr().out
