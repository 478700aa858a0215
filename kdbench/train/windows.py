"""Texts that are longer than the model, in windows: as rows of a training, and of a teacher.

In training every window is a row. Of tags, each word has its label, and its share in the loss, in
the one window that answers it, so that losses stay means over words, each counted once. Of texts,
every window has the label of its text and what the teacher says of it. There a mean over examples
is one over windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from kdbench.base.errors import BadInput, Skip
from kdbench.data.task import Example
from kdbench.data.windows import (
    Windows,
    by_text,
    central,
    default_stride,
    in_windows,
    pooled,
    tight_pairs,
    whole,
    whole_word_ids,
)
from kdbench.data.words import spaced, word_prefix
from kdbench.models.zoo import position_limit
from kdbench.train.batching import Corpus, by_length

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from kdbench.models.load import Model
    from kdbench.train.spec import Settings

Reader = Callable[[Corpus, Sequence[int]], dict[str, list[np.ndarray]]]
# signals of a text that follow from those of its windows
OF_A_TEXT = ("logits", "cls")


def windows_of(model: Model, limit: int, settings: Settings, tagging: bool) -> Windows | None:
    """How `model` reads texts of more than `limit` tokens; None where they are cut.

    `BadInput` where the stride is as long as a window.
    """
    if settings.long == "cut":
        return None
    limit = min(limit, position_limit(model.module.config.to_dict()))
    room = limit - model.tokenizer.backend_tokenizer.num_special_tokens_to_add(False)
    stride = default_stride(room, tagging) if settings.stride is None else settings.stride
    if stride >= room:
        raise BadInput(f"--stride {stride}: {model.name} reads {room} tokens of a text at once, "
                       f"and two windows share fewer; give at most {room - 1}, or raise "
                       "--max-length")
    return Windows(stride, settings.pooling)


def count_cut_pairs(model: Model, examples: Sequence[Example], limit: int,
                    windows: Windows) -> int:
    """How many of these examples are pairs that are cut, as their first text leaves no room."""
    if not any(example.pair is not None for example in examples):
        return 0
    own = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    inputs = inputs_of(own, examples, tagging=False)
    pairs = [i for i, text in enumerate(inputs) if isinstance(text, tuple)]
    return len(tight_pairs(own, inputs, pairs, limit, windows.stride))


def windows_content(settings: Settings) -> dict[str, Any]:
    """What decides how long texts are read, for a key; nothing where they are cut."""
    if settings.long == "cut":
        return {}
    return {"windows": [settings.stride, settings.pooling]}


class WindowedCorpus(Corpus):
    """A `Corpus` whose rows are windows; of texts that fit it has the rows of a `Corpus`.

    examples  the example of each row
    of        its number
    word_ids  tags: -1 also for the tokens of words that another window answers
    """

    def __init__(self, model: Model, examples: Sequence[Example], max_length: int, task_type: str,
                 classes: int, windows: Windows):
        self.windows, self.of = windows, list[int]()
        self._texts = 0
        super().__init__(model, examples, max_length, task_type, classes)
        self.examples = [self.examples[i] for i in self.of]

    def _encode(self, tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example],
                limit: int) -> None:
        # a copy, as truncation is a state of the tokenizer
        own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        own.no_padding()
        tagging = self.word_ids is not None
        inputs = inputs_of(own, examples, tagging)
        for windows in in_windows(own, inputs, limit, self.windows.stride, tagging):
            self.of += [self._texts] * len(windows)
            self._texts += 1
            self.tokens += [window.ids for window in windows]
            if self.types is not None:
                self.types += [window.type_ids for window in windows]
            if self.word_ids is not None:
                ids = [window.word_ids for window in windows]
                self.word_ids += central(ids, self.windows.stride)

    @property
    def divided(self) -> bool:
        """Has a text more than one window?"""
        return len(self.of) > self._texts

    def whole(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As `kdbench.data.windows.whole`."""
        return whole(rows, self.of, self.word_ids, self.task_type, self.windows.pooling)

    @property
    def whole_word_ids(self) -> list[list[int]] | None:
        """The word of each value of `whole`."""
        return None if self.word_ids is None else whole_word_ids(self.of, self.word_ids)

    def signal(self, values: Sequence[np.ndarray], name: str) -> np.ndarray:
        """A signal of a text from those of its windows: each word's logits (W, C) from the window
        that answers it, the pooled logits (C,) of a text, the mean of its vectors.
        """
        if len(values) == 1:
            return values[0]
        if name != "logits":
            return np.mean(values, axis=0)
        if self.word_ids is None:
            return pooled(values, self.task_type, self.windows.pooling)
        return known(values)


def known(rows: Sequence[np.ndarray]) -> np.ndarray:
    """(W, C) of each word from the row that has it; the others are NaN there."""
    found = rows[0]
    for row in rows[1:]:
        found = np.where(np.isnan(found), row, found)
    return found


def inputs_of(tokenizer: Tokenizer, examples: Sequence[Example], tagging: bool) -> list[Any]:
    """What the tokenizer reads of examples: words, pairs or texts."""
    if tagging:
        prefix = word_prefix(tokenizer)
        return [spaced(example.words, prefix) for example in examples]
    if any(example.pair is not None for example in examples):
        return [(example.text, example.pair or "") for example in examples]
    return [example.text for example in examples]


def corpus_of(windows: Windows | None) -> Callable[..., Corpus]:
    """What makes a corpus of texts that are read so."""
    return Corpus if windows is None else partial(WindowedCorpus, windows=windows)


def text_batches(corpus: Corpus, size: int) -> Iterator[list[int]]:
    """Rows for a forward pass over everything, longest first; all windows of a text together, so
    that a batch is larger than `size` where one text has more.
    """
    if not isinstance(corpus, WindowedCorpus) or not corpus.divided:
        yield from by_length(corpus.lengths, size)
        return
    texts = sorted(by_text(corpus.of), key=lambda own: (-len(own), -corpus.lengths[own[0]]))
    batch: list[int] = []
    for own in texts:
        if batch and len(batch) + len(own) > size:
            yield batch
            batch = []
        batch = batch + own
    yield batch


def text_logits(corpus: Corpus, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Logits of rows as those of texts: (C,), or (W, C) of words, NaN where a word is not read."""
    if not isinstance(corpus, WindowedCorpus):
        return list(rows)
    return [corpus.signal([rows[i] for i in own], "logits") for own in by_text(corpus.of)]


def texts_of(corpus: Corpus, rows: Sequence[int]) -> list[int]:
    """The texts that these rows are windows of, by their numbers, each once."""
    if not isinstance(corpus, WindowedCorpus):
        return list(rows)
    return list(dict.fromkeys(corpus.of[i] for i in rows))


def texts_read(teacher: Reader, corpus: Corpus, rows: Sequence[int],
               size: int) -> dict[str, list[np.ndarray]]:
    """Signals of the texts that these rows are all windows of, by name one array a text.

    teacher  gives the signals of rows; it gets at most `size` of them at once
    """
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(rows), size):
        for name, values in teacher(corpus, rows[start:start + size]).items():
            found.setdefault(name, []).extend(values)
    if not isinstance(corpus, WindowedCorpus):
        return found
    places = by_text([corpus.of[i] for i in rows])
    return {name: [corpus.signal([values[i] for i in own], name) for own in places]
            for name, values in found.items()}


def check_signals(corpus: Corpus, signals: object) -> None:
    """`Skip` where a signal is by token or of a method's own, and texts have several windows.

    signals  what has the `names` of them
    """
    others = sorted(set(getattr(signals, "names", ())) - set(OF_A_TEXT))
    if others and isinstance(corpus, WindowedCorpus) and corpus.divided:
        raise Skip(f"the teacher's {' and '.join(others)} are those of one row of tokens, and a "
                   "text that is read in windows has several; take --long cut, or a --max-length "
                   "that reads the texts whole")
