"""The embedded look-alikes have the properties that make them fair toys: context decides, rare cues, noise in train alone."""

from collections import Counter
from dataclasses import replace

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from kdbench.tasks.lookalike_grammars import Dice, Draw
from kdbench.tasks.lookalike_words import CHEMPROT as CHEMPROT_CUES
from kdbench.tasks.lookalikes import DOMAIN, LOOKALIKES, SPECS, Noise, generate, tag_indices

CLASSES = [name for name, spec in SPECS.items() if spec.labels and not spec.mentions and "hoc" not in name]
SPLITS = ("train", "dev", "test")


def words(example):
    return [*example.words, *f"{example.text} {example.pair or ''}".split()]


@pytest.mark.parametrize("name", LOOKALIKES)
def test_no_text_occurs_twice(name):
    data = LOOKALIKES[name](train=300, dev=100, test=100)
    keys = [example.key for split in SPLITS for example in data.split(split)]
    assert len(keys) == len(set(keys)) == 500
    assert not set(keys) & set(data.domain_text) and len(data.domain_text) == DOMAIN
    assert data.origin == "lookalike" and "wrong on purpose" in data.notes[0]


def test_a_seed_has_a_corpus_of_its_own():
    data, again, other = (LOOKALIKES["gad"](seed=seed, train=30, dev=10, test=10) for seed in (0, 0, 1))
    assert again == data and other.sha256["test"] != data.sha256["test"]


@pytest.mark.parametrize("name", CLASSES)
def test_a_bag_of_words_does_not_solve_it(name):
    """Although it is given a training set without a wrong label, with as many rare cues as test has."""
    data = generate(replace(SPECS[name], noise=0.0), train=1200, dev=400, test=400)
    train, test = [[*data.train[:800], *data.dev], data.test]
    counts = CountVectorizer(analyzer=words)
    model = LogisticRegression(C=0.3, max_iter=500).fit(counts.fit_transform(train), [e.label for e in train])
    found = accuracy_score([e.label for e in test], model.predict(counts.transform(test)))
    assert found < 0.72, f"{found:.0%} without reading the order of the words"


def test_rare_cues_are_rare_in_train_alone():
    data = LOOKALIKES["chemprot"]()
    rare = {cue for cues in CHEMPROT_CUES.values() for cue in cues.rare}
    uses = {split: Counter(word for e in data.split(split) for word in words(e) if word in rare) for split in SPLITS}
    assert max(uses["train"].values()) <= 2
    share = {split: sum(found.values()) / len(data.split(split)) for split, found in uses.items()}
    assert share["dev"] > 5 * share["train"] and share["test"] > 5 * share["train"]
    company = Counter(word for text in data.domain_text for word in text.split() if word in rare)
    assert set(company) == rare, "the domain text names every rare cue"
    assert min(company.values()) >= 10


def test_a_rare_cue_that_is_used_up_gives_way_to_common_ones():
    draw = Draw(Dice("a test"), CHEMPROT_CUES, "train")
    name = list(CHEMPROT_CUES)[1]
    drawn = Counter(draw(name) for _ in range(5000))
    rare = set(CHEMPROT_CUES[name].rare)
    assert max(count for word, count in drawn.items() if word in rare) <= 2
    assert set(drawn) - rare == set(CHEMPROT_CUES[name].common)


@pytest.mark.parametrize("name", ["chemprot", "hoc", "biosses", "bc2gm", "emr"])
def test_only_train_has_wrong_labels_and_no_text_depends_on_them(name):
    spec = SPECS[name]
    data, clean = generate(spec), generate(replace(spec, noise=0.0))
    assert data.dev == clean.dev and data.test == clean.test and data.domain_text == clean.domain_text
    assert [e.key for e in data.train] == [e.key for e in clean.train]
    wrong = sum(a.label != b.label for a, b in zip(data.train, clean.train, strict=True)) / len(data.train)
    # of a sentence with tags any of its one to three mentions may be wrong
    assert 0.75 * spec.noise < wrong < (3.2 if spec.mentions else 1.25) * spec.noise


def test_a_wrong_mention_is_missed_or_cut_but_never_overlaps():
    always = Noise(Dice("a test"), 1.0)
    spans = [(0, 1, "X"), (1, 3, "X"), (3, 4, "X"), (6, 7, "X")]
    for _ in range(200):
        found = always.spans(spans)
        assert found != spans
        assert all(before[1] <= after[0] for before, after in zip(found, found[1:], strict=False))
        assert all(0 <= start < end for start, end, _ in found)


@pytest.mark.parametrize(("labels", "expected"), [
    (("O", "B", "I"), "B I O B"),
    (("O", "B-X", "I-X", "E-X", "S-X"), "B-X E-X O S-X"),
    (("O", "B-X"), "B-X B-X O B-X"),
])
def test_tags_come_in_the_scheme_of_the_labels(labels, expected):
    assert " ".join(labels[i] for i in tag_indices([(0, 2, "X"), (3, 4, "X")], 4, labels)) == expected
