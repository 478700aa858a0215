"""Bad files: each is refused in one line that names the file, the line and the remedy, without a traceback."""

import json
import random

import pytest

from kdbench.base.errors import BadInput
from kdbench.base.options import build
from kdbench.base.registry import TASKS
from kdbench.data import corpora
from kdbench.data.task import LoadOptions

ROWS = 30


def lines(rows):
    return "".join(f"{row}\n" for row in rows)


def chemprot(split, i):
    return json.dumps({"id": f"{i}.T1.T2", "sentence": f"{split} {i}: @CHEMICAL$ blocks @GENE$, \u03b2-blocked.",
                       "label": ("0", "CPR:4")[i % 2]})


def hoc(split, i):
    label = [int(i % 10 == j) for j in range(10)]
    return json.dumps({"sentence": f"{split} {i} grows", "label": label, "id": f"{i}_s0"})


def bc2gm(split, i):
    words = [split, "p", "-", str(i), "binds"]
    return json.dumps({"tokens": words, "ner_tags": ["O", "B", "I", "I", "O"], "id": str(i)})


def iobes(split, i):
    return f"{split}\tO\np53\tB-GENE\n-\tI-GENE\n{i}\tE-GENE\nRas\tS-GENE\n"


def tsv(split, i):
    row = f'"{split} {i} @CHEMICAL$ and @GENE$\t{("false", "CPR:3")[i % 2]}'
    return f"{i}\t{row}" if split == "test" else row


def csv(split, i):
    return f'"{split} {i}, with fever",{i % 2}'


LAYOUTS = {  # task: row of a split, file name, first line
    "chemprot": (chemprot, "{}.json", lambda split: ""),
    "hoc": (hoc, "{}.json", lambda split: ""),
    "bc2gm": (bc2gm, "{}.json", lambda split: ""),
    "bc2gm_iobes": (iobes, "{}.tsv", lambda split: ""),
    "chemprot_tsv": (tsv, "{}.tsv", lambda split: "index\tsentence\tlabel\n" if split == "test" else ""),
    "emr": (csv, "{}.csv", lambda split: "ER_DHX,LABEL\n"),
}


def write(folder, task):
    """A valid little corpus of `task` in ``folder/<task>``."""
    row, name, head = LAYOUTS[task]
    (folder / task).mkdir(parents=True)
    for split in ("train", "dev", "test"):
        content = head(split) + lines(row(split, i) for i in range(ROWS))
        (folder / task / name.format(split)).write_bytes(content.encode("utf-8"))
    return folder / task


def load(task, folder, **settings):
    task = TASKS.get(task)
    chosen = build(task.options, "corrected", settings, task.name) if settings else None
    return corpora.load(task, LoadOptions(folder, settings=chosen))


def refusal(task, folder, **settings):
    with pytest.raises(BadInput) as caught:
        load(task, folder, **settings)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


@pytest.mark.parametrize("task", LAYOUTS)
def test_the_little_corpora_are_valid(tmp_path, task):
    write(tmp_path, task)
    data = load(task, tmp_path)
    assert data.rows == {"train": ROWS, "dev": ROWS, "test": ROWS}
    assert data.published_files is (None if task in ("emr", "chemprot_tsv") else False)


CASES = {  # mistake: task, the line that is replaced, the new line, the line reported, a part of the message
    "a broken line": ("chemprot", 3, '{"id": "1", "sent', 3, "not a JSON object"),
    "a list": ("chemprot", 3, "[1]", 3, "a JSON list, not an object"),
    "a number too long to read": ("chemprot", 2, '{"id": ' + "9" * 5000 + "}", 2, "not a JSON object"),
    "a pile of brackets": ("chemprot", 2, "[" * 100_000, 2, "not a JSON object"),
    "a missing field": (
        "chemprot", 2, '{"id": "x", "label": "0"}', 2, "no field 'sentence'; the fields here are 'id, label'"),
    "an unknown label": ("chemprot", 4, '{"id": "x", "sentence": "a", "label": "CPR:7"}', 4, "unknown label 'CPR:7'"),
    "a label that is no label": ("chemprot", 4, '{"id": "x", "sentence": "a", "label": {}}', 4, "unknown label {}"),
    "an id twice": ("chemprot", 5, chemprot("x", 0), 5, "id '0.T1.T2' is also on line 1"),
    "an empty text": ("chemprot", 5, '{"id": "x", "sentence": " ", "label": "0"}', 5, "sentence is empty"),
    "a number for a text": ("chemprot", 5, '{"id": "x", "sentence": 5, "label": "0"}', 5, "sentence is 5, not text"),
    "half a surrogate pair": ("chemprot", 5, r'{"id": "x", "sentence": "\ud83d", "label": "0"}', 5, "surrogate"),
    "a NUL in an escape": ("chemprot", 5, r'{"id": "x", "sentence": "a\u0000b", "label": "0"}', 5, "NUL"),
    "no id": ("chemprot", 5, '{"id": null, "sentence": "a", "label": "0"}', 5, "id is None"),
    "bytes that are not UTF-8": (
        "chemprot", 6, b'{"id": "x", "sentence": "caf\xe9"}', 6, "byte 29 of the line is not UTF-8"),
    "a NUL byte": ("chemprot", 6, b'{"id": "\0"}', 6, "a NUL byte"),
    "labels that are not 0 and 1": (
        "hoc", 2, '{"id": "x_s0", "sentence": "a", "label": [0, 2]}', 2, "not a list of 0 and 1"),
    "labels as text": ("hoc", 2, '{"id": "x_s0", "sentence": "a", "label": ["0"]}', 2, "not a list of 0 and 1"),
    "too few labels": ("hoc", 2, '{"id": "x_s0", "sentence": "a", "label": [0, 1]}', 2, "label has 2 values; give 10"),
    "tags and tokens of different length": (
        "bc2gm", 3, '{"id": "x", "tokens": ["a", "b"], "ner_tags": ["O"]}', 3,
        "2 tokens but 1 ner_tags; give one tag a word"),
    "an unknown tag": ("bc2gm", 3, '{"id": "x", "tokens": ["a"], "ner_tags": ["B-X"]}', 3, "unknown tag 'B-X'"),
    "tags as numbers": ("bc2gm", 3, '{"id": "x", "tokens": ["a"], "ner_tags": [1]}', 3, "not a list of texts"),
    "no words": ("bc2gm", 3, '{"id": "x", "tokens": [], "ner_tags": []}', 3, "tokens is empty"),
    "an empty word": ("bc2gm", 3, '{"id": "x", "tokens": [""], "ner_tags": ["O"]}', 3, "not a list of texts"),
    "an I without a B": (
        "bc2gm", 3, '{"id": "x", "tokens": ["a", "b"], "ner_tags": ["O", "I"]}', 3,
        "tag I of word 2 breaks IOB, which has B there; correct it, or let it be repaired with --task-set repair=yes"),
    "a B without an E": ("bc2gm_iobes", 3, "-\tO", 2, "tag B-GENE of word 2 breaks IOBES, which has S-GENE there"),
    "an unknown tag in a column": ("bc2gm_iobes", 3, "-\tI-DRUG", 3, "unknown tag 'I-DRUG'"),
    "a word without a tag": ("bc2gm_iobes", 2, "p53", 2, "1 columns instead of 2"),
    "three columns": ("bc2gm_iobes", 2, "p53\tNN\tB-GENE", 2, "3 columns instead of 2"),
    "an empty tag": ("bc2gm_iobes", 2, "p53\t", 2, "2 columns instead of 2 with something in each"),
    "a column too many": ("chemprot_tsv", 2, "a text\tfalse\tfalse", 2, "3 columns instead of 2"),
    "a label of another task": ("chemprot_tsv", 2, "a text\tDDI-int", 2, "unknown column 2 'DDI-int'"),
    "an open quote": ("emr", 3, '"fever', 3, "not a CSV row"),
    "a column too few": ("emr", 3, "fever", 3, "1 columns instead of 2"),
    "a label that is not binary": ("emr", 3, "fever,2", 3, "LABEL is '2'; give 1 (an emergency) or 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_line_is_named(tmp_path, case):
    task, number, new, reported, expected = CASES[case]
    file = write(tmp_path, task) / LAYOUTS[task][1].format("train")
    content = file.read_bytes().split(b"\n")
    content[number - 1] = new if isinstance(new, bytes) else new.encode("utf-8")
    file.write_bytes(b"\n".join(content))
    message = refusal(task, tmp_path)
    assert message.startswith(f"{file}:{reported}: ") and expected in message
    assert "; " in message.removeprefix(str(file)), "no remedy"


@pytest.mark.parametrize("content, expected", [(b"", "the file is empty"), (b"\n \n", "the file is empty"),
                                           (b"\xef\xbb\xbf", "the file is empty"),
                                           ("\ufeffwide".encode("utf-16"), "a NUL byte; save the file as UTF-8")])
def test_files_without_text(tmp_path, content, expected):
    file = write(tmp_path, "chemprot") / "dev.json"
    file.write_bytes(content)
    assert expected in refusal("chemprot", tmp_path)


def test_a_line_of_50_megabytes_is_refused(tmp_path):
    file = write(tmp_path, "chemprot") / "test.json"
    with file.open("ab") as out:
        out.write(b'{"id": "x", "sentence": "' + b"x" * 50_000_000)
    assert refusal("chemprot", tmp_path).startswith(f"{file}:{ROWS + 1}: a line longer than 8 MB")


def test_rows_that_are_no_rows(tmp_path):
    file = write(tmp_path, "emr") / "train.csv"
    file.write_text("ER_DHX,LABEL\n")
    assert "a header and no rows" in refusal("emr", tmp_path)
    file.write_text("ER_DHX,ER_DHX\nfever,1\n")
    assert "two columns are called 'ER_DHX'" in refusal("emr", tmp_path)
    file.write_text("NOTE,LABEL\nfever,1\n")
    assert f"{file}:2: no field 'ER_DHX'; the fields here are 'NOTE, LABEL'" == refusal("emr", tmp_path)


@pytest.mark.parametrize("one, other", [("train", "dev"), ("train", "test"), ("dev", "test")])
def test_a_split_must_not_be_another_one(tmp_path, one, other):
    folder = write(tmp_path, "bc2gm")
    (folder / f"{other}.json").write_bytes((folder / f"{one}.json").read_bytes())
    assert f"the {one} and {other} files are byte-identical" in refusal("bc2gm", tmp_path)


def test_tags_are_repaired_on_request(tmp_path):
    file = write(tmp_path, "bc2gm") / "train.json"
    file.write_text('{"id": "x", "tokens": ["a", "b", "c"], "ner_tags": ["O", "I", "I"]}\n')
    data = load("bc2gm", tmp_path, repair=True)
    assert [data.labels[i] for i in data.train[0].label] == ["O", "B", "I"]


def test_a_folder_that_lacks_the_task_is_no_look_alike(tmp_path):
    write(tmp_path, "chemprot")
    assert "has no folder named ddi (searched 3 levels down); `bench.py prepare ddi`" in refusal("ddi", tmp_path)
    (tmp_path / "chemprot" / "dev.json").unlink()
    assert "has no dev file (looked for dev.json)" in refusal("chemprot", tmp_path)
    assert "no such folder" in refusal("chemprot", tmp_path / "nowhere")


def test_links_out_of_the_data_folder_are_not_followed(tmp_path):
    outside = write(tmp_path / "outside", "chemprot")
    inside = tmp_path / "data"
    inside.mkdir()
    (inside / "chemprot").symlink_to(outside)
    assert "has no folder named chemprot" in refusal("chemprot", inside)
    (inside / "chemprot").unlink()
    folder = write(inside, "chemprot")
    (folder / "dev.json").unlink()
    (folder / "dev.json").symlink_to(outside / "dev.json")
    assert f"{folder / 'dev.json'} leads out of the data folder" in refusal("chemprot", inside)
    (folder / "dev.json").unlink()
    (folder / "dev.json").symlink_to("dev2.json")
    (folder / "dev2.json").write_bytes((outside / "dev.json").read_bytes())
    assert load("chemprot", inside).rows["dev"] == ROWS, "a link that stays inside is fine"


def test_a_loop_of_links_hides_nothing_else(tmp_path):
    folder = write(tmp_path / "data", "chemprot")
    (tmp_path / "data" / "a").symlink_to("a")
    assert load("chemprot", tmp_path / "data").rows["dev"] == ROWS
    (folder / "dev.json").unlink()
    (folder / "dev.json").symlink_to("dev.json")
    assert "dev.json: cannot be read (Too many levels of symbolic links)" in refusal("chemprot", tmp_path / "data")


def test_a_file_that_may_not_be_read(tmp_path):
    folder = write(tmp_path, "chemprot")
    (folder / "dev.json").unlink()
    (folder / "dev.json").mkdir()
    assert f"{folder / 'dev.json'}: cannot be read (a folder, a pipe or a device)" in refusal("chemprot", tmp_path)


def damaged(content, dice):
    """`content` with damage of one sort, as disks, editors and scripts do it."""
    damage = dice.choice(["flip", "insert", "cut line", "cut file", "drop field", "drop line", "repeat line", "join"])
    rows = content.split(b"\n")
    at = dice.randrange(len(rows))
    if damage == "flip":
        wrong = bytearray(content)
        for _ in range(dice.randint(1, 20)):
            wrong[dice.randrange(len(wrong))] ^= 1 << dice.randrange(8)
        return bytes(wrong)
    if damage == "insert":
        place = dice.randrange(len(content))
        return content[:place] + dice.randbytes(dice.randint(1, 30)) + content[place:]
    if damage == "cut file":
        return content[: dice.randrange(len(content))]
    if damage == "cut line":
        rows[at] = rows[at][: dice.randint(0, len(rows[at]))]
    elif damage == "drop field":
        for mark in (b"\t", b",", b"["):
            head, found, tail = rows[at].partition(mark)
            if found:
                rows[at] = dice.choice([head, tail, head + tail])
                break
    elif damage == "drop line":
        del rows[at]
    elif damage == "repeat line":
        rows.insert(at, rows[dice.randrange(len(rows))])
    else:
        rows[at : at + 2] = [b"".join(rows[at : at + 2])]
    return b"\n".join(rows)


def test_500_damaged_files_never_give_a_traceback(tmp_path):
    """Read or refused; anything else that is raised fails here. Half go through the tasks, half through `files`."""
    dice, refused = random.Random(20), 0
    folders = {task: write(tmp_path, task) for task in LAYOUTS}
    for turn in range(500):
        task = list(LAYOUTS)[turn % len(LAYOUTS)]
        names = {split: folders[task] / LAYOUTS[task][1].format(split) for split in ("train", "dev", "test")}
        victim = names[dice.choice(list(names))]
        content = victim.read_bytes()
        victim.write_bytes(damaged(content, dice))
        own = turn // len(LAYOUTS) % 2
        try:
            if own:
                corpora.load(TASKS.get("files"), LoadOptions(files=names))
            else:
                load(task, tmp_path)
        except BadInput as error:
            refused += 1
            assert "\n" not in str(error) and str(folders[task]) in str(error) or "byte-identical" in str(error)
        victim.write_bytes(content)
    assert 150 < refused < 500, f"{refused} of 500 refused: either the damage is too small, or everything is refused"
