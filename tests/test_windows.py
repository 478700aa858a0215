"""Texts that are longer than the model, in windows: found, learnt, scored and served whole."""

import contextlib
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
import torch
from students import TEXTS, student
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kdbench.base.errors import BadInput, Skip
from kdbench.data import windows as data_windows
from kdbench.data.task import Example
from kdbench.data.windows import (
    Windows,
    central,
    default_stride,
    in_windows,
    is_cut,
    joined,
    pooled,
    whole,
    whole_word_ids,
)
from kdbench.train.batching import Corpus
from kdbench.train.live_texts import LiveTexts, of_texts
from kdbench.train.signals import Teacher, compute
from kdbench.train.windows import WindowedCorpus, check_signals

# ---- windows of tokens -----------------------------------------------------------------------------------------------


def pieces_of(words, size, stride):
    """The word of each token of each window, by hand; a special token stands before and behind."""
    found, start = [], 0
    while True:
        found.append([None, *words[start:start + size], None])
        if start + size >= len(words):
            return found
        start += size - stride


def cases():
    """(tokens of each word, size of a window, stride), drawn by a fixed seed."""
    dice = random.Random(7)
    for _ in range(400):
        size = dice.randint(1, 12)
        lengths = [dice.choice((1, 1, 1, 2, 3, dice.randint(1, 15))) for _ in range(dice.randint(1, 40))]
        yield lengths, size, dice.randint(0, size - 1)


def test_every_word_is_answered_once_where_it_stands_most_central():
    """Against a search through all windows, word by word."""
    longer = divided = 0
    for lengths, size, stride in cases():
        words = [word for word, length in enumerate(lengths) for _ in range(length)]
        windows = pieces_of(words, size, stride)
        kept = central(windows, stride)
        if len(windows) == 1:
            assert kept == [[-1, *words, -1]]
            continue
        divided += 1
        starts = [number * (size - stride) for number in range(len(windows))]
        for word, length in enumerate(lengths):
            first = words.index(word)
            scores = []
            for start in starts:
                end = min(start + size, len(words))
                if not start <= first < end:
                    scores.append((-1, 0))
                    continue
                inside = min(first + length, end) - first
                scores.append((inside, max(min(first - start, end - first - length), -1)))
            best = scores.index(max(scores))
            assert [word in own for own in kept] == [number == best for number in range(len(windows))]
            assert kept[best].count(word) == scores[best][0] >= 1
            longer += scores[best][0] < length
        joined_words = whole_word_ids([0] * len(windows), kept)[0]
        assert joined_words == sorted(joined_words) and set(joined_words) == set(range(len(lengths)))
        values = [np.arange(len(own)) for own in kept]
        assert len(joined(values, kept)) == len(joined_words)
    assert divided > 200 and longer > 20  # of words that no window holds whole, the beginning counts


def test_with_half_a_window_of_overlap_a_quarter_stands_around_every_word():
    size = 40
    words = list(range(1000))
    kept = central(pieces_of(words, size, default_stride(size, tagging=True)), 20)
    for own in kept[1:-1]:
        places = [place for place, word in enumerate(own) if word >= 0]
        assert min(places) - 1 >= size // 4 - 1 and size - max(places) >= size // 4 - 1
    assert default_stride(40, tagging=False) == 10


def test_several_windows_make_one_answer_and_one_stays_as_it_is():
    rows = [np.array([1.0, 3.0], np.float32), np.array([5.0, 0.0], np.float32), np.array([7.0, 7.0], np.float32)]
    found = whole(rows, [0, 0, 1], None, "multi", "mean")
    assert found[0].tolist() == [3.0, 1.5] and found[1] is rows[2]
    assert pooled(rows[:2], "regression", "max").tolist() == [5.0, 3.0]
    assert pooled(rows[:1], "single", "max") is rows[0]
    # logits of two windows have no common zero: a constant in one of them changes nothing
    one = pooled(rows[:2], "single", "max")
    other = pooled([rows[0] + 100, rows[1]], "single", "max")
    assert np.allclose(one, other, atol=1e-4) and one.dtype == np.float32
    assert np.allclose(one, np.log([1 / (1 + np.exp(-5.0)), 1 / (1 + np.exp(-2.0))]))


def wordlevel():
    tokenizer = Tokenizer(models.WordLevel({"[U]": 0, "[C]": 1, "[S]": 2} | {f"w{i}": i + 3 for i in range(40)}, unk_token="[U]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


@pytest.mark.parametrize("post", ["template", "bert", "roberta"])
def test_the_windows_are_those_of_the_tokenizer(post):
    tokenizer = wordlevel()
    tokenizer.post_processor = {
        "template": processors.TemplateProcessing("[C] $A [S]", "[C] $A [S] $B:1 [S]:1", [("[C]", 1), ("[S]", 2)]),
        "bert": processors.BertProcessing(("[S]", 2), ("[C]", 1)),
        "roberta": processors.RobertaProcessing(("[S]", 2), ("[C]", 1), trim_offsets=False, add_prefix_space=False)}[post]
    words = [f"w{i}" for i in range(20)]
    ids = list(range(3, 23))
    for inputs, tagging in (([" ".join(words), "w1 w2"], False), ([words, words[1:3]], True)):
        long, short = in_windows(tokenizer, inputs, 10, 3, tagging)
        assert [row.ids for row in long] == [[1, *ids[start:start + 8], 2] for start in (0, 5, 10, 15)]
        assert [row.ids for row in short] == [[1, 4, 5, 2]] and not is_cut(long) and not is_cut(short)
    assert [own.word_ids[1:-1] for own in long] == [list(range(start, min(start + 8, 20))) for start in (0, 5, 10, 15)]


def test_the_first_text_of_a_pair_stands_in_every_window():
    tokenizer = wordlevel()
    tokenizer.post_processor = processors.TemplateProcessing("[C] $A [S]", "[C] $A [S] $B:1 [S]:1", [("[C]", 1), ("[S]", 2)])
    second = " ".join(f"w{i}" for i in range(20))
    inputs = [("w30 w31", second), ("w30 w31 w32 w33 w34 w35", second), ("w30 w31 w32 w33 w34", "w0"), second,
              ("w30 w31 w32 w33 w34", second)]
    pair, tight, fits, alone, longer = in_windows(tokenizer, inputs, 11, 2)
    assert all(row.ids[:7] == [1, 33, 34, 35, 36, 37, 2] and len(row.ids) == 11 for row in longer) and len(longer) == 18
    assert all(row.ids[:4] == [1, 33, 34, 2] and row.type_ids[4:] == [1] * len(row.ids[4:]) for row in pair)
    seen = {i for row in pair for i in row.ids[4:-1]}
    assert seen == set(range(3, 23)) and len(pair) == 5 and not is_cut(pair)
    # a first text that leaves no room: cut as without windows
    tokenizer.enable_truncation(11)
    assert [row.ids for row in tight] == [tokenizer.encode(*inputs[1]).ids] and is_cut(tight)
    assert len(fits) == 1 and not is_cut(fits) and len(alone) == 3


# ---- rows of a training, and signals ---------------------------------------------------------------------------------

NOTE = " ".join(TEXTS[:4]).split()
TAGGED = [Example("long", words=tuple(NOTE), label=tuple(i % 3 for i in range(len(NOTE)))),
          Example("short", words=("aspirin", "kinase"), label=(0, 1))]
PLAIN = [Example(example.id, text=" ".join(example.words), label=i) for i, example in enumerate(TAGGED)]


def corpora(task_type, limit, windows, examples=None):
    examples = examples or (TAGGED if task_type == "tags" else PLAIN)
    model = student("tiny:bert", task_type)
    return (model, Corpus(model, examples, limit, task_type, 3),
            WindowedCorpus(model, examples, limit, task_type, 3, windows))


@pytest.mark.parametrize("task_type", ["single", "tags"])
def test_of_texts_that_fit_the_rows_are_those_that_are_cut_nowhere(task_type):
    _, plain, windowed = corpora(task_type, 512, Windows(100))
    for name in ("tokens", "types", "word_ids", "lengths", "examples"):
        assert getattr(plain, name) == getattr(windowed, name), name
    one, other = plain.batch([0, 1]), windowed.batch([0, 1])
    assert one.counts == other.counts and torch.equal(one.labels, other.labels)
    assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
    rows = [np.arange(3), np.arange(4)]
    assert windowed.whole(rows)[0] is rows[0] and windowed.whole_word_ids == plain.whole_word_ids and not windowed.divided


def test_in_training_each_word_has_its_label_in_one_window():
    _, plain, windowed = corpora("tags", 20, Windows(9))
    batch = windowed.batch(range(len(windowed)))
    assert len(windowed) > 5 and max(windowed.lengths) == 20 and windowed.divided
    assert batch.counts["words"] == len(NOTE) + 2 == batch.counts["aligned"] > plain.batch([0, 1]).counts["words"]
    labelled = (batch.labels[:-1] >= 0)
    assert labelled.sum(0)[:len(NOTE)].tolist() == [1] * len(NOTE)
    gold = batch.labels[:-1].max(0).values[:len(NOTE)]
    assert gold.tolist() == list(TAGGED[0].label) and batch.examples[0] is TAGGED[0]
    tokens = batch.inputs["input_ids"]
    ids = [windowed.tokens[row][place] for row in range(len(windowed) - 1) for place in sorted(set(batch.words[row].tolist()) - {-1})]
    assert ids == [int(tokens[row, place]) for row in range(len(windowed) - 1)
                   for place in sorted(set(batch.words[row].tolist()) - {-1})]


def test_in_training_each_window_of_a_text_has_its_label():
    _, _, windowed = corpora("single", 20, Windows(5))
    batch = windowed.batch(range(len(windowed)))
    assert batch.labels.tolist() == [0] * (len(windowed) - 1) + [1] and batch.counts["labelled"] == len(windowed)


def by_hand(model, corpus, read):
    """What `read(outputs)` gives of each row, computed one by one."""
    found = []
    for i in range(len(corpus)):
        with torch.inference_mode():
            found.append(read(model.module.eval()(**corpus.batch([i]).inputs, output_hidden_states=True))[0].numpy())
    return found


def teacher_of(model, names, task_type, windows, limit=20):
    return Teacher(model, names, task_type, limit, windows, device=torch.device("cpu"), autocast=contextlib.nullcontext)


@pytest.mark.parametrize("budget", [1e9, 0], ids=["stored", "live"])
def test_a_teachers_words_are_those_of_its_windows(budget):
    model, _, corpus = corpora("tags", 20, Windows(9))
    rows = by_hand(model, corpus, lambda outputs: outputs.logits)
    expected = np.zeros((len(NOTE), 3), np.float32)
    for row, ids in zip(rows, corpus.word_ids[:-1], strict=False):
        for place in reversed(range(len(ids))):
            if ids[place] >= 0:
                expected[ids[place]] = row[place]
    twice = [*TAGGED, replace(TAGGED[0], id="again", label=None)]
    signals = of_texts(compute(teacher_of(model, ("logits",), "tags", Windows(9)), twice, "k", budget))
    assert isinstance(signals, LiveTexts) == (not budget)
    # the student reads other windows than the teacher
    mine = WindowedCorpus(model, TAGGED, 30, "tags", 3, Windows(11))
    seen = np.zeros(len(NOTE))
    for i in range(len(mine) - 1):
        batch = mine.batch([i, len(mine) - 1])
        signals.add(batch)
        assert np.allclose(batch.signals["logits"][0, :len(NOTE)], expected, atol=1e-5)
        assert batch.signals["logits_known"][0].all() and batch.signals["logits_known"][1].sum() == 2
        seen += (batch.words[0] >= 0).numpy()
        assert batch.counts["aligned"] == (batch.words >= 0).sum()
    assert seen.tolist() == [1] * len(NOTE)


@pytest.mark.parametrize("budget", [1e9, 0], ids=["stored", "live"])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_teachers_answer_and_vector_of_a_text_are_those_of_its_windows(budget, pooling):
    windows = Windows(5, pooling)
    model, _, corpus = corpora("single", 20, windows)
    logits = by_hand(model, corpus, lambda outputs: outputs.logits)
    vectors = by_hand(model, corpus, lambda outputs: outputs.hidden_states[-1][:, 0])
    signals = of_texts(compute(teacher_of(model, ("logits", "cls"), "single", windows), PLAIN, "k", budget))
    batch = corpus.batch([0, 2, len(corpus) - 1])
    signals.add(batch)
    long = pooled(logits[:-1], "single", pooling)
    assert np.allclose(batch.signals["logits"], [long, long, logits[-1]], atol=1e-5)
    vector = np.mean(vectors[:-1], axis=0)
    assert np.allclose(batch.signals["cls"], [vector, vector, vectors[-1]], atol=1e-5)
    assert signals.names == ("logits", "cls")


def test_what_is_compared_token_by_token_says_why_it_is_left_out():
    model = student("tiny:bert", "tags")
    with pytest.raises(Skip, match="attentions are those of one row of tokens.*--long cut"):
        compute(teacher_of(model, ("attentions",), "tags", Windows(9)), TAGGED, "k", 1e9)
    assert compute(teacher_of(model, ("attentions",), "tags", Windows(9)), TAGGED[1:], "k", 1e9).names == ("attentions",)
    # also where the teacher reads the whole text and the student does not
    with pytest.raises(Skip, match="hidden_states"):
        check_signals(WindowedCorpus(model, TAGGED, 20, "tags", 3, Windows(9)), teacher_of(model, ("hidden_states",), "tags", None, 512))


def test_a_library_that_loses_windows_is_refused(monkeypatch):
    """tokenizers 0.23.1 and 0.23.2 give the first window of a text alone."""
    def losing(model):
        """A tokenizer of nothing but first windows."""
        found = Tokenizer(model)
        return SimpleNamespace(enable_truncation=lambda *_, **__: None, encode=found.encode)

    data_windows.check_library.cache_clear()
    data_windows.check_library()
    data_windows.check_library.cache_clear()
    tokenizer = wordlevel()
    monkeypatch.setattr(tokenizers, "Tokenizer", losing)
    with pytest.raises(BadInput, match="loses all of a text but its first window; pip install"):
        in_windows(tokenizer, ["w1 w2"], 10, 3)
