"""What a vocabulary that is trained on one's own text may learn: pieces of words that several texts
hold.

A vocabulary is stored as plain text, is copied by every export, and a name that stands in one note
only is a piece like any other to a trainer that counts. So a trainer is shown the words that at
least `least` texts hold (patients, documents, where examples have groups), and no others. Each
piece it makes is then a part of such a word. Single characters (or bytes) are always pieces, so
that a word that was left out can be read: letter by letter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.trainers import Trainer
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from kdbench.data.task import Data

BETWEEN = "\x1f"  # divides the words that a trainer is shown
MARK = "kdbench_own_pieces"  # in tokenizer_config.json: which entries come from one's own text


class Rule(NamedTuple):
    """units  whose each text is; empty: each text is a unit of its own
    least  how many units have to hold a word; 0: the text is public, and all of it may be learned
    """

    units: tuple[str, ...] = ()
    least: int = 0


class OwnTexts(list[str]):
    """Texts that are neither generated nor a published corpus, with the rule for what a vocabulary
    may learn of them.
    """

    def __init__(self, texts: Iterable[str], rule: Rule):
        super().__init__(texts)
        self.rule = rule


def texts_to_learn(data: Data, least: int) -> list[str]:
    """The unlabelled text of a corpus: its training texts, and the look-alike's domain text.

    least  of one's own text: how many units have to hold a word that a vocabulary learns
    """
    texts = [" ".join(e.words) if e.words else f"{e.text} {e.pair or ''}".strip()
             for e in (*data.train, *data.rest)]
    texts += data.domain_text
    if not data.own_text:
        return texts
    units = [example.unit for example in (*data.train, *data.rest)]
    return OwnTexts(texts, Rule(units_of(units, len(units), len(data.domain_text)), least))


def rule_of(texts: Iterable[str]) -> Rule:
    """The rule that goes with these texts."""
    return texts.rule if isinstance(texts, OwnTexts) else Rule()


def words_by(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """The words of a text, as this tokenizer normalises and divides it before it looks for
    pieces.
    """
    normalizer, divider = tokenizer.normalizer, tokenizer.pre_tokenizer

    def words(text: str) -> list[str]:
        plain = normalizer.normalize_str(text) if normalizer else text
        return [word for word, _ in divider.pre_tokenize_str(plain)] if divider else [plain]

    return words


def common_words(texts: Iterable[str], rule: Rule, words: Callable[[str], list[str]]) -> set[str]:
    """The words that at least `rule.least` units hold. A text that stands there several times, as
    copied notes do, counts once.
    """
    held: Counter[str] = Counter()
    firsts: dict[str, str] = {}  # by text the unit that has it first
    if rule.units:
        for unit, text in zip(rule.units, texts, strict=True):
            firsts.setdefault(text, unit)
    else:
        firsts = {text: text for text in texts}
    by_unit: dict[str, set[str]] = defaultdict(set)
    for text, unit in firsts.items():
        by_unit[unit].update(words(text))
    for each in by_unit.values():
        held.update(each)
    return {word for word, times in held.items() if times >= rule.least}


def train_on_common(tokenizer: Tokenizer, texts: Callable[[], Iterable[str]], trainer: Trainer,
                    rule: Rule) -> None:
    """Train `tokenizer` on what the rule allows of `texts()`, which is called twice."""
    if rule.least <= 1:
        tokenizer.train_from_iterator(texts(), trainer)
        return
    words = words_by(tokenizer)
    common = common_words(texts(), rule, words)
    normalizer, divider = tokenizer.normalizer, tokenizer.pre_tokenizer
    # the words are normalised and divided already, and nothing may join what stood apart
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Split(BETWEEN, "removed")
    tokenizer.train_from_iterator(shown(texts(), words, common), trainer)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, divider


def shown(texts: Iterable[str], words: Callable[[str], list[str]],
          common: set[str]) -> Iterator[str]:
    """The common words of each text."""
    for text in texts:
        yield BETWEEN.join(word for word in words(text) if word in common)


# ---- the mark ------------------------------------------------------------------------------------


def mark(tokenizer: PreTrainedTokenizerFast, first: int, least: int) -> None:
    """Note in a tokenizer which entries were trained on one's own text: those from id `first` on.
    What it held before stays noted.
    """
    before = own_pieces(tokenizer.init_kwargs)
    if before is not None:
        first, least = min(first, before[0]), min(least, before[1])
    tokenizer.init_kwargs[MARK] = {"first": first, "least": least}


def own_pieces(config: dict[str, object]) -> tuple[int, int] | None:
    """(first id, least units) of what a tokenizer's configuration notes; None where it notes
    nothing that can be read.
    """
    found = config.get(MARK)
    if not isinstance(found, dict):
        return None
    first, least = found.get("first"), found.get("least")
    return (first, least) if isinstance(first, int) and isinstance(least, int) else None


def bare(entry: str) -> str:
    """An entry of a vocabulary without what marks the rest of a word."""
    return entry.removeprefix("##")


def learned(tokenizer: Tokenizer, first: int) -> list[str]:
    """The entries from id `first` on that say more than a character, in the order of their ids."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    entries = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    return [entry for entry, number in entries
            if number >= first and entry not in special and len(bare(entry)) > 1]


def units_of(units: Sequence[str], count: int, more: int) -> tuple[str, ...]:
    """The units of `count` texts with these units, and of `more` that stand for themselves."""
    own = units or [f"text {number}" for number in range(count)]
    return (*own, *(f"further text {number}" for number in range(more)))
