"""File layouts and what they accept; tag schemes and their conversion."""

import random

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from kdbench.base.errors import BadInput
from kdbench.data import tags
from kdbench.data.readers import json_lines, read, table, two_columns

WORDS = '{"text": "caf\u00e9 au lait spots", "label": "1"}'


def source(tmp_path, content, name="a.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read(path)


@pytest.mark.parametrize("content", [
    f"{WORDS}\n{WORDS}\n".encode(),
    f"\ufeff{WORDS}\n{WORDS}\n".encode(),  # byte-order mark
    f"{WORDS}\r\n{WORDS}\r\n".encode(),
    f"{WORDS}\n{WORDS}".encode(),  # no newline at the end
    f"{WORDS}\n\n{WORDS}\n\n".encode(),  # blank lines
])
def test_json_lines_accepts_what_editors_do(tmp_path, content):
    records = json_lines(source(tmp_path, content))
    assert [record.text("text") for record in records] == ["caf\u00e9 au lait spots"] * 2


def test_the_checksum_is_of_the_bytes(tmp_path):
    plain, marked = source(tmp_path, "a\n"), source(tmp_path, "\ufeffa\n", "b.txt")
    assert plain.lines == marked.lines == ("a",)
    assert plain.sha256 == "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"
    assert plain.sha256 != marked.sha256


def test_a_quote_in_a_tsv_field_is_text(tmp_path):
    rows = table(source(tmp_path, 'text\tlabel\n"GATA2 loss\tx\n5" tube, "thin"\ty\n'), "\t")
    assert [row.text("text") for row in rows] == ['"GATA2 loss', '5" tube, "thin"']


def test_csv_fields_may_be_quoted_and_run_over_lines(tmp_path):
    rows = table(source(tmp_path, 'text,label\r\n"fever,\r\nthen ""rigors""",1\r\nwell,0\r\n'), ",")
    assert [(row.line, row.fields) for row in rows] == [
        (2, {"text": 'fever,\nthen "rigors"', "label": "1"}), (4, {"text": "well", "label": "0"})]


def test_unnamed_columns_have_their_number(tmp_path):
    content = source(tmp_path, ",text\n0,fever\n")
    assert table(content, ",")[0].fields == {"column 1": "0", "text": "fever"}
    assert table(content, ",", header=False)[0].fields == {"column 1": "", "column 2": "text"}


@pytest.mark.parametrize("content", ["p53\tS-GENE\nbinds\tO\n\nDNA\tO\n", "p53 S-GENE\nbinds O\n\n\n \nDNA O",
                                     "-DOCSTART-\tO\n\np53\tS-GENE\nbinds\tO\n\nDNA\tO\n\n"])
def test_two_columns_are_sentences(tmp_path, content):
    found = [(record.fields["words"], record.fields["tags"]) for record in two_columns(source(tmp_path, content))]
    assert found == [(["p53", "binds"], ["S-GENE", "O"]), (["DNA"], ["O"])]


def test_separators_of_unicode_do_not_end_a_line(tmp_path):
    """str.splitlines would cut here, and rows would shift."""
    rows = table(source(tmp_path, "text\tlabel\none\u2028two\x0b\x1c three\tx\n"), "\t")
    assert [row.fields["text"] for row in rows] == ["one\u2028two\x0b\x1c three"]


@pytest.mark.parametrize("scheme", ["IOB", "IOBES"])
def test_entities_are_seqevals_on_any_sequence(scheme):
    dice, every = random.Random(scheme), tags.tag_set(["GENE", "DRUG"], scheme)
    for _ in range(3000):
        sequence = dice.choices(every, k=dice.randint(0, 9))
        spans = [(entity_type, first, end - 1) for first, end, entity_type in tags.lenient_spans(sequence)]
        assert spans == get_entities(sequence)


def test_conversion_keeps_every_entity():
    dice = random.Random(0)
    for _ in range(1000):
        spans, at = [], 0
        for _ in range(dice.randint(0, 5)):
            first = at + dice.randint(0, 2)
            at = first + dice.randint(1, 3)
            spans.append((first, at, dice.choice(["", "GENE", "DRUG"])))
        iob = tags.encode(spans, at + 1, "IOB")
        assert tags.spans(iob, "IOB") == spans
        assert tags.convert(tags.convert(iob, "IOB", "IOBES"), "IOBES", "IOB") == iob
        io = tags.convert(iob, "IOB", "IO")
        assert [tag == "O" for tag in io] == [tag == "O" for tag in iob]
        assert "B" not in {tags.parts(tag)[0] for tag in io}


@pytest.mark.parametrize("scheme, found, at, repaired", [
    ("IOB", ["O", "I-GENE", "I-GENE"], 1, ["O", "B-GENE", "I-GENE"]),
    ("IOB", ["B-GENE", "I-DRUG"], 1, ["B-GENE", "B-DRUG"]),
    ("IOB", ["I", "I"], 0, ["B", "I"]),
    ("IOBES", ["B-GENE", "O"], 0, ["S-GENE", "O"]),
    ("IOBES", ["B-GENE", "I-GENE"], 1, ["B-GENE", "E-GENE"]),
    ("IOBES", ["E-GENE"], 0, ["S-GENE"]),
    ("IO", ["B-GENE", "I-GENE"], 0, ["I-GENE", "I-GENE"]),
])
def test_strict_schemes_name_the_first_mistake(scheme, found, at, repaired):
    assert tags.mistake(found, scheme)[0] == at
    assert tags.repair(found, scheme) == repaired
    assert tags.mistake(repaired, scheme) is None
    with pytest.raises(ValueError, match=f"tag {at + 1} is {found[at]}"):
        tags.spans(found, scheme)


def test_the_scheme_and_the_tag_set():
    assert tags.tag_set(["GENE"], "IOBES") == ("O", "B-GENE", "I-GENE", "E-GENE", "S-GENE")
    assert tags.tag_set([""], "IOB") == ("O", "B", "I")
    for scheme in tags.PREFIXES:
        assert tags.scheme_of(tags.tag_set(["GENE", "DRUG"], scheme)) == scheme


def test_a_missing_field_names_those_there_are(tmp_path):
    record = json_lines(source(tmp_path, WORDS))[0]
    with pytest.raises(BadInput, match=r"a\.txt:1: no field 'sentence'; the fields here are 'text, label'"):
        record.text("sentence")
