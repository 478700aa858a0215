"""Texts that are longer than the model, in windows: found, learnt, scored and served whole."""

import random

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kdbench.data.windows import (
    central,
    default_stride,
    in_windows,
    is_cut,
    joined,
    pooled,
    whole,
    whole_word_ids,
)

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
            for number, start in enumerate(starts):
                end = min(start + size, len(words))
                if not start <= first < end:
                    scores.append((-1, 0))
                    continue
                inside = min(first + length, end) - first
                left = 10**6 if number == 0 else first - start
                right = 10**6 if end == len(words) else end - first - length
                scores.append((inside, max(min(left, right), -1)))
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
    inputs = [("w30 w31", second), ("w30 w31 w32 w33 w34 w35", second), ("w30 w31 w32 w33 w34", "w0"), second]
    pair, tight, fits, alone = in_windows(tokenizer, inputs, 11, 2)
    assert all(row.ids[:4] == [1, 33, 34, 2] and row.type_ids[4:] == [1] * len(row.ids[4:]) for row in pair)
    seen = {i for row in pair for i in row.ids[4:-1]}
    assert seen == set(range(3, 23)) and len(pair) == 5 and not is_cut(pair)
    # a first text that leaves no room: cut as without windows
    tokenizer.enable_truncation(11)
    assert [row.ids for row in tight] == [tokenizer.encode(*inputs[1]).ids] and is_cut(tight)
    assert len(fits) == 1 and not is_cut(fits) and len(alone) == 3
