"""The BiLSTM as a transformers model: padding, published sizes, folders, ONNX."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
)

from kdbench.models.bilstm import BiLSTMClassifier, BiLSTMConfig, BiLSTMTagger

LENGTHS = (9, 1, 4)


def tiny(cls=BiLSTMTagger, **changes):
    sizes = {"vocab_size": 50, "embedding_size": 12, "hidden_size": 8, "classifier_size": 6, "num_labels": 5,
             "conv_channels": 7, **changes}
    torch.manual_seed(0)
    return cls(BiLSTMConfig(**sizes)).eval()


def padded(width: int = 9):
    """Token ids (3, width) and their mask: texts of 9, 1 and 4 tokens."""
    ids = torch.randint(1, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(width) < torch.tensor(LENGTHS)[:, None]).long()
    return nn.functional.pad(ids, (0, width - 9)) * mask, mask


def reference(model: BiLSTMTagger) -> nn.LSTM:
    """torch's bidirectional LSTM with the weights of `model`."""
    width = model.encoder.embeddings.width
    lstm = nn.LSTM(width, model.config.hidden_size, len(model.encoder.layers), batch_first=True, bidirectional=True)
    for number, layer in enumerate(model.encoder.layers):
        for ending, direction in (("", layer.forwards), ("_reverse", layer.backwards)):
            for name, value in direction.named_parameters():
                getattr(lstm, name.replace("l0", f"l{number}{ending}")).data.copy_(value.data)
    return lstm


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_packed_equals_pack_padded_sequence(layers):
    model = tiny(num_hidden_layers=layers)
    ids, mask = padded()
    with torch.no_grad():
        embedded = model.get_input_embeddings()(ids)
        packed = pack_padded_sequence(embedded, mask.sum(1), batch_first=True, enforce_sorted=False)
        expected, _ = pad_packed_sequence(reference(model)(packed)[0], batch_first=True)
        states = model(ids, mask, output_hidden_states=True).hidden_states
    assert len(states) == layers + 1
    torch.testing.assert_close(states[-1], expected)


def test_published_reads_padding_in_both_directions():
    model = tiny(packed=False)
    ids, mask = padded()
    with torch.no_grad():
        expected, _ = reference(model)(model.get_input_embeddings()(ids))
        got = model(ids, mask, output_hidden_states=True).hidden_states[-1]
        more = model(*padded(12)).logits[:, :9]
        assert not torch.allclose(more, model(ids, mask).logits, atol=1e-4)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("cls", [BiLSTMTagger, BiLSTMClassifier])
@pytest.mark.parametrize("embedding", ["trained", "bert", "cnn"])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_padding_never_changes_a_text(cls, embedding, pooling):
    model = tiny(cls, embedding=embedding, pooling=pooling)
    with torch.no_grad():
        alone, wide = model(*padded()).logits, model(*padded(14)).logits
        for row, length in enumerate(LENGTHS):
            one = model(padded()[0][row:row + 1, :length]).logits[0]
            for batched in (alone[row], wide[row]):
                torch.testing.assert_close(batched[:length] if cls is BiLSTMTagger else batched, one)


def test_order_and_both_directions_matter():
    """A tag may depend on words on either side, unlike in a one-directional or a bag-of-words model."""
    model = tiny()
    ids = padded()[0][:1]
    with torch.no_grad():
        before = model(ids).logits[0]
        for changed, read in ((0, 8), (8, 0)):
            other = ids.clone()
            other[0, changed] = 49 - ids[0, changed]
            assert (model(other).logits[0, read] - before[read]).abs().max() > 1e-6


# Published sizes --------------------------------------------------------------------------------------------------

README = [  # MiB; 28,996 word pieces of BERT cased, 9 tags (PAD, START, END, UNK and O, B, I, E, S)
    (46.97, {"classifier_size": 0}),
    (47.55, {}),
    (40.32, {"hidden_size": 200}),
    (105.1, {"embedding": "bert", "embedding_size": 768, "type_vocab_size": 2}),
]


@pytest.mark.parametrize("megabytes, config", README)
def test_sizes_of_the_readme(megabytes, config):
    with torch.device("meta"):
        model = BiLSTMTagger(BiLSTMConfig(num_labels=9, **config))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters * 4 / 2**20 == pytest.approx(megabytes, abs=0.05 if megabytes > 100 else 0.005)


# Folders, initial values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auto, cls", [(AutoModelForTokenClassification, BiLSTMTagger),
                                       (AutoModelForSequenceClassification, BiLSTMClassifier)])
@pytest.mark.parametrize("embedding", ["trained", "bert", "cnn"])
def test_folder_and_back(tmp_path, auto, cls, embedding):
    model = tiny(cls, embedding=embedding, id2label=dict(enumerate("OBIES")))
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = auto.from_pretrained(tmp_path).eval()
    assert isinstance(again, cls)
    assert again.config.id2label == dict(enumerate("OBIES"))
    with torch.no_grad():
        torch.testing.assert_close(again(*padded()).logits, model(*padded()).logits, rtol=0, atol=0)


def test_a_new_head_is_drawn_and_the_rest_is_kept(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    torch.manual_seed(7)
    again = AutoModelForTokenClassification.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True)
    new = again.classifier[-1].weight
    assert new.shape == (3, 6) and 0 < new.abs().max() <= 6**-0.5
    kept = {name: value for name, value in again.state_dict().items() if not name.startswith("classifier.3")}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in kept.items())


def test_from_config_draws_torch_initial_values():
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(AutoConfig.for_model("kdbench_bilstm", vocab_size=2000))
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(1, abs=0.02)
    recurrent = model.encoder.layers[0].forwards.weight_hh_l0
    assert recurrent.std().item() == pytest.approx(300**-0.5 / 3**0.5, rel=0.02)
    torch.manual_seed(0)
    again = AutoModelForTokenClassification.from_config(AutoConfig.for_model("kdbench_bilstm", vocab_size=2000))
    assert torch.equal(again.encoder.layers[1].backwards.weight_ih_l0, model.encoder.layers[1].backwards.weight_ih_l0)


def test_bert_embedding_takes_a_copy_of_berts():
    bert = BertModel(BertConfig(vocab_size=50, hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
                                intermediate_size=8, max_position_embeddings=20)).eval()
    model = tiny(embedding="bert", max_position_embeddings=20, type_vocab_size=2)
    model.encoder.embeddings.load_state_dict(bert.embeddings.state_dict())
    ids, mask = padded()
    with torch.no_grad():
        expected = bert.embeddings(ids)
        got = model(ids, mask, output_hidden_states=True).hidden_states[0]
    torch.testing.assert_close(got, expected)


def test_bert_embedding_knows_where_its_positions_end():
    assert BiLSTMConfig(embedding="bert").max_position_embeddings == 512
    assert BiLSTMConfig().max_position_embeddings == 0


def test_loss_and_training():
    model = tiny(embedding="cnn", dropout=0.1).train()
    ids, mask = padded()
    labels = torch.where(mask > 0, ids % 5, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        loss = model(ids, mask, labels=labels).loss
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


# ONNX -------------------------------------------------------------------------------------------------------------


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids, attention_mask).logits


def test_onnx_and_int8_agree_on_any_shape(tmp_path):
    """Exported with one shape and run with another, padding included; int8 for use at batch 1."""
    model = tiny(vocab_size=2000, embedding_size=64, hidden_size=64, num_labels=5, classifier_size=0)
    path, small = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(Logits(model).eval(), padded(), path, input_names=names, output_names=["logits"], dynamo=False,
                      dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*names, "logits"]})
    quantize_dynamic(path, small, weight_type=QuantType.QInt8)
    assert small.stat().st_size < 0.35 * path.stat().st_size

    ids = torch.randint(1, 2000, (4, 21))
    mask = (torch.arange(21) < torch.tensor([21, 3, 1, 15])[:, None]).long()
    with torch.no_grad():
        expected = model(ids, mask).logits.numpy()
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    for file, tolerance in ((path, 1e-5), (small, 0.03)):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        got = session.run(None, feed)[0]
        assert np.abs(got - expected).max() < tolerance
        one = session.run(None, {name: value[3:, :15] for name, value in feed.items()})[0]
        assert np.abs(one[0] - expected[3, :15]).max() < tolerance
