"""The formula of a token's work, by hand; peaks by name."""

import pytest

import experiments
from research.bench.cost import flops_a_token, listed, multiplied
from research.config import Model
from research.settings import override


def test_gpt2_small_by_hand():
    """124,439,808 parameters, of which 786,432 are positions; 12 · 12 layers · 1,024 · 768 for attention."""
    expected = 6 * (124_439_808 - 1_024 * 768) + 12 * 12 * 1_024 * 768
    assert flops_a_token(experiments.get("gpt2_small")) == expected == pytest.approx(0.855e9, rel=1e-3)


def test_a_masked_model_pays_for_its_heads_where_it_predicts():
    model = Model(family="bert", vocabulary=100, context=16, width=8, depth=1, heads=2)
    block = 4 * 8 * 8 + 4 * 8 + 2 * 4 * 8 * 8 + 4 * 8 + 8 + 4 * 8  # attention, MLP, two norms
    embedding_norm, pooler, next_sentence = 16, 8 * 8 + 8, 8 * 2 + 2
    masked = 8 * 8 + 8 + 16 + 100 + 100 * 8  # transform, norm, bias, and the table
    expected = block + embedding_norm + (pooler + next_sentence) / 16 + masked * 4 / 16
    assert multiplied(model, 16, 4) == pytest.approx(expected)


def test_attention_grows_with_the_length():
    short = override(experiments.get("gpt2_small"), {"data.length": 512})
    more = flops_a_token(experiments.get("gpt2_small")) - flops_a_token(short)
    assert more == 12 * 12 * 512 * 768


@pytest.mark.parametrize(
    "kind, tera", [("NVIDIA H200", 989), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756)]
)
def test_peaks_by_name(kind, tera):
    assert listed(kind) == tera * 1e12
    assert listed("NVIDIA GeForce 256") is None
