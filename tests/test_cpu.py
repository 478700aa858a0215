"""What replaces torch's own on a CPU computes the same."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from kdbench.models.heads import Head
from kdbench.models.load import build
from kdbench.models.sources import resolve
from kdbench.train import cpu

TEXTS = ["aspirin blocks the receptor", "the receptor binds nothing", "a cell"]


def model(kind="tiny:bert"):
    return build(resolve(kind), Head("single", ("no", "yes")), seed=1, texts=lambda: TEXTS)


def inputs(made):
    return made.tokenizer(TEXTS, padding=True, return_tensors="pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_zeroes_its_share_and_keeps_the_mean(p, dtype):
    torch.manual_seed(0)
    ones = torch.ones(333, 1001, dtype=dtype, requires_grad=True)
    dropped = cpu.drop(ones, p)
    assert dropped.dtype == dtype
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.003)
    assert dropped.float().mean().item() == pytest.approx(1, abs=0.01)
    assert dropped.detach().float().unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=0.005)
    dropped.sum().backward()
    assert torch.equal(ones.grad, dropped.detach())


def test_dropout_follows_the_seed_and_treats_elements_alone():
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append([cpu.drop(torch.ones(1000, 1000), 0.5) for _ in range(2)])
    assert torch.equal(draws[0][0], draws[1][0])
    kept = draws[0][0] > 0
    assert (kept == (draws[0][1] > 0)).float().mean().item() == pytest.approx(0.5, abs=0.01)
    for shift in (1, 2, 3, 4):  # the lanes of one 64-bit draw
        flat = kept.flatten()
        assert (flat[:-shift] == flat[shift:]).float().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_at_its_ends(p):
    assert torch.equal(cpu.drop(torch.ones(5), p), torch.full((5,), 1 - p))


@pytest.mark.parametrize("kind", ["tiny:bert", "tiny:roberta", "tiny:distilbert", "tiny:albert"])
def test_a_prepared_model_predicts_as_before(kind):
    made = model(kind)
    made.module.eval()
    with torch.no_grad():
        before = made.module(**inputs(made)).logits
        cpu.prepare(made.module)
        assert made.module.config._attn_implementation == cpu.ATTENTION
        assert not any(type(part) is nn.Dropout for part in made.module.modules())
        assert torch.equal(made.module(**inputs(made)).logits, before)


def test_attention_with_dropout_reads_no_padding_and_drops():
    """With a probability below its resolution nothing is dropped, and what is left is plain attention."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 8).unbind(0)
    mask = torch.ones(2, 1, 7, 7, dtype=torch.bool)
    mask[1, :, :, 5:] = False
    module = nn.Module()
    plain = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(cpu.attention(module, query, key, value, mask, dropout=1e-6)[0], plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(cpu.attention(module, query, key, value, mask, dropout=0.5)[0], plain, atol=0.1)


@pytest.mark.parametrize("kind", ["tiny:bert", "tiny:roberta", "tiny:distilbert", "tiny:albert"])
def test_attention_probabilities_that_an_objective_reads_stay(kind):
    made = model(kind)
    made.module.set_attn_implementation("eager")
    with torch.no_grad():
        before = made.module.eval()(**inputs(made), output_attentions=True).attentions
        cpu.prepare(made.module)
        assert made.module.config._attn_implementation == cpu.EAGER_ATTENTION
        after = made.module(**inputs(made), output_attentions=True).attentions
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    if kind != "tiny:albert":  # whose attention has no dropout
        torch.manual_seed(0)
        dropped = made.module.train()(**inputs(made), output_attentions=True).attentions
        shown = inputs(made)["attention_mask"][0].bool()
        assert (dropped[0][0][..., shown] == 0).any() and not (after[0][0][..., shown] == 0).any()


def test_a_saved_model_does_not_say_how_it_was_trained(tmp_path):
    made = model()
    cpu.prepare(made.module)
    made.module.save_pretrained(tmp_path)
    assert cpu.ATTENTION not in (tmp_path / "config.json").read_text()


def test_what_was_freed_is_given_back_from_below_what_is_held():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    cpu.keep_freed_memory()
    blocks = [torch.ones(2**18) for _ in range(256)]
    full, held = resident(), blocks[-1]
    del blocks
    assert resident() > full - 2**27  # kept
    cpu.give_back_freed_memory()
    assert resident() < full - 2**27 and held.sum() == 2**18
