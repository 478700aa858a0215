"""spaCy's DocBin, a binary file (.spacy) of documents with entities or categories.

Words are spaCy's tokens, without those of blanks alone. Where the documents have sentences, each is
an example. Where no document has an entity, the categories (`doc.cats`) of at least 0.5 are the
labels. Needs spaCy, but no model of it: ``pip install "kdbench[spacy]"``.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.data.layouts import spans, textfile
from kdbench.data.layouts.part import Part, RowSource, Tally
from kdbench.data.layouts.spans import Document, Span
from kdbench.data.readers import Record

ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")  # how a DocBin begins
LIKELY = 0.5


def looks_like(path: Path, content: bytes) -> bool:
    """Is it a file named .spacy, or packed as a DocBin is?"""
    return path.suffix == ".spacy" or content[:2] in ZLIB


def read(path: Path, like: Part | None = None) -> Part:
    """The documents as rows with words and tags, or with a text and its categories."""
    content = textfile.read_bytes(path)
    check_size(path, content)
    source = RowSource(path, (), hashlib.sha256(content).hexdigest(), "document")
    docs = _docs(path, content)
    tally = Tally()
    documents, categories = [], []
    for number, doc in enumerate(docs):
        record = Record(source, number + 1, {"id": str(number)})
        if not doc.text.strip():
            tally.add("documents without text, left out", f"{path.name}, document {number + 1}")
            continue
        documents.append(_document(record, doc))
        labels = [name for name, score in doc.cats.items() if score >= LIKELY]
        categories.append(Record(source, number + 1,
                                 {"id": str(number), "text": doc.text, "label": labels}))
    if not documents:
        raise BadInput(f"{path}: no document has a text; give a DocBin with some")
    tagged = any(document.spans for document in documents) or like is not None and like.group
    if tagged or not any(doc.cats for doc in docs):
        return spans.tagged(documents, "spaCy DocBin", source.sha256, tally, like)
    return Part(categories, "spaCy DocBin, categories", source.sha256, tuple(tally.notes()))


def check_size(path: Path, content: bytes) -> None:
    """`BadInput` where it unpacks to more than texts do; what is no zlib data is told of later."""
    with contextlib.suppress(zlib.error):
        reading.inflated_size(path, content)


def _docs(path: Path, content: bytes) -> Sequence:
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        raise BadInput(f"{path}: a DocBin needs spaCy; pip install \"kdbench[spacy]\", or export "
                       "the corpus as JSON lines") from None
    try:
        return list(DocBin().from_bytes(content).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # zlib, msgpack and spaCy raise what they like
        raise BadInput(f"{path}: no DocBin of spaCy, or a damaged one ({type(error).__name__}); "
                       "write it anew with DocBin.to_disk") from None


def _document(record: Record, doc) -> Document:
    borders = [(token.idx, token.idx + len(token)) for token in doc]
    found = [Span(entity.start_char, entity.end_char, entity.label_ or "entity")
             for entity in doc.ents]
    breaks = []
    if doc.has_annotation("SENT_START"):
        breaks = [sentence.start_char for sentence in doc.sents]
    return Document(record, record.id(), doc.text, found, borders, breaks)
