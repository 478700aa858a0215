"""The words of a tagger: learned from its corpus, served as they were learned, scored on raw texts."""

import csv
import json
import re

import numpy as np
import pytest
from students import write

from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.cli.verbs import main
from kdbench.data import word_rules
from kdbench.data.layouts import convert
from kdbench.data.task import SPLITS, Data, Example, LoadOptions, Task
from kdbench.data.word_rules import RULES, aligned, as_printed, cut, learned, pattern
from kdbench.report.tables import run_table
from kdbench.runs.planning import read_unlabelled
from kdbench.serve.given_words import words_of_file
from kdbench.serve.labels import Labels
from kdbench.serve.texts import words_of


def sentences(*texts):
    return [Example(str(i), words=tuple(text.split())) for i, text in enumerate(texts)]


def originals(*pairs):
    return [Example(str(i), text=text, words=tuple(words.split())) for i, (text, words) in enumerate(pairs)]


# ---- the rule of a corpus --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule, texts", [
    # as BLURB and BC2GM cut: every mark is a word
    ("punctuation", ["IL - 2 binds p53 , ( 0 . 5 % ) .", "Parkinson ' s disease : a study"]),
    ("edges", ["took 5 mg of TNF-α , then café-mab .", "( IL-1β ) is high , 0.5 % ; CD4+CD25 fell"]),
    ("edges", ["took cafe\u0301-mab , then TNF-α ."]),  # an accent of its own
    ("blanks", ["took TNF-α, then café-mab.", "(IL-1β) is high"]),
    ("clitics", ["do n't take the patient 's IL-2 . Yes"]),
    ("treebank", ["the patient 's IL-2 vs. placebo , 0.5 .", "e.g. IL-2 , i.e. none ."]),
    ("hyphens", ["beta - receptor and IL-2 , the patient 's dose / day .", "follow - up of HIV-1 ."]),
    ("numbers", ["0.5 mg , IL - 2 , p = 0.01 ."]),
    ("runs", ["IL - 2 ... and ( p53 )). Then"]),
    ("ideographs", ["阿 司 匹 林 抑 制 COX - 2 。", "它 抑 制 激 酶"]),
    ("ideographs, edges", ["阿 司 匹 林 抑 制 COX-2 。", "它 抑 制 IL-1β , 激 酶"]),
    ("characters", ["환 자 는 약 을 .", "C O X"]),
    ("edges", ["환자는 메트포르민을 복용했다 .", "IL-1β 가 높다 ."]),
])
def test_the_rule_is_learned_from_the_words(rule, texts):
    found = learned(sentences(*texts))
    assert (found.name, found.original, found.share) == (rule, False, 1.0)


@pytest.mark.parametrize("rule, pairs", [
    ("punctuation", [("IL-2 binds (p53).", "IL - 2 binds ( p53 ) .")]),
    ("blanks", [("took café-mab.", "took café-mab."), ("A , b", "A , b")]),
    ("edges", [("(p53)\u00a0and IL-2, ok", "( p53 ) and IL-2 , ok")]),
    ("digits", [("IL-2, p53, CD4+ cells.", "IL - 2 , p 53 , CD 4 + cells .")]),
    ("ideographs", [("阿司匹林抑制。", "阿 司 匹 林 抑 制 。")]),
])
def test_the_texts_themselves_decide_where_the_corpus_has_them(rule, pairs):
    found = learned(originals(*pairs))
    assert (found.name, found.original, found.share) == (rule, True, 1.0)


def test_a_corpus_that_no_rule_gives_back_says_its_share():
    found = learned(originals(("p53 rose", "p53 rose"), ("IL-2, rose", "IL-2 , rose"), ("metforminhydrochlorid", "metformin hydrochlorid"),
                              ("CD4+CD25", "CD4+CD25")))
    assert (found.name, found.share) == ("edges", 0.75)


def test_a_few_strange_words_do_not_change_the_rule():
    """At blanks everything is cut that was joined by them; so would a text be that nobody has cut."""
    usual = ["IL - 2 binds ( p53 ) ."] * 40
    assert learned(sentences(*usual, "( + )-x")).name == "punctuation"


def test_every_rule_leaves_no_character_out_and_is_plain_ascii():
    text = "the patient's (IL-1β) can't, cafe\u0301 0.5 % 阿司匹林 환자 ``x'' 🙂 a_b ... --"
    for rule in RULES:
        assert "".join(cut(text, pattern(rule))) == "".join(text.split()), rule
        assert pattern(rule).isascii() and re.compile(pattern(rule))


def test_print_has_no_blank_before_a_comma():
    assert as_printed(["IL", "-", "2", ",", "(", "p53", ")", "do", "n't", "0", ".", "5", "%", "阿", "司", "。"]) == "IL-2, (p53) don't 0.5% 阿司。"


def test_words_are_found_in_their_text():
    assert aligned(["a", "b,", "c"], " a\u200b b,c\n") == [(1, 2), (4, 6), (6, 7)]
    assert aligned(["a", "c"], "a b c") is None and aligned(["a"], "a b") is None
    other = Example("0", text="another text", words=("a", "."))
    assert word_rules.raw_text(other) == "a ." and not learned([other]).original


def test_a_large_corpus_is_sampled(monkeypatch):
    seen = []
    monkeypatch.setattr(word_rules, "cut", lambda text, expression: seen.append(text) or text.split())
    learned(sentences(*(f"word{i} ." for i in range(5000))))
    assert len(set(seen)) <= 2 * word_rules.SAMPLE and any("word49" in text for text in seen)


# ---- learned, stored, served and scored ------------------------------------------------------------------

DRUGS = ("TNF-α", "café-mab", "cafe\u0301-cillin", "metformin")
OPTIONS = ("--student", "tiny:bert", "--no-controls", "--epochs", "10", "--batch-size", "8", "--latency", "off", "--device", "cpu")


def corpus(path, numbers, form="{drug} was given to {n} rats , then IL-2 ."):
    """CoNLL lines of words between blanks, some with marks inside."""
    text = ""
    for n in numbers:
        for word in form.format(drug=DRUGS[n % 4], n=n).split():
            text += f"{word}\t{'B-Drug' if word.strip('.,') in DRUGS else 'O'}\n"
        text += "\n"
    path.write_text(text, encoding="utf-8")
    return path


def words_and_tags(path):
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [list(zip(*(line.split("\t") for line in block.split("\n")), strict=True)) for block in blocks]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """(record, folder of its corpus and results) of a tagger whose test texts are partly cut otherwise."""
    folder = tmp_path_factory.mktemp("tagger")
    train = corpus(folder / "train.tsv", range(40))
    test = corpus(folder / "test.tsv", range(24))
    strange = corpus(folder / "strange.tsv", range(8), "{drug}. was given to {n} rats , then IL-2 .")
    test.write_text(test.read_text() + strange.read_text())
    files = ("--train", train, "--dev", corpus(folder / "dev.tsv", range(40, 52)), "--test", test)
    words = ("run", "--method", "finetune", "--task", "files", *files, "--results-dir", folder / "results", *OPTIONS)
    assert main([*map(str, words)]) == 0
    path, = (folder / "results" / "records").rglob("*.json")
    return json.loads(path.read_text()), folder


def answers(capsys, tagger, *words):
    record, folder = tagger
    capsys.readouterr()
    assert main(["predict", record["id"], "--results-dir", str(folder / "results"), "--json", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def entities_of(answer):
    return [(e["start"], e["end"], e["type"]) for e in answer["entities"]]


def test_the_rule_goes_into_labels_and_record(tagger):
    record, folder = tagger
    assert record["score"]["words"] == {"rule": "edges", "original": False, "train": 1.0, "test": 0.75}
    labels = json.loads((folder / "results" / "models" / record["artefact"] / "labels.json").read_text())
    assert labels["word_rule"] == "edges" and labels["word_pattern"] == pattern("edges")


def test_texts_and_their_words_get_the_same_entities(tagger, capsys):
    """Where the rule gives back the words; that is what the former rule broke."""
    sentences = [words for words, _ in words_and_tags(tagger[1] / "train.tsv")]
    from_texts = answers(capsys, tagger, *map(" ".join, sentences))
    from_words = answers(capsys, tagger, "--words", *map(json.dumps, sentences))
    assert [entities_of(a) for a in from_texts] == [entities_of(a) for a in from_words]
    found = {entity["text"] for answer in from_texts for entity in answer["entities"]}
    assert {"TNF-α", "café-mab", "cafe\u0301-cillin"} <= found <= {*DRUGS, "IL-2"}


def test_the_score_on_raw_texts_is_that_of_predict(tagger, capsys):
    record, folder = tagger
    rows = words_and_tags(folder / "test.tsv")
    both = golds = givens = 0
    for (words, tags), answer in zip(rows, answers(capsys, tagger, *(" ".join(words) for words, _ in rows)), strict=True):
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        gold = {(end - len(word), end, "Drug") for word, tag, end in zip(words, tags, ends, strict=True) if tag != "O"}
        given = set(entities_of(answer))
        both, golds, givens = both + len(gold & given), golds + len(gold), givens + len(given)
    raw = record["score"]["raw_text"]
    assert raw == {"metric": "entity_f1", "test": pytest.approx(2 * both / (golds + givens), abs=1e-9), "texts": 8}
    assert 0.3 < raw["test"] != record["score"]["test"]


def test_the_table_has_a_column_where_the_two_differ(tagger, capsys):
    record, folder = tagger
    assert main(["table", "--results-dir", str(folder / "results"), "--format", "csv"]) == 0
    row, = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(row["raw_text"]) == pytest.approx(record["score"]["raw_text"]["test"], abs=1e-6)
    shown = run_table([record])
    head = next(line.split() for line in shown.splitlines() if "dev" in line.split())
    assert "raw" in head and "gives 8 of test other words" in " ".join(shown.split())
    del record["score"]["raw_text"]
    assert "raw" not in run_table([record]).split()


def test_words_are_given_in_four_ways(tagger, capsys, tmp_path):
    words = ["IL-2,", "then", "café-mab."]
    want = answers(capsys, tagger, "--words", json.dumps(words))
    assert want[0]["text"] == "IL-2, then café-mab."
    assert answers(capsys, tagger, "--words", "IL-2, then café-mab.") == want
    for content in (json.dumps({"tokens": words}), json.dumps(words), "IL-2,\nthen\ncafé-mab.\n", "IL-2,\tO\nthen\tO\ncafé-mab.\tB\n",
                    "IL-2, then café-mab."):
        (tmp_path / "words").write_text(f"{content}\n\n{content}\n", encoding="utf-8")
        assert answers(capsys, tagger, "--words", "--file", str(tmp_path / "words")) == 2 * want, content


@pytest.mark.parametrize("content, message", [('["a", 3]', "line 1: no list of words"), ('{"text": "a"}', "line 1: no list of words"),
                                              ('["a"', "line 1: not valid JSON"), ("\n \n", "holds no words"), ('["a", " "]', "no list")])
def test_bad_words_take_one_line(tmp_path, content, message):
    (tmp_path / "words").write_text(content)
    with pytest.raises(BadInput, match=message):
        words_of_file(tmp_path / "words", "tags")
    with pytest.raises(BadInput, match="--words is for taggers"):
        words_of_file(tmp_path / "words", "single")


def test_folders_from_before_are_cut_as_they_were(tmp_path):
    """Their labels.json names no rule."""
    folder = write(tmp_path / "run", task_type="tags")
    assert "word_rule" not in json.loads((folder / "labels.json").read_text())
    assert words_of("IL-2 cafe\u0301", Labels.read(folder).word_pattern)[0] == ["IL", "-", "2", "cafe", "\u0301"]


def test_unlabelled_texts_are_cut_as_the_corpus_is(tmp_path):
    examples = tuple(sentences("took TNF-α , then ( café-mab ) ."))
    (tmp_path / "texts").write_text("(TNF-α), then café-mab.\n", encoding="utf-8")
    task = Task(name="t", task_type="tags", about="", metric="entity_f1", load=None)
    found, = read_unlabelled(tmp_path / "texts", task, Data(examples, (), (), ("O",)))
    assert found.words == ("(", "TNF-α", ")", ",", "then", "café-mab", ".")


# ---- corpora that have their texts -----------------------------------------------------------------------


def test_a_span_file_keeps_its_texts_and_so_does_what_is_written_of_it(tmp_path):
    text = "(TNF-α), then café-mab."
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 1, "text": text, "label": [[1, 6, "Drug"], [14, 22, "Drug"]]}) + "\n"
                                      + json.dumps({"id": 2, "text": "no\u00a0 drug", "label": []}))
    convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    for name in ("a.jsonl", "b.jsonl"):
        data = TASKS.get("files").load(LoadOptions(files={split: tmp_path / name for split in SPLITS}))
        assert [example.text for example in data.test] == [text, "no\u00a0 drug"]
        assert data.word_rule == word_rules.WordRule("edges", True, 1.0)


@pytest.mark.parametrize("text, known", [("p53 (a)", True), ("p53 (a) b", False), (None, False), (3, False)])
def test_a_text_beside_words_must_consist_of_them(tmp_path, text, known):
    rows = [{"sentence": text, "tokens": ["p53", "(", "a", ")"], "ner_tags": ["B-x", "O", "O", "O"]}] * 2
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = TASKS.get("files").load(LoadOptions(files={split: tmp_path / "a.jsonl" for split in SPLITS}))
    assert {example.text for example in data.test} == {text if known else ""}
