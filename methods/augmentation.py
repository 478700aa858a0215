"""Augmentation of tagged sentences: label-wise replacement, mention replacement, shuffling.

After Dai and Adel (2020), "An analysis of simple data augmentation for named entity recognition",
and after what the notebook of biobert-distillation (2021) made of it; every difference is one
switch of `AugmentOptions`. Standard library only: a draw is an index into a list (uniform) or a
bisection of cumulated counts (by frequency), never a conversion of the vocabulary.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, chain, groupby, pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TextIO

from kdbench.base.errors import BadInput
from kdbench.base.folders import new_file
from kdbench.base.options import option
from kdbench.data.tags import Span, lenient_spans, parts
from kdbench.data.task import Example

Sentence = tuple[tuple[str, ...], tuple[str, ...]]  # words, and one tag a word

OPERATIONS = ("label_wise", "mention", "shuffle")

# Function words of English, as stop-word lists for retrieval have them; compared in lower case.
STOP_WORDS = frozenset(
    re.findall(
        r"\w+", """
a about above after again against all am an and any are as at be because been before being below
between both but by can cannot could did do does doing done down during each either else ever few
for from further had has have having he her here hers herself him himself his how i if in into is it
its itself just may me might more most must my myself neither no nor not now of off on once only or
other our ours ourselves out over own same shall she should so some such than that the their theirs
them themselves then there these they this those through to too under until up upon us very was we
were what when where whether which while who whom whose why will with within without would yet you
your yours yourself yourselves """))


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
        self._random = {operation: Random(f"{seed}/{operation}") for operation in OPERATIONS}
        self.runs = False
        self._draw_word: dict[str, Callable[[], str]] = {}
        self._draw_mention: dict[str, Callable[[], Sentence]] = {}
        self._plan = [(getattr(self, operation), f"{operation}{number}")
                      for operation in options.augment for number in range(1, options.copies + 1)]
        self._last: tuple[tuple[str, ...], list[tuple[int, int, str | None]]] = (), []

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
        self.runs = {parts(tag)[0] for tag in words_of} - {"O"} == {"B"}
        self._count_words(words_of)
        self._count_mentions(stretches)
        return self

    def _count_words(self, words_of: dict[str, Counter[str]]) -> None:
        for tag, counts in words_of.items():
            if self.options.stop_words == "keep":
                counts = Counter({
                    word: count
                    for word, count in counts.items()
                    if word.lower() not in STOP_WORDS
                })
            if counts:
                self._draw_word[tag] = drawer(counts, self.options.label_draw,
                                              self._random["label_wise"])

    def _count_mentions(self, stretches: Counter[Sentence]) -> None:
        mentions_of: dict[str, Counter[Sentence]] = defaultdict(Counter)
        for (words, tags), count in stretches.items():
            for start, end, entity_type in segments(tags, self.runs):
                if entity_type is not None:
                    mentions_of[entity_type][words[start:end], tags[start:end]] += count
        source, how = self._random["mention"], self.options.mention_draw
        if self.options.mention_type == "any" and mentions_of:
            self._draw_mention = dict.fromkeys(
                mentions_of, drawer(sum(mentions_of.values(), Counter()), how, source))
        else:
            self._draw_mention = {
                entity_type: drawer(counts, how, source)
                for entity_type, counts in mentions_of.items()
            }

    def generate(self, sentences: Iterable[Sentence]) -> Iterator[Sentence]:
        """Each sentence, followed by its copies; a stream."""
        for words, tags in self.kept(sentences):
            yield words, tags
            for _, new_words, new_tags in self.copies(words, tags):
                yield new_words, new_tags

    def mentions(self, tags: Sequence[str]) -> int:
        """The number of mentions in a sentence with these tags."""
        return sum(1 for _ in same_tag(tags)) if self.runs else len(lenient_spans(tags))

    def kept(self, items: Iterable) -> Iterator:
        """`items`, less the last one where the options say so."""
        return (item for item, _ in pairwise(items)) if self.options.drop_last else iter(items)

    def copies(self, words: tuple[str, ...],
               tags: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        """The copies of one sentence: name (`label_wise1`), words and tags. One that lost all its
        words (`mr_bug`) is left out.
        """
        for change, name in self._plan:
            new_words, new_tags = change(words, tags)
            if new_words:
                yield name, new_words, new_tags

    def label_wise(self, words: tuple[str, ...], tags: tuple[str, ...]) -> Sentence:
        """Each word, with probability p, becomes another word of the same tag; tags stay."""
        random, p, draw = self._random[
            "label_wise"].random, self.options.p_label_wise, self._draw_word
        kept = self.options.stop_words == "keep"
        # the published case, without its checks a quarter faster
        if not kept and draw.keys() >= set(tags):
            return tuple([
                draw[tag]() if random() < p else word
                for word, tag in zip(words, tags, strict=True)
            ]), tags
        return tuple([
            draw[tag]()
            if random() < p and tag in draw and not (kept and word.lower() in STOP_WORDS) else word
            for word, tag in zip(words, tags, strict=True)
        ]), tags

    def cut(self, tags: tuple[str, ...]) -> list[tuple[int, int, str | None]]:
        """`segments` of these tags; those of the last call are kept, for all the copies of one
        sentence.
        """
        if self._last[0] is not tags:
            self._last = tags, segments(tags, self.runs)
        return self._last[1]

    def mention(self, words: tuple[str, ...], tags: tuple[str, ...]) -> Sentence:
        """Each mention, with probability p, becomes another mention, of whatever length, with its
        tags.
        """
        random, options = self._random["mention"].random, self.options
        pieces = self.cut(tags)
        if len(pieces) == 1 and pieces[0][2] is None:
            return words, tags
        new_words: list[str] = []
        new_tags: list[str] = []
        for start, end, entity_type in pieces:
            taken = words[start:end], tags[start:end]
            if entity_type is not None:
                if random() < options.p_mention and entity_type in self._draw_mention:
                    taken = self._draw_mention[entity_type]()
                elif options.mr_bug and end - start > 1:
                    continue
            new_words += taken[0]
            new_tags += taken[1]
        return tuple(new_words), tuple(new_tags)

    def shuffle(self, words: tuple[str, ...], tags: tuple[str, ...]) -> Sentence:
        """Words change place inside their segment (a mention, or the words between two), or
        segments do.
        """
        random, p = self._random["shuffle"], self.options.p_shuffle
        if self.options.shuffle_of == "segments":
            if random.random() >= p or len(self.cut(tags)) == 1:
                return words, tags
            pieces = [(words[start:end], tags[start:end]) for start, end, _ in self.cut(tags)]
            random.shuffle(pieces)
            return tuple(chain.from_iterable([own for own, _ in pieces])), tuple(
                chain.from_iterable([own for _, own in pieces]))
        shuffled: list[str] = []
        for start, end, _ in self.cut(tags):
            inside = words[start:end]
            shuffle = len(inside) > 1 and random.random() < p
            shuffled += random.sample(inside, len(inside)) if shuffle else inside
        return tuple(shuffled), tags


def drawer(counts: Counter, how: str, source: Random) -> Callable[[], Any]:
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


def segments(tags: Sequence[str], runs: bool = False) -> list[tuple[int, int, str | None]]:
    """The sentence cut into mentions and what lies between them: (start, end, entity type or None).

    Mentions are those that the scorer sees; with `runs`, every stretch of one tag is one.
    """
    found: list[tuple[int, int, str | None]] = []
    place = 0
    for start, end, entity_type in same_tag(tags) if runs else lenient_spans(tags):
        if place < start:
            found.append((place, start, None))
        found.append((start, end, entity_type))
        place = end
    if place < len(tags):
        found.append((place, len(tags), None))
    return found


def same_tag(tags: Sequence[str]) -> Iterator[Span]:
    """Stretches of one tag other than `O`, as entities."""
    for tag, stretch in groupby(range(len(tags)), tags.__getitem__):
        if tag != "O":
            span = list(stretch)
            yield span[0], span[-1] + 1, parts(tag)[1]


def augmented(
    examples: Iterable[Example], labels: tuple[str, ...], options: AugmentOptions, seed: int = 0
) -> Iterator[Example]:
    """Training examples of a tagging task, each followed by its copies.

    A copy is called `<id>+label_wise1` and belongs to the group of its original. Examples without
    tags (unlabelled text) pass as they are.
    """
    examples = tuple(examples)
    index = {tag: number for number, tag in enumerate(labels)}

    def sentence(example: Example) -> Sentence:
        return example.words, tuple(labels[number] for number in example.label)

    augmenter = Augmenter(options, seed).fit(
        sentence(example) for example in examples if example.label is not None)
    for example in augmenter.kept(examples):
        yield example
        if example.label is None:
            continue
        for name, words, tags in augmenter.copies(*sentence(example)):
            yield replace(example, id=f"{example.id}+{name}", group=example.group or example.id,
                          words=words, text=" ".join(words) if example.text else "",
                          label=tuple(index[tag] for tag in tags))


# Files
# --------------------------------------------------------------------------------------------------


SENTENCE = re.compile(r"[^\t\n]+\t[^\t\n]+(?:\n[^\t\n]+\t[^\t\n]+)*")


class Row(NamedTuple):
    """One sentence of a file, with the JSON object that it came in; None where the file has two
    columns.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    record: dict[str, Any] | None = None

    def text(self, words: tuple[str, ...], tags: tuple[str, ...], name: str = "") -> str:
        """These words and tags, the sentence's own or those of its copy `name`, as the file has
        them.
        """
        if self.record is None:
            # word, tab, tag, end of line: one join of all takes half of the time of many
            pieces = ["\n"] * (4 * len(words))
            pieces[::4], pieces[1::4], pieces[2::4] = words, ["\t"] * len(words), tags
            return "".join(pieces) + "\n"
        record = {**self.record, "tokens": words, "ner_tags": tags}
        if name and "id" in record:
            record["id"] = f"{record['id']}+{name}"
        return json.dumps(record) + "\n"


@dataclass(frozen=True)
class Written:
    """What `augment_file` read and wrote."""

    sentences_read: int
    sentences: int
    mentions_read: int
    mentions: int


def augment_file(source: str | Path, target: str | Path, options: AugmentOptions,
                 seed: int = 0) -> Written:
    """Write the sentences of `source`, each followed by its copies, to `target`, in the same
    format.

    Two columns (`word<TAB>tag`, a blank line after each sentence) or JSON lines (`tokens`,
    `ner_tags`, and `id`, which copies extend by `+label_wise1`). The source is read twice and never
    held; `target` appears only when it is complete. `BadInput` names the file and the line that
    cannot be read.
    """
    source, target = Path(source), Path(target)
    augmenter = Augmenter(options, seed).fit((row.words, row.tags) for row in rows(source))
    sentences_read = sentences = mentions_read = mentions = 0
    with written(target) as out:
        for row in augmenter.kept(rows(source)):
            out.write(row.text(row.words, row.tags))
            own = augmenter.mentions(row.tags)
            sentences_read, mentions_read = sentences_read + 1, mentions_read + own
            sentences, mentions = sentences + 1, mentions + own
            for name, words, tags in augmenter.copies(row.words, row.tags):
                out.write(row.text(words, tags, name))
                sentences += 1
                mentions += own if tags is row.tags else augmenter.mentions(tags)
    return Written(sentences_read, sentences, mentions_read, mentions)


def rows(path: Path) -> Iterator[Row]:
    """The sentences of a two-column or JSON-lines file: a stream, where `kdbench.data.readers`
    holds the whole file.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            first = next((line for line in stream if line.strip()), None)
            if first is None:
                raise BadInput(
                    f"{path}: no sentence in it; give words with their tags, or JSON lines")
            stream.seek(0)
            read = _json_lines if first.startswith("{") else _columns
            yield from read(path, stream)
    except UnicodeDecodeError:
        raise BadInput(f"{path}:{undecodable(path)}: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from None


def undecodable(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _columns(path: Path, stream: TextIO) -> Iterator[Row]:
    """Sentence by sentence, as most files have them, in half of the time that line by line
    takes.
    """
    number, rest = 1, ""
    for chunk in chain(iter(lambda: stream.read(1 << 16), ""), ["\n\n"]):
        *blocks, rest = (rest + chunk).split("\n\n")
        for block in blocks:
            if SENTENCE.fullmatch(block):
                fields = block.replace("\n", "\t").split("\t")
                yield Row(tuple(fields[::2]), tuple(fields[1::2]))
            else:
                yield from _lines(path, number, block.split("\n"))
            number += block.count("\n") + 2


def _lines(path: Path, first: int, lines: Iterable[str]) -> Iterator[Row]:
    """What is no plain sentence: blank lines too many or with blanks in them, and mistakes."""
    pairs: list[list[str]] = []
    for number, line in enumerate(chain(lines, [""]), first):
        if line:
            pair = line.split("\t")
            if len(pair) == 2 and pair[0] and pair[1]:
                pairs.append(pair)
                continue
            if line.strip():
                raise BadInput(
                    f"{path}:{number}: {line[:40]!r} is no word with its tag; put one tab between "
                    f"the two"
                )
        if pairs:
            words, tags = zip(*pairs, strict=True)
            yield Row(words, tags)
            pairs = []


def _json_lines(path: Path, stream: TextIO) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            words, tags = record["tokens"], record["ner_tags"]
            fits = len(words) == len(tags) and all(
                isinstance(item, str) for item in (*words, *tags))
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise BadInput(
                f"{path}:{number}: give one JSON object a line, with tokens and ner_tags of one "
                f"length"
            )
        yield Row(tuple(words), tuple(tags), record)


@contextmanager
def written(target: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `target` only when it was written to its end."""
    if not target.parent.is_dir():
        raise BadInput(f"{target}: no folder {target.parent}; create it first")
    try:
        with new_file(target) as out:
            yield out
    except OSError as error:
        raise BadInput(
            f"{target}: cannot be written ({error.strerror}); give a file in a folder of your own"
        ) from None
