"""Metrics against scikit-learn and seqeval on thousands of random cases, and against examples worked by hand."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdbench.base.errors import BadInput
from kdbench.data.task import Data, Example, Task
from kdbench.score import metrics as scoring
from kdbench.score.metrics import (
    METRICS,
    Info,
    WordTags,
    beyond_limit,
    evaluate,
    gold_labels,
    info_for,
    naive,
    word_tags,
)
from kdbench.score.scoring import SEQEVAL
from kdbench.score.tagging import names_for_seqeval, seqeval_ratios, seqeval_strict_ratios

RNG = np.random.default_rng
GENE = ("O", "B-GENE", "I-GENE")
IOBES = ("O", *(f"{prefix}-{kind}" for kind in ("GENE", "DRUG") for prefix in "BIES"))


def make_task(kind, metric, **facts):
    return Task(name="made-up", task_type=kind, about="", metric=metric, load=None, **facts)


def score(name, gold, predicted, **facts):
    return METRICS[name].score(gold, predicted, Info(**facts))


def random_logits(rng, n, c):
    return rng.normal(size=(n, c)).astype(np.float32)


def random_tags(rng, labels, sentences=6, longest=9):
    lengths = rng.integers(0, longest, size=sentences)
    shares = rng.dirichlet(np.ones(len(labels)))
    return [rng.choice(len(labels), size=n, p=shares) for n in lengths]


def near(rng, tags, labels, noise):
    return [np.where(rng.random(len(t)) < noise, rng.integers(0, len(labels), size=len(t)), t) for t in tags]


def of_pieces(rng, tags):
    """Predicted word tags with one to four pieces a word, of which the first has the word's tag."""
    pieces = [[np.concatenate([[tag], rng.integers(0, len(IOBES), size=rng.integers(0, 4))]) for tag in row] for row in tags]
    return WordTags(tags, pieces)


# ---- every metric ----------------------------------------------------------------------------------------------------


def sample(kind, rng):
    """Gold labels, predictions and info of one random case."""
    n, labels = 12, ("0", "A", "B")
    groups = tuple(f"d{i}" for i in rng.integers(0, 5, size=n))
    info = Info(labels, ("0",), 0.4, groups)
    if kind == "tags":
        gold = random_tags(rng, IOBES)
        return gold, of_pieces(rng, near(rng, gold, IOBES, 0.3)), Info(IOBES, (), None, groups[: len(gold)])
    if kind == "regression":
        return rng.normal(size=n), rng.normal(size=n), info
    if kind == "multi":
        return rng.integers(0, 2, size=(n, 3)), random_logits(rng, n, 3), info
    return rng.integers(0, 3, size=n), random_logits(rng, n, 3), info


@pytest.mark.parametrize("name", METRICS)
def test_counts_add_up_over_examples_and_over_replicates(name):
    metric = METRICS[name]
    for kind in metric.task_types:
        gold, predicted, info = sample(kind, RNG(3))
        value = metric.score(gold, predicted, info)
        assert -1 <= value <= 1
        if metric.counts is None:
            continue
        counts = metric.counts(gold, predicted, info)
        assert counts.shape[0] == len(gold)
        weights = np.ones((4, len(gold)))
        np.testing.assert_allclose(metric.finish(weights @ counts), np.full(4, value))
        assert metric.finish(np.zeros(counts.shape[1])) == 0, "nothing to count is 0, not a division by zero"


@pytest.mark.parametrize("name", METRICS)
def test_about_says_averaging_or_what_is_ignored(name):
    assert 20 < len(METRICS[name].about) < 160
    assert METRICS[name].name == name


# ---- texts against scikit-learn --------------------------------------------------------------------------------------


def test_single_label_metrics_equal_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    rng = RNG(0)
    for _ in range(75):
        c, n = int(rng.integers(2, 6)), int(rng.integers(2, 30))
        labels = tuple(str(i) for i in range(c))
        gold, logits = rng.integers(0, c, size=n), random_logits(rng, n, c)
        given = logits.argmax(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = {
                "micro_f1": f1_score(gold, given, labels=range(1, c), average="micro", zero_division=0),
                "f1_positive": f1_score(gold == c - 1, given == c - 1, zero_division=0),
                "accuracy": accuracy_score(gold, given),
                "macro_f1": f1_score(gold, given, average="macro", zero_division=0),
            }
            for what, ratio in (("precision", precision_score), ("recall", recall_score)):
                expected[f"micro_{what}"] = ratio(
                    gold, given, labels=range(1, c), average="micro", zero_division=0
                )
                expected[f"{what}_positive"] = ratio(gold == c - 1, given == c - 1, zero_division=0)
                expected[f"macro_{what}"] = ratio(gold, given, average="macro", zero_division=0)
        for name, value in expected.items():
            assert score(name, gold, logits, labels=labels, negative=("0",)) == pytest.approx(value, abs=1e-12), name


def test_multi_label_metrics_equal_scikit_learn():
    from sklearn.metrics import f1_score, precision_score, recall_score

    rng = RNG(1)
    for _ in range(75):
        c, n = int(rng.integers(2, 6)), int(rng.integers(2, 20))
        gold, logits = (rng.random((n, c)) < 0.3).astype(int), random_logits(rng, n, c)
        given = (logits > 0).astype(int)
        seen = [i for i in range(c) if gold[:, i].any() or given[:, i].any()]
        labels = tuple(str(i) for i in range(c))
        for what, function in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            assert score(f"micro_{what}", gold, logits, labels=labels) == pytest.approx(
                function(gold, given, average="micro", zero_division=0), abs=1e-12)
            if seen:
                assert score(f"macro_{what}", gold, logits, labels=labels) == pytest.approx(
                    function(gold, given, labels=seen, average="macro", zero_division=0), abs=1e-12)


def test_threshold_metrics_equal_scikit_learn():
    from sklearn import metrics as sklearn

    rng = RNG(2)
    for _ in range(100):
        n, rate = int(rng.integers(4, 40)), float(rng.uniform(0.1, 0.9))
        gold, logits = rng.integers(0, 2, size=n), 2 * random_logits(rng, n, 2)
        gold[:2] = 0, 1
        powers = np.exp(logits.astype(float))
        p = powers[:, 1] / powers.sum(axis=1)
        given = p >= rate
        expected = {
            "f1_at_rate": sklearn.f1_score(gold, given, zero_division=0),
            "accuracy_at_rate": sklearn.accuracy_score(gold, given),
            "recall_at_rate": sklearn.recall_score(gold, given, zero_division=0),
            "precision_at_rate": sklearn.precision_score(gold, given, zero_division=0),
            "auroc": sklearn.roc_auc_score(gold, p),
            "auprc": sklearn.average_precision_score(gold, p),
            "brier": sklearn.brier_score_loss(gold, p),
        }
        for name, value in expected.items():
            ours = score(name, gold, logits, labels=("0", "1"), positive_rate=rate)
            assert ours == pytest.approx(value, abs=1e-12), name


def test_correlations_equal_scipy_also_far_from_the_origin():
    from scipy.stats import pearsonr, spearmanr

    rng = RNG(4)
    for _ in range(300):
        n = int(rng.integers(3, 40))
        gold = rng.integers(0, 5, size=n) + 1e6 * (rng.random() < 0.3)
        predicted = gold + rng.normal(size=n) + 1e5 * (rng.random() < 0.3)
        if np.ptp(gold) == 0:
            continue
        for name, oracle in (("pearson", pearsonr), ("spearman", spearmanr)):
            assert score(name, gold.astype(float), predicted) == pytest.approx(oracle(gold, predicted)[0], abs=1e-9)
    assert score("pearson", np.array([1.0, 2.0, 3.0]), np.full(3, 0.1)) == 0


# ---- documents -------------------------------------------------------------------------------------------------------

# three documents of two sentences each, over labels a, b, c; the third has no gold label
GOLD = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
GIVEN = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]])
DOCUMENTS = ("d1", "d1", "d2", "d2", "d3", "d3")


def test_documents_equal_the_example_worked_by_hand():
    logits = 2.0 * GIVEN - 1
    # unions: gold {a, b}, {c}, {}; predicted {a, c}, {}, {b}. TP 1, gold 3, predicted 3
    assert score("document_micro_f1", GOLD, logits, labels=("a", "b", "c"), groups=DOCUMENTS) == pytest.approx(2 / 6)
    # over d1 and d2: mean precision (1/2 + 0) / 2, mean recall (1/2 + 0) / 2; d3 is left out
    assert score("document_example_f1", GOLD, logits, labels=("a", "b", "c"), groups=DOCUMENTS) == pytest.approx(0.25)
    # sentence by sentence it is another metric: TP 1, gold 4, predicted 4
    assert score("micro_f1", GOLD, logits, labels=("a", "b", "c")) == pytest.approx(0.25)


def test_documents_equal_sets_on_random_cases():
    rng = RNG(5)
    for _ in range(150):
        n, c = int(rng.integers(1, 15)), 4
        gold, logits = (rng.random((n, c)) < 0.3).astype(int), random_logits(rng, n, c) - 0.5
        groups = tuple(f"g{i}" for i in rng.integers(0, 5, size=n))
        sets = {group: (set(), set()) for group in groups}
        for row, group in enumerate(groups):
            sets[group][0].update(np.flatnonzero(gold[row]))
            sets[group][1].update(np.flatnonzero(logits[row] > 0))
        both = sum(len(a & b) for a, b in sets.values())
        size = sum(len(a) + len(b) for a, b in sets.values())
        of_gold, of_given = (sum(len(pair[i]) for pair in sets.values()) for i in (0, 1))
        judged = [(a, b) for a, b in sets.values() if a]
        precision = np.mean([len(a & b) / len(b) if b else 0 for a, b in judged]) if judged else 0
        recall = np.mean([len(a & b) / len(a) for a, b in judged]) if judged else 0
        example = 2 * precision * recall / (precision + recall) if precision + recall else 0
        facts = {"labels": tuple("abcd"), "groups": groups}
        assert score("document_micro_f1", gold, logits, **facts) == pytest.approx(2 * both / size if size else 0)
        assert score("document_example_f1", gold, logits, **facts) == pytest.approx(example)
        ratios = {
            "document_micro_precision": both / of_given if of_given else 0,
            "document_micro_recall": both / of_gold if of_gold else 0,
            "document_example_precision": precision,
            "document_example_recall": recall,
        }
        for name, value in ratios.items():
            assert score(name, gold, logits, **facts) == pytest.approx(value, abs=1e-12), name


# ---- tags against seqeval --------------------------------------------------------------------------------------------

TAG_SETS = {
    "plain": ("O", "B", "I"),
    "one type": GENE,
    "hyphens": ("O", "B-cell-line", "I-cell-line", "B-cell", "I-cell"),
    "two types": ("O", "B-PAR", "I-PAR", "B-INT", "I-INT"),
    "IO": ("O", "I-GENE", "I-DRUG"),
    "IOBES": IOBES,
}


def as_names(sequences, labels):
    return [[labels[i] for i in tags] for tags in sequences]


def random_pair(rng, labels):
    """Gold and predicted tags: near each other, or with nothing in common."""
    gold = random_tags(rng, labels)
    if rng.random() < 0.3:
        other = random_tags(rng, labels)
        return gold, [np.resize(np.append(b, 0), len(a)) for a, b in zip(gold, other, strict=True)]
    return gold, near(rng, gold, labels, rng.choice([0.1, 0.5]))


def counted(metric, gold, predicted, labels):
    """The score by our counts alone, which statistics resample."""
    counts = METRICS[metric].counts(gold, predicted, Info(labels)).sum(axis=0)
    return float(METRICS[metric].finish(counts)), counts


@pytest.mark.parametrize("tag_set", TAG_SETS)
def test_entities_equal_seqeval_in_its_default_mode(tag_set):
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    labels, rng = TAG_SETS[tag_set], RNG(6)
    for _ in range(200):
        gold, predicted = random_pair(rng, labels)
        names = as_names(gold, labels), as_names(predicted, labels)
        expected = precision_recall_fscore_support(*names, average="micro", zero_division=0)
        for name, value in zip(("entity_precision", "entity_recall", "entity_f1"), expected[:3], strict=True):
            found, counts = counted(name, gold, predicted, labels)
            assert found == pytest.approx(value, abs=1e-12), name
            assert counts[1] == expected[3]
            assert score(name, gold, predicted, labels=labels) == value, "stated as seqeval computes it"


@pytest.mark.parametrize("tag_set", TAG_SETS)
def test_entities_equal_seqeval_in_strict_mode(tag_set):
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2
    from seqeval.scheme import IOBES as IOBES_SCHEME

    labels, rng = TAG_SETS[tag_set], RNG(7)
    how = {"mode": "strict", "scheme": IOBES_SCHEME if tag_set == "IOBES" else IOB2, "zero_division": 0}
    functions = {"f1": f1_score, "precision": precision_score, "recall": recall_score}
    differs = 0
    for _ in range(100):
        gold, predicted = random_pair(rng, labels)
        names = as_names(gold, labels), as_names(predicted, labels)
        for what, function in functions.items():
            value, name = function(*names, **how), f"entity_{what}_strict"
            assert counted(name, gold, predicted, labels)[0] == pytest.approx(value, abs=1e-12)
            assert score(name, gold, predicted, labels=labels) == value, "stated as seqeval computes it"
        differs += value != score("entity_f1", gold, predicted, labels=labels)
    assert differs > 20, "strict and default mode are two metrics"


@pytest.mark.parametrize("name", ["entity_f1", "entity_recall_strict", "entity_precision_seen"])
def test_entity_scores_that_our_counts_do_not_give_are_refused(name, monkeypatch):
    gold, predicted, info = sample("tags", RNG(3))
    assert METRICS[name].score(gold, predicted, info) > 0
    wrong = dict.fromkeys(("precision", "recall", "f1"), 0.123)
    monkeypatch.setitem(SEQEVAL, METRICS[name].counts, lambda gold, predicted, info: wrong)
    with pytest.raises(RuntimeError, match=f"{name}: seqeval gives 0.123, our counts give"):
        METRICS[name].score(gold, predicted, info)


@pytest.mark.parametrize("labels", [GENE, (*IOBES[1:], "O")], ids=["IOB2", "IOBES"])
def test_what_seqeval_is_spared_changes_nothing_of_what_it_says(labels):
    """Words that are O in both, in long runs, at both ends and between any tags."""
    from seqeval import scheme
    from seqeval.metrics import f1_score, precision_score, recall_score

    rng, shorter = RNG(11), 0
    strict = {"mode": "strict", "scheme": scheme.IOB2 if labels == GENE else scheme.IOBES}

    def tags(size, share):
        return np.where(rng.random(size) < share, labels.index("O"), rng.integers(len(labels), size=size))

    for share in [0.0, 0.5, 0.9, 0.97] * 15:
        sizes = rng.integers(0, 40, size=6)
        gold, predicted = [tags(size, share) for size in sizes], [tags(size, share) for size in sizes]
        names = as_names(gold, labels), as_names(predicted, labels)
        for ratios, how in ((seqeval_ratios, {}), (seqeval_strict_ratios, strict)):
            whole = [score_of(*names, zero_division=0, **how) for score_of in (precision_score, recall_score, f1_score)]
            assert [*ratios(gold, predicted, Info(labels)).values()] == whole
        shorter += sum(map(len, names_for_seqeval(gold, predicted, Info(labels))[0])) < sizes.sum()
    assert shorter > 40


def test_seqeval_is_asked_once_for_an_f1_its_precision_and_its_recall(monkeypatch):
    calls = []

    def ratios(gold, predicted, info):
        calls.append(1)
        return seqeval_ratios(gold, predicted, info)

    monkeypatch.setitem(SEQEVAL, METRICS["entity_f1"].counts, ratios)
    task = make_task("tags", "entity_f1")
    examples = [Example("1", words=("a", "b"), label=(1, 2))]
    scores = evaluate(task, Info(GENE), examples, WordTags([np.array([1, 0])], [[np.array([1]), np.array([0])]]))
    assert scores.all["entity_f1"] == 0 and {"entity_precision", "entity_recall"} <= scores.all.keys()
    assert calls == [1]


def test_a_metric_that_a_plugin_makes_of_entity_f1_is_its_own():
    gold, predicted, info = sample("tags", RNG(3))
    mine = replace(METRICS["entity_f1"], name="mine", finish=lambda sums: 0.5 * sums[..., 0])
    assert mine.score(gold, predicted, info) == 0.5 * METRICS["entity_f1"].counts(gold, predicted, info)[:, 0].sum()


def test_entities_of_whole_corpora_are_counted_fast_and_equal_seqeval():
    from seqeval.metrics import f1_score

    rng = RNG(8)
    gold = [rng.choice(3, size=30, p=[0.8, 0.1, 0.1]) for _ in range(2000)]
    predicted = near(rng, gold, GENE, 0.05)
    assert score("entity_f1", gold, predicted, labels=GENE) == pytest.approx(
        f1_score(as_names(gold, GENE), as_names(predicted, GENE)))


def test_word_macro_f1_equals_scikit_learn_over_words():
    from sklearn.metrics import f1_score, precision_score, recall_score

    labels, rng = ("O", "B-PAR", "I-PAR", "B-INT", "B-OUT"), RNG(9)
    kinds = np.array([0, 1, 1, 2, 3])
    for _ in range(150):
        gold = random_tags(rng, labels)
        predicted = near(rng, gold, labels, 0.4)
        a, b = kinds[np.concatenate(gold)], kinds[np.concatenate(predicted)]
        seen = sorted(set(a) | set(b) - {0})
        seen = [kind for kind in seen if kind]
        if seen:
            for what, function in (
                ("f1", f1_score),
                ("precision", precision_score),
                ("recall", recall_score),
            ):
                expected = function(a, b, labels=seen, average="macro", zero_division=0)
                ours = score(f"word_macro_{what}", gold, predicted, labels=labels)
                assert ours == pytest.approx(expected, abs=1e-12)


def test_every_piece_of_a_word_counts_by_its_own_prediction():
    gold = [np.array([1, 2, 0, 1])]
    # words 0 0 0 | 1 1 | 2 2 | 3 between [CLS] and [SEP], then padding; the last word is beyond the limit
    tags, ids = [np.array([2, 1, 1, 0, 0, 2, 0, 1, 2, 1])], [[-1, 0, 0, 0, 1, 1, 2, 2, -1]]
    predicted = word_tags(tags, ids, [4], 0)
    assert [row.tolist() for row in predicted] == [[1, 0, 0, 0]]
    assert [piece.tolist() for piece in predicted.pieces[0]] == [[1, 1, 0], [0, 2], [0, 1], []]
    # right: two of the first word's pieces and one of the second's; gold 3 + 2; predicted 2 + 1 + 1
    assert score("piece_tag_micro_f1", gold, predicted, labels=GENE) == pytest.approx(2 * 3 / (5 + 4))
    assert score("piece_tag_micro_precision", gold, predicted, labels=GENE) == pytest.approx(3 / 4)
    assert score("piece_tag_micro_recall", gold, predicted, labels=GENE) == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match="each word piece"):
        score("piece_tag_micro_f1", gold, list(predicted), labels=GENE)


def test_a_sentence_without_words_has_no_pieces():
    predicted = word_tags([np.array([1, 1])], [[-1, -1]], [0], 0)
    assert [row.tolist() for row in predicted] == [[]] and predicted.pieces == [[]]


@pytest.mark.parametrize("gold, given, pieces, expected", [
    (["86544745", "674686"], ["85445578", "687457"], [8, 6], 0.190476194024086),
    (["57847858", "447884"], ["77544744", "745674"], [8, 6], 0.1111111119389534),
])
def test_piece_tags_equal_the_published_code(gold, given, pieces, expected):
    """Figures of biobert-distillation's evaluation, in which tags from 5 on are entity tags and 4 is O."""
    labels = ("O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")
    gold, given = ([np.array([int(tag) - 4 for tag in row]) for row in rows] for rows in (gold, given))
    given = word_tags(given, [range(n) for n in pieces], pieces, 0)
    value = score("piece_tag_micro_f1", gold, given, labels=labels)
    assert value == pytest.approx(expected, abs=1e-6)


# ---- words beyond the length limit ---------------------------------------------------------------


def cut_off(tags, most):
    """`tags` as predicted by a model that reads `most` words, two pieces each; the others are O."""
    ids = [[-1, *np.repeat(np.arange(min(len(row), most)), 2), -1] for row in tags]
    given = [np.concatenate([[0], np.repeat(row[:most], 2), [0]]) for row in tags]
    return word_tags(given, ids, [len(row) for row in tags], 0)


def test_words_beyond_the_limit_count_as_missed_or_as_published_not_at_all():
    """The published program drops them from gold and predictions: 1.0 where ours is .667."""
    gold = [np.array([1, 2, 0, 0, 1, 2])]
    predicted = cut_off(gold, 4)
    assert score("entity_f1", gold, predicted, labels=GENE) == pytest.approx(2 / 3)
    assert score("entity_recall", gold, predicted, labels=GENE) == pytest.approx(1 / 2)
    assert score("entity_f1_seen", gold, predicted, labels=GENE) == 1.0
    assert score("word_macro_f1_seen", gold, predicted, labels=GENE) == 1.0
    assert score("word_macro_f1", gold, predicted, labels=GENE) == pytest.approx(2 * 2 / (4 + 2))
    with pytest.raises(ValueError, match="pieces of each word"):
        score("entity_f1_seen", gold, list(predicted), labels=GENE)


def test_what_was_read_is_scored_as_seqeval_scores_it():
    """The labels at first pieces, as in LinkBERT's run_ner.py, also of an entity cut in two."""
    from seqeval.metrics import f1_score, precision_score, recall_score

    labels, rng = TAG_SETS["two types"], RNG(12)
    for _ in range(300):
        gold, most = random_tags(rng, labels), int(rng.integers(1, 6))
        predicted = cut_off(near(rng, gold, labels, 0.3), most)
        shown = [row[:most] for row in gold], [row[:most] for row in predicted]
        for what, function in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = function(*(as_names(rows, labels) for rows in shown))
            assert score(f"entity_{what}_seen", gold, predicted, labels=labels) == pytest.approx(
                expected, abs=1e-12
            )


def test_words_and_entities_beyond_the_limit_are_counted():
    golds = [(1, 2, 0, 0, 1, 2), (0, 0, 1, 2, 2), (1,), ()]
    examples = [
        Example(str(i), words=("w",) * len(tags), label=tags) for i, tags in enumerate(golds)
    ]
    predicted = cut_off([np.array(tags, dtype=np.int64) for tags in golds], 4)
    lost = beyond_limit(GENE, examples, predicted)  # one entity of the second ends beyond it
    assert lost == {"words": 3, "all_words": 12, "entities": 2, "all_entities": 4}
    assert (
        beyond_limit(GENE, examples, cut_off([np.array(t, dtype=np.int64) for t in golds], 9))[
            "words"
        ]
        == 0
    )


# ---- tasks -----------------------------------------------------------------------------------------------------------


def corpus(labels, golds, groups=None):
    groups = groups or [""] * len(golds)
    pairs = enumerate(zip(golds, groups, strict=True))
    rows = tuple(Example(str(i), f"text {i}", label=gold, group=group) for i, (gold, group) in pairs)
    return Data(rows, rows, rows, labels)


def test_evaluate_gives_the_main_metric_its_counts_by_unit_and_all_others():
    data = corpus(("0", "A"), [0, 1, 1, 0], ["p1", "p2", "p1", ""])
    task = make_task("single", "micro_f1", metrics=("accuracy",), negative=("0",))
    logits = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
    scores = evaluate(task, info_for(task, data, "test"), data.test, logits)
    assert scores.main == scores.all["micro_f1"] == pytest.approx(0.5)
    assert scores.all == {
        "micro_f1": pytest.approx(0.5),
        "micro_precision": 0.5,
        "micro_recall": 0.5,
        "accuracy": 0.5,
    }
    assert scores.units == ("3", "p1", "p2"), "an example without a group is its own unit"
    np.testing.assert_array_equal(scores.counts, [[0, 0, 0], [0, 1, 1], [1, 1, 1]])


def test_precision_and_recall_stand_beside_every_f1_of_a_task_and_no_metric_twice():
    data = corpus(("0", "A"), [0, 1, 1, 0])
    logits = np.array([[0.0, 1], [0, 1], [1, 0], [1, 0]])
    task = make_task(
        "single", "f1_positive", metrics=("f1_positive", "accuracy", "macro_f1"), negative=()
    )
    scores = evaluate(task, info_for(task, data, "test"), data.test, logits)
    assert list(scores.all) == [
        "f1_positive",
        "accuracy",
        "macro_f1",
        "precision_positive",
        "recall_positive",
        "macro_precision",
        "macro_recall",
    ]
    assert scores.all["precision_positive"] == scores.all["recall_positive"] == 0.5
    only = evaluate(task, info_for(task, data, "test"), data.test, logits, ["accuracy"])
    assert list(only.all) == ["f1_positive", "accuracy"], "what selects an epoch computes no more"


def test_every_f1_has_a_precision_and_a_recall_of_its_own_version():
    for name, metric in METRICS.items():
        if "f1" in name:
            for what in ("precision", "recall"):
                beside = METRICS[name.replace("f1", what)]
                assert beside.of == (metric.of or name) and beside.version == metric.version
    assert scoring.beside(["f1_at_rate", "precision_at_rate"]) == ["recall_at_rate"]


def test_nothing_stands_beside_a_metric_that_a_plugin_replaced(monkeypatch):
    import dataclasses

    monkeypatch.setitem(
        METRICS,
        "micro_f1",
        dataclasses.replace(METRICS["micro_f1"], finish=lambda sums: sums[..., 0]),
    )
    assert scoring.beside(["micro_f1"]) == []


def test_naive_predictors_read_no_text():
    single = corpus(("0", "A"), [0, 0, 0, 1])
    assert naive(make_task("single", "accuracy"), single, "test").main == 0.75
    assert naive(make_task("single", "micro_f1", negative=("0",)), single, "test").main == 0
    # the share of positives is the threshold, so a constant prediction of that share calls everything positive
    assert naive(make_task("single", "recall_at_rate"), single, "test").main == 1
    assert naive(make_task("single", "f1_at_rate"), single, "test").main == pytest.approx(2 * 1 / (1 + 4))
    assert naive(make_task("single", "brier"), single, "test").main == pytest.approx(0.25 * 0.75)
    assert naive(make_task("single", "auroc"), single, "test").main == 0.5
    multi = corpus(("a", "b"), [(1, 0), (1, 0), (1, 1)])
    assert naive(make_task("multi", "micro_f1"), multi, "test").main == pytest.approx(2 * 3 / (4 + 3))
    assert naive(make_task("regression", "pearson"), corpus((), [1.0, 2.0, 4.0]), "test").main == 0
    tags = corpus(GENE, [(0, 1, 2), (0, 0), (1,)])
    for metric in ("entity_f1", "entity_f1_strict", "piece_tag_micro_f1", "word_macro_f1"):
        assert naive(make_task("tags", metric), tags, "test").main == 0


def test_naive_predictors_know_the_labels_of_train_alone():
    """Of three splits with three majorities, train's decides."""
    def rows(golds, name):
        return tuple(Example(f"{name}{i}", "a text", label=gold) for i, gold in enumerate(golds))

    def made(train, dev, test, labels=("0", "A", "B")):
        return Data(rows(train, "train"), rows(dev, "dev"), rows(test, "test"), labels)

    single = made([1, 1, 0, 2], [2, 2, 2, 1], [0, 0, 0, 0, 1])
    assert naive(make_task("single", "accuracy"), single, "test").main == pytest.approx(1 / 5)
    assert naive(make_task("single", "accuracy"), single, "dev").main == pytest.approx(1 / 4)
    for split in ("dev", "test"):
        assert info_for(make_task("single", "accuracy"), single, split).positive_rate == 0.25
    multi = made([(1, 0), (1, 0), (0, 1)], [(0, 1)], [(0, 1), (0, 1), (1, 0)], ("a", "b"))
    task = make_task("multi", "micro_f1")
    assert naive(task, multi, "test").main == pytest.approx(2 * 1 / (3 + 3))


def test_micro_f1_leaves_the_negative_class_out_on_both_sides():
    # gold 0 A A B, predicted A A 0 B: of A and B two are right, three are gold and three predicted
    gold, logits = np.array([0, 1, 1, 2]), np.eye(3)[[1, 1, 0, 2]]
    labels = ("0", "A", "B")
    assert score("micro_f1", gold, logits, labels=labels, negative=("0",)) == pytest.approx(4 / 6)
    assert score("micro_f1", gold, logits, labels=labels) == pytest.approx(2 / 4)


def test_threshold_is_kept_at_any_class_share():
    for n in range(2, 60):
        for positives in range(1, n):
            data = corpus(("0", "1"), [1] * positives + [0] * (n - positives))
            if n % 7 == 0:
                assert naive(make_task("single", "recall_at_rate"), data, "test").main == 1


def test_what_cannot_be_scored_is_refused():
    data = corpus(("0", "A"), [0, 1])
    task = make_task("single", "micro_f1")
    info = info_for(task, data, "test")
    with pytest.raises(ValueError, match="shape"):
        evaluate(task, info, data.test, np.zeros((3, 2)))
    with pytest.raises(BadInput, match="did you mean 'micro_f1'"):
        evaluate(task, info, data.test, np.zeros((2, 2)), ["micro_f"])
    with pytest.raises(BadInput, match="entity_f1 is for tags"):
        evaluate(task, info, data.test, np.zeros((2, 2)), ["entity_f1"])
    with pytest.raises(BadInput, match="has no label"):
        evaluate(task, info, (Example("x", "text"),), np.zeros((1, 2)))
    with pytest.raises(BadInput, match="no examples"):
        evaluate(task, info, (), np.zeros((0, 2)))


def test_gold_labels_have_the_shapes_that_metrics_take():
    assert gold_labels("multi", [Example("1", label=(0, 1))]).tolist() == [[0, 1]]
    assert gold_labels("regression", [Example("1", label=2)]).dtype == float
    assert gold_labels("tags", [Example("1", label=(0, 2))])[0].tolist() == [0, 2]


def test_importing_metrics_imports_no_heavy_library():
    heavy = "('torch', 'sklearn', 'seqeval', 'scipy', 'pandas')"
    code = f"import sys, kdbench.score.metrics; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).resolve().parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout.strip() == "[]"
