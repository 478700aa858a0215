"""What the fuzzer does to a file: each mutator takes a path and a random generator, and says what it did."""

import json
import os
import re
import struct
import zipfile
import zlib

import numpy as np

HUGE = ("1e999", "-1e999", "NaN", "Infinity", "9" * 400, "1000000000", "-1", "0", "1e-400", "4294967296", "18446744073709551617", "100000")
TEXTS = ("", " ", "\0", "\ud800", "../../x", "/etc/passwd", "owner/kernel", "\x1b[31mred", "=cmd|' /C calc'!A0", "a" * 100_000, "\u202e", "nan",
         "None", "-", "{", "%s%n", "\u00df", "\n")
ODD = (None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, 1.5, [], {}, [[]], [None], {"a": {}}, [1, "a"], {"0": "x"}, *TEXTS)


def cut(path, draw):
    content = path.read_bytes()
    keep = draw.choice([0, 1, len(content) // 2, max(0, len(content) - draw.randint(1, 20)), draw.randint(0, len(content))])
    path.write_bytes(content[:keep])
    return f"cut at {keep}"


def flip(path, draw):
    content = bytearray(path.read_bytes() or b"x")
    for _ in range(draw.choice([1, 1, 3, 40])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return "bits flipped"


def splice(path, draw):
    content = path.read_bytes()
    at = draw.randint(0, len(content))
    new = draw.choice([b"\0", b"\xff\xfe", b"\n" * 5000, draw.randbytes(30), b'"', b"{", b"[" * 5000, b"\x1b[2J", b"\xed\xa0\x80", b",\t;", b"\r",
                       content[:200], b"\xef\xbb\xbf", b"9" * 5000, b"nan", b"-DOCSTART-", b"\x1f\x8b"])
    path.write_bytes(content[:at] + new + content[at + draw.choice([0, 0, len(new)]):])
    return f"{new[:10]!r} at {at}"


def lines(path, draw):
    """Lines dropped, doubled, swapped, or joined."""
    rows = path.read_bytes().split(b"\n")
    at, how = draw.randrange(len(rows)), draw.choice(["drop", "double", "blank", "join", "shuffle"])
    if how == "drop":
        del rows[at]
    elif how == "double":
        rows.insert(at, rows[at])
    elif how == "blank":
        rows[at:at] = [b""] * draw.choice([1, 20_000])
    elif how == "shuffle":
        draw.shuffle(rows)
    path.write_bytes((b"" if how == "join" else b"\n").join(rows))
    return f"lines: {how}"


def numbers(path, draw):
    """One number of a text file is another."""
    content = path.read_bytes()
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return cut(path, draw)
    match, new = draw.choice(found), draw.choice(HUGE)
    path.write_bytes(content[:match.start()] + new.encode() + content[match.end():])
    return f"{match[0][:20]!r} becomes {new[:20]}"


def encoding(path, draw):
    text = path.read_bytes().decode("utf-8", "replace")
    name = draw.choice(["utf-16", "utf-32", "cp1252", "utf-8-sig", "cp949", "utf-7"])
    path.write_bytes(text.encode(name, "replace"))
    return f"as {name}"


def other_value(path, draw):
    """One value of a JSON file, or of one of its lines, has another type."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        made = json.dumps(changed(json.loads(text), draw))
    except ValueError:
        rows = text.split("\n")
        at = draw.randrange(len(rows))
        try:
            rows[at] = json.dumps(changed(json.loads(rows[at]), draw))
        except ValueError:
            return draw.choice([splice, lines, numbers])(path, draw)
        made = "\n".join(rows)
    path.write_text(made, encoding="utf-8")
    return "another value"


def changed(value, draw):
    """The value with one of its places changed, deleted, doubled in depth, or renamed."""
    places = list(inner(value))
    if not places:
        return draw.choice(ODD)
    owner, key = draw.choice(places)
    how = draw.choice(["value", "value", "value", "delete", "rename", "wrap", "deep"])
    if how == "delete":
        del owner[key]
    elif how == "rename" and isinstance(owner, dict):
        owner[draw.choice(TEXTS)] = owner.pop(key)
    elif how == "wrap":
        owner[key] = draw.choice([[owner[key]], {"x": owner[key]}, str(owner[key]), [owner[key]] * 50])
    elif how == "deep":
        for _ in range(draw.choice([20, 150, 900])):
            owner[key] = [owner[key]]
    else:
        owner[key] = draw.choice(ODD)
    return value


def inner(value):
    """All places below a JSON value, as (container, key)."""
    waiting = [value]
    while waiting:
        owner = waiting.pop()
        if isinstance(owner, dict | list):
            keys = owner if isinstance(owner, dict) else range(len(owner))
            for key in list(keys)[:200]:
                yield owner, key
                waiting.append(owner[key])


def key_twice(path, draw):
    text = path.read_text(encoding="utf-8", errors="replace")
    at = text.find("{") + 1
    match = re.match(r'\s*("[^"]*")\s*:', text[at:])
    if not at or not match:
        return lines(path, draw)
    path.write_text(f"{text[:at]}{match[1]}: {draw.choice(['null', '1', '[]', '{}'])}, {text[at:]}", encoding="utf-8")
    return f"key {match[1]} twice"


def kind(path, draw):
    """Something else stands in the place of the file."""
    content, how = path.read_bytes(), draw.choice(["fifo", "folder", "loop", "device", "gone", "unreadable", "empty", "link out"])
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "device":
        path.symlink_to(draw.choice(["/dev/zero", "/dev/null", "/dev/random"]))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "unreadable":
        path.write_bytes(content)
        path.chmod(0)
    elif how == "link out":
        path.symlink_to("/etc/hostname")
    return f"{how} in its place"


# what reading an archive that is damaged already can raise
DAMAGED = (ValueError, EOFError, OSError, KeyError, RuntimeError, MemoryError, struct.error, zlib.error, zipfile.BadZipFile)


def arrays(path, draw):
    """An .npz with other arrays in it."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except DAMAGED:
        found = {}
    if not found:
        return flip(path, draw)
    name = draw.choice(list(found))
    how = draw.choice(["gone", "short", "type", "text", "nan", "bomb", "shape"])
    if how == "gone":
        del found[name]
    elif how == "short":
        found[name] = found[name][: len(found[name]) // 2]
    elif how == "type":
        found[name] = np.zeros(3, dtype=draw.choice(["f8", "i1", "?", "S3", "U4", "c16"]))
    elif how == "text":
        found[name] = np.array(["x"])
    elif how == "nan":
        found[name] = np.full(found[name].shape, np.nan)
    elif how == "bomb":
        found[name] = np.zeros(draw.choice([400_000_000, 3_000]), dtype="i1")
    else:
        found[name] = np.zeros(draw.choice([(), (0,), (3, 0), (2, 2, 2)]))
    np.savez_compressed(path, **found)
    return f"array {name}: {how}"


ANY = (cut, flip, splice, kind)
TEXT = (*ANY, lines, numbers, encoding)
JSON = (*TEXT, other_value, other_value, other_value, other_value, key_twice)
BINARY = (cut, flip, splice, kind)
NPZ = (*ANY, arrays, arrays, arrays)


def mutators_for(path):
    """The mutators that fit a file, by its name and content."""
    if path.suffix == ".npz":
        return NPZ
    content = path.read_bytes()[:4096]
    if content.lstrip()[:1] in (b"{", b"["):
        return JSON
    return BINARY if b"\0" in content else TEXT


def damage(path, draw):
    """Change a file in one or two ways; returns what was done."""
    said = []
    for _ in range(draw.choice([1, 1, 1, 2])):
        if not path.is_file() or path.is_symlink() or not os.access(path, os.R_OK) or not path.stat().st_mode & 0o400:
            break
        said.append(draw.choice(mutators_for(path))(path, draw))
    return "; ".join(said)
