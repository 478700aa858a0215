"""The embedded look-alikes: small generated corpora, one for every task, that need no download.

Each is written by a seeded grammar of our own and has three properties that make it a fair toy:

- the label depends on context: a text holds cue words of several classes, and negation, or which
  clause holds the marked entities, decides which of them counts; so a bag of words does not solve
  it;
- most cue words of a class are rare in train (0 to 2 uses) but common in dev, test and the
  unlabelled domain text, where lists of keywords show which belong together: a teacher that is
  pre-trained there knows what a student lacks;
- some labels of train, and of train only, are wrong, as in real corpora.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import Any

from kdbench.data import tags
from kdbench.data.task import Data, Example
from kdbench.tasks import lookalike_words as words
from kdbench.tasks.lookalike_grammars import (
    Dice,
    Draw,
    Grammar,
    Hallmarks,
    Mentions,
    Notes,
    Question,
    Relation,
    Similarity,
    Trend,
)

DOMAIN = 8000  # unlabelled sentences
KEYWORDS = 0.6  # share of keyword lists among them


@dataclass(frozen=True)
class Lookalike:
    """What makes one corpus of a grammar."""

    texts: str  # names the sequence of texts: corpora of one name have the same
    grammar: Grammar
    labels: tuple[str, ...]
    about: str
    noise: float = 0.12  # share of the labels (mentions) of train that are wrong
    rename: Mapping[str, str] = field(default_factory=dict)  # the grammar's label -> the task's
    mentions: tuple[str, ...] = ()  # types that are tagged


def generate(spec: Lookalike, seed: int = 0, train: int = 0, dev: int = 400,
             test: int = 400) -> Data:
    """The corpus of `spec`, the same on every machine; no text occurs twice, be it in splits or
    domain text.

    Only train has wrong labels, and they do not change its texts.

    train, dev, test  examples; train has 2,000 by default, or 1,000 where they are tagged, with a
                      label a word: `ner_kd` into a TinyBERT, with its teacher and controls, then
                      takes under two minutes on two cores
    """
    train = train or (1000 if spec.mentions else 2000)
    seen: set[str] = set()
    splits = {}
    for name, size in (("train", train), ("dev", dev), ("test", test)):
        share = spec.noise if name == "train" else 0.0
        noise = Noise(Dice(f"{spec.texts}/{name}/{seed}/noise"), share)
        drafts = fresh(spec, name, seed, seen)
        splits[name] = tuple(finished(spec, next(drafts), f"{name}-{row}", noise)
                             for row in range(size))
    note = f"generated {spec.about}; {spec.noise:.0%} of the labels of train are wrong on purpose"
    return Data(splits["train"], splits["dev"], splits["test"], spec.labels, origin="lookalike",
                sha256={name: checksum(rows) for name, rows in splits.items()},
                domain_text=domain_text(spec, seed, seen), notes=(note,))


def fresh(spec: Lookalike, split: str, seed: int, seen: set[str]) -> Iterator[Example]:
    """The grammar's examples for `split` without those whose text has been seen."""
    dice = Dice(f"{spec.texts}/{split}/{seed}")
    for draft in spec.grammar.examples(dice, Draw(dice, spec.grammar.lexicon, split)):
        if draft.key not in seen:
            seen.add(draft.key)
            yield draft


def finished(spec: Lookalike, draft: Example, id: str, noise: Noise) -> Example:
    """A draft with its id, its group and its label as the task has it."""
    match draft.label:
        case frozenset():  # sentences of an abstract, ids like HoC's
            split, row = id.split("-")
            abstract = f"{split}{draft.group}"
            topics = noise.topics(draft.label, spec.labels)
            vector = tuple(int(topic in topics) for topic in spec.labels)
            return replace(draft, id=f"{abstract}_s{row}", group=abstract, label=vector)
        case tuple():
            spans = noise.spans([span for span in draft.label if span[2] in spec.mentions])
            tag_numbers = tag_indices(spans, len(draft.words), spec.labels)
            return replace(draft, id=id, group=id, label=tag_numbers)
        case float():
            return replace(draft, id=id, group=id, label=noise.score(draft.label))
        case _:
            name = noise.name(spec.rename.get(draft.label, draft.label), spec.labels)
            return replace(draft, id=id, group=id, label=spec.labels.index(name))


def tag_indices(spans: Sequence[tags.Span], length: int, labels: Sequence[str]) -> tuple[int, ...]:
    """The spans in the scheme that `labels` shows: IOBES, IOB, or (EBM PICO) B- on every word."""
    if not any(label.startswith("I") for label in labels):
        spans = [(i, i + 1, entity_type)
                 for start, end, entity_type in spans
                 for i in range(start, end)]
    if "B" in labels:
        spans = [(start, end, "") for start, end, _ in spans]
    scheme = "IOBES" if any(label.startswith("S") for label in labels) else "IOB"
    return tuple(labels.index(tag) for tag in tags.encode(spans, length, scheme))


@dataclass(frozen=True)
class Noise:
    """Mistakes of an annotator in a `share` of the labels (for tags: of the mentions)."""

    dice: Dice
    share: float

    def name(self, label: str, labels: Sequence[str]) -> str:
        """Another of the labels."""
        return self.dice.other(labels, label) if self.dice.chance(self.share) else label

    def score(self, value: float) -> float:
        """A point more or less, from 0 to 4."""
        if not self.dice.chance(self.share):
            return value
        return min(4.0, max(0.0, value + self.dice.pick((-1.0, 1.0))))

    def topics(self, topics: frozenset[str], labels: Sequence[str]) -> frozenset[str]:
        """One topic missed, or, where there is none, one too many."""
        if not self.dice.chance(self.share):
            return topics
        if topics:
            return topics - {self.dice.pick(sorted(topics))}
        return frozenset([self.dice.pick(labels)])

    def spans(self, spans: Sequence[tags.Span]) -> list[tags.Span]:
        """A mention missed, or without its first word (one of one word: with the word before
        it).
        """
        kept, end_before = [], 0
        for start, end, entity_type in spans:
            if self.dice.chance(self.share):
                if self.dice.chance(0.5):
                    continue
                start = start + 1 if end - start > 1 else max(end_before, start - 1)
            kept.append((start, end, entity_type))
            end_before = end
        return kept


def domain_text(spec: Lookalike, seed: int, seen: set[str]) -> tuple[str, ...]:
    """Unlabelled text: sentences as the task has them, and lists of keywords of one class."""
    drafts = fresh(spec, "domain", seed, seen)
    dice, lexicon = Dice(f"{spec.texts}/keywords/{seed}"), spec.grammar.lexicon
    draw = Draw(dice, lexicon, "domain")
    texts = []
    for _ in range(DOMAIN):
        if dice.chance(KEYWORDS):
            name = dice.pick(list(lexicon))
            keywords = [dice.pick(lexicon[name].company), *(draw(name) for _ in range(6))]
            texts.append(" ".join(["Keywords:", *keywords]))
        else:
            draft = next(drafts)
            texts.append(" ".join(filter(None, [*draft.words, draft.text, draft.pair])))
    return tuple(texts)


def checksum(examples: Sequence[Example]) -> str:
    """SHA-256 of the examples as canonical JSON."""
    rows = [astuple(example) for example in examples]
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def relation(texts: str, lexicon: words.Lexicon, marks: tuple[str, str],
             names: Sequence[Sequence[str]], about: str, **facts: Any) -> Lookalike:
    """A relation corpus in which all classes have the same pair of marks; class `0` is the negative
    one.

    facts  further fields of `Relation`
    """
    grammar = Relation(lexicon, dict.fromkeys(lexicon, marks),
                       dict(zip(marks, names, strict=True)), "0", **facts)
    return Lookalike(texts, grammar, tuple(lexicon), about)


CHEMPROT = relation(
    "chemprot",
    words.CHEMPROT,
    ("@CHEMICAL$", "@GENE$"),
    (words.CHEMICALS, words.GENES),
    "sentences with a marked chemical and a marked gene",
    reverse=("CPR:9",),
)
DDI = relation("ddi", words.DDI, ("@DRUG$", "@DRUG$"), (words.CHEMICALS, words.CHEMICALS),
               "sentences with two marked drugs", clauses=words.TOGETHER)
GAD = relation(
    "gad",
    words.GAD,
    ("@GENE$", "@DISEASE$"),
    (words.GENES, words.DISEASES),
    "sentences with a marked gene and a marked disease",
    clauses=words.VARIANTS,
    share_negative=0.5,
)
I2B2_MARKS = {
    **dict.fromkeys(words.I2B2, ("@TREATMENT$", "@PROBLEM$")),
    **dict.fromkeys(("TeRP", "TeCP"), ("@TEST$", "@PROBLEM$")),
    "PIP": ("@PROBLEM$", "@PROBLEM$"),
}
I2B2_NAMES = {"@TREATMENT$": words.TREATMENTS, "@PROBLEM$": words.PROBLEMS, "@TEST$": words.TESTS}
I2B2 = Lookalike(
    "i2b2",
    Relation(words.I2B2, I2B2_MARKS, I2B2_NAMES, "false", reverse=("TrNAP", "TeCP")),
    ("PIP", "TeCP", "TeRP", "TrAP", "TrCP", "TrIP", "TrNAP", "TrWP", "false"),
    "sentences with two marked clinical concepts",
)
HOC = Lookalike("hoc", Hallmarks(words.HALLMARKS, words.GENES), tuple(words.HALLMARKS),
                "abstracts, labelled by sentence")
QUESTION = Question(words.ANSWERS, words.GROUPS, words.CHEMICALS, words.DISEASES)
YES_NO = {name: words.ANSWERS[name] for name in ("yes", "no")}
TONES = ("positive", "neutral", "negative")
EMERGENCY = ("non-emergency", "emergency")
GENE = Lookalike(
    "bc2gm",
    Mentions(words.GENE_WORDS, words.GENE_PATTERNS),
    ("O", "B", "I"),
    "sentences with genes",
    mentions=("GENE",),
)
CDR = Lookalike("bc5cdr", Mentions(words.CDR_WORDS, words.CDR_PATTERNS), ("O", "B", "I"),
                "sentences with chemicals and diseases")

SPECS = {
    "chemprot": CHEMPROT,
    "chemprot_tsv": replace(
        CHEMPROT, labels=(*list(words.CHEMPROT)[1:], "false"), rename={"0": "false"}
    ),
    "ddi": DDI,
    "ddi_tsv": replace(
        DDI,
        labels=("DDI-mechanism", "DDI-effect", "DDI-advise", "DDI-int", "DDI-false"),
        rename={"0": "DDI-false"},
    ),
    "gad": GAD,
    "gad_tsv": GAD,
    "i2b2": I2B2,
    "hoc": HOC,
    "hoc_tsv": HOC,
    "bioasq": Lookalike(
        "bioasq", replace(QUESTION, lexicon=YES_NO), ("yes", "no"), "questions with passages"
    ),
    "pubmedqa": Lookalike("pubmedqa", QUESTION, ("yes", "no", "maybe"), "questions with passages"),
    "biosses": Lookalike(
        "biosses",
        Similarity(words.CHEMPROT, words.CHEMICALS[:8], words.GENES[:8]),
        (),
        "pairs of sentences, scored by what they share",
    ),
    "fpb": Lookalike(
        "fpb",
        Trend(words.TRENDS, words.COMPANIES, *words.NEWS),
        TONES,
        "sentences of financial news",
    ),
    "fts": Lookalike(
        "fts", Trend(words.TRENDS, words.TICKERS, *words.MICROBLOG), TONES, "financial microblogs"
    ),
    "emr": Lookalike(
        "emr",
        Notes(words.TRIAGE, *words.KOREAN, ("0", "1")),
        ("0", "1"),
        "Korean-English notes of a paediatric emergency department",
    ),
    "ktas_ed": Lookalike(
        "ktas_ed",
        Notes(words.TRIAGE, *words.COMPLAINT, EMERGENCY),
        EMERGENCY,
        "chief complaints of an emergency department",
    ),
    "bc2gm": GENE,
    "bc2gm_iobes": replace(GENE, labels=("O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")),
    "jnlpba": replace(GENE, texts="jnlpba"),
    "ncbi-disease": Lookalike(
        "ncbi-disease",
        Mentions(words.DISEASE_WORDS, words.DISEASE_PATTERNS),
        ("O", "B", "I"),
        "sentences with diseases",
        mentions=("DISEASE",),
    ),
    "bc5cdr-disease": replace(CDR, mentions=("DISEASE",)),
    "bc5cdr-chem": replace(CDR, mentions=("CHEM",)),
    "ebmnlp": Lookalike(
        "ebmnlp",
        Mentions(words.PICO_WORDS, words.PICO_PATTERNS),
        ("O", "B-INT", "B-OUT", "B-PAR"),
        "sentences of trial abstracts",
        mentions=("INT", "OUT", "PAR"),
    ),
}

LOOKALIKES: dict[str, Callable[..., Data]] = {
    name: partial(generate, spec) for name, spec in SPECS.items()
}
