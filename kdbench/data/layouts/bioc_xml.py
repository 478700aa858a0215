"""BioC in XML: the documents of `bioc`, as BioCreative's corpora and PubMed's downloads have them.

    <?xml version="1.0" encoding="UTF-8"?>
    <!DOCTYPE collection SYSTEM "BioC.dtd">
    <collection><document><id>9000</id><passage><offset>0</offset><text>Metformin and pain.</text>
      <annotation id="0"><infon key="type">Chemical</infon>
        <location offset="0" length="9"/><text>Metformin</text></annotation>
    </passage></document></collection>

The elements become the objects of BioC JSON, and `bioc` reads them. Nothing outside of the file is
read; a file that declares entities of its own is refused, as a few lines of them can fill a memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kdbench.base.reading import DEPTH_LIMIT, PARTS_LIMIT, whole_number
from kdbench.data.layouts.part import RowSource
from kdbench.data.readers import Record, Source

START = re.compile(r"\s*(<\?xml[^>]*\?>\s*)?(<!--(?:(?!-->).)*-->\s*)*"
                   r"(<!DOCTYPE\s+collection\b|<collection\b)", re.DOTALL)
SENTENCE = re.compile(r"<(/)?sentence\b(?![^<>]*/>)")
DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


def looks_like(source: Source) -> bool:
    """Does the file begin as a collection of BioC?"""
    return bool(START.match("\n".join(source.lines[:100])))


def records_of(source: Source) -> list[Record]:
    """The documents as rows with the fields of BioC JSON.

    Raises `BadInput` where the file is no XML, declares entities, or has no document.
    """
    text = DECLARATION.sub("", "\n".join(source.lines), count=1)  # it was decoded already
    if "<!ENTITY" in text:
        line = text.count("\n", 0, text.index("<!ENTITY")) + 1
        raise source.mistake(line, "declares entities of its own, which are not read",
                             "write the characters themselves")
    check_size(source, text)
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise source.mistake(error.position[0], f"not XML ({error})", "write the file anew"
                             ) from None
    rows = RowSource(source.path, source.lines, source.sha256, "document")
    found = []
    for number, document in enumerate(root.iter("document"), 1):
        passages = list(map(passage_of, document.findall("passage")))
        relations: list[dict] = [{} for _ in document.findall("relation")]
        fields = {"id": text_of(document, "id"), "passages": passages, "relations": relations}
        found.append(Record(rows, number, fields))
    if not found:
        raise source.mistake(1, "a collection without documents", "give one with at least one")
    return found


def check_size(source: Source, text: str) -> None:
    """`BadInput` where there are more elements than a collection has, or sentences within each
    other: they take a hundred times the memory of their text.
    """
    if text.count("<") > PARTS_LIMIT:
        raise source.mistake(1, f"more than {PARTS_LIMIT:,} elements", "split the file")
    depth = 0
    for tag in SENTENCE.finditer(text):
        depth += -1 if tag[1] else 1
        if depth > DEPTH_LIMIT:
            line = text.count("\n", 0, tag.start()) + 1
            raise source.mistake(line, f"more than {DEPTH_LIMIT} sentences within each other",
                                 "write the file anew")


def passage_of(element: Element) -> dict[str, object]:
    """A passage or a sentence as an object."""
    return {
        "offset": number_of(text_of(element, "offset")), "text": text_of(element, "text"),
        "infons": infons_of(element), "annotations": list(annotations_of(element)),
        "sentences": list(map(passage_of, element.findall("sentence"))),
        "relations": [{} for _ in element.findall("relation")],
    }


def annotations_of(element: Element) -> Iterator[dict[str, object]]:
    """The annotations of a passage or a sentence as objects."""
    for annotation in element.findall("annotation"):
        locations = []
        for place in annotation.findall("location"):
            locations.append({"offset": number_of(place.get("offset", "")),
                              "length": number_of(place.get("length", ""))})
        yield {"text": text_of(annotation, "text"), "infons": infons_of(annotation),
               "locations": locations}


def infons_of(element: Element) -> dict[str, str]:
    """The keys and values of an element."""
    return {infon.get("key", ""): infon.text or "" for infon in element.findall("infon")}


def text_of(element: Element, name: str) -> str:
    """The text of a child; empty where it has none."""
    return element.findtext(name) or ""


def number_of(text: str) -> int | str:
    """A whole number; a text that is none stays, and `bioc` names it."""
    number = whole_number(text.strip())
    return text if number is None else number
