"""`prepare` against a local server that cuts, redirects and fails, or has other bytes: resumed, or refused in one line."""

import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kdbench.base.errors import BadInput
from kdbench.base.registry import DOWNLOADS, TASKS, Entry
from kdbench.data import prepare as module
from kdbench.data.prepare import (
    Download,
    Remote,
    download_file,
    git_blob_id,
    prepare,
    sorted_lines_id,
)

CONTENT = b"".join(b"row %d of the corpus\n" % i for i in range(20_000))  # 0.4 MB: several reads
FILE = Remote("o/r/c/train.json", len(CONTENT), git_blob_id(CONTENT))


class Server(ThreadingHTTPServer):
    """Serves `content`, unless `behave(handler, offset)` answers a request itself and returns True."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.behave, self.offsets, self.ranges = {}, None, [], True
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        offset = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        self.server.offsets.append(offset)
        if self.server.behave and self.server.behave(self, offset):
            return
        content = self.server.content.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
        elif offset >= len(content):
            self.send_error(416)
        else:
            self.send(content, offset)

    def send(self, content, offset=0, upto=None, length=None):
        self.send_response(206 if offset else 200)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
        if length is None:
            self.send_header("Content-Length", str(len(content) - offset))
        self.end_headers()
        self.wfile.write(content[offset:upto])
        if upto is not None:
            self.wfile.flush()
            self.connection.shutdown(2)

    def log_message(self, *parts):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.001)
    with Server() as server:
        server.content = {FILE.path: CONTENT}
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def fetch(server, tmp_path, remote=FILE):
    return download_file(f"{server.url}/{remote.path}", tmp_path / "train.json", remote)


def refused(server, tmp_path, remote=FILE):
    with pytest.raises(BadInput) as caught:
        fetch(server, tmp_path, remote)
    assert "\n" not in str(caught.value) and not (tmp_path / "train.json").exists()
    return str(caught.value)


def test_a_file_is_fetched_once_and_verified(server, tmp_path):
    assert fetch(server, tmp_path) == "downloaded"
    assert (tmp_path / "train.json").read_bytes() == CONTENT and os.listdir(tmp_path) == ["train.json"]
    assert fetch(server, tmp_path) == "already there" and server.offsets == [0]


def test_a_cut_transfer_is_resumed_where_it_was_cut(server, tmp_path):
    def cut(handler, offset):
        if len(server.offsets) < 4:
            handler.send(CONTENT, offset, upto=offset + 100_000)
            return True

    server.behave = cut
    assert fetch(server, tmp_path) == "downloaded"
    assert (tmp_path / "train.json").read_bytes() == CONTENT
    assert server.offsets == [0, 100_000, 200_000, 300_000]


def test_a_part_of_an_earlier_call_is_used(server, tmp_path):
    (tmp_path / "train.json.part").write_bytes(CONTENT[:123_456])
    assert fetch(server, tmp_path) == "downloaded" and server.offsets == [123_456]


@pytest.mark.parametrize("stale", [b"x" * 50_000, CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_a_stale_part_does_not_end_in_the_file(server, tmp_path, stale):
    (tmp_path / "train.json.part").write_bytes(stale)
    if len(stale) < len(CONTENT):
        assert "checksum" in refused(server, tmp_path)
        assert not (tmp_path / "train.json.part").exists(), "the next call must begin anew"
    assert fetch(server, tmp_path) == "downloaded"


def test_a_whole_part_needs_no_request(server, tmp_path):
    (tmp_path / "train.json.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path) == "downloaded" and server.offsets == []


def test_a_server_that_cannot_resume_is_read_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / "train.json.part").write_bytes(b"of something else")
    assert fetch(server, tmp_path) == "downloaded" and server.offsets == [0]


def test_transfers_that_are_always_cut_end(server, tmp_path):
    server.ranges = False
    server.behave = lambda handler, offset: handler.send(CONTENT, 0, upto=150_000) or True
    message = refused(server, tmp_path)
    assert f"150,000 of {len(CONTENT):,} bytes, then the transfer was cut; call prepare again to resume" in message
    assert len(server.offsets) == 1 + module.ATTEMPTS
    assert (tmp_path / "train.json.part").stat().st_size == 150_000


def test_404_is_refused_at_once(server, tmp_path):
    server.content = {}
    assert "the server answers 404 Not Found; if the file has moved, get it by hand" in refused(server, tmp_path)
    assert server.offsets == [0]


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    server.behave = lambda handler, offset: len(server.offsets) < 3 and (handler.send_error(503) or True)
    assert fetch(server, tmp_path) == "downloaded" and len(server.offsets) == 3


def test_redirects_are_followed_and_loops_are_not(server, tmp_path):
    def redirect(handler, offset):
        if handler.path.startswith("/o/"):
            handler.send_response(302)
            handler.send_header("Location", f"/moved{handler.path}" if server.content else handler.path)
            handler.end_headers()
            return True

    server.behave = redirect
    server.content = {f"moved/{FILE.path}": CONTENT}
    assert fetch(server, tmp_path) == "downloaded"
    (tmp_path / "train.json").unlink()
    server.content = {}
    assert "infinite loop" in refused(server, tmp_path)


def test_wrong_bytes_are_refused(server, tmp_path):
    server.content[FILE.path] = CONTENT.replace(b"row 7 ", b"row 8 ")
    message = refused(server, tmp_path)
    assert f"instead of {FILE.blob[:12]}...; nothing was kept" in message and os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [CONTENT + b"more\n", CONTENT[:-5], b""])
def test_a_wrong_size_is_refused_before_the_transfer(server, tmp_path, content):
    server.behave = lambda handler, offset: handler.send(content) or True
    assert f"{len(content):,} bytes instead of {len(CONTENT):,}" in refused(server, tmp_path)


def test_more_bytes_than_announced_are_refused(server, tmp_path):
    server.behave = lambda handler, offset: handler.send(CONTENT * 2, length="unknown") or True
    assert "more than" in refused(server, tmp_path) and os.listdir(tmp_path) == []


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.001)
    with Server() as gone:
        url = gone.url
    with pytest.raises(BadInput, match="0 of .* bytes, then .*refused.*; call prepare again"):
        download_file(f"{url}/a", tmp_path / "a", FILE)


def test_a_file_of_the_user_is_not_overwritten(server, tmp_path):
    (tmp_path / "train.json").write_text("mine")
    with pytest.raises(BadInput, match="train.json: is not the published file, and is not overwritten; move it away"):
        fetch(server, tmp_path)


def test_rows_in_another_order_are_the_same_rows(server, tmp_path):
    rows = b"".join(sorted(CONTENT.splitlines(keepends=True)))
    remote = Remote(FILE.path, FILE.size, sorted_lines=hashlib.sha256(rows).hexdigest())
    assert fetch(server, tmp_path, remote) == "downloaded"
    (tmp_path / "train.json").unlink()
    server.content[FILE.path] = CONTENT.replace(b"row 7 ", b"row 8 ")
    assert "checksum" in refused(server, tmp_path, remote)


def test_a_blob_id_is_gits():
    assert git_blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert sorted_lines_id(b"b\na\n") == hashlib.sha256(b"a\nb\n").hexdigest()


# -- whole tasks -------------------------------------------------------------------------------------------------------


def gad(split, label="1"):
    return (json.dumps({"id": "0", "sentence": f"a sentence of {split}", "label": label}) + "\n").encode()


def offer(server, monkeypatch, **downloads):
    """Let `prepare` know of these downloads instead of the real ones: task -> (files by name, convert, missing)."""
    known = {}
    for task, (files, convert, missing) in downloads.items():
        server.content |= {f"{task}/{name}": content for name, content in files.items()}
        remotes = {name: Remote(f"{task}/{name}", len(content), git_blob_id(content))
                   for name, content in files.items()}
        known[task] = Download(remotes, convert, missing)
    monkeypatch.setattr(module, "DOWNLOADS", Entry("downloads", known))


def test_a_task_is_downloaded_into_its_folder(server, tmp_path, monkeypatch, capsys):
    files = {f"{split}.json": gad(split) for split in ("train", "dev", "test")}
    offer(server, monkeypatch, gad=(files, None, ""))
    with pytest.raises(BadInput, match="the files are not the published ones"):
        prepare(["gad"], tmp_path, base_url=server.url)
    monkeypatch.setitem(TASKS.get("gad").__dict__, "sha256", {})
    entries = prepare(["gad"], tmp_path, base_url=server.url)
    assert [(entry["file"], entry["state"], entry["verified"]) for entry in entries] == [
        (name, "already there", True) for name in files]
    err = capsys.readouterr().err
    assert "gad: https://github.com/" in err and "licence: not stated" in err and "gad/train.json: downloaded" in err


def test_what_cannot_be_downloaded_is_said(server, tmp_path, monkeypatch):
    files = {"test.json": gad("test")}
    offer(server, monkeypatch, gad=(files, None, "train and dev need a word with the authors"))
    with pytest.raises(BadInput, match="^task i2b2: the notes need a signed data use agreement: register at"):
        prepare(["i2b2"], tmp_path, base_url=server.url)
    entries = prepare(["gad", "i2b2", "biosses"], tmp_path, base_url=server.url)
    assert [(entry["task"], entry["state"]) for entry in entries] == [
        ("gad", "downloaded"), ("gad", "by hand"), ("i2b2", "by hand"), ("biosses", "by hand")]
    assert "a word with the authors" in entries[1]["how"] and "--from FOLDER" in entries[3]["how"]


def test_one_failure_does_not_keep_the_others_back(server, tmp_path, monkeypatch):
    files = {f"{split}.json": gad(split) for split in ("train", "dev", "test")}
    offer(server, monkeypatch, chemprot=(files, None, ""), gad=(files, None, ""))
    monkeypatch.setitem(TASKS.get("gad").__dict__, "sha256", {})
    del server.content["chemprot/dev.json"]
    with pytest.raises(BadInput, match="chemprot/dev.json: the server answers 404") as caught:
        prepare(["chemprot", "gad"], tmp_path, base_url=server.url)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path / "gad")) == ["dev.json", "test.json", "train.json"]


def test_files_that_the_user_has_are_copied_after_reading(tmp_path):
    mine = tmp_path / "mine" / "seqcls" / "GAD_hf"
    mine.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (mine / f"{split}.json").write_bytes(gad(split))
    (mine / "notes.md").write_text("not a corpus file")
    entries = prepare(["gad"], tmp_path / "data", from_folder=tmp_path / "mine")
    assert {(entry["file"], entry["state"], entry["verified"]) for entry in entries} == {
        (f"{split}.json", "copied", False) for split in ("train", "dev", "test")}
    assert sorted(os.listdir(tmp_path / "data" / "gad")) == ["dev.json", "test.json", "train.json"]
    assert (tmp_path / "data" / "gad" / "dev.json").read_bytes() == gad("dev")
    with pytest.raises(BadInput, match="is where the files would go"):
        prepare(["gad"], tmp_path / "data", from_folder=tmp_path / "data")
    (mine / "dev.json").write_bytes(gad("dev", label="2"))
    with pytest.raises(BadInput, match=r"dev.json:1: unknown label '2'"):
        prepare(["gad"], tmp_path / "data", from_folder=tmp_path / "mine")
    with pytest.raises(BadInput, match="has no folder named ddi"):
        prepare(["ddi"], tmp_path / "data", from_folder=tmp_path / "mine")
    with pytest.raises(BadInput, match="task files reads your files where they are"):
        prepare(["files"], tmp_path / "data", from_folder=tmp_path / "mine")


def test_a_link_out_of_the_users_folder_is_not_copied(tmp_path):
    mine = tmp_path / "mine" / "gad"
    mine.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (mine / f"{split}.json").write_bytes(gad(split))
    (tmp_path / "secret.json").write_text("{}")
    (mine / "more.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(BadInput, match="more.json leads out of the data folder"):
        prepare(["gad"], tmp_path / "data", from_folder=tmp_path / "mine")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be made"):
        prepare(["gad"], tmp_path / "file" / "data", from_folder=tmp_path)


@pytest.mark.realdata
def test_the_downloads_are_the_real_corpora(server, tmp_path):
    """Every file that `prepare` would fetch, served from the data folder: blob ids, sizes, conversion, checksums."""
    folder = Path(os.environ["KDBENCH_DATA"])
    names = list(DOWNLOADS.load())
    places = {"seqcls": "blurb/seqcls", "tokcls": "blurb/tokcls"}
    for name, download in DOWNLOADS.load().items():
        for file, remote in download.files.items():
            found = [folder / place / name / file for place in places.values()]
            found += [folder / name / file, folder / "emr_proxy" / name / file]
            server.content[remote.path] = next((path.read_bytes() for path in found if path.exists()), b"")
    # BC2GM's test set in two columns is not in the folder: it is written from the JSON lines, as for its checksum.
    remote = DOWNLOADS.load()["bc2gm_iobes"].files["test.tsv"]
    server.content[remote.path] = iobes(folder / "blurb/tokcls/bc2gm/test.json")
    entries = prepare(names, tmp_path, base_url=server.url)
    assert [entry["task"] for entry in entries if entry["state"] == "by hand"] == ["ebmnlp"]
    assert all(entry["verified"] for entry in entries if entry["state"] != "by hand") and len(entries) == 39
    assert sorted(os.listdir(tmp_path / "ktas_ed")) == ["data.csv", "dev.json", "test.json", "train.json"]


def iobes(path):
    from kdbench.data import tags

    sentences = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        typed = [tag if tag == "O" else f"{tag}-GENE" for tag in row["ner_tags"]]
        sentences.append("".join(f"{word}\t{tag}\n" for word, tag in
                                 zip(row["tokens"], tags.convert(typed, "IOB", "IOBES"), strict=True)))
    return "\n".join(sentences).encode()
