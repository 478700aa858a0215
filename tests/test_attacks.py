"""Inputs that are made to harm: refused early and in one line, or without effect. The fuzzer finds more of them (`tests/test_fuzz.py`)."""

import contextlib
import importlib.metadata
import json
import os
import socketserver
import threading
import urllib.request

import pytest
from students import LABELS, write

from kdbench.base.errors import BadInput
from kdbench.base.tokenizer_files import check_tokenizer
from kdbench.cli.arguments import parse_seeds
from kdbench.cli.verbs import main
from kdbench.data import transfer
from kdbench.data.prepare import Remote, download_file
from kdbench.models.configs import checked_config, parameters
from kdbench.runs import store, suite
from kdbench.serve.about import About
from tests.factory import record


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refusal(capsys, *words):
    """The one line of a command that ends with exit code 2."""
    code = main([*map(str, words)])
    out, err = capsys.readouterr()
    assert code == 2, (out, err)
    assert err.count("\n") == 1 and err.startswith("bench.py: ") and len(err) < 2000
    return err


# ---- configurations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [
    {"num_labels": 10**9}, {"num_hidden_layers": 10**5}, {"hidden_size": 10**6}, {"vocab_size": 10**9}, {"intermediate_size": 10**9},
    {"num_attention_heads": 0}, {"num_hidden_layers": -1}, {"num_hidden_layers": "2"}, {"hidden_size": 2.5}, {"hidden_size": True},
    {"max_position_embeddings": 10**9}, {"id2label": ["a"]}, {"id2label": {str(i): "x" for i in range(10**5)}, "hidden_size": 60_000},
    {"num_hidden_layers": 1000, "hidden_size": 4096}, {"quantization_config": {"quant_method": "bitsandbytes"}},
    {"encoder": {"num_hidden_layers": 10**6}}, {"hidden_dropout_prob": "x"}, {"hidden_act": ["gelu"]}, {"model_type": ["bert"]}, {"model_type": 5},
    {"layer_norm_eps": None},
])
def test_a_configuration_that_asks_for_too_much_or_makes_no_sense(folder, capsys, values):
    change(folder / "config.json", **values)
    refusal(capsys, "predict", folder, "a text")


def test_sizes_of_models_that_there_are_pass(tmp_path):
    real = {"bert-large": ({"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "vocab_size": 30522}, 1_340_000_000),
            "albert-xxlarge": ({"hidden_size": 4096, "num_hidden_layers": 12, "num_hidden_groups": 1, "intermediate_size": 16384, "vocab_size": 30000,
                                "embedding_size": 128}, 890_000_000),
            "xlm-roberta-xl": ({"hidden_size": 2560, "num_hidden_layers": 36, "intermediate_size": 10240, "vocab_size": 250880}, 13_900_000_000)}
    for name, (config, size) in real.items():
        path = tmp_path / name
        path.write_text(json.dumps({**config, "max_position_embeddings": 512, "type_vocab_size": 0, "num_labels": 2}))
        checked_config(path, size)
    assert 330e6 < parameters(real["bert-large"][0]) < 340e6


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
def test_a_configuration_does_not_choose_how_attention_is_computed(folder, capsys, monkeypatch, name):
    """`owner/kernel` would be code of the hub."""
    import transformers.modeling_utils as modeling

    def kernel(*_, **__):
        raise AssertionError("a kernel was asked for")

    monkeypatch.setattr(modeling, "lazy_import_flash_attention", kernel)
    main(["predict", str(folder), "a text", "--json"])
    expected = capsys.readouterr().out
    change(folder / "config.json", **{name: "owner/kernel"})
    assert main(["predict", str(folder), "a text", "--json"]) == 0
    assert capsys.readouterr().out == expected


def test_an_adapter_does_not_name_another_model(folder, capsys):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/model"}')
    assert "holds an adapter" in refusal(capsys, "predict", folder, "a text")


@pytest.mark.parametrize("values", [
    {"labels": 5}, {"labels": ["a", 5]}, {"max_length": "x"}, {"max_length": 10**12}, {"max_length": -1}, {"max_length": True}, {"threshold": "x"},
    {"threshold": 5}, {"names": []}, {"names": {"a": 5}}, {"hidden_ids": ["a"]}, {"hidden_ids": 5}, {"members": "student"}, {"labels": ["only"]},
    {"kind": ["single"]}, {"positive_rate": {}},
])
def test_labels_of_other_types(folder, capsys, values):
    path = folder / "labels.json"
    base = {"kind": "single", "labels": LABELS["single"], "names": {}, "max_length": 64, "threshold": None, "positive_rate": None, "hidden_ids": [],
            "members": []}
    path.write_text(json.dumps({**base, **values}))
    assert str(folder) in refusal(capsys, "predict", folder, "a text")


def test_a_task_json_that_was_changed_is_refused(folder, capsys, tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("a,b\nfever,cough\n")
    about = About("files", "accuracy", ("accuracy",), READING)
    about.write(folder)
    assert About.read(folder) == about and main(["predict", str(folder), "--file", str(texts)]) == 0
    assert "fever" in capsys.readouterr().out
    path = folder / "task.json"
    change(path, reading={**READING, "columns": {**READING["columns"], "text": "b"}})
    assert "not what its checksum says" in refusal(capsys, "predict", folder, "--file", texts)
    made = json.loads(path.read_text())
    del made["checksums"]
    path.write_text(json.dumps(made))  # the change is the user's
    assert main(["predict", str(folder), "--file", str(texts)]) == 0 and "cough" in capsys.readouterr().out


READING = {"columns": {"text": "a", "pair": None, "labels": ["l"], "tags": None, "id": None, "group": None}, "fields": ["a", "l"], "headed": True,
           "layout": "CSV with header", "decided": {"scheme": "IOB"}, "options": {}}


@pytest.mark.parametrize("values", [{"columns": []}, {"columns": {}}, {"columns": {**READING["columns"], "text": 5}}, {"fields": "a"}, {"headed": "x"},
                                    {"layout": None}, {"decided": {"columns": 3}}, {"options": [1]}, {"decided": []}])
def test_a_reading_of_other_types_is_refused(folder, capsys, tmp_path, values):
    texts = tmp_path / "texts.csv"
    texts.write_text("a,b\nfever,cough\n")
    (folder / "task.json").write_text(json.dumps({"task": "files", "metric": "accuracy", "metrics": ["accuracy"], "reading": {**READING, **values}}))
    assert "how the training file was read" in refusal(capsys, "predict", folder, "--file", texts)


@pytest.mark.parametrize("decided", ["1", "3 0 x", "2 0 9", "9" * 20 + " 0 1", "2 0 1"])
def test_columns_and_schemes_that_are_none_are_passed_over(tmp_path, decided):
    from kdbench.data.layouts import open_layout
    from kdbench.data.layouts.part import Part

    (tmp_path / "all-o.tsv").write_text("a\tO\nb\tO\n\nc\tO\n")
    for scheme in ("IOB", "none such"):
        like = Part((), "two columns, a word and its tag", "", decided={"columns": decided, "scheme": scheme})
        try:
            open_layout(tmp_path / "all-o.tsv", "test", None, like)
        except BadInput as error:
            assert "\n" not in str(error)


# ---- tokenizers --------------------------------------------------------------------------------------------------------

DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


def nested(depth):
    step = {"type": "NFC"}
    for _ in range(depth):
        step = {"type": "Sequence", "normalizers": [step]}
    return step


@pytest.mark.parametrize("values", [
    {"normalizer": {"type": "Sequence", "normalizers": [DOUBLING] * 40}}, {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100}},
    {"normalizer": nested(90)}, {"normalizer": 5}, {"model": None}, {"padding": {"strategy": {"Fixed": 10**9}}},
    {"truncation": {"max_length": -1}}, {"truncation": 5}, {"padding": {"pad_to_multiple_of": 10**9}}, {"version": "9"},
])
def test_a_tokenizer_that_does_not_end(folder, capsys, values):
    change(folder / "tokenizer.json", **values)
    assert "tokenizer.json" in refusal(capsys, "predict", folder, "a text")


def test_a_usual_regular_expression_passes(folder):
    change(folder / "tokenizer.json", normalizer={"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    check_tokenizer(folder / "tokenizer.json")


# ---- the command line, suites ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0-2000000000", "0-10000", "9" * 30, "0-" + "9" * 5000, "\u0663", "\u00b2", "5-3", ""])
def test_seeds_without_end(text):
    with pytest.raises(BadInput, match="--seeds") as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("words", [["--lr", "inf"], ["--lr", "1e999"], ["--warmup", "-inf"], ["--epochs", "inf"], ["--set", "temperature=inf"],
                                   ["--results-dir", "a" * 100_000], ["--train", "\udc80\x00"]])
def test_values_that_are_no_finite_numbers_or_no_names(capsys, words):
    refusal(capsys, "--method", "logit_kd", "--task", "chemprot", "--dry-run", *words)


VALUES = ["5", "1.5", "nan", "inf", "true", '"x"', "[]", "[1]", '[""]', "{}", "{ x = 1 }", "[[1]]", "[{}]", "1979-05-27", "-1", "10000000000"]
KEYS = ["about", "seeds", "controls", "data", "cpu_hours", "defaults", "cells", "method", "task", "teacher", "student", "options", "task_options",
        "resources", "published", "unlabelled", "variant", "recipe", "lr", "epochs", "compile", "teacher_labels"]


@pytest.mark.parametrize("key", KEYS)
def test_a_suite_with_values_of_other_types(tmp_path, key):
    """Read, or refused in one line; never anything else."""
    path = tmp_path / "suite.toml"
    for value in VALUES:
        for place in ("top", "defaults", "cell"):
            cell = "" if place != "cell" else f"{key} = {value}\n"
            cell = "" if key in ("defaults", "cells") else cell
            names = "".join(f'{name} = "{given}"\n' for name, given in (("method", "logit_kd"), ("task", "chemprot")) if name != key or not cell)
            path.write_text((f"{key} = {value}\n" if place == "top" else "") + (f"[defaults]\n{key} = {value}\n" if place == "defaults" else "")
                            + ("[[cells]]\n" if key != "cells" or place != "top" else "") + names + cell)
            try:
                suite.load(str(path))
            except BadInput as error:
                assert "\n" not in str(error) and len(str(error)) < 1500


def test_a_grid_that_multiplies_without_end(tmp_path):
    path = tmp_path / "suite.toml"
    axes = "".join(f"{name} = [{', '.join(map(str, range(1, 40)))}]\n" for name in ("epochs", "batch_size", "max_steps", "accumulate"))
    path.write_text(f'[[cells]]\nmethod = "finetune"\ntask = "chemprot"\n{axes}')
    with pytest.raises(BadInput, match="its lists make 2,313,441 cells"):
        suite.load(str(path))


def test_a_broken_package_does_not_stop_a_verb(capsys, monkeypatch):
    point = importlib.metadata.EntryPoint("odd", "kdbench_no_such_module:x", "kdbench")
    usual = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **given: [point] if given.get("group") == "kdbench" else usual(**given))
    assert main(["list", "tasks"]) == 0
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert "chemprot" in out and "--no-plugins" in first and "plugin odd" in second and "passed over" in second


def test_a_plugin_that_ends_the_program(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("KDBENCH_PLUGINS", "")  # the verb writes it, for its children
    (tmp_path / "quits.py").write_text("raise SystemExit(0)\n")
    assert "plugin" in refusal(capsys, "list", "--plugin", tmp_path / "quits.py")


# ---- links -------------------------------------------------------------------------------------------------------------


def test_a_linked_folder_of_records_is_neither_read_nor_written(tmp_path):
    made, results = record(), tmp_path / "results"
    store.write(tmp_path / "elsewhere", made)
    (results / "records").mkdir(parents=True)
    task = made["cell"]["task"]
    (results / "records" / task).symlink_to(tmp_path / "elsewhere" / "records" / task)
    assert list(store.records(results)) == [] and store.find(results, made["id"], task) is None
    with pytest.raises(BadInput, match="a link, which is not followed"):
        store.write(results, {**made, "id": "ab" * 8})
    assert len(list((tmp_path / "elsewhere" / "records" / task).iterdir())) == 1


def test_a_new_file_is_not_written_through_a_link(tmp_path):
    from kdbench.base.folders import write_text

    (tmp_path / "victim").write_text("keep")
    (tmp_path / f".note.{os.getpid()}.part").symlink_to("victim")
    write_text(tmp_path / "note", "new")
    assert (tmp_path / "victim").read_text() == "keep" and (tmp_path / "note").read_text() == "new"


# ---- downloads ---------------------------------------------------------------------------------------------------------

FILE = Remote("o/r/c/train.json", 100_000, "0" * 40)


def serve(answer):
    """A server that lets `answer` write to each connection; its address."""
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):
                answer(self.wfile)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def drip(stream, content):
    for i in range(len(content)):
        stream.write(content[i:i + 1])
        stream.flush()
        threading.Event().wait(0.05)


def test_a_crawling_server_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "SLOW_SECONDS", 0.3)

    def answer(stream):
        stream.write(b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n")
        drip(stream, b"x" * 1000)

    with pytest.raises(BadInput, match="which would not end"):
        download_file(f"{serve(answer)}/a", tmp_path / "a", FILE)


def test_a_head_that_drips_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", 0.4)
    monkeypatch.setattr("kdbench.data.prepare.PAUSE", 0.01)
    with pytest.raises(BadInput, match="0 of 100,000 bytes"):
        download_file(f"{serve(lambda stream: drip(stream, b'HTTP/1.0 200 OK' + b'x' * 1000))}/a", tmp_path / "a", FILE)


@pytest.mark.parametrize("target", ["http://example.org/a", "ftp://127.0.0.1/a", "file:///etc/hostname", "http://127.0.0.1:1/a", "//example.org/a"])
def test_redirects_to_elsewhere_are_not_followed(tmp_path, target):
    url = serve(lambda stream: stream.write(f"HTTP/1.0 302 Found\r\nLocation: {target}\r\n\r\n".encode()))
    with pytest.raises(BadInput, match="which is not followed|not followed|302|cannot"):
        download_file(f"{url}/a", tmp_path / "a", FILE)
    assert not (tmp_path / "a").exists()


def test_the_listed_hosts_are_followed_and_never_without_tls():
    redirects = transfer.Redirects()
    request = urllib.request.Request("https://github.com/o/r/raw/c/a")
    followed = redirects.redirect_request(request, None, 302, "Found", {}, "https://raw.githubusercontent.com/o/r/c/a")
    assert followed.full_url.startswith("https://raw.githubusercontent.com/")
    with pytest.raises(BadInput, match="not followed"):
        redirects.redirect_request(request, None, 302, "Found", {}, "http://raw.githubusercontent.com/o/r/c/a")


def test_a_part_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "victim").write_bytes(b"keep")
    (tmp_path / "a.part").symlink_to("victim")
    with pytest.raises(BadInput, match="not written through"):
        download_file("http://127.0.0.1:1/a", tmp_path / "a", FILE)
    with pytest.raises(OSError):
        transfer.open_part(tmp_path / "a.part", append=True)
    assert (tmp_path / "victim").read_bytes() == b"keep"
