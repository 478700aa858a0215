"""Every layout of one corpus gives the same examples, labels and entities; what is no layout, or damaged, is one line."""

import ast
import csv
import gzip
import json
import os
import random
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.base.options import build
from kdbench.base.registry import TASKS
from kdbench.cli.verbs import main
from kdbench.data import corpora, tags
from kdbench.data.layouts import Defaults, convert, open_layout, spans
from kdbench.data.layouts.part import Lenient
from kdbench.data.task import LoadOptions
from tests import layout_files as made
from tests.layout_files import lines, named, put


def cases(names):
    """Names of layouts as parameters; a DocBin is made with spaCy."""
    return [pytest.param(name, marks=pytest.mark.spacy) if name.endswith("docbin") else name for name in names]


EVERY = cases([*made.TAGGED, *(f"text {name}" for name in made.SINGLE), *(f"several {name}" for name in made.MULTI)])


def read(path, like=None, split="train", **settings):
    return open_layout(path, split, Defaults(**settings), like)


def entities(part):
    """Words and entities of every row."""
    found = []
    for record in part.records:
        words, own = (record.fields.get(a, record.fields.get(b)) for a, b in (("tokens", "words"), ("ner_tags", "tags")))
        assert len(words) == len(own)
        found.append((words, tags.lenient_spans(own)))
    return found


def refused(path, **settings):
    with pytest.raises(BadInput) as error:
        read(path, **settings)
    message = str(error.value)
    assert "\n" not in message and message.startswith(str(path)) and "; " in message, message
    return message.removeprefix(str(path))


def rows(part, *names):
    return [tuple(record.fields[name] for name in names) for record in part.records]


# -- the same corpus in every layout -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases(made.TAGGED))
def test_words_and_tags(tmp_path, name):
    train = read(made.TAGGED[name](named(tmp_path, f"{name} train"), made.TRAIN))
    assert entities(train) == made.TRAIN
    schemes = {tags.scheme_of(record.fields.get("tags", record.fields.get("ner_tags"))) for record in train.records}
    assert schemes <= {"IO", "IOB", "IOBES"}
    test = read(made.TAGGED[name](named(tmp_path, f"{name} test"), made.TEST), train, "train" if name == "hub folder" else "test")
    assert entities(test) == made.TEST and test.sha256 != train.sha256


@pytest.mark.parametrize("name", cases(made.SINGLE))
def test_texts_and_labels(tmp_path, name):
    part = read(made.SINGLE[name](named(tmp_path, name), made.texts(24)))
    assert [tuple(str(value) for key, value in record.fields.items() if key not in ("id", "Comments")) for record in part.records] \
        == made.texts(24)


@pytest.mark.parametrize("name", made.MULTI)
def test_texts_with_several_labels(tmp_path, name):
    part = read(made.MULTI[name](named(tmp_path, name), made.several(24)))
    label = {"json labels": "labels", "label studio min": "sentiment"}.get(name, "label")
    assert [(text, tuple(own)) for text, own in rows(part, "text", label)] == made.several(24)
    only = read(made.MULTI[name](named(tmp_path, name + "2"), made.several(24)[1:4]), part, "test")
    assert [tuple(own) for _, own in rows(only, "text", label)] == [("routine",), ("urgent",), ("routine",)]


@pytest.mark.parametrize("name", made.VECTORS)
def test_vectors_of_labels(tmp_path, name):
    part = read(made.VECTORS[name](named(tmp_path, name), made.several(8)))
    values = [record.fields.get("labels", record.fields.get("label")) for record in part.records]
    assert values == [made.vector(int)(own) for _, own in made.several(8)]
    assert all(type(item) is int for value in values for item in value)


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "euc-kr", "utf-8-sig"])
def test_encodings(tmp_path, encoding):
    path = made.table(encoding=encoding)(tmp_path / "a", made.texts(8))
    assert rows(read(path, encoding=encoding), "text", "label") == made.texts(8)


@pytest.mark.parametrize("encoding, text, guess", [
    ("cp949", "\ud638\ud761\uace4\ub780 SpO2 85%", "cp949"), ("utf-16", "fever", "utf-16"), ("latin-1", "caf\u00e9 f\u00fcr Fi\u00e8vre", "cp1252"),
    ("shift_jis", "\u3053\u3093\u306b\u3061\u306f\u30c6\u30b9\u30c8", "shift_jis"), ("gb18030", "\u53d1\u70e7\u4e09\u5929\u54b3\u55fd", "gb18030"),
    ("cp1251", "\u0442\u0435\u043c\u043f\u0435\u0440\u0430\u0442\u0443\u0440\u0430", "cp1251")])
def test_another_encoding_is_named(tmp_path, encoding, text, guess):
    path = put(tmp_path / "a", f"text,label\n{text},1\n".encode(encoding))
    message = refused(path)
    assert "is not UTF-8; save the file as UTF-8, or say --encoding " + guess in message and message.startswith(":")
    assert read(path, encoding=guess).records[0].fields["text"] == text
    assert "unknown encoding 'nonsense'" in refused(path, encoding="nonsense")


# -- tag files and what only looks like one ----------------------------------------------------------------------------


def vertical(*sentences):
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in zip(*map(str.split, sentence), strict=True)) for sentence in sentences)


@pytest.mark.parametrize("text", [
    "".join(f"{word}\t{label}\n" for word, label in [("good", "positive"), ("bad", "negative"), ("fine", "positive")] * 5),
    "text\tlabel\ngood\tpositive\nbad\tnegative\nawful\tnegative\n",
    "good\tpositive\nfine\tpositive\n\nbad\tnegative\nawful\tnegative\n",  # blank lines between groups
    "".join(f"donor{i}\t{('A', 'B', 'AB', 'O')[i % 4]}\n" for i in range(20)),  # blood groups
    "".join(f"donor{i}\t{('O', 'B')[i % 2]}\n" for i in range(20)),
    "sample\tgroup\n" + "".join(f"donor{i}\t{('O', 'O', 'A')[i % 3]}\n" for i in range(20)),
    "a fever since monday\tO\nno fever at all\tB\n\nfever and chills\tO\nill since long\tB\n",  # texts, not words
    "severe chest pain,O\nmild pain,B-X\n",  # a comma
    "1\t0\n2\t1\n3\t0\n\n4\t1\n",
    "word\tTrue\nother\tFalse\n\nthird\tTrue\n",
    "up\tpositive\tlexicon\ndown\tnegative\tlexicon\n",
    "".join(f"word{i}\tO{i}\n" for i in range(30)),
])
def test_texts_of_one_word_stay_texts(tmp_path, text):
    part = read(put(tmp_path / "a.conll", text))
    assert "header" in part.layout and not part.records[0].vertical, part.layout


@pytest.mark.parametrize("text", [
    "The\tDT\ndrug\tNN\nhelps\tVBZ\n.\t.\n\nNo\tDT\npain\tNN\n.\t.\n\nIt\tPRP\nhelps\tVBZ\n.\t.\n",
    "the en\ncasa es\n. O\n\nla es\nhouse en\n. O\n\na en\nb en\n. O\n",  # O is not the most frequent
    "the en\ncasa es\n. other\n\nla es\nhouse en\n. other\n\na en\nb en\n. other\n",
])
def test_words_with_other_labels_are_refused(tmp_path, text):
    assert "no entity tags" in refused(put(tmp_path / "a", text))


@pytest.mark.parametrize("text, scheme, found", [
    (vertical(("a b c", "O Drug O"), ("d e .", "Drug Drug O")), "bare", [[(1, 2, "Drug")], [(0, 2, "Drug")]]),
    (vertical(("a b c", "O B I"), ("d e .", "B I O")), "IOB", [[(1, 3, "")], [(0, 2, "")]]),
    (vertical(("a b c", "O B L"), ("d e .", "U U O")), "BILOU", [[(1, 3, "")], [(0, 1, ""), (1, 2, "")]]),
    (vertical(("a b c", "I-X B-X O"), ("d e .", "I-X I-X O")), "IOB1", [[(0, 1, "X"), (1, 2, "X")], [(0, 2, "X")]]),
    (vertical(("a b c", "X-S O X-B"), ("d e .", "X-I X-E O")), "IOBES suffix", None),
    (vertical(("a b c", "Cell-line O Cell-type"), ("d e .", "O O Cell-line")), "bare", [[(0, 1, "Cell-line"), (2, 3, "Cell-type")], [(2, 3, "Cell-line")]]),
    (vertical(("a b c", "B-a-b O B-a-B"), ("d e .", "I-x O O")), "IOB", [[(0, 1, "a-b"), (2, 3, "a-B")], [(0, 1, "x")]]),
    ("p53\tB-GENE\nbinds\tO\n", "IOB", [[(0, 1, "GENE")]]),  # one sentence, but types
])
def test_schemes(tmp_path, text, scheme, found):
    part = read(put(tmp_path / "a", text))
    assert part.decided["scheme"] == scheme
    if found is not None:
        assert [own for _, own in entities(part)] == found
    assert bool(part.notes) == (scheme != "IOB")


@pytest.mark.parametrize("train, test, found", [
    (("a b c", "B-X L-X O"), ("a b c", "B-X I-X L-X"), "B-X I-X E-X"),
    (("a b c", "B-X L-X O"), ("a b c", "O O O"), "O O O"),
    (("a b c", "I-X B-X O"), ("a b c", "I-X I-X O"), "B-X I-X O"),  # IOB1 in train: only I- here
    (("a b c", "Drug O O"), ("a b c", "O O Drug"), "O O I-Drug"),
    (("a b c", "B-X M-X E-X"), ("a b c", "B-X E-X O"), "B-X E-X O"),
])
def test_a_test_file_is_read_as_train(tmp_path, train, test, found):
    first = read(put(tmp_path / "train", vertical(train, ("a . d", "I-X I-X O" if train[1] == "I-X B-X O" else "O O O"))))
    part = read(put(tmp_path / "test", vertical(test, ("a . d", "O O O"))), first, "test")
    assert part.records[0].fields["tags"] == found.split()


MET = [(["took", "metformin", ","], [(1, 2, "Drug")]), (["No", "pain"], [])]


@pytest.mark.parametrize("text", [
    'took,O\nmetformin,B-Drug\n",",O\n\nNo,O\npain,O\n',
    "took;O\nmetformin;B-Drug\n,;O\n\nNo;O\npain;O\n",
    'token,tag\ntook,O\nmetformin,B-Drug\n",",O\n\nNo,O\npain,O\n',
    'ner,pos,word\nO,V,took\nB-Drug,N,metformin\nO,P,","\n\nO,D,No\nO,N,pain\n',
    "O\ttook\nB-Drug\tmetformin\nO\t,\n\nO\tNo\nO\tpain\n",
    "took\tO\nmetformin\tB_Drug\n,\tO\n\nNo\tO\npain\tO\n",
])
def test_words_and_tags_with_other_delimiters(tmp_path, text):
    part = read(put(tmp_path / "a", text))
    assert entities(part) == MET
    only = read(put(tmp_path / "b", text.split("\n\n")[1]), part, "test")
    assert [words for words, _ in entities(only)] == [["No", "pain"]]


def test_words_with_a_blank(tmp_path):
    part = read(put(tmp_path / "a", "#\tO\n# met\tB-Drug\n#3\tO\n\nNo\tO\n"))
    assert entities(part)[0] == (["#", "# met", "#3"], [(1, 2, "Drug")])


@pytest.mark.parametrize("labels", [("O", "B-Drug"), ("O", "B_X", "I_X"), ("B-X", "I-X"), ("O", "B", "I")])
def test_tags_are_no_labels_of_texts(tmp_path, labels):
    path = put(tmp_path / "a", "text,label\n" + "".join(f"some text of this kind {i},{labels[i % len(labels)]}\n" for i in range(12)))
    with pytest.raises(BadInput, match="are tags of words, not labels of texts; give one word"):
        loaded(path, path)


@pytest.mark.parametrize("labels", [("O", "A", "B", "AB"), ("B-cell", "T-cell"), ("I-a", "B-b"), ("B", "O")])
def test_labels_that_only_look_like_tags(tmp_path, labels):
    rows_of_file = [f"some text of this kind {i},{labels[i % len(labels)]}\n" for i in range(12)]
    data, task = loaded(*(put(tmp_path / f"{size}", "text,label\n" + "".join(rows_of_file[:size])) for size in (12, 8)))
    assert task.task_type == "single" and data.labels == tuple(sorted(labels))


@pytest.mark.parametrize("text", [
    "text,labels\ntook metformin .,O B-Drug O\nNo pain,O O\n", "took metformin .,O B-Drug O\nNo pain,O O\nB 12,B-Drug I-Drug\n",
    "sentence\ttags\ntook metformin .\tO U-Drug O\nNo vitamin B12\tO B-Drug L-Drug\n",
    '{"text": "took metformin .", "label": ["O", "B-Drug", "O"]}\n{"text": "No pain", "label": ["O", "O"]}\n',
    'tokens,ner_tags\n"[\'took\' \'metformin\' \'.\']","[\'O\' \'U-Drug\' \'O\']"\n"[\'a\' \'b\']","[\'B-Drug\' \'L-Drug\']"\n',
])
def test_a_text_beside_its_tags(tmp_path, text):
    part = read(put(tmp_path / "a", text))
    assert entities(part)[0] == (["took", "metformin", "."], [(1, 2, "Drug")])
    if "ner_tags" not in text:
        assert said(part, "a tag for each word")
        with pytest.raises(BadInput, match="has 4 words between blanks, and .* 3 tags"):
            read(put(tmp_path / "b", text.replace("took", "He took")))


def test_a_text_without_its_tags_is_asked_about(tmp_path):
    train = read(put(tmp_path / "a", "text,labels\ntook metformin .,O B-Drug O\nNo pain,O O\n"))
    path = put(tmp_path / "b", "text,labels\nHe took it,O O O\nNo pain,\n")
    part = open_layout(path, "test", Lenient(labelled=True), train)
    assert [(record.fields["words"], record.fields.get("tags")) for record in part.records] \
        == [(["He", "took", "it"], ["O", "O", "O"]), (["No", "pain"], None)]


@pytest.mark.parametrize("train, test, found, said_of_it", [
    ("B-X I-X B-Y", "B-X L-X U-Y", "B-X I-X B-Y", "IOBES, read as IOB,"), ("B-X L-X U-Y", "B-X I-X B-Y", "B-X E-X S-Y", "IOB, read as IOBES,"),
    ("B-X L-X U-Y", "X X Y", "B-X E-X S-Y", "IO, read as IOBES,"), ("I-X I-X I-Y", "B-X I-X B-Y", "I-X I-X I-Y", "a border between neighbours"),
    ("B-X I-X B-Y", "B-X Q-X B-Y", "B-X Q-X B-Y", ""), ("B-X L-X U-Y", "B-X Q-X B-Y", "B-X Q-X B-Y", ""),  # a mistake stays to be named
])
def test_a_test_file_of_another_scheme(tmp_path, train, test, found, said_of_it):
    first = read(put(tmp_path / "a", vertical(("a b c .", f"{train} O"))))
    part = read(put(tmp_path / "b", vertical(("a b c .", f"{test} O"))), first, "test")
    assert part.records[0].fields["tags"] == [*found.split(), "O"]
    assert bool(said_of_it) == bool(said(part, "those of train are")) and (not said_of_it or said(part, said_of_it))


def test_a_bad_tag_stays_to_be_named(tmp_path):
    text = vertical(*[("a b c", "B-X L-X O")] * 20).replace("L-X", "Q-X", 1)
    part = read(put(tmp_path / "a", text))
    assert part.records[0].fields["tags"] == ["B-X", "Q-X", "O"] and part.records[1].fields["tags"] == ["B-X", "E-X", "O"]


def test_a_line_with_other_columns_is_named(tmp_path):
    text = vertical(*[("a b c", "B-X I-X O")] * 20) + "\nlast\n"
    assert ":81: 1 columns instead of 2 with something in each" in refused(put(tmp_path / "a", text))


def test_the_nbsp_is_part_of_a_word(tmp_path):
    part = read(put(tmp_path / "a", "5\u00a0mg O\ndrug B-X\n\n. O\n"))
    assert part.records[0].fields["words"] == ["5\u00a0mg", "drug"]


# -- words that nobody sees, and missing values ------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["\u00a0", "\u2028", "\u200b", "\ufeff", "\u200b\u200d", "\u3000"])
def test_words_that_nobody_sees(tmp_path, word):
    rows = [{"tokens": ["a", word, "drug", "x"], "ner_tags": ["O", "B-X", "I-X", "O"]}, {"tokens": [word, "y"], "ner_tags": ["O", "B-X"]}]
    for path in (put(tmp_path / "a", lines(rows)),
                 put(tmp_path / "b", f"a\tO\n{word}\tB-X\ndrug\tI-X\nx\tO\n\n{word}\tO\ny\tB-X\n")):
        part = read(path)
        assert entities(part) == [(["a", "drug", "x"], [(1, 2, "X")]), (["y"], [(0, 1, "X")])]
        assert f"nobody sees (blank, zero-width): 2 (first: {path.name}, line " in part.notes[0]
    part = read(put(tmp_path / "c", lines([{"text": f"a {word} drug x", "label": [[3 + len(word), 7 + len(word), "X"]]}])))
    assert entities(part) == [(["a", "drug", "x"], [(1, 2, "X")])]
    assert "no word of tokens can be seen" in refused(put(tmp_path / "d", lines([{"tokens": [word], "ner_tags": ["O"]}])))


@pytest.mark.parametrize("text, said", [
    ("text,label\nfever,1\ncough,nan\nchill,NaN\n", ":3: label is 'nan', a missing value, as in 2 of 3 rows"),
    ("text,label\nfever,1\nnan,0\n", ":3: text is 'nan', a missing value, as in 1 of 2 rows"),
    ('{"text": "fever", "label": NaN}\n{"text": "cough", "label": 1}\n', ":1: label is nan, a missing value"),
    ('{"text": "fever", "label": null}\n{"text": "cough", "label": 1}\n', ":1: label is None, a missing value"),
    ('[{"text": null, "label": 1}]', ", item 1: text is None, a missing value"),
    ("text,label\nfever,1\n\u200b,0\n", ":3: text is '\\u200b', a missing value"),
    ('{"tokens": ["a"], "ner_tags": [1]}\n', ":1: ner_tags is [1], numbers without names"),
])
def test_missing_values(tmp_path, text, said):
    assert refused(put(tmp_path / "a", text)).startswith(said)


def test_a_word_or_label_may_be_called_none_or_nan(tmp_path):
    assert read(put(tmp_path / "a", "nan\tB-X\n.\tO\n")).records[0].fields["words"] == ["nan", "."]
    assert rows(read(put(tmp_path / "b", "text,label\na,None\nb,NA\n")), "label") == [("None",), ("NA",)]


# -- spans -------------------------------------------------------------------------------------------------------------


def spanned(tmp_path, *documents, **more):
    return read(put(tmp_path / "a", lines({"text": text, "label": own} for text, own in documents)), **more)


def said(part, what):
    return [note for note in part.notes if what in note]


def test_overlapping_spans(tmp_path):
    part = spanned(tmp_path, ("lung cancer risk", [[0, 4, "Organ"], [0, 11, "Disease"], [5, 16, "Late"], [0, 11, "Second"], [0, 11, "Disease"]]))
    assert entities(part) == [(["lung", "cancer", "risk"], [(0, 2, "Disease")])]
    assert said(part, "overlap a longer or an earlier one, left out: 3 (first: a, line 1)") and said(part, "given twice, kept once: 1")


def test_a_span_inside_a_word_splits_it_there(tmp_path):
    part = spanned(tmp_path, ("antiTNF-\u03b1ab anti-TNF-\u03b1 x", [[4, 9, "Gene"]]))
    assert entities(part) == [(["anti", "TNF-\u03b1", "ab", "anti-TNF-\u03b1", "x"], [(1, 2, "Gene")])]
    assert said(part, "begin or end inside a word, which was split there: 1 (first: a, line 1)")


def test_punctuation_is_cut_off_where_a_border_asks_for_it(tmp_path):
    part = spanned(tmp_path, ("(metformin), IL-1\u03b2. (x)", [[1, 10, "Drug"]]))
    assert entities(part) == [(["(", "metformin", ")", ",", "IL-1\u03b2", ".", "(", "x", ")"], [(1, 2, "Drug")])]
    assert part.decided["words"] == spans.EDGES and not said(part, "inside a word")
    other = put(tmp_path / "b", lines([{"text": "no metformin, y", "label": [[3, 12, "Drug"]]}]))
    assert entities(read(other, part, "test"))[0][0] == ["no", "metformin", ",", "y"]
    plain = spanned(tmp_path, ("no (metformin) IL-1\u03b2.", [[0, 2, "Drug"]]))
    assert entities(plain)[0][0] == ["no", "(metformin)", "IL-1\u03b2."]
    like = read(put(tmp_path / "c", lines([{"text": "x, y", "label": []}, {"text": "y", "label": [[0, 1, "Z"]]}])), part, "test")
    assert entities(like)[0][0] == ["x", ",", "y"]


def test_accents_stay_with_their_letter(tmp_path):
    part = spanned(tmp_path, ("cafe\u0301, cafe\u0301", [[0, 5, "X"]]))
    assert entities(part)[0][0] == ["cafe\u0301", ",", "cafe\u0301"]


def test_blanks_at_the_ends_and_empty_spans(tmp_path):
    part = spanned(tmp_path, ("a drug b", [[1, 7, "X"], [3, 3, "X"], [1, 2, "X"]]))
    assert entities(part) == [(["a", "drug", "b"], [(1, 2, "X")])]
    assert said(part, "blanks at their ends, which were cut off: 1") and said(part, "without characters, left out: 2")


def test_lines_are_examples_except_where_an_entity_runs_over_them(tmp_path):
    part = spanned(tmp_path, ("a drug\nb\n\nlung\ncancer c", [[2, 6, "X"], [10, 21, "Y"]]))
    assert entities(part) == [(["a", "drug"], [(1, 2, "X")]), (["b"], []), (["lung", "cancer", "c"], [(0, 2, "Y")])]
    assert rows(part, "id", "group") == [("0.1", "0"), ("0.2", "0"), ("0.3", "0")] and part.group == "group"


@pytest.mark.parametrize("span, message", [
    ([0, 99, "X"], "an entity from 0 to 99 in a text of 6 code points"), ([3, 1, "X"], "an entity from 3 to 1"), ([-1, 2, "X"], "an entity from -1 to 2"),
    ({"start": 0, "end": "4", "label": "X"}, "an entity from 0 to '4'"), ({"start": 0, "end": 4, "label": None}, "an entity with the label None"),
    ([0, 4, " "], "an entity with the label ' '")])
def test_spans_that_cannot_be(tmp_path, span, message):
    path = put(tmp_path / "a", lines([{"text": "a drug", "label": [[2, 6, "X"]]}, {"text": "a drug", "label": [span]}]))
    assert refused(path).startswith(f":2: {message}")


EMOJI = "\U0001f600 took metformin\r\nand \U0001f600 vitamin"


@pytest.mark.parametrize("unit, count", [
    ("UTF-16 units", lambda text: len(text.encode("utf-16-le")) // 2), ("UTF-8 bytes", lambda text: len(text.encode())),
    ("characters, a line end as one", lambda text: len(text.replace("\r\n", "\n"))), ("", len)])
def test_offsets_in_other_units_are_found_by_the_texts(tmp_path, unit, count):
    found = []
    for word in ("metformin", "vitamin"):
        start = count(EMOJI[:EMOJI.index(word)])
        found.append({"start": start, "end": start + len(word), "text": word, "labels": ["Drug"]})
    part = read(put(tmp_path / "a", json.dumps([{"id": 1, "text": EMOJI, "label": found}])))
    assert [[words[a:b] for a, b, _ in own] for words, own in entities(part)] == [[["metformin"]], [["vitamin"]]]
    assert bool(said(part, f"offsets count {unit}")) == bool(unit)


def test_offsets_without_texts_beside_emoji_are_mentioned(tmp_path):
    assert said(spanned(tmp_path, ("\U0001f600 drug", [[2, 6, "X"]])), "count as two in JavaScript")
    assert not said(spanned(tmp_path, ("\u03b1 drug", [[2, 6, "X"]])), "JavaScript")


def test_texts_that_are_not_at_their_offsets(tmp_path):
    good = [[0, 4, "X", "drug"]] * 1
    documents = [("drug and", good)] * 19 + [("drug and", [[0, 4, "X", "else"]])]
    part = spanned(tmp_path, *documents)
    assert said(part, "not at their offset, kept by offset: 1 (first: a, line 20)")
    with pytest.raises(BadInput, match=r":3: the entity 'else' is not at its offset 0, .* so are 1 of 3; "):
        spanned(tmp_path, *documents[-3:])


def test_title_and_abstract_are_two_examples(tmp_path):
    text = "7|t|Metformin helps.\n7|a|No vitamin B12.\n7\t0\t9\tMetformin\tDrug\tD1\n7\t20\t31\tvitamin B12\tDrug\tD2\n7\tCID\tD1\tD2\n\n8|t|x\n8|a|\n"
    part = read(put(tmp_path / "a", text))
    assert entities(part) == [(["Metformin", "helps", "."], [(0, 1, "Drug")]), (["No", "vitamin", "B12", "."], [(1, 3, "Drug")]), (["x"], [])]
    assert rows(part, "id", "group") == [("7.1", "7"), ("7.2", "7"), ("8", "8")] and said(part, "relations, left out: 1")
    assert "1\tx' belongs to no document" in refused(put(tmp_path / "b", text + "\n9\t0\t1\tx\n")).replace("\\t", "\t")


def test_passages_of_bioc(tmp_path):
    passages = [{"offset": 0, "text": "Title drug", "annotations": [{"infons": {"type": "X"}, "text": "drug", "locations": [{"offset": 6, "length": 4}]}]},
                {"offset": 11, "text": "", "sentences": [
                    {"offset": 11, "text": "One drug.", "annotations": [{"infons": {"type": "X"}, "text": "drug", "locations": [{"offset": 15, "length": 4}]}]},
                    {"offset": 21, "text": "Two.", "annotations": [{"infons": {"type": "X"}, "text": "", "locations": [{"offset": 21, "length": 1}, {"offset": 23, "length": 1}]}]}]}]
    part = read(put(tmp_path / "a", json.dumps({"documents": [{"id": "5", "passages": passages, "relations": [{}]}]})))
    assert [words for words, _ in entities(part)] == [["Title", "drug"], ["One", "drug", "."], ["Two", "."]]
    assert rows(part, "id", "group") == [("5.1", "5"), ("5.2", "5"), ("5.3", "5")]
    assert said(part, "discontinuous), left out: 1") and said(part, "relations, left out: 1")


def test_brat_folders(tmp_path):
    folder = made.brat(tmp_path / "brat", made.TRAIN)
    part = read(folder)
    for what, count in (("relations", 24), ("notes", 24), ("entities in pieces (discontinuous)", 24)):
        assert said(part, f"{what}, left out: {count}")
    assert [record.fields["id"] for record in part.records][:3] == ["doc0", "doc1", "doc2"]
    put(tmp_path / "over" / "a.txt", "lung\n cancer x")
    put(tmp_path / "over" / "a.ann", "T1\tX 0 4;6 12\tlung cancer\n")
    assert entities(read(tmp_path / "over")) == [(["lung", "cancer", "x"], [(0, 2, "X")])]
    put(folder / "more.txt", "without")
    assert said(read(folder), "texts without an .ann file, left out: 1 (first: more.txt)")
    (folder / "doc3.txt").unlink()
    with pytest.raises(BadInput, match="doc3.ann: has no text; put doc3.txt beside it"):
        read(folder)
    put(tmp_path / "over" / "a.ann", "T1\tX 0\tlung\n")
    with pytest.raises(BadInput, match="a.ann:1: .* is no entity of brat"):
        read(tmp_path / "over")
    splits = tmp_path / "splits"
    made.brat(splits / "train", made.TRAIN)
    made.brat(splits / "test", made.TEST)
    train = read(splits)
    assert train.whole and entities(train) == made.TRAIN and entities(read(splits, train, "test")) == made.TEST
    assert open_layout(splits, "dev", None, train, needed=False) is None


def test_folders_inside_of_a_brat_folder(tmp_path):
    made.brat(tmp_path / "a", made.TEST)
    made.brat(tmp_path / "a" / "ward 2" / "may", made.TEST)
    part = read(tmp_path / "a")
    assert said(part, f"documents of folders inside: {len(made.TEST)} (first: ward 2/may/") and len(part.records) == 2 * len(made.TEST)
    ids = [record.fields["group"] for record in part.records]
    assert len({*ids}) == len(ids) and sum(id.startswith("ward 2/may/") for id in ids) == len(made.TEST)
    made.brat(tmp_path / "b" / "ward2", made.TEST)  # no documents of its own
    assert entities(read(tmp_path / "b")) == made.TEST
    made.brat(tmp_path / "c" / "train", made.TRAIN)  # a folder of splits is none of documents
    assert entities(read(tmp_path / "c")) == made.TRAIN
    with pytest.raises(BadInput, match="no file of the split test"):
        read(tmp_path / "c", split="test")


def test_annotators_of_prodigy(tmp_path):
    rows_of_file = [{"text": "took metformin", "_input_hash": 1, "_annotator_id": who, "spans": [{"start": 5, "end": 14, "label": label}]}
                    for who, label in (("a", "Drug"), ("b", "Dose"), ("b", "Form"))]
    rows_of_file.append({**rows_of_file[1], "_input_hash": 2})
    part = read(put(tmp_path / "a", lines(rows_of_file)))
    assert [own for _, own in entities(part)] == [[(1, 2, "Drug")], [(1, 2, "Dose")]]
    assert said(part, "rows of further annotators of the same text, left out: 2 (first: a, line 2)")
    questions = [{**row, "_annotator_id": "a", "label": "x"} for row in rows_of_file[:3]]
    assert len(read(put(tmp_path / "b", lines(questions))).records) == 3  # one annotator, three questions


def test_long_cells(tmp_path):
    text = "text,label\n" + f"{'pain ' * 40_000},x\nfever,y\n"
    assert len(read(put(tmp_path / "a", text)).records[0].fields["text"]) == 200_000
    before = csv.field_size_limit(100_000)
    try:
        assert ":2: a cell of more than 10,000,000 characters; divide the text" in refused(put(tmp_path / "b", text))
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize("zero, one", [("0", "1"), ("False", "True"), ("0.0", "1.0")])
@pytest.mark.parametrize("header", ["text,pain,fever", "id,comment_text,pain,fever", "Report Impression,pain,fever"])
def test_columns_of_0_and_1_are_found(tmp_path, header, zero, one):
    start = "{}," * header.startswith("id")
    cells = [start.format(i) + f"took note {i},{one if i % 2 else zero},{one if i % 3 else zero}\n" for i in range(24)]
    data, task = loaded(*(put(tmp_path / f"{size}", header + "\n" + "".join(cells[:size])) for size in (24, 6)))
    assert task.task_type == "multi" and data.labels == ("pain", "fever")
    assert [example.label for example in data.test[:3]] == [(0, 0), (1, 1), (0, 1)]


def test_equal_numbers_as_labels_keep_one_order(tmp_path):
    cells = [f"a note {i},{label}\n" for i in range(4) for label in ("1", "001", "2", "01", "0001", "+1")]
    data, _ = loaded(*(put(tmp_path / f"{size}", "text,label\n" + "".join(cells[:size])) for size in (24, 12)))
    assert data.labels == ("+1", "0001", "001", "01", "1", "2")


@pytest.mark.parametrize("text, message", [
    ("text;score\n" + "".join(f"a note {i};{i},{i}5\n" for i in range(9)), "score: 0,05 is no number: a decimal comma, as in 9 of 9 rows; write a point"),
    ("text,pain,fever,age\n" + "".join(f"a note {i},{i % 2},1,{i}\n" for i in range(9)), "or label_column=A,B,... for columns of 0 and 1"),
])
def test_labels_that_need_a_word(tmp_path, text, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        loaded(put(tmp_path / "a", text), put(tmp_path / "b", text + "\n"))


def test_annotators_of_label_studio(tmp_path):
    part = read(made.TAGGED["label studio"](tmp_path / "a", made.TRAIN))
    assert said(part, "several annotations: the ground truth, else the first is kept: 1") and said(part, "without annotation, left out: 1")
    part = read(made.TAGGED["label studio min"](tmp_path / "a", made.TRAIN))
    assert said(part, "further annotations of the same task, left out: 1")


def test_answers_of_prodigy(tmp_path):
    part = read(made.TAGGED["prodigy"](tmp_path / "a", made.TRAIN))
    assert said(part, "the answer reject, left out: 24") and said(part, "the answer ignore, left out: 24")


def test_numbers_as_labels_of_old_doccano(tmp_path):
    row = {"id": 1, "text": "a drug", "annotations": [{"label": 2, "start_offset": 2, "end_offset": 6, "user": 1}], "meta": {}}
    assert entities(read(put(tmp_path / "a", lines([row])))) == [(["a", "drug"], [(1, 2, "2")])]


# -- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label, found", [
    ("Disorder|Finding", "Disorder|Finding"), ("x;y", "x;y"), ("[see note]", "[see note]"), ("[1]", "[1]"), ("a;", "a;"), ("", "")])
def test_a_mark_alone_makes_no_list(tmp_path, label, found):
    part = read(put(tmp_path / "a", f"text,label\nfever,{label}\ncough,Other\nchill,{label}\nill,Other\n"))
    assert rows(part, "label")[0] == (found,)


@pytest.mark.parametrize("cells, found", [
    (["['pain' 'fever']", "['pain']", "[]"], [["pain", "fever"], ["pain"], []]),
    (["['chest pain'\n 'fever']", '["it\'s"]', "['a''b']"], [["chest pain", "fever"], ["it's"], ["a", "b"]]),
    (["{'pain', 'fever'}", "{'pain'}", "set()"], [["pain", "fever"], ["pain"], []]),
    (["('pain', 'fever')", "('pain',)", "()"], [["pain", "fever"], ["pain"], []]),
    (["[chest pain, fever]", "[fever]", "[]"], [["chest pain", "fever"], ["fever"], []]),
    (['{"chest pain",fever}', "{fever}", "{}"], [["chest pain", "fever"], ["fever"], []]),
    (["array(['a', 'b'], dtype=object)", "array(['a'], dtype='<U1')", "[]"], [["a", "b"], ["a"], []]),
    (["[1 0 1]", "[0 1 0]", "[0 0 0]"], [[1, 0, 1], [0, 1, 0], [0, 0, 0]]),
    (["[1. 0. 1.]", "[0. 1. 0.]", "[0. 0. 0.]"], [[1, 0, 1], [0, 1, 0], [0, 0, 0]]),
    (["[ True False]", "[False  True]", "[False False]"], [[1, 0], [0, 1], [0, 0]]),
])
def test_lists_as_programs_print_them(tmp_path, cells, found):
    rows_of_file = "".join('t,"{}"\n'.format(cell.replace('"', '""')) for cell in cells)
    part = read(put(tmp_path / "a", "text,labels\n" + rows_of_file))
    assert [record.fields["labels"] for record in part.records] == found
    assert all(type(item) is not float for own in found for item in own) and said(part, "lists in brackets")


def test_a_list_beside_a_label_is_refused(tmp_path):
    assert "no list, and" in refused(put(tmp_path / "a", "text,label\na,['x' 'y']\nb,x\nc,y\n"))
    part = read(put(tmp_path / "b", "text,label\n[Effet du fer],x\n[Wirkung],y\n"))
    assert part.records[0].fields["text"] == "[Effet du fer]"  # brackets of a title


def test_marks_in_texts_stay(tmp_path):
    part = read(put(tmp_path / "a", "text,label\na;b,x\na,y\nb;a,x\n"))
    assert rows(part, "text") == [("a;b",), ("a",), ("b;a",)]


def test_an_empty_cell_has_no_label(tmp_path):
    part = read(put(tmp_path / "a", "text,label\nw,a;b\nx,a\ny,\n"))
    assert rows(part, "label") == [(["a", "b"],), (["a"],), ([],)] and said(part, "read as texts with none: 1 (first: a, line 4)")


def test_one_label_in_train_and_two_in_test(tmp_path):
    train = read(put(tmp_path / "a", lines([{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b"]}])))
    assert rows(train, "label") == [("a",), ("b",)]
    with pytest.raises(BadInput, match="every row of train has one label"):
        read(put(tmp_path / "b", lines([{"text": "x", "label": ["a", "b"]}])), train, "test")


@pytest.mark.parametrize("text", ['text\tlabel\n"GATA2 loss\tx\n5" tube, "thin"\ty\n', '"thin"\tx\nthick\ty\n', '"a"\tx\n"b"\t"y"\nc\tz\n',
                                  '"" twice\tx\nb\ty\n', '"a" b\tx\n"c"\ty\n'])
def test_quotes_of_a_tsv_file_stay_where_no_writer_put_them(tmp_path, text):
    part = read(put(tmp_path / "a", text))
    assert part.layout.startswith("TSV with") and "quoted" not in part.layout
    assert [tuple(record.fields.values()) for record in part.records][-1] == tuple(text.splitlines()[-1].split("\t"))


def test_quotes_around_all_but_numbers(tmp_path):
    part = read(put(tmp_path / "a", '"text"\t"label"\n"a ""b"""\t1\n"c"\t0\n'))
    assert rows(part, "text", "label") == [('a "b"', "1"), ("c", "0")]


def test_classes_keep_their_order_and_may_be_absent(tmp_path):
    part = read(made.saved_texts(tmp_path / "a", made.texts(8)))
    assert part.declared == {"label": ("urgent", "routine", "never")} and rows(part, "label")[0] == ("urgent",)


def test_a_type_of_tags_may_be_absent(tmp_path):
    made.dataset(made.TRAIN, ("O", "B-Drug", "L-Drug", "I-Drug", "B-Gene", "I-Gene", "U-Never")).save_to_disk(str(tmp_path / "a"))
    part = read(tmp_path / "a")
    assert part.declared["ner_tags"][-1] == "U-Never" and part.decided["scheme"] == "IOB"
    made.dataset([(words, []) for words, _ in made.TRAIN[:1]] + made.TRAIN, ("O", *(f"{a}-{b}" for b in ("Drug", "Gene") for a in "BI"))).save_to_disk(
        str(tmp_path / "b"))
    assert read(tmp_path / "b").declared["ner_tags"] == ("O", "B-Drug", "I-Drug", "B-Gene", "I-Gene")


def test_a_hidden_label_is_a_missing_value(tmp_path):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, -1]}, features=features).save_to_disk(str(tmp_path / "a"))
    assert refused(tmp_path / "a").startswith(", row 2: label is None, a missing value")


def test_folders_of_splits(tmp_path):
    for split, count in (("train", 8), ("validation", 4), ("test", 6)):
        made.table()(tmp_path / "a" / f"{split}.csv", made.texts(count))
        made.frame("to_parquet")(tmp_path / "b" / "data" / f"{split}-00000-of-00001.parquet", made.texts(count))
        made.table()(tmp_path / "c" / f"my_{split}.csv", made.texts(count))
    for folder in "abc":
        train = read(tmp_path / folder)
        assert train.whole and rows(train, "text", "label") == made.texts(8)
        assert [len(read(tmp_path / folder, train, split).records) for split in ("dev", "test")] == [4, 6]
    (tmp_path / "empty").mkdir()
    assert "no folder written by save_to_disk" in refused(tmp_path / "empty")
    made.table(";")(tmp_path / "a" / "train-2.csv", made.texts(4))
    assert "the files of one split have different layouts" in refused(tmp_path / "a")


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_converted_and_read_again(tmp_path, name):
    kind, _, rest = name.partition(" ")
    if name in made.TAGGED:
        path = made.TAGGED[name](named(tmp_path, name), made.TRAIN)
    else:
        path = (made.SINGLE[rest](named(tmp_path, name), made.texts(24)) if kind == "text"
                else made.MULTI[rest](named(tmp_path, name), made.several(24)))
    before = read(path)
    notes = convert(path, tmp_path / "out")
    out = tmp_path / "out" / "train.jsonl" if before.whole else tmp_path / "out"
    assert notes[0].startswith(f"{out}: {before.layout}, 24 rows")
    after = read(out)
    ids = [record.fields.get("id") for record in after.records]
    assert ids == [record.fields.get("id", str(i)) for i, record in enumerate(before.records)]
    if name in made.TAGGED:
        assert entities(after) == entities(before) and after.group == before.group
    else:
        names = [each for each in before.records[0].fields if each != "id"]
        assert rows(after, *names) == rows(before, *names)
    convert(out, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == out.read_bytes()


def test_a_folder_is_converted_split_by_split(tmp_path):
    made.brat(tmp_path / "a" / "train", made.TRAIN)
    made.brat(tmp_path / "a" / "test", made.TEST)
    convert(tmp_path / "a", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test.jsonl", "train.jsonl"]
    train = read(tmp_path / "out")
    assert entities(train) == made.TRAIN and entities(read(tmp_path / "out", train, "test")) == made.TEST
    with pytest.raises(BadInput, match="is not empty and is never overwritten"):
        convert(tmp_path / "a", tmp_path / "out")


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content, message", [
    (b"", ": the file is empty"), (b"\n \n", ": the file is empty"), (b"text,label\nfe\0ver,1\n", ":2: a NUL byte"),
    (b"[" * 100_000, ":1: "), (b'{"a":' * 100_000, ":1: "), (b'[{"text": "x", "label": ' + b"9" * 5000 + b"}]", ":1: not JSON"),
    (b'[{"text": "x"', ":1: not JSON"), (b'[\n{"text": "x"},\n{"te', ":3: not JSON"), (b'{"text": "x", "label": 1}\n{"te', ":2: not JSON"),
    (b"[]", ":1: a JSON list without items"), (b"[1, 2]", ", item 1: a JSON int, not an object"), (b'{"documents": 3}\n{"x": [}', ":2: not JSON"),
    (gzip.compress(b"text,label\nfever,1\n", mtime=0)[:-9], ": a damaged gzip file"), (b"\x1f\x8b" + b"x" * 50, ": a damaged gzip file"),
    (b"PAR1" + b"x" * 50, ": a damaged columnar file"), (b"ARROW1" + b"x" * 50, ": a damaged columnar file"), (b"\xff\xff\xff\xffabc", ": a damaged columnar file"),
    (b"just words\nand more\n", ":1: neither JSON lines nor columns"), (b'{"id": 1, "passages": [3]}', ", item 1: a passage is 3"),
    (b'[{"id": 1, "data": {"text": "x"}, "annotations": []}]', ", item 1: no task of the file is annotated"),
    (b'{"text": "x", "spans": [], "answer": "reject"}', ":1: no row has the answer accept"),
])
def test_damaged_files(tmp_path, content, message):
    found = refused(put(tmp_path / "a", content))
    assert found.startswith(message) or message == ", item 1: a passage is 3" and "a passage is 3" in found, found


def test_what_is_no_file(tmp_path):
    assert "cannot be read (No such file" in refused(tmp_path / "a.csv")
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").startswith(": cannot be read (a folder, a pipe or a device)")
    assert refused(Path("/dev/zero")).startswith(": cannot be read (a folder, a pipe or a device)")


def test_a_bomb_of_gzip(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "RATIO_FREE", 2**20)
    path = put(tmp_path / "a", gzip.compress(b"x" * 2**24, mtime=0))
    assert "unpacks to more than 1 MB" in refused(path)


def test_a_docbin_without_spacy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    path = put(tmp_path / "a.spacy", b"\x78\x9cabc")
    assert refused(path) == ': a DocBin needs spaCy; pip install "kdbench[spacy]", or export the corpus as JSON lines'


@pytest.mark.spacy
def test_a_damaged_docbin(tmp_path):
    content = made.docbin(tmp_path / "a", made.TRAIN).read_bytes()
    assert "no DocBin of spaCy, or a damaged one" in refused(put(tmp_path / "b", content[:len(content) // 2]))


def test_a_very_large_number_of_spans(tmp_path):
    """Whatever compares each with each would not end."""
    text = "word " * 1000
    found = [[i % 900, i % 900 + 1 + i % 7, "X"] for i in range(200_000)]
    part = spanned(tmp_path, (text, found))
    assert len(part.records) == 1 and len(part.records[0].fields["tokens"]) >= 1000
    one = spanned(tmp_path, ("x" * 50_000, [[i, i + 1, "X"] for i in range(50_000)]))
    assert len(one.records[0].fields["tokens"]) == 50_000


@pytest.mark.parametrize("name", EVERY)
def test_bytes_that_are_changed_or_missing(tmp_path, name):
    """Read or refused in one line; anything else that is raised fails here."""
    draw = random.Random(name)
    kind, _, rest = name.partition(" ")
    writers, corpus = (made.TAGGED, made.TRAIN) if name in made.TAGGED else (
        (made.SINGLE, made.texts(8)) if kind == "text" else (made.MULTI, made.several(8)))
    path = writers[name if name in made.TAGGED else rest](named(tmp_path, name), corpus)
    file = path if path.is_file() else draw.choice(sorted(each for each in path.rglob("*") if each.is_file()))
    content = file.read_bytes()
    for _ in range(12):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(damaged))
            what = draw.choice(["cut", "flip", "drop", "repeat"])
            if what == "cut":
                del damaged[place:]
            elif what == "flip":
                damaged[place] = draw.randrange(256)
            elif what == "drop":
                del damaged[place:place + draw.randint(1, 30)]
            else:
                damaged[place:place] = damaged[place:place + draw.randint(1, 30)]
            damaged = damaged or bytearray(b"x")
        file.write_bytes(bytes(damaged))
        try:
            read(path)
        except BadInput as error:
            assert "\n" not in str(error)


STRANGE = (None, 3, -1, 1.5, True, "", "x", [], {}, [None], [[0, 1]], {"a": 1}, "\ud800", "\0", 10**30)


def with_strange_values(draw, value):
    """The same JSON with one value in it replaced, or taken out."""
    places = []

    def walk(inner):
        items = list(inner.items()) if isinstance(inner, dict) else list(enumerate(inner)) if isinstance(inner, list) else []
        for key, child in items:
            places.append((inner, key))
            walk(child)

    walk(value)
    for _ in range(draw.randint(1, 3)):
        inner, key = draw.choice(places)
        if draw.random() < 0.2 and isinstance(inner, dict):
            inner.pop(key, None)
        elif isinstance(inner, dict) or key < len(inner):
            inner[key] = draw.choice(STRANGE)
    return value


JSON_LAYOUTS = [name for name in made.TAGGED if name.startswith(("json", "doccano", "spacy", "prodigy", "label studio", "bioc"))
                and not name.endswith(("csv", "conll", "gzip", "xml"))] + ["text doccano", "text label studio", "text label studio min", "text json list"]


@pytest.mark.parametrize("name", JSON_LAYOUTS)
def test_strange_values_in_json(tmp_path, name):
    draw = random.Random(name)
    if name in made.TAGGED:
        text = made.TAGGED[name](tmp_path / "a", made.TRAIN[:3]).read_text()
    else:
        text = made.SINGLE[name.removeprefix("text ")](tmp_path / "a", made.texts(3)).read_text()
    refusals = 0
    for _ in range(150):
        try:
            value = json.loads(text)
            content = json.dumps(with_strange_values(draw, value))
        except json.JSONDecodeError:
            content = lines(with_strange_values(draw, [json.loads(line) for line in text.splitlines()])).encode("utf-8", "replace").decode()
        try:
            read(put(tmp_path / "a", content))
        except BadInput as error:
            refusals += 1
            assert "\n" not in str(error)
    assert refusals


# -- the task `files` --------------------------------------------------------------------------------------------------


def loaded(train, test, **settings):
    task = TASKS.get("files")
    data = corpora.load(task, LoadOptions(files={"train": train, "test": test}, settings=build(task.options, "corrected", settings, "files")))
    return data, corpora.settled(task, data)


@pytest.mark.parametrize("name", cases(name for name in made.TAGGED if name != "hub folder"))
def test_files_reads_every_layout_of_tags(tmp_path, name):
    data, task = loaded(*(made.TAGGED[name](named(tmp_path, f"{name} {split}"), corpus)
                          for split, corpus in (("train", made.TRAIN), ("test", made.TEST))))
    assert (task.task_type, task.metric) == ("tags", "entity_f1")
    assert [(list(e.words), tags.lenient_spans([data.labels[i] for i in e.label])) for e in data.test] == made.TEST
    assert len(data.train) + len(data.dev) == 24


@pytest.mark.parametrize("name", cases(made.SINGLE))
def test_files_reads_every_layout_of_labels(tmp_path, name):
    if name == "folder of csv":
        made.table()(tmp_path / named("", f"{name} test").name / "test.csv", made.texts(12))
    test = tmp_path / named("", f"{name} test").name
    test = test if name == "folder of csv" else made.SINGLE[name](test, made.texts(12))
    data, task = loaded(made.SINGLE[name](named(tmp_path, f"{name} train"), made.texts(24)), test)
    assert task.task_type == "single" and {*data.labels} - {"never"} == {"urgent", "routine"}
    assert [(e.text, data.labels[e.label]) for e in data.test] == made.texts(12)
    assert data.labels == (("urgent", "routine", "never") if name == "saved dataset" else ("routine", "urgent"))


@pytest.mark.parametrize("name", [name for name in made.MULTI if not name.endswith("min")])
def test_files_reads_every_layout_of_several_labels(tmp_path, name):
    data, task = loaded(*(made.MULTI[name](named(tmp_path, f"{name} {split}"), made.several(count))
                          for split, count in (("train", 24), ("test", 12))))
    assert task.task_type == "multi" and data.labels == made.VECTOR_NAMES
    assert [(e.text, tuple(e.label)) for e in data.test] == [(text, tuple(made.vector(int)(own))) for text, own in made.several(12)]


def test_files_resamples_documents_and_takes_an_encoding(tmp_path):
    rows = [{"id": i, "text": "a drug\nb", "label": [[2, 6, "X"]]} for i in range(12)]
    data, _ = loaded(put(tmp_path / "a", lines(rows)), put(tmp_path / "b", lines(rows[:3])))
    assert {e.group for e in data.test} == {"0", "1", "2"} and len(data.test) == 6
    paths = [made.table(encoding="cp949")(tmp_path / name, made.texts(count)) for name, count in (("c", 24), ("d", 12))]
    assert loaded(*paths, encoding="cp949")[0].test[2].text == made.texts(3)[2][0]


# -- the code ----------------------------------------------------------------------------------------------------------


FOLDER = Path(open_layout.__code__.co_filename).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_readers_stand_on_the_wings_below_and_load_libraries_when_needed(path):
    imported = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    own = {name for name in imported if name.startswith("kdbench.")}
    allowed = ("kdbench.base", "kdbench.data.layouts", "kdbench.data.readers", "kdbench.data.tags", "kdbench.data.task", "kdbench.data.word_rules",
               "kdbench.data")
    assert all(name.startswith(allowed[:2]) or name in allowed for name in own), own
    assert not {name.partition(".")[0] for name in imported - own} - set(sys.stdlib_module_names)


# -- files as people have them -----------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.cases
def test_the_cases_of_the_data_folder(data_dir):
    """Needs a folder `cases` beside the one of the corpora, or in it."""
    folder = next(each for each in (data_dir / "cases", data_dir.resolve().parent / "cases") if each.is_dir())
    expected = json.loads((folder / "expected.json").read_text())
    stems = sorted({path.name.split(".")[0] for path in folder.glob("*.train*")})
    tagged = 0
    for stem in stems:
        train = None
        for split in ("train", "test"):
            path = next(folder.glob(f"{stem}.{split}*"))
            part = read(path, train, split, encoding="cp949" if stem == "cp949" else "")
            train = train or part
            if not {"tokens", "words"} & part.records[0].fields.keys():
                assert len(part.records) == (24 if split == "train" else 12), path
                continue
            tagged += 1
            found, wanted = entities(part), expected[split]
            counts = Counter(kind for _, own in found for _, _, kind in own)
            assert (len(found), sum(counts.values()), dict(counts)) == (wanted["sentences"], wanted["mentions"], wanted["by_type"]), path
            first = wanted["first"]
            assert found[0] == (first["words"], tags.lenient_spans(first["tags"])), path
    assert tagged == 26


def test_a_corpus_of_another_encoding_is_converted_from_the_command_line(tmp_path, capsys):
    (tmp_path / "notes.csv").write_text("text,label\n두통,1\n기침,0\n", encoding="cp949")
    source, target = str(tmp_path / "notes.csv"), str(tmp_path / "notes.jsonl")
    assert main(["convert-data", source, target]) == 2
    assert "say --encoding" in capsys.readouterr().err and not Path(target).exists()
    assert main(["convert-data", source, target, "--encoding", "cp949"]) == 0
    rows = [json.loads(line) for line in Path(target).read_text().splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == [("두통", "1"), ("기침", "0")]
    assert "CSV with header, 2 rows" in capsys.readouterr().out
    (tmp_path / "more.csv").write_text("text,label\n복통,1\n두통,0\n", encoding="cp949")
    files = ["--train", source, "--dev", source, "--test", str(tmp_path / "more.csv")]
    assert main(["check", "files", *files, "--encoding", "cp949"]) == 2, "train and dev are one file"
    assert "byte-identical" in capsys.readouterr().err


@pytest.mark.parametrize("item", ["text", 3, None, [0, 4], []])
def test_an_entity_that_is_none_is_one_line(tmp_path, item):
    """Where the layout is known already, by the training file."""
    row = {"text": "took metformin daily", "entities": [{"start": 5, "end": 14, "label": "Drug"}]}
    for name, rows in (("train", [row] * 3), ("test", [row, {**row, "entities": [item]}])):
        put(tmp_path / f"{name}.jsonl", "".join(json.dumps(each) + "\n" for each in rows))
    train = read(tmp_path / "train.jsonl")
    with pytest.raises(BadInput, match="test.jsonl:2: an entity is .*; give its start, end and label"):
        read(tmp_path / "test.jsonl", train, "test")
