"""The embedded look-alikes: small generated corpora, one for every kind of task, that need no download.

Each is written by a seeded grammar of our own and has three properties that make it a fair toy:

- the label depends on context: a text holds cue words of several classes, and negation, or which clause holds
  the marked entities, decides which of them counts; so a bag of words does not solve it;
- most cue words of a class are rare in train (0 to 2 uses) but common in dev, test and the unlabelled domain text, where
  they keep the company of their class: a teacher that is pre-trained there knows what a student lacks;
- some labels of train, and of train only, are wrong, as in real corpora.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from kdbench.task import Data, Example
from kdbench.tasks import lookalike_words as words

RARE = {"train": 0.12, "dev": 0.5, "test": 0.5, "domain": 0.75}  # how often a cue is a rare one (train: while uses are left)
USES = (0, 1, 1, 2)  # of a rare cue in train


class Dice:
    """Seeded choices by `random()` alone, the one method whose sequence Python promises to keep."""

    def __init__(self, seed: str):
        self.roll = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self.roll() < probability

    def pick(self, items: Sequence[Any]) -> Any:
        return items[int(self.roll() * len(items))]

    def take(self, items: Sequence[Any], count: int) -> list:
        """`count` different items in random order."""
        left = list(items)
        return [left.pop(int(self.roll() * len(left))) for _ in range(count)]

    def write(self, template: str, **slots: str) -> str:
        """Fill ``{slot}`` and choose one of ``[a|b|]``, innermost first; blanks are normalised."""
        while "[" in template:
            template = _CHOICE.sub(lambda match: self.pick(match[1].split("|")), template)
        return " ".join(template.format(**slots).split())


_CHOICE = re.compile(r"\[([^\[\]]*)\]")


class Cues:
    """Draws cue words of a class for one split."""

    def __init__(self, dice: Dice, lexicons: Mapping[str, words.Lexicon], split: str):
        self.dice, self.lexicons, self.split = dice, lexicons, split
        if split == "train":
            self.left = {}
            for label, (_, rare) in lexicons.items():
                uses = [word for word in rare for _ in range(dice.pick(USES))]
                self.left[label] = dice.take(uses, len(uses))

    def draw(self, label: str) -> str:
        common, rare = self.lexicons[label]
        if not self.dice.chance(RARE[self.split]):
            return self.dice.pick(common)
        if self.split != "train":
            return self.dice.pick(rare)
        return self.left[label].pop() if self.left[label] else self.dice.pick(common)


@dataclass(frozen=True)
class Relation:
    """Sentences of two clauses; the label is the relation of the marked pair, which at most one of them states."""

    lexicons: Mapping[str, words.Lexicon]
    company: Mapping[str, str]  # what a class's cues keep company with in domain text
    negative: str  # the label of a pair that no clause relates
    marks: tuple[str, str]
    names: tuple[Sequence[str], Sequence[str]]
    clauses: tuple[str, str]  # plain and denied, with {a} {cue} {b}
    frames: str  # with {x} and {y}
    reversed: tuple[str, ...] = ()  # labels whose second mention acts on the first

    def clause(self, dice: Dice, label: str, cue: str, first: str, second: str, denied: bool = False) -> str:
        a, b = (second, first) if label in self.reversed else (first, second)
        return dice.write(self.clauses[denied], a=a, b=b, cue=cue)

    def example(self, dice: Dice, cues: Cues) -> tuple[str, str]:
        """A text and its label."""
        label = self.negative if dice.chance(0.36) else dice.pick([x for x in self.lexicons if x != self.negative])
        stated, denied, apart = label, False, False
        if label == self.negative:
            how = dice.roll()
            denied, apart = how < 0.35, how > 0.7
            if denied or apart:
                stated = dice.pick([x for x in self.lexicons if x != self.negative])
        (first, second), others = self.marks, [dice.pick(names) for names in self.names]
        aside = dice.pick([x for x in self.lexicons if x != stated])
        if apart:
            second, others[1] = others[1], second
        x = self.clause(dice, stated, cues.draw(stated), first, second, denied)
        y = self.clause(dice, aside, cues.draw(aside), *others, denied=dice.chance(0.25))
        if dice.chance(0.5):
            x, y = y, x
        text = dice.write(self.frames, x=x, y=y)
        return text[0].upper() + text[1:], label

    def sentence(self, dice: Dice, cues: Cues) -> str:
        """A sentence of domain text: like a task's text, or cues of one class in a row with what they go with."""
        if dice.chance(0.4):
            return self.example(dice, cues)[0]
        label = dice.pick(list(self.lexicons))
        company = dice.pick(self.company[label].split())
        return " ".join(["Keywords:", company, *(cues.draw(label) for _ in range(6))])


def corpus(name: str, maker: Any, labels: Sequence[str], seed: int, sizes: Mapping[str, int], noise: float, note: str) -> Data:
    """All splits and the domain text of one look-alike; no text occurs twice."""
    seen: set[str] = set()
    splits = {}
    for split, size in {**sizes, "domain": 8000}.items():
        dice = Dice(f"{name}/{split}/{seed}")
        cues = Cues(dice, maker.lexicons, split)
        rows: list[Any] = []
        while len(rows) < size:
            text, label = (maker.sentence(dice, cues), None) if split == "domain" else maker.example(dice, cues)
            if text in seen:
                continue
            seen.add(text)
            if split == "train" and dice.chance(noise):
                label = dice.pick([other for other in labels if other != label])
            rows.append(text if split == "domain" else Example(f"{split}-{len(rows)}", text, label=labels.index(label)))
        splits[split] = tuple(rows)
    return Data(splits["train"], splits["dev"], splits["test"], tuple(labels), kind="lookalike",
                sha256={split: checksum(splits[split]) for split in sizes}, domain_text=splits["domain"], notes=(note,))


def checksum(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples' canonical JSON."""
    rows = [astuple(example) for example in examples]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


PLACE = "[|in hepatocytes|in rat liver|in these cells|in two cohorts|at low dose|in the second trial|after one hour]"
CHEMPROT = Relation(
    words.CHEMPROT, words.CHEMPROT_COMPANY, "0", ("@CHEMICAL$", "@GENE$"), (words.CHEMICALS, words.GENES),
    ("[{a} [|strongly|slowly|clearly|directly] {cue} [the|human|purified|soluble] {b}"
     "|{b} was [|strongly|slowly|clearly|directly] {cue} by [the|added|purified|soluble] {a}]",
     "[{a} never {cue} [the|human|purified|soluble] {b}|{b} was [not|never] {cue} by [the|added|purified|soluble] {a}]"),
    f"[|[Overall|In brief|Of note|As expected],] [{{x}} {PLACE}, [whereas|while|but|and] {{y}}|although {{x}}, {{y}} {PLACE}"
    f"|{{x}} {PLACE}; {{y}}].",
    ("CPR:9",),
)


def chemprot(seed: int = 0, train: int = 2000, dev: int = 400, test: int = 400) -> Data:
    return corpus("chemprot", CHEMPROT, tuple(words.CHEMPROT), seed, {"train": train, "dev": dev, "test": test}, 0.12,
                  "generated abstract sentences with a marked chemical and gene; 12 % of the labels of train are wrong")


LOOKALIKES: dict[str, Callable[..., Data]] = {"chemprot": chemprot}
