"""The reading layer: what is no regular file, too large, too long or too deep is refused before it costs memory."""

import gzip
import os
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from kdbench.base import reading
from kdbench.base.errors import BadInput
from kdbench.data.layouts import open_layout


def refused(read, *given):
    with pytest.raises(reading.Unreadable) as caught:
        read(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def odd_files(folder):
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "device").symlink_to("/dev/zero")
    return [folder / name for name in ("pipe", "folder", "loop", "device", "nothing")] + [folder / ("x" * 300)]


@pytest.mark.parametrize("read", [reading.content, reading.text, reading.lines, reading.check_lines, reading.json_object, reading.toml_table,
                                  reading.arrays])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, read):
    for path in odd_files(tmp_path):
        assert str(path) in refused(read, path)


def test_a_mistake_is_bad_input_and_a_value_error(tmp_path):
    with pytest.raises(reading.Missing) as caught:
        reading.text(tmp_path / "nothing")
    assert isinstance(caught.value, BadInput) and isinstance(caught.value, ValueError)


def test_a_file_beyond_its_limit_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"{}")
    assert reading.json_object(path) == {}
    os.truncate(path, reading.FILE_LIMIT + 1)
    tracemalloc.start()
    assert "more than 128 MB" in refused(reading.json_object, path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_long_line_ends_the_reading_within_it(tmp_path):
    path = tmp_path / "texts"
    path.write_bytes(b"short\n" + b"x" * (reading.LINE_LIMIT) + b"\nend\n")
    assert len(reading.lines(path)) == 4
    path.write_bytes(b"short\nshort\n" + b"x" * (3 * reading.LINE_LIMIT))
    tracemalloc.start()
    assert f"{path}:3: a line longer than 8 MB" in refused(reading.lines, path)
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()
    for split in ("train", "test"):
        with pytest.raises(BadInput, match=":3: a line longer than 8 MB"):
            open_layout(path, split)


@pytest.mark.parametrize("parts", [[b"a\nb", b"c\n"], [b"a\n", b"bc\n"], [b"a", b"\nb", b"", b"c", b"\n"]])
def test_lines_are_measured_over_the_ends_of_parts(tmp_path, parts):
    counted = reading.Counted(tmp_path, most=2, longest=2)
    for part in parts:
        counted.add(part)
    assert counted.ended == 2
    assert ":3: a line longer" in refused(counted.add, b"xyz")
    assert "more than 2 lines" in refused(counted.add, b"x\n")


def test_blank_lines_without_end_are_refused(tmp_path):
    path = tmp_path / "blank"
    path.write_bytes(b"\n" * (reading.LINES_LIMIT + 1))
    assert "more than 10,000,000 lines" in refused(reading.lines, path)
    with pytest.raises(BadInput, match="more than 10,000,000 lines"):
        open_layout(path, "train")


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / "texts"
    path.write_bytes(b"one\ntwo\ncaf\xe9\n")
    assert f"{path}:3: cannot be read (not UTF-8)" in refused(reading.lines, path)
    path.write_bytes("\ufeffone\r\ntwo".encode())
    assert reading.lines(path) == ["one", "two"]
    path.write_bytes(b"one\rtwo\r\nthree\n")  # of every system
    assert reading.lines(path) == ["one", "two", "three", ""]


@pytest.mark.parametrize("deep", ["[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200, "[" * 100_000, "9" * 5000, "", "{", "nul"])
def test_json_that_is_none_or_too_deep(tmp_path, deep):
    path = tmp_path / "config.json"
    path.write_text(deep)
    assert str(path) in refused(reading.json_value, path)
    path.write_text("[" * reading.DEPTH_LIMIT + "]" * reading.DEPTH_LIMIT)
    reading.json_value(path)


def test_toml_that_is_none_or_too_deep(tmp_path):
    path = tmp_path / "suite.toml"
    for content in ("a = " + "[" * 5000 + "]" * 5000, "a = 1\na = 2", "a = \ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"), "="):
        path.write_text(content)
        assert str(path) in refused(reading.toml_table, path)


def test_arrays_are_measured_before_they_are_unpacked(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, {"shape": (2 * 2**30,), "fortran_order": False, "descr": "|i1"})
        for _ in range(64):
            stream.write(bytes(2**20))  # the rest would be zeros too
    tracemalloc.start()
    assert "unpacks to more than 1,024 MB" in refused(reading.arrays, path)
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_damaged_arrays_are_one_line(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, a=np.arange(5.0), b=np.array(["x", "yz"]))
    whole = path.read_bytes()
    assert reading.arrays(path)["b"].tolist() == ["x", "yz"]
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert str(path) in refused(reading.arrays, path)
    np.savez(path, a=np.array([{}], dtype=object))
    assert "cannot be read (Object arrays" in refused(reading.arrays, path)


def test_an_archive_with_very_many_files_is_not_listed(tmp_path, monkeypatch):
    path = tmp_path / "arrays.npz"
    np.savez(path, **{f"a{i}": np.zeros(1) for i in range(20)})
    assert len(reading.arrays(path)) == 20
    monkeypatch.setattr(reading, "ARRAYS_MOST", 19)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # which would read the whole list
    assert "an archive of 20 files, and at most 19" in refused(reading.arrays, path)
    for end in (b"PK\5\6" + bytes(18), b"x" * 22):
        path.write_bytes(end[:-1] + b"\1")
        refused(reading.arrays, path)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "DocBin"])
def test_what_grows_as_no_text_does_is_not_unpacked(tmp_path, pack):
    path = tmp_path / "bomb.spacy"
    path.write_bytes(pack(bytes(100 * 2**20), 9))
    tracemalloc.start()
    with pytest.raises(BadInput, match="bomb.spacy: unpacks to more than 64 MB"):
        open_layout(path, "train")
    assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    tracemalloc.stop()


def test_a_packed_file_that_grows_as_text_does_is_read(tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\n" + b"fever for days,a\ncough,b\n" * 10_000))
    assert len(open_layout(path, "train").records) == 20_000


def test_a_parquet_file_of_a_few_bytes_and_many_rows(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 600_000, pyarrow.int32()), ["a note " * 300])
    parquet.write_table(pyarrow.table({"text": column}), path, store_schema=False)
    assert path.stat().st_size < 200_000
    with pytest.raises(BadInput, match="unpacks to more than 1,024 MB"):
        open_layout(path, "train")
    parquet.write_table(pyarrow.table({"x": pyarrow.array(np.zeros(reading.LINES_LIMIT + 1, np.int8))}), path)
    with pytest.raises(BadInput, match="more than 10,000,000 rows"):
        open_layout(path, "train")


COLLECTION = '<collection><document><id>1</id><passage><offset>0</offset><text>pain</text>{}</passage></document></collection>'
DOCUMENT = "1|t|pain\n1|a|fever\n1\t0\t{}\tpain\tSymptom\n"


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.xml", "<!-- a -->" * 60 + "<x/>", "neither JSON lines nor columns"),
    ("a.xml", COLLECTION.format("<sentence>" * 3000 + "</sentence>" * 3000), "more than 100 sentences within each other"),
    ("a.xml", COLLECTION.format("<annotation><location offset='" + "9" * 6000 + "' length='3'/></annotation>"), "has no place"),
    ("a.txt", DOCUMENT.format("9" * 6000), "is no annotation of PubTator"), ("a.txt", DOCUMENT.format("\u00b2"), "is no annotation of PubTator"),
    ("a.csv", "text,label\n" + "".join(f'note {i},"[{"9" * 6000}]"\n' for i in range(9)), None),
    ("a.csv", "text,label\n" + "".join(f'note {i},"{"[" * 500 + "]" * 500}"\n' for i in range(9)), None),
    ("a.jsonl", '{"text": "a", "label": ' + "9" * 10**6 + "}\n", "not JSON"), ("a.jsonl", '{"text": "a\\u0000", "label": "b"}\n', "a NUL"),
    ("a.jsonl", '{"text": ' + "[" * 10**5 + "\n", "not JSON"),
])
def test_odd_content_ends_soon_and_in_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    if said is None:  # they are labels like others
        assert len(open_layout(path, "train").records) == 9
        return
    with pytest.raises(BadInput, match=said) as caught:
        part = open_layout(path, "train")
        [record.text("text") for record in part.records]
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_text_of_very_many_lists_is_not_parsed(monkeypatch):
    monkeypatch.setattr(reading, "PARTS_LIMIT", 10)
    reading.parsed("[[], {}]")
    with pytest.raises(ValueError, match="more than 10 lists and objects"):
        reading.parsed("[" + "[]," * 10 + "1]")


def test_what_a_library_raises_is_one_line_and_what_is_ours_passes():
    for error in (KeyError("x"), ZeroDivisionError("a\nb"), AttributeError()):
        with pytest.raises(BadInput, match="model m: cannot be loaded .*; get it again"), reading.foreign("model m", "get it again"):
            raise error
    for error in (BadInput("ours"), KeyboardInterrupt()):
        with pytest.raises(type(error)), reading.foreign("model m", "get it again"):
            raise error


def test_a_tag_file_is_told_by_its_beginning(tmp_path):
    """Rows without tags are not divided to the last one; a long one with tags is still read."""
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "cough for days,b\n" * 60_000)
    layout = open_layout(path, "train").layout
    assert "CSV" in layout
    path.write_text("p53\tB-GENE\nbinds\tO\n\n" + "a\tO\n\n" * 30_000)
    part = open_layout(path, "train")
    layout, tags = part.layout, list(part.records[0].fields["tags"])
    assert "a word and its tag" in layout and tags == ["B-GENE", "O"]
