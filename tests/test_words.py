"""The words of a tagger: learned from its corpus, served as they were learned, scored on raw texts."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from students import TEXTS

from kdbench.base.errors import BadInput
from kdbench.cli.verbs import main
from kdbench.data import word_rules
from kdbench.data.task import Example
from kdbench.data.word_rules import RULES, aligned, as_printed, cut, learned, pattern


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
    assert as_printed("IL - 2 , ( p53 ) do n't 0 . 5 % 阿 司 。".split()) == "IL-2, (p53) don't 0.5% 阿司。"


def test_words_are_found_in_their_text():
    assert aligned(["a", "b,", "c"], " a\u200b b,c\n") == [(1, 2), (4, 6), (6, 7)]
    assert aligned(["a", "c"], "a b c") is None and aligned(["a"], "a b") is None


def test_a_large_corpus_is_sampled(monkeypatch):
    seen = []
    monkeypatch.setattr(word_rules, "cut", lambda text, expression: seen.append(text) or text.split())
    learned(sentences(*(f"word{i} ." for i in range(5000))))
    assert len(set(seen)) <= 2 * word_rules.SAMPLE and any("word49" in text for text in seen)
