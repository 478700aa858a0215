"""A table of words: one row a word, with a column that tells the sentences apart.

    Sentence #,Word,POS,Tag           as on Kaggle: the sentence is named in its first row
    Sentence: 1,took,VBD,O
    ,metformin,NN,B-Drug
    Sentence: 2,No,DT,O

    sentence_id,word,labels           or in each row
    0,took,O
    0,metformin,B-Drug

A table is one of these when its header names the three columns, and the sentences are numbered or
named once each. ``sentence,word,label`` with whole sentences in the first column is a table of
texts.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from kdbench.data import readers
from kdbench.data.layouts import schemes
from kdbench.data.layouts.part import Part, Tally
from kdbench.data.readers import Record, Source, shown

SENTENCES = ("sentence #", "sentence_#", "sentence#", "sentence", "sentence_id", "sentence id",
             "sentence_idx", "sent_id", "sent", "sentid")
WORDS = ("word", "words", "token", "tokens")
TAGS = ("tag", "tags", "ner", "ner_tag", "ner_tags", "label", "labels", "iob", "bio")
NUMBERED = re.compile(r"(sentence:?\s*)?\d+(\.0)?", re.IGNORECASE)
LOOKED_AT = 2000  # rows


def looks_like(source: Source) -> bool:
    """Is it such a table, by the rule of this module?"""
    first = next(line for line in source.lines if line.strip())
    delimiter, places = _header(first)
    if not delimiter:
        return False
    place = places[0]
    lines = [line for line in source.lines[:LOOKED_AT] if line.strip()][1:]
    try:
        rows = list(csv.reader((line + "\n" for line in lines), delimiter=delimiter))
    except csv.Error:
        return False
    named = [row[place].strip() for row in rows if len(row) > place and row[place].strip()]
    return bool(named) and all(map(NUMBERED.fullmatch, named))


def _header(line: str) -> tuple[str, tuple[int, ...]]:
    """The delimiter and the places of sentence, word and tag; an empty one: no such header."""
    for delimiter in ("\t", ",", ";"):
        row = next(csv.reader([line[:readers.FIELD_LIMIT]], delimiter=delimiter), [])
        cells = [cell.strip().lower() for cell in row]
        places = [next((cells.index(name) for name in names if name in cells), -1)
                  for names in (SENTENCES, WORDS, TAGS)]
        if min(places) >= 0 and len(set(places)) == 3:
            return delimiter, tuple(places)
    return "", ()


def read(source: Source, like: Part | None = None) -> Part:
    """The sentences as rows with `words` and `tags`; `BadInput` where a row has no tag."""
    first = next(line for line in source.lines if line.strip())
    delimiter, places = _header(first)
    sentences = _sentences(readers.table(source, delimiter), places)
    tagged = [[tag for _, _, tag in sentence] for sentence in sentences]
    scheme = schemes.like_train(schemes.scheme_of(tagged),
                                like.decided.get("scheme", "") if like else "")
    tally = Tally()
    records = []
    for sentence in sentences:
        record = _record(source, sentence, scheme, tally)
        records += [record] if record is not None else []
    notes = [schemes.note(scheme)] if schemes.note(scheme) else []
    return Part(records, "a table of words, one row each", source.sha256,
                (*notes, *tally.notes()), decided={"scheme": scheme})


Word = tuple[int, str, str]  # line, word, tag


def _sentences(rows: Sequence[Record], places: Sequence[int]) -> list[list[Word]]:
    """The words of each sentence; a blank in the first column goes on with the one before."""
    names = list(rows[0].fields)
    sentence_name, word_name, tag_name = (names[place] for place in places)
    found: list[list[Word]] = []
    before = ""
    for row in rows:
        name = row.fields[sentence_name].strip()
        if not found or name not in ("", before):
            found.append([])
            before = name
        tag = row.fields[tag_name].strip()
        if not tag:
            raise row.mistake(f"the word {shown(row.fields[word_name])} has no tag",
                              "give O to words outside of entities")
        found[-1].append((row.line, row.fields[word_name].strip(" \t"), tag))
    return found


def _record(source: Source, sentence: Sequence[Word], scheme: str, tally: Tally) -> Record | None:
    """A sentence as a row; None where no word is left."""
    words = [word for _, word, _ in sentence]
    found = schemes.converted([tag for _, _, tag in sentence], scheme)
    kept = schemes.words_kept(words)
    if not all(kept):
        place = f"{source.path.name}, line {sentence[kept.index(False)][0]}"
        tally.add("words left out that nobody sees (blank, zero-width)", place, kept.count(False))
        words, found = schemes.without(words, found, schemes.read_as(scheme))
    if not words:
        return None
    return Record(source, sentence[0][0], {"words": words, "tags": found}, vertical=True)
