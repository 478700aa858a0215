"""A text file of any size as unlabelled examples: one sequence a line, read when it is needed."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, overload

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.data.task import Example
from kdbench.train.batching import Corpus
from kdbench.train.objective import Batch

if TYPE_CHECKING:
    from kdbench.models.load import Model


class StreamedCorpus(Corpus):
    """A `Corpus` that tokenises each batch as it comes. `lengths` are bytes: they group lines of
    similar length as well as tokens would, and cost no pass of the tokenizer over the file.
    """

    def __init__(self, model: Model, examples: TextFile, max_length: int, task_type: str,
                 classes: int):
        self.model, self.source, self.max_length = model, examples, max_length
        self.task_type, self.classes = task_type, classes
        self.lengths = list(examples.sizes)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int], width: int | None = None) -> Batch:
        """The batch of these lines, padded to its longest; `width`, which is in bytes, is
        ignored.
        """
        lines = [self.source[i] for i in indices]
        corpus = Corpus(self.model, lines, self.max_length, self.task_type, self.classes)
        return corpus.batch(range(len(lines)))


class TextFile(Sequence[Example]):
    """The lines of a UTF-8 file as examples without labels, blank ones left out; in memory are 16
    bytes a line.

    sizes   bytes of each line
    sha256  of the file
    Raises `BadInput` for a file that cannot be read, has no text, or is not UTF-8.
    """

    corpus_class = StreamedCorpus

    def __init__(self, path: str | Path):
        self.path = Path(path)
        digest, position = hashlib.sha256(), 0
        self.starts, self.sizes = array("q"), array("q")
        try:
            reading.check_lines(self.path, reading.STREAM_LIMIT)
            with self.path.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    if not decoded(self.path, number, line).isspace():
                        self.starts.append(position)
                        self.sizes.append(len(line))
                    digest.update(line)
                    position += len(line)
        except reading.Unreadable as error:
            raise BadInput(f"corpus {error}") from None
        except OSError as error:
            raise BadInput(f"corpus {path}: cannot be read ({error.strerror}); give a text file, "
                           "one sequence a line") from None
        if not self.starts:
            raise BadInput(f"corpus {path}: no text in it; give a text file, one sequence a line")
        self.sha256 = digest.hexdigest()
        self._stream: BufferedReader | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if self._stream is None:
            self._stream = self.path.open("rb")
        self._stream.seek(self.starts[index])
        line = self._stream.read(self.sizes[index])
        return Example(id=str(index), text=line.decode("utf-8").removeprefix("\ufeff").strip())

    def identity(self) -> str:
        """The file's content, by which stages find it again."""
        return self.sha256

    def texts(self) -> Iterator[str]:
        """The lines themselves."""
        return (self[i].text for i in range(len(self)))


def decoded(path: Path, number: int, line: bytes) -> str:
    """A line as text; `BadInput` where it is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(
            f"corpus {path}, line {number}: not UTF-8; save the file as UTF-8 text") from None
