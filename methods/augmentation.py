"""Augmentation of tagged sentences: label-wise replacement, mention replacement, shuffling.

After Dai and Adel (2020), "An analysis of simple data augmentation for named entity recognition",
and after what the notebook of biobert-distillation (2021) made of it; every difference is one
switch of `AugmentOptions`. Standard library only: a draw is an index into a list (uniform) or a
bisection of cumulated counts (by frequency), never a conversion of the vocabulary.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, groupby, pairwise
from random import Random
from typing import TypeAlias, TypeVar

from kdbench.base.options import option
from kdbench.data.tags import Span, lenient_spans, parts
from kdbench.data.task import Example

Words: TypeAlias = tuple[str, ...]
Tags: TypeAlias = tuple[str, ...]
Sentence: TypeAlias = tuple[Words, Tags]  # one tag a word
Piece: TypeAlias = tuple[int, int, str | None]  # start, end, and the entity type of a mention

T = TypeVar("T")

OPERATIONS = ("label_wise", "mention", "shuffle")

# Function words of English, as stop-word lists for retrieval have them; compared in lower case.
STOP_WORDS = frozenset(re.findall(r"\w+", """
a about above after again against all am an and any are as at be because been before being below
between both but by can cannot could did do does doing done down during each either else ever few
for from further had has have having he her here hers herself him himself his how i if in into is it
its itself just may me might more most must my myself neither no nor not now of off on once only or
other our ours ourselves out over own same shall she should so some such than that the their theirs
them themselves then there these they this those through to too under until up upon us very was we
were what when where whether which while who whom whose why will with within without would yet you
your yours yourself yourselves
"""))


@dataclass(frozen=True)
class AugmentOptions:
    """What to generate. Corrected: what the README says, Dai and Adel's operations with p = 0.5;
    published: the notebook's.
    """

    augment: tuple[str, ...] = option(
        OPERATIONS, "operations, each applied to the original sentence", choices=OPERATIONS,
        source="README")
    copies: int = option(
        1, "copies an operation makes of each sentence (the README's tables: 1, 3, 6)", published=3,
        minimum=1, source="corrected: Dai and Adel; published: code", why="protocol")
    p_label_wise: float = option(
        0.5, "probability that label-wise replacement replaces a word", minimum=0, maximum=1,
        source="README, code (Dai and Adel: 0.3)")
    p_mention: float = option(
        0.5, "probability that a mention is replaced", minimum=0, maximum=1,
        source="README, code (Dai and Adel: 0.3)")
    p_shuffle: float = option(
        0.5, "probability that a segment (shuffle_of=words) or a sentence (segments) is shuffled",
        published=1.0, minimum=0, maximum=1,
        source="corrected: README; published: code (Dai and Adel: 0.3)")
    label_draw: str = option(
        "frequency",
        "a word is drawn by its frequency under the tag, or uniformly over the tag's distinct "
        "words",
        choices=("frequency", "uniform"), published="uniform",
        source="corrected: Dai and Adel; published: code")
    stop_words: str = option(
        "keep",
        "label-wise replacement keeps stop-words and never puts them in, or treats them as any "
        "word",
        choices=("keep", "replace"), published="replace",
        source="corrected: Dai and Adel; published: code")
    mention_type: str = option(
        "same", "the new mention is of the same entity type, or of any, with its own tags",
        choices=("same", "any"), published="any",
        source="corrected: Dai and Adel; published: README, code")
    mention_draw: str = option(
        "uniform", "a mention is drawn uniformly over distinct mentions, or by its frequency",
        choices=("uniform", "frequency"), published="frequency",
        source="corrected: Dai and Adel; published: code")
    mr_bug: bool = option(
        False, "a mention of several words that is not replaced is deleted", published=True,
        source="code")
    shuffle_of: str = option(
        "words",
        "words change place inside their segment, tags stay; or whole segments change place",
        choices=("words", "segments"), published="segments",
        source="corrected: Dai and Adel; published: code")
    drop_last: bool = option(
        False, "the last sentence is lost, with its copies", published=True, source="code")


class Augmenter:
    """Copies of tagged sentences, drawn from the words and mentions of the sentences it was fitted
    on.

        augmenter = Augmenter(options, seed).fit(sentences)
        for words, tags in augmenter.generate(sentences): ...

    Tags are IO, IOB or IOBES, with a type or without (see `kdbench.data.tags`). Holds the distinct
    words a tag and the distinct mentions, never the sentences. Each operation draws from a stream
    of its own, so that leaving one out changes no copy of another.
    """

    def __init__(self, options: AugmentOptions, seed: int = 0):
        self.options = options
        self.runs = False  # is every stretch of one tag a mention?
        self._random = {operation: Random(f"{seed}/{operation}") for operation in OPERATIONS}
        self._draw_word: dict[str, Callable[[], str]] = {}
        self._draw_mention: dict[str, Callable[[], Sentence]] = {}
        change: dict[str, Callable[[Words, Tags], Sentence]] = {
            "label_wise": self.label_wise, "mention": self.mention, "shuffle": self.shuffle}
        self._plan = [(change[operation], f"{operation}{number}")
                      for operation in options.augment for number in range(1, options.copies + 1)]
        self._last: tuple[Tags, list[Piece]] = (), []

    def fit(self, sentences: Iterable[Sentence]) -> Augmenter:
        """One pass over `sentences`: counts of words by tag and of mentions by entity type."""
        pairs: Counter[tuple[str, str]] = Counter()
        # of words that are not `O`: one mention or several
        stretches: Counter[Sentence] = Counter()
        for words, tags in sentences:
            pairs.update(zip(words, tags, strict=True))
            if tags.count("O") == len(tags):
                continue
            start = 0
            for outside, stretch in groupby(tags, "O".__eq__):
                end = start + len(list(stretch))
                if not outside:
                    stretches[words[start:end], tags[start:end]] += 1
                start = end
        words_of: dict[str, Counter[str]] = defaultdict(Counter)
        for (word, tag), count in pairs.items():
            words_of[tag][word] = count
        # Where B is the only prefix (EBM-NLP: every word of a span carries `B-`), equal neighbours
        # are one mention.
        prefixes = {parts(tag)[0] for tag in words_of}
        self.runs = prefixes - {"O"} == {"B"}
        self._count_words(words_of)
        self._count_mentions(stretches)
        return self

    def _count_words(self, words_of: dict[str, Counter[str]]) -> None:
        how, random = self.options.label_draw, self._random["label_wise"]
        for tag, counts in words_of.items():
            if self.options.stop_words == "keep":
                counts = Counter({word: count for word, count in counts.items()
                                  if word.lower() not in STOP_WORDS})
            if counts:
                self._draw_word[tag] = drawer(counts, how, random)

    def _count_mentions(self, stretches: Counter[Sentence]) -> None:
        mentions_of: dict[str, Counter[Sentence]] = defaultdict(Counter)
        for (words, tags), count in stretches.items():
            for start, end, entity_type in segments(tags, self.runs):
                if entity_type is not None:
                    mentions_of[entity_type][words[start:end], tags[start:end]] += count
        how, random = self.options.mention_draw, self._random["mention"]
        if self.options.mention_type == "any" and mentions_of:
            of_any_type = drawer(sum(mentions_of.values(), Counter()), how, random)
            self._draw_mention = dict.fromkeys(mentions_of, of_any_type)
        else:
            self._draw_mention = {entity_type: drawer(counts, how, random)
                                  for entity_type, counts in mentions_of.items()}

    def generate(self, sentences: Iterable[Sentence]) -> Iterator[Sentence]:
        """Each sentence, followed by its copies; a stream."""
        for words, tags in self.kept(sentences):
            yield words, tags
            for _, new_words, new_tags in self.copies(words, tags):
                yield new_words, new_tags

    def mentions(self, tags: Sequence[str]) -> int:
        """The number of mentions in a sentence with these tags."""
        return sum(1 for _ in same_tag(tags)) if self.runs else len(lenient_spans(tags))

    def kept(self, items: Iterable[T]) -> Iterator[T]:
        """`items`, without the last one where the options say so."""
        return (item for item, _ in pairwise(items)) if self.options.drop_last else iter(items)

    def copies(self, words: Words, tags: Tags) -> Iterator[tuple[str, Words, Tags]]:
        """The copies of one sentence: name (`label_wise1`), words and tags. One that lost all its
        words (`mr_bug`) is left out.
        """
        for change, name in self._plan:
            new_words, new_tags = change(words, tags)
            if new_words:
                yield name, new_words, new_tags

    def label_wise(self, words: Words, tags: Tags) -> Sentence:
        """Each word, with probability p, becomes another word of the same tag; tags stay."""
        random, draw = self._random["label_wise"].random, self._draw_word
        p = self.options.p_label_wise
        keep_stop_words = self.options.stop_words == "keep"
        # the published case, without its checks a quarter faster
        if not keep_stop_words and draw.keys() >= set(tags):
            return tuple([draw[tag]() if random() < p else word
                          for word, tag in zip(words, tags, strict=True)]), tags
        new_words = []
        for word, tag in zip(words, tags, strict=True):
            drawn = random() < p and tag in draw
            if drawn and not (keep_stop_words and word.lower() in STOP_WORDS):
                word = draw[tag]()
            new_words.append(word)
        return tuple(new_words), tags

    def pieces(self, tags: Tags) -> list[Piece]:
        """`segments` of these tags; those of the last call are kept, for all the copies of one
        sentence.
        """
        if self._last[0] is not tags:
            self._last = tags, segments(tags, self.runs)
        return self._last[1]

    def mention(self, words: Words, tags: Tags) -> Sentence:
        """Each mention, with probability p, becomes another mention, of whatever length, with its
        tags.
        """
        random, options = self._random["mention"].random, self.options
        pieces = self.pieces(tags)
        if len(pieces) == 1 and pieces[0][2] is None:
            return words, tags
        new_words: list[str] = []
        new_tags: list[str] = []
        for start, end, entity_type in pieces:
            piece = words[start:end], tags[start:end]
            if entity_type is not None:
                if random() < options.p_mention and entity_type in self._draw_mention:
                    piece = self._draw_mention[entity_type]()
                elif options.mr_bug and end - start > 1:
                    continue
            new_words += piece[0]
            new_tags += piece[1]
        return tuple(new_words), tuple(new_tags)

    def shuffle(self, words: Words, tags: Tags) -> Sentence:
        """Words change place inside their segment (a mention, or the words between two), or
        segments do.
        """
        random, p, pieces = self._random["shuffle"], self.options.p_shuffle, self.pieces(tags)
        if self.options.shuffle_of == "segments":
            if random.random() >= p or len(pieces) == 1:
                return words, tags
            # `shuffle` draws by the number of pieces alone
            pieces = pieces.copy()
            random.shuffle(pieces)
            new_words = chain.from_iterable([words[start:end] for start, end, _ in pieces])
            new_tags = chain.from_iterable([tags[start:end] for start, end, _ in pieces])
            return tuple(new_words), tuple(new_tags)
        shuffled: list[str] = []
        for start, end, _ in pieces:
            inside = words[start:end]
            chosen = len(inside) > 1 and random.random() < p
            shuffled += random.sample(inside, len(inside)) if chosen else inside
        return tuple(shuffled), tags


def drawer(counts: Counter[T], how: str, source: Random) -> Callable[[], T]:
    """A function that draws one item of `counts`: by `frequency`, or `uniform` over the distinct
    items.
    """
    items, random = list(counts), source.random
    if how == "uniform":
        size = len(items)
        return lambda: items[int(random() * size)]
    ends = list(accumulate(counts.values()))
    total = ends[-1]
    return lambda: items[bisect(ends, random() * total)]


def segments(tags: Sequence[str], runs: bool = False) -> list[Piece]:
    """The sentence cut into mentions and what lies between them: (start, end, entity type or None).

    Mentions are those that the scorer sees; with `runs`, every stretch of one tag is one.
    """
    pieces: list[Piece] = []
    place = 0
    for start, end, entity_type in same_tag(tags) if runs else lenient_spans(tags):
        if place < start:
            pieces.append((place, start, None))
        pieces.append((start, end, entity_type))
        place = end
    if place < len(tags):
        pieces.append((place, len(tags), None))
    return pieces


def same_tag(tags: Sequence[str]) -> Iterator[Span]:
    """Stretches of one tag other than `O`, as entities."""
    for tag, stretch in groupby(range(len(tags)), tags.__getitem__):
        if tag != "O":
            span = list(stretch)
            yield span[0], span[-1] + 1, parts(tag)[1]


def augmented(examples: Iterable[Example], labels: tuple[str, ...], options: AugmentOptions,
              seed: int = 0) -> Iterator[Example]:
    """Training examples of a tagging task, each followed by its copies.

    A copy is called `<id>+label_wise1` and belongs to the group of its original. Examples without
    tags (unlabelled text) pass as they are.
    """
    examples = tuple(examples)
    index = {tag: number for number, tag in enumerate(labels)}

    def sentence(example: Example) -> Sentence:
        return example.words, tuple(labels[number] for number in example.label)

    tagged = (sentence(example) for example in examples if example.label is not None)
    augmenter = Augmenter(options, seed).fit(tagged)
    for example in augmenter.kept(examples):
        yield example
        if example.label is None:
            continue
        for name, words, tags in augmenter.copies(*sentence(example)):
            yield replace(example, id=f"{example.id}+{name}", group=example.group or example.id,
                          words=words, text=" ".join(words) if example.text else "",
                          label=tuple(index[tag] for tag in tags))
