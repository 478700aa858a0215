"""Augmentation of tagged sentences: what each operation and each switch does, on every tag scheme."""

import dataclasses
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from kdbench.base.errors import BadInput
from kdbench.base.options import build, describe
from kdbench.data.task import Example
from kdbench.methods.augmentation import (
    OPERATIONS,
    STOP_WORDS,
    Augmenter,
    AugmentOptions,
    augmented,
    segments,
)
from kdbench.methods.augmentation_files import Row, augment_file, rows

# The same spans, spelled in each scheme; `PER` has one word, two words or three, `DRUG` one or two.
SPANS = [
    ("the cat of Anna Maria Berg slept near Ben", [(3, 6, "PER"), (8, 9, "PER")]),
    ("Carl saw aspirin and beta blockers in a bowl", [(0, 1, "PER"), (2, 3, "DRUG"), (4, 6, "DRUG")]),
    ("nothing was found in the large cold house", []),
    ("Dora Ennis Finn Gale met", [(0, 2, "PER"), (2, 3, "PER"), (3, 4, "PER")]),
    ("zinc", [(0, 1, "DRUG")]),
    ("quiet evening with Hugo and Ines Jung", [(3, 4, "PER"), (5, 7, "PER")]),
]


def spell(scheme: str, length: int, spans: list) -> tuple[str, ...]:
    tags = ["O"] * length
    for start, end, kind in spans:
        size = end - start
        letters = {"IOBES": "S" if size == 1 else "B" + "I" * (size - 2) + "E", "IO": "I" * size, "B only": "B" * size}
        for position, letter in zip(range(start, end), letters.get(scheme, "B" + "I" * (size - 1)), strict=True):
            tags[position] = letter if scheme == "bare IOB" else f"{letter}-{kind}"
    return tuple(tags)


def corpus(scheme: str = "IOBES") -> list:
    return [(tuple(text.split()), spell(scheme, len(text.split()), spans)) for text, spans in SPANS]


def options(variant: str = "corrected", **given) -> AugmentOptions:
    return build(AugmentOptions, variant, given, "augment")


def copies(chosen: AugmentOptions, sentences=None, seed: int = 0) -> list:
    sentences = sentences or corpus()
    augmenter = Augmenter(chosen, seed).fit(sentences)
    return [list(augmenter.copies(*sentence)) for sentence in sentences]


def pieces(words, tags) -> list:
    return [words[start:end] for start, end, _ in segments(tags)]


@pytest.mark.parametrize("scheme", ["IOB", "IOBES", "bare IOB"])
def test_segments_cut_at_every_mention(scheme):
    for (text, spans), (words, tags) in zip(SPANS, corpus(scheme), strict=True):
        found = [(start, end) for start, end, kind in segments(tags) if kind is not None]
        assert found == [(start, end) for start, end, _ in spans]
        assert " ".join(word for piece in pieces(words, tags) for word in piece) == text


def test_without_an_inside_prefix_equal_neighbours_are_one_mention():
    """EBM-NLP's files: every word of a span carries B-."""
    assert Augmenter(options()).fit(corpus("B only")).runs
    assert not Augmenter(options()).fit(corpus("IOB")).runs
    assert segments(("B-A", "B-A", "O"), runs=True) == [(0, 2, "A"), (2, 3, None)]
    assert segments(("B-A", "B-A", "O")) == [(0, 1, "A"), (1, 2, "A"), (2, 3, None)]


@pytest.mark.parametrize("variant", ["corrected", "published"])
@pytest.mark.parametrize("scheme", ["IOB", "IOBES", "bare IOB", "IO", "B only"])
def test_every_scheme_gives_well_formed_copies(scheme, variant):
    """A copy's mentions are mentions of the corpus, word by word of a known tag, in a legal sequence."""
    sentences = corpus(scheme)
    known = {word: tag for words, tags in sentences for word, tag in zip(words, tags, strict=True)}
    for produced in copies(options(variant, copies=20, drop_last="no"), sentences):
        for _, words, tags in produced:
            assert len(words) == len(tags) > 0
            assert {tag for tag in tags} <= set(known.values())
            if scheme != "IOBES":
                continue
            for before, after in zip(("O", *tags), (*tags, "O"), strict=True):
                assert (before[0] in "BI") == (after[0] in "IE"), tags


def test_label_wise_keeps_tags_and_draws_words_of_the_same_tag():
    sentences = corpus()
    words_of = {}
    for words, tags in sentences:
        for word, tag in zip(words, tags, strict=True):
            words_of.setdefault(tag, set()).add(word)
    changed = 0
    for (words, tags), produced in zip(sentences, copies(options(augment="label_wise", copies=50)), strict=True):
        for _, new_words, new_tags in produced:
            assert new_tags == tags
            assert all(word in words_of[tag] for word, tag in zip(new_words, tags, strict=True))
            changed += new_words != words
    assert changed > 150


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_label_wise_replaces_with_probability_p(p):
    words = tuple(f"w{i}" for i in range(1000))
    augmenter = Augmenter(options(augment="label_wise", p_label_wise=p)).fit([(words, ("O",) * 1000)])
    new_words, _ = augmenter.label_wise(words, ("O",) * 1000)
    share = sum(new != old for new, old in zip(new_words, words, strict=True)) / 1000
    assert share == pytest.approx(p, abs=0.05)


@pytest.mark.parametrize("draw, share", [("frequency", 0.9), ("uniform", 0.5)])
def test_label_wise_draw(draw, share):
    words, tags = ("common",) * 9 + ("rare",), ("O",) * 10
    augmenter = Augmenter(options(p_label_wise=1.0, label_draw=draw)).fit([(words, tags)])
    drawn = Counter(word for _ in range(200) for word in augmenter.label_wise(words, tags)[0])
    assert drawn["common"] / drawn.total() == pytest.approx(share, abs=0.04)


def test_stop_words_stay_and_are_never_put_in():
    kept = copies(options(augment="label_wise", p_label_wise=1, copies=30))
    for (words, _), produced in zip(corpus(), kept, strict=True):
        for _, new_words, _ in produced:
            for old, new in zip(words, new_words, strict=True):
                assert new == old if old in STOP_WORDS else new not in STOP_WORDS
    moved = copies(options(augment="label_wise", p_label_wise=1, copies=30, stop_words="replace"))
    assert any(new_words[0] != "the" for _, new_words, _ in moved[0])


def test_mention_of_the_same_type_takes_the_place():
    sentences = corpus()
    mentions_of = {"PER": set(), "DRUG": set()}
    for words, tags in sentences:
        for start, end, kind in segments(tags):
            if kind:
                mentions_of[kind].add(words[start:end])
    for (words, tags), produced in zip(sentences, copies(options(augment="mention", copies=50)), strict=True):
        kinds = [kind for *_, kind in segments(tags)]
        outside = [piece for piece, kind in zip(pieces(words, tags), kinds, strict=True) if kind is None]
        for _, new_words, new_tags in produced:
            cut = segments(new_tags)
            assert [kind for *_, kind in cut] == kinds
            assert [new_words[start:end] for start, end, kind in cut if kind is None] == outside
            assert all(new_words[start:end] in mentions_of[kind] for start, end, kind in cut if kind)
    lengths = {len(new_words) for _, new_words, _ in produced}
    assert len(lengths) > 1, "mentions of other lengths are drawn, too"


def test_mention_type_any_crosses_types():
    produced = copies(options(augment="mention", mention_type="any", p_mention=1, copies=40))
    assert {kind for _, _, tags in produced[0] for *_, kind in segments(tags) if kind} == {"PER", "DRUG"}


@pytest.mark.parametrize("draw, share", [("frequency", 0.9), ("uniform", 0.5)])
def test_mention_draw(draw, share):
    sentences = [(("often",), ("S-X",))] * 9 + [(("once",), ("S-X",))]
    augmenter = Augmenter(options(p_mention=1, mention_draw=draw)).fit(sentences)
    drawn = Counter(augmenter.mention(("often",), ("S-X",))[0] for _ in range(1000))
    assert drawn[("often",)] / 1000 == pytest.approx(share, abs=0.05)


def test_mention_bug_deletes_what_is_not_replaced():
    words, tags = corpus()[0]
    kept = Augmenter(options(p_mention=0, mr_bug=False)).fit(corpus()).mention(words, tags)
    assert kept == (words, tags)
    lost = Augmenter(options(p_mention=0, mr_bug=True)).fit(corpus()).mention(words, tags)
    assert lost[0] == ("the", "cat", "of", "slept", "near", "Ben"), "the one-word mention stays, the long one goes"


def test_a_copy_without_words_is_left_out():
    sentence = (("beta", "blockers"), ("B-DRUG", "E-DRUG"))
    assert copies(options(augment="mention", p_mention=0, mr_bug=True), [sentence]) == [[]]


def test_shuffle_inside_segments_keeps_tags_and_segments():
    changed = 0
    shuffled = copies(options(augment="shuffle", copies=50, p_shuffle=1))
    for (words, tags), produced in zip(corpus(), shuffled, strict=True):
        for _, new_words, new_tags in produced:
            assert new_tags == tags
            assert list(map(sorted, pieces(new_words, tags))) == list(map(sorted, pieces(words, tags)))
            changed += new_words != words
    assert changed > 100


def test_shuffle_of_segments_moves_them_whole():

    def mentions(words, tags):
        return {(words[start:end], tags[start:end]) for start, end, kind in segments(tags) if kind}

    changed = 0
    shuffled = copies(options("published", augment="shuffle"))
    for (words, tags), produced in zip(corpus(), shuffled, strict=True):
        for _, new_words, new_tags in produced:
            assert mentions(new_words, new_tags) == mentions(words, tags)
            assert Counter(new_words) == Counter(words)
            changed += new_words != words
    assert changed


def test_original_first_then_copies_in_order():
    chosen = options(copies=2)
    produced = copies(chosen)
    assert [name for name, _, _ in produced[0]] == [f"{operation}{n}" for operation in OPERATIONS for n in (1, 2)]
    stream = list(Augmenter(chosen).fit(corpus()).generate(corpus()))
    assert stream[0] == corpus()[0] and stream[7] == corpus()[1]
    assert stream[1:7] == [(words, tags) for _, words, tags in produced[0]]


def test_seed_decides_and_operations_do_not_disturb_one_another():
    chosen = options(copies=3)
    assert copies(chosen) == copies(chosen)
    assert copies(chosen) != copies(chosen, seed=1)
    alone = copies(options(augment="shuffle", copies=3))
    assert alone == [[copy for copy in produced if copy[0].startswith("shuffle")] for produced in copies(chosen)]


def test_published_variant_loses_the_last_sentence():
    chosen = options("published", copies=1)
    originals = list(Augmenter(chosen).fit(corpus()).kept(corpus()))
    assert originals == corpus()[:-1]
    assert list(Augmenter(options()).fit(corpus()).kept(corpus())) == corpus()


SWITCHES = {row["name"]: row["default"] for row in describe(AugmentOptions) if row["published"] != row["default"]}


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_changes_something_alone(switch):
    """One switch from published to corrected changes what is generated."""
    published = options("published")
    changed = dataclasses.replace(published, **{switch: SWITCHES[switch]})
    sentences = corpus() + corpus()[:2] * 3  # some mentions are more frequent than others
    sides = [list(Augmenter(side).fit(sentences).generate(sentences)) for side in (published, changed)]
    assert sides[0] != sides[1]


def test_words_and_tags_that_were_never_seen_stay():
    augmenter = Augmenter(options(p_label_wise=1, p_mention=1, p_shuffle=1)).fit(corpus())
    assert augmenter.label_wise(("new",), ("S-CELL",)) == (("new",), ("S-CELL",))
    assert augmenter.mention(("new",), ("S-CELL",)) == (("new",), ("S-CELL",))
    assert Augmenter(options()).fit([]).mention(("a",), ("O",)) == (("a",), ("O",))
    assert list(augmenter.generate([])) == []


def test_sentences_are_not_held():
    """A thousand sentences of 160 words would take 2.6 MB as they are, and four times that with their copies."""
    words = tuple(word for words, _ in corpus() * 4 for word in words)
    tags = tuple(tag for _, tags in corpus() * 4 for tag in tags)

    def stream():
        for _ in range(1000):
            yield tuple(list(words)), tuple(list(tags))

    tracemalloc.start()
    for _ in Augmenter(options()).fit(stream()).generate(stream()):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2e6


def test_examples_keep_group_and_labels():
    labels = ("O", "B-X", "E-X", "S-X")
    train = [Example("a", words=("one", "two", "three"), label=(0, 1, 2), group="doc"),
             Example("b", words=("four",), label=(3,)),
             Example("c", words=("not", "tagged"))]
    produced = list(augmented(train, labels, options(copies=2, p_mention=1), seed=3))
    assert [example.id for example in produced if "+" not in example.id] == ["a", "b", "c"]
    assert [example.id for example in produced[1:7]] == [
        "a+label_wise1", "a+label_wise2", "a+mention1", "a+mention2", "a+shuffle1", "a+shuffle2"]
    assert {example.group for example in produced[:7]} == {"doc"}
    assert {example.group for example in produced[8:14]} == {"b"}, "a lone example is its own group, with its copies"
    assert len(produced) == 15
    for example in produced[:14]:
        assert len(example.label) == len(example.words)
    four = [example for example in produced if example.words == ("four",)]
    assert four and all(example.label == (3,) for example in four)


# Files ------------------------------------------------------------------------------------------------------------


def tsv(sentences) -> str:
    return "".join(Row(words, tags).text(words, tags) for words, tags in sentences)


def test_file_of_two_columns(tmp_path):
    source, target = tmp_path / "in.tsv", tmp_path / "out.tsv"
    source.write_bytes(b"\xef\xbb\xbf" + tsv(corpus()).rstrip("\n").replace("\n", "\r\n").encode())
    chosen = options(copies=2)
    counts = augment_file(source, target, chosen, seed=5)
    expected = list(Augmenter(chosen, 5).fit(corpus()).generate(corpus()))
    assert target.read_text() == tsv(expected)
    assert counts.sentences == len(expected) == 42 and counts.sentences_read == 6
    assert counts.mentions_read == 11
    assert counts.mentions == 77, "corrected: no copy loses a mention"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_long_file_is_read_as_line_by_line(tmp_path, end):
    """Longer than what is read at a time, with blank lines of all kinds; and its line numbers are right to the last."""
    dice, path = Random(0), tmp_path / "in.tsv"
    sentences, text = [], ""
    for _ in range(3000):
        pairs = [(f"w{dice.randrange(9)}" * dice.randint(1, 3), dice.choice("OBI")) for _ in range(dice.randint(1, 40))]
        sentences.append(tuple(zip(*pairs, strict=True)))
        text += "".join(f"{word}\t{tag}{end}" for word, tag in pairs) + dice.choice(("", " ", end, f" {end}\t")) + end
    path.write_text(text, newline="")
    assert len(text) > 3 * (1 << 16)
    assert [(row.words, row.tags) for row in rows(path)] == sentences
    path.write_text(text + f"word{end}", newline="")
    with pytest.raises(BadInput, match=f"in.tsv:{text.count(end) + 1}: 'word'"):
        list(rows(path))


def test_file_of_json_lines(tmp_path):
    source, target = tmp_path / "in.json", tmp_path / "out.json"
    rows = [{"tokens": words, "ner_tags": tags, "id": f"s{n}", "more": n}
            for n, (words, tags) in enumerate(corpus("IOB"))]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    augment_file(source, target, options(), seed=5)
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert written[::4] == [json.loads(json.dumps(row)) for row in rows]
    assert [row["id"] for row in written[:4]] == ["s0", "s0+label_wise1", "s0+mention1", "s0+shuffle1"]
    assert all(row["more"] == 0 for row in written[:4])
    assert len(written) == 24 and all(len(row["tokens"]) == len(row["ner_tags"]) for row in written)


@pytest.mark.parametrize("content, line", [
    (b"a\tO\nb\n", 2), (b"a\tO\n\nb\tO\tO\n", 3), (b"a\t\n", 1), (b"a\tO\n\xff\tO\n", 2),
    (b'{"tokens": ["a"], "ner_tags": ["O"]}\n{"tokens": ["a"]}\n', 2),
    (b'{"tokens": ["a"], "ner_tags": ["O", "O"]}\n', 1), (b'{"tokens": ["a"], "ner_tags": [0]}\n', 1),
    (b'{"tokens": ["a"], "ner_tags": ["O"]}\n{"tok\n', 2), (b'{"tokens": 3, "ner_tags": ["O"]}\n', 1),
])
def test_a_broken_line_is_named_and_nothing_is_written(tmp_path, content, line):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(content)
    target.write_text("as it was")
    with pytest.raises(BadInput, match=f"in:{line}: ") as error:
        augment_file(source, target, options())
    assert "\n" not in str(error.value)
    assert target.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_files_that_cannot_be_used(tmp_path):
    good = tmp_path / "good.tsv"
    good.write_text(tsv(corpus()))
    empty = tmp_path / "empty"
    empty.write_text("\n \n")
    for source, target, message in [
            (tmp_path / "no", good, "no: no such file"), (empty, good, "no sentence"),
            (good, tmp_path / "no" / "out", "create it"), (good, tmp_path, "cannot be written")]:
        with pytest.raises(BadInput, match=message):
            augment_file(source, target, options())
    assert good.read_text() == tsv(corpus())


def test_the_source_is_never_overwritten(tmp_path):
    path, link = tmp_path / "train.tsv", tmp_path / "link.tsv"
    path.write_text(tsv(corpus()))
    link.symlink_to(path)
    for target in (path, link, tmp_path / "." / "train.tsv"):
        with pytest.raises(BadInput, match="is the source itself"):
            augment_file(path, target, options())
    assert path.read_text() == tsv(corpus())


# The real corpus --------------------------------------------------------------------------------------------------


@pytest.fixture
def train(data_dir) -> Path:
    return data_dir / "bc2gm_iobes" / "train.tsv"


@pytest.mark.realdata
@pytest.mark.parametrize("n, expected", [(1, 56_554), (3, 138_785), (6, 262_459)])
def test_published_mentions_of_the_readme(train, n, expected):
    """56K, 138K and 262K in the README; the expected values are those of a simulation of the published code."""
    sentences = [(row.words, row.tags) for row in rows(train)]
    made = Augmenter(options("published", copies=n)).fit(sentences).generate(sentences)
    mentions = sum(tag[0] in "BS" for _, tags in made for tag in tags)
    assert mentions == pytest.approx(expected, rel=0.005)
    without_bug = 15_195 * (1 + 3 * n)
    assert mentions < 0.95 * without_bug


@pytest.mark.realdata
def test_every_sentence_gets_its_copies(train):
    sentences = [(row.words, row.tags) for row in rows(train)]
    assert sum(1 for _ in Augmenter(options("published")).fit(sentences).generate(sentences)) == 125_730
