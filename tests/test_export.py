"""An export answers as the student it was made of, and needs no other file."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from students import TEXTS, student, write

import kdbench.serve.export as exporting
from kdbench.base.errors import BadInput, Broken
from kdbench.data.task import Example
from kdbench.serve.export import disk_megabytes, export, predictions
from kdbench.serve.serving import open_artefact, predict_logits
from kdbench.train.batching import Corpus

RAGGED = [[2, 7, 3], [2, *range(5, 60), 3], [2, 3], [2, 9, 9, 11, 3]]  # lengths unlike the traced example's


@pytest.mark.parametrize("name, task_type", [("tiny:bert", "tags"), ("tiny:albert", "single"), ("tiny:deberta", "multi"),
                                        ("tiny:distilbert", "regression"), ("tiny:roberta", "single"),
                                        ("bilstm", "tags"), ("bilstm", "single"),
                                        ("tiny:deberta-v3", "tags"), ("tiny:electra", "single"), ("tiny:eurobert", "single"),
                                        ("tiny:mobilebert", "tags"), ("tiny:modernbert", "tags"), ("tiny:mpnet", "single"),
                                        ("tiny:xlm-roberta", "single")])
def test_onnx_gives_pytorchs_logits_at_any_length_and_batch(tmp_path, name, task_type):
    write(tmp_path / "run", name, task_type)
    row, = export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:5])
    assert row["largest_difference"] < 1e-4 and row["agreement"] == 1
    expected = predict_logits(open_artefact(tmp_path / "run", "torch"), RAGGED)
    found = predict_logits(tmp_path / "out" / "onnx", RAGGED)
    for a, b, row in zip(expected, found, RAGGED, strict=True):
        assert a.shape == b.shape and (len(a) == len(row) or task_type != "tags")
        assert np.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("name, left", [
    ("tiny:bert", ["bert.embeddings.LayerNorm", "bert.encoder.layer.*.attention.output.LayerNorm",
                   "bert.encoder.layer.*.output.LayerNorm"]),
    # ALBERT's layers share their weights, which the quantiser finds only once the graph is simplified
    ("tiny:albert", ["albert.embeddings.LayerNorm",
                     "albert.encoder.albert_layer_groups.*.albert_layers.*.attention.LayerNorm",
                     "albert.encoder.albert_layer_groups.*.albert_layers.*.full_layer_layer_norm"]),
    ("bilstm", []),
    ("bilstm: cnn", ["encoder.embeddings.convolutions.*"]),
])
def test_int8_is_small_close_and_names_what_it_leaves(tmp_path, name, left):
    write(tmp_path / "run", name, "tags")
    plain, int8 = export(tmp_path / "run", tmp_path / "out", ("onnx", "onnx_int8"), sample_texts=TEXTS)
    assert int8["fp32_layers"] == left and plain["fp32_layers"] == []
    assert int8["megabytes"] < 0.5 * plain["megabytes"]
    assert 0 < int8["largest_difference"] < 0.05 and int8["agreement"] > 0.9
    assert sorted(path.name for path in (tmp_path / "out" / "onnx_int8").iterdir()) == [
        "config.json", "labels.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"]


def test_an_answer_does_not_depend_on_the_texts_beside_it(tmp_path):
    write(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out", ("onnx_int8",), sample_texts=TEXTS[:2])
    artefact = open_artefact(tmp_path / "out" / "onnx_int8")
    alone = [artefact.logits([row])[0] for row in RAGGED]
    assert all(np.array_equal(a, b) for a, b in zip(alone, artefact.logits(RAGGED), strict=True))


def test_int8_is_per_channel(tmp_path):
    import onnx

    write(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out", ("onnx_int8",), sample_texts=TEXTS[:2])
    graph = onnx.load(tmp_path / "out" / "onnx_int8" / "model.onnx").graph
    scales = [tensor for tensor in graph.initializer if "MatMul" in tensor.name and tensor.name.endswith("_scale")]
    assert scales and all(tensor.dims and tensor.dims[0] > 1 for tensor in scales)


@pytest.mark.parametrize("format, dtype", [("safetensors", "F32"), ("safetensors_fp16", "F16"), ("safetensors_bf16", "BF16")])
def test_safetensors_in_three_precisions(tmp_path, format, dtype):
    write(tmp_path / "run", "bilstm", "tags")
    row, = export(tmp_path / "run", tmp_path / "out", (format,), sample_texts=TEXTS[:5])
    with safe_open(tmp_path / "out" / format / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {dtype}  # noqa: SIM118
    assert row["megabytes"] == disk_megabytes(tmp_path / "out" / format)
    assert row["largest_difference"] < (1e-6 if dtype == "F32" else 0.02)


def test_an_onnx_folder_answers_without_torch_and_transformers(tmp_path):
    write(tmp_path / "run", task_type="tags")
    export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:2])
    program = f"""
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "pandas", "scipy", "sklearn")))  # importing one fails
from kdbench.serve.predict import load_predictor
import json
print(json.dumps(load_predictor({str(tmp_path / "out" / "onnx")!r}).predict({TEXTS[:3]!r})))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [row["text"] for row in json.loads(done.stdout)] == TEXTS[:3]


def test_whole_test_sets_are_predicted_as_training_predicts_them(tmp_path):
    model = student(task_type="tags")
    model.module.save_pretrained(tmp_path / "run")
    model.tokenizer.save_pretrained(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:2])
    examples = [Example(str(i), words=tuple(text.split())) for i, text in enumerate(TEXTS[:8])]
    corpus = Corpus(model, examples, 12, "tags", 3)  # short enough to cut words off
    found = predictions(open_artefact(tmp_path / "out" / "onnx"), corpus)
    batch = corpus.batch(range(len(examples)))
    with torch.inference_mode():
        tags = model.module.eval()(**batch.inputs).logits.argmax(-1)
    for i, example in enumerate(examples):
        expected = [int(tags[i, place]) if place >= 0 else 0 for place in batch.words[i, :len(example.words)].tolist()]
        assert found[i].tolist() == expected
    assert any((batch.words[i, :len(e.words)] < 0).any() for i, e in enumerate(examples))


@pytest.mark.parametrize("task_type, shape", [("single", (4, 3)), ("regression", (4,))])
def test_predictions_of_texts_have_the_shape_that_metrics_take(tmp_path, task_type, shape):
    model = student(task_type=task_type)
    write(tmp_path / "run", task_type=task_type)
    examples = [Example(str(i), text=text, pair="a pair" if i else None) for i, text in enumerate(TEXTS[:4])]
    assert predictions(open_artefact(tmp_path / "run"), Corpus(model, examples, 64, task_type, 3)).shape == shape


def test_pairs_keep_their_token_types(tmp_path):
    write(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:2])
    for folder in ("run", "out/onnx"):
        artefact = open_artefact(tmp_path / folder)
        row, = artefact.encode([("aspirin", "the kinase")])
        assert set(row.type_ids) == {0, 1}
        without = artefact.logits([row.ids])[0]
        assert not np.allclose(artefact.logits([row.ids], [row.type_ids])[0], without)


def test_a_wrong_export_is_not_left_behind(tmp_path, monkeypatch):
    write(tmp_path / "run")
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(Broken, match="differ"):
        export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_bad_requests_take_one_line(tmp_path):
    write(tmp_path / "run")
    with pytest.raises(BadInput, match="unknown export 'onnx8'; did you mean"):
        export(tmp_path / "run", tmp_path / "out", ("onnx8",), sample_texts=TEXTS[:1])
    with pytest.raises(BadInput, match="no such folder"):
        export(tmp_path / "gone", tmp_path / "out", sample_texts=TEXTS[:1])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(BadInput, match="never overwritten"):
        export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:1])
    (tmp_path / "run" / "tokenizer.json").unlink()
    with pytest.raises(BadInput, match="no tokenizer.json"):
        export(tmp_path / "run", tmp_path / "new", sample_texts=TEXTS[:1])


@pytest.mark.parametrize("break_it, message", [
    (lambda run: (run / "model.safetensors").unlink(), "bench.py convert"),
    (lambda run: (run / "config.json").unlink(), "config.json"),
    (lambda run: (run / "labels.json").write_text("{"), "not valid JSON"),
    (lambda run: (run / "labels.json").write_text("[]"), "not a JSON object"),
    (lambda run: (run / "labels.json").write_text('{"labels": ["a"]}'), "labels.json: has no known `kind`"),
    (lambda run: (run / "labels.json").write_text('{"kind": "single", "treshold": 1}'), "unknown entry 'treshold'"),
    (lambda run: (run / "model.onnx").write_bytes(b"no graph"), "cannot be loaded"),
])
def test_broken_folders_take_one_line(tmp_path, break_it, message):
    write(tmp_path / "run")
    break_it(tmp_path / "run")
    with pytest.raises(BadInput, match=message) as error:
        open_artefact(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_an_unknown_backend_or_a_missing_onnx_is_said(tmp_path):
    write(tmp_path / "run")
    with pytest.raises(BadInput, match="unknown backend 'onnx'"):
        open_artefact(tmp_path / "run", "onnx")
    with pytest.raises(BadInput, match="no model.onnx"):
        open_artefact(tmp_path / "run", "onnxruntime")
