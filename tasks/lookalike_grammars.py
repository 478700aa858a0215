"""The grammars of the look-alikes: one for each way in which context decides a label.

A grammar yields examples whose labels are written out (a class name, a set of names, a number, or
spans of words); `kdbench.tasks.lookalikes` turns them into indices and tags.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kdbench.data.tags import Span
from kdbench.data.task import Example
from kdbench.tasks.lookalike_words import Lexicon

T = TypeVar("T")

# share of rare cues (train: while uses are left)
RARE = {"train": 0.12, "dev": 0.5, "test": 0.5, "domain": 0.75}
USES = (0, 1, 1, 2)  # of a rare cue in train

_CHOICE, _SLOT = re.compile(r"\[([^\[\]]*)\]"), re.compile(r"\{(\w+)\}")


class Dice:
    """Seeded choices by `random()` alone, the one method whose sequence Python promises to keep."""

    def __init__(self, seed: str):
        self.roll = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.roll() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[int(self.roll() * len(items))]

    def other(self, items: Sequence[T], than: T) -> T:
        """One of the items but this one."""
        return self.pick([item for item in items if item != than])

    def take(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items in random order."""
        left = list(items)
        return [left.pop(int(self.roll() * len(left))) for _ in range(count)]

    def order(self, first: T, second: T, kept: float) -> tuple[T, T]:
        """The two, in the other order with probability ``1 - kept``."""
        return (first, second) if self.chance(kept) else (second, first)

    def write(self, pattern: str, slot: Callable[[str], str] | None = None, /,
              **slots: str) -> str:
        """Choose among ``[a|b|]`` and fill ``{name}`` from `slots` or by ``slot(name)``, until
        neither is left.
        """
        fill = slot or slots.__getitem__
        while "[" in pattern or "{" in pattern:
            while "[" in pattern:
                pattern = _CHOICE.sub(lambda match: self.pick(match[1].split("|")), pattern)
            pattern = _SLOT.sub(lambda match: fill(match[1]), pattern)
        return " ".join(pattern.split())


class Draw:
    """Cue words of a class; the split decides how often a rare one is drawn."""

    def __init__(self, dice: Dice, lexicon: Lexicon, split: str):
        self.dice, self.lexicon, self.share = dice, lexicon, RARE[split]
        self.left: dict[str, list[str]] | None = None
        if split == "train":
            uses = {name: self.uses(cues.rare) for name, cues in lexicon.items()}
            self.left = {name: dice.take(words, len(words)) for name, words in uses.items()}

    def uses(self, rare: Sequence[str]) -> list[str]:
        """Each rare cue as often as train has it."""
        words = []
        for word in rare:
            words += [word] * self.dice.pick(USES)
        return words

    def __call__(self, name: str) -> str:
        cues = self.lexicon[name]
        if self.dice.chance(self.share):
            if self.left is None:
                return self.dice.pick(cues.rare)
            if self.left[name]:
                return self.left[name].pop()
        return self.dice.pick(cues.common)


def sentence(text: str) -> str:
    """A capital at the start, no blank before punctuation."""
    text = re.sub(r" ([,.;?])", r"\1", text)
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class Grammar:
    """What all have: cue words by class, and an endless stream of examples."""

    lexicon: Lexicon

    def examples(self, dice: Dice, draw: Draw) -> Iterator[Example]:
        """An endless stream, drawn by `dice`, its cue words by `draw`."""
        while True:
            yield self.example(dice, draw)

    def example(self, dice: Dice, draw: Draw) -> Example:
        """One of the stream, with its label written out and neither id nor group."""
        raise NotImplementedError


# how often the deciding clause comes first: without this hint a tiny student learns nothing
USUAL = 0.85

# A sentence of two clauses. They begin at the same place in every sentence: with openings of their
# own ("Overall, although ...") a tiny student needs twice the epochs to learn which cue goes with
# which mention.
TWO_CLAUSES = "[{x}, [whereas|while|but|and] {y}|{x}; {y}] {place}."
PLACE = ("[|in hepatocytes|in rat liver|in these cells|in two cohorts|at low dose|in the second "
         "trial|after one hour]")
# {a} acts on {b}: stated, and denied
ACTS_ON = (
    "[{a} [|strongly|slowly|clearly|directly] {cue} [the|human|purified|soluble] {b}"
    "|{b} was [|strongly|slowly|clearly|directly] {cue} by [the|added|purified|soluble] {a}]",
    "[{a} never {cue} [the|human|purified|soluble] {b}|{b} was [not|never] {cue} by "
    "[the|added|purified|soluble] {a}]",
)


@dataclass(frozen=True)
class Relation(Grammar):
    """The relation of two marked mentions, among clauses on others.

    A pair is related where one clause holds both marks, has the cue of a relation and does not deny
    it.

    marks     the marks of each class
    names     unmarked mentions that stand where a mark could
    negative  the class of unrelated pairs
    clauses   patterns with {a} {cue} {b}: stated, denied
    reverse   classes in which the second mention acts on the first
    """

    marks: Mapping[str, tuple[str, str]]
    names: Mapping[str, Sequence[str]]
    negative: str
    clauses: tuple[str, str] = ACTS_ON
    share_negative: float = 0.36
    reverse: tuple[str, ...] = ()

    def clause(self, dice: Dice, draw: Draw, name: str, pair: Sequence[str], denied: bool) -> str:
        """What class `name` says of a pair, stated or denied."""
        a, b = reversed(pair) if name in self.reverse else pair
        return dice.write(self.clauses[denied], a=a, b=b, cue=draw(name))

    def example(self, dice: Dice, draw: Draw) -> Example:
        """Two clauses; how the pair is unrelated is drawn where it is."""
        related = [name for name in self.lexicon if name != self.negative]
        label = self.negative if dice.chance(self.share_negative) else dice.pick(related)
        how = dice.pick(("denied", "apart", "neutral cue")) if label == self.negative else "stated"
        first = dice.pick(related) if how in ("denied", "apart") else label
        second = dice.other(list(self.lexicon), first)

        (a, b), (c, d) = (
            self.marks[dice.pick(related) if name == self.negative else name]
            for name in (first, second)
        )
        c = dice.pick(self.names[c])
        pairs = ((a, b), (c, dice.pick(self.names[d])))
        if how == "apart":
            pairs = ((a, dice.pick(self.names[b])), (c, d))
        x, y = dice.order(self.clause(dice, draw, first, pairs[0], how == "denied"),
                          self.clause(dice, draw, second, pairs[1], dice.chance(0.25)), kept=0.5)
        return Example("", sentence(dice.write(TWO_CLAUSES, x=x, y=y, place=PLACE)), label=label)


@dataclass(frozen=True)
class Question(Grammar):
    """A question, and a passage with what was thought before and what was found now: the finding is
    the answer.
    """

    groups: Sequence[str]
    drugs: Sequence[str]
    diseases: Sequence[str]

    def example(self, dice: Dice, draw: Draw) -> Example:
        """Question and passage; the finding is the label."""
        label = dice.pick(list(self.lexicon))
        believed = dice.other(list(self.lexicon), label)
        about = {
            "drug": dice.pick(self.drugs),
            "group": dice.pick(self.groups),
            "disease": dice.pick(self.diseases),
        }
        judged = "found [it|the drug] [mostly|clearly|rather] {cue} [overall|by far|on balance]"
        found = dice.write(f"[we|our trial] {judged}", cue=draw(label))
        before = dice.write(f"[others|earlier trials] {judged}", cue=draw(believed))
        question = dice.write("[Is|Was] {drug} of [use|help] in {group} with {disease}?", **about)
        x, y = dice.order(found, before, kept=USUAL)
        passage = dice.write(
            "{x}, [whereas|while|but] {y} in {group} [given|treated with|on] {drug}.",
            x=x,
            y=y,
            **about,
        )
        return Example("", question, pair=sentence(passage), label=label)


@dataclass(frozen=True)
class Trend(Grammar):
    """News of a measure: what is reported of now decides, not what was before. Where the measure is
    a cost, a rise is negative.
    """

    names: Sequence[str]
    text: str  # pattern with {x} and {y}
    now: str  # patterns with {name} {measure} {cue}
    before: str

    def clause(self, dice: Dice, draw: Draw, pattern: str, tone: str) -> str:
        """News of this tone, of a profit or of a cost."""
        measure, trend = "[sales|profit|orders|margins]", tone
        if dice.chance(0.15):
            measure = "[costs|losses|expenses|debt]"
            trend = {"positive": "negative", "negative": "positive", "neutral": "neutral"}[tone]
        return dice.write(pattern, name=dice.pick(self.names), measure=measure, cue=draw(trend))

    def example(self, dice: Dice, draw: Draw) -> Example:
        """What is now and what was before, of two tones; the former is the label."""
        label = dice.pick(list(self.lexicon))
        now = self.clause(dice, draw, self.now, label)
        before = self.clause(dice, draw, self.before, dice.other(list(self.lexicon), label))
        x, y = dice.order(now, before, kept=USUAL)
        return Example("", sentence(dice.write(self.text, x=x, y=y)), label=label)


@dataclass(frozen=True)
class Hallmarks(Grammar):
    """Abstracts on one or two topics; a sentence has the topics that it affirms as labels, not what
    it denies.
    """

    agents: Sequence[str]
    affirmed: str = "{agent} [altered|controlled|drove] [the|overall|basal] {cue}"
    denied: str = "{agent} [spared|ignored] [the|overall|basal] {cue}"

    def examples(self, dice: Dice, draw: Draw) -> Iterator[Example]:
        """The sentences of one abstract after another; the group is the abstract's number."""
        abstract = 0
        while True:
            topics = dice.take(list(self.lexicon), dice.pick((1, 2, 2)))
            for _ in range(dice.pick((4, 5, 6, 7))):
                affirmed = dice.take(topics, dice.pick((0, 1, 1, len(topics))))
                text = self.sentence(dice, draw, topics, affirmed)
                yield Example("", text, label=frozenset(affirmed), group=str(abstract))
            abstract += 1

    def sentence(self, dice: Dice, draw: Draw, topics: Sequence[str],
                 affirmed: Sequence[str]) -> str:
        """A clause that affirms these topics, or without any a denying one, and one that denies
        topics that the abstract does not have.
        """
        others = dice.take([name for name in self.lexicon if name not in topics], 2)
        named = ([*affirmed] * 2)[:2] or [others.pop()]
        pattern = self.affirmed if affirmed else self.denied
        first = self.clause(dice, pattern, [draw(name) for name in named])
        second = self.clause(dice, self.denied,
                             [draw(name) for name in others[:dice.pick((1, 2))]])
        x, y = dice.order(first, second, kept=USUAL)
        return sentence(dice.write(TWO_CLAUSES, x=x, y=y, place=PLACE))

    def clause(self, dice: Dice, pattern: str, cues: Sequence[str]) -> str:
        """An agent and the cues, each named once."""
        return dice.write(pattern, agent=dice.pick(self.agents),
                          cue=" and ".join(dict.fromkeys(cues)))


@dataclass(frozen=True)
class Similarity(Grammar):
    """Two statements: 2 points for the same class of effect, 1 for the same agent, 1 for the same
    target.
    """

    agents: Sequence[str]
    targets: Sequence[str]

    def statement(self, dice: Dice, draw: Draw, agent: str, effect: str, target: str) -> str:
        """A sentence: the agent has the effect on the target."""
        return sentence(dice.write(f"{ACTS_ON[0]} {PLACE}.", a=agent, b=target, cue=draw(effect)))

    def example(self, dice: Dice, draw: Draw) -> Example:
        """Two statements, each part of the second the same or another; the label is the points."""
        choices = (self.agents, list(self.lexicon), self.targets)
        one = [dice.pick(names) for names in choices]
        two = [
            name if dice.chance(0.5) else dice.other(names, name)
            for name, names in zip(one, choices, strict=True)
        ]
        same = [a == b for a, b in zip(one, two, strict=True)]
        return Example("", self.statement(dice, draw, *one), pair=self.statement(dice, draw, *two),
                       label=float(same[0] + 2 * same[1] + same[2]))


@dataclass(frozen=True)
class Mentions(Grammar):
    """Sentences with ``<TYPE ...>`` around mentions; the label is the spans (first word, word after
    the last, type).
    """

    patterns: Mapping[str, str]  # "text", and the patterns that it names

    def example(self, dice: Dice, draw: Draw) -> Example:
        """A sentence in words, with the spans of its mentions."""
        def slot(name: str) -> str:
            return draw(name) if name in self.lexicon else self.patterns[name]

        words: list[str] = []
        spans: list[Span] = []
        start, entity_type = 0, ""
        for word in dice.write("{text}", slot).split():
            if word.startswith("<"):
                start, entity_type = len(words), word[1:]
                continue
            words.append(word.rstrip(">"))
            if word.endswith(">"):
                spans.append((start, len(words), entity_type))
        return Example("", words=tuple(words), label=tuple(spans))


@dataclass(frozen=True)
class Notes(Grammar):
    """A finding that is there now, and one that is absent, past or another's: the former decides on
    the emergency.

    Mostly one is harmless and the other dangerous, but not always: else a bag of words could tell
    them by subtracting.
    """

    text: str  # pattern with {x} {y}, the findings
    present: str  # patterns with {cue}
    absent: str
    labels: tuple[str, str]  # no emergency, emergency

    def example(self, dice: Dice, draw: Draw) -> Example:
        """A note with both findings; the label is that of the present one."""
        emergency, contrast = dice.chance(0.45), dice.chance(0.65)
        classes = ("benign", "danger")
        present = dice.write(self.present, cue=draw(classes[emergency]))
        absent = dice.write(self.absent, cue=draw(classes[emergency != contrast]))
        x, y = dice.order(present, absent, kept=USUAL)
        return Example("", dice.write(self.text, x=x, y=y), label=self.labels[emergency])
