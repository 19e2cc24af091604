"""The formula of a token's work, by hand; peaks by name."""

import pytest

import experiments
from research.bench.cost import flops_a_token, multiplied
from research.config import Experiment
from research.config.settings import override


def test_gpt2_small_by_hand():
    """124,439,808 parameters, of which 786,432 are positions; 12 · 12 layers · 1,024 · 768 for attention."""
    expected = 6 * (124_439_808 - 1_024 * 768) + 12 * 12 * 1_024 * 768
    assert flops_a_token(experiments.get("gpt2_small")) == expected == pytest.approx(0.855e9, rel=1e-3)


def test_an_input_table_of_its_own_is_only_looked_up():
    tied, untied = (override(experiments.get("gpt2_small"), {"model.tied": tied}) for tied in (True, False))
    assert flops_a_token(untied) == flops_a_token(tied)


SMALL = {
    "model.vocabulary": 100,
    "model.context": 16,
    "model.width": 8,
    "model.depth": 1,
    "model.heads": 2,
    "data.length": 16,
}
BLOCK = 4 * 8 * 8 + 4 * 8 + 2 * 4 * 8 * 8 + 4 * 8 + 8 + 4 * 8  # attention, MLP, two norms
EMBEDDING_NORM, POOLER = 16, 8 * 8 + 8


def small(name: str, **more) -> Experiment:
    settings = {key.replace("__", "."): value for key, value in more.items()}
    return override(experiments.get(name), SMALL | settings)


def test_a_masked_model_pays_for_its_heads_where_it_predicts():
    masked = 8 * 8 + 8 + 16 + 100 + 100 * 8  # transform, norm, bias, and the table
    expected = BLOCK + EMBEDDING_NORM + (POOLER + 8 * 2 + 2) / 16 + masked * 4 / 16
    assert multiplied(small("bert_tiny", data__masking__predictions=4)) == pytest.approx(expected)


def test_a_fine_tuned_model_pays_for_its_answer_and_for_tokens_that_it_predicts():
    expected = BLOCK + EMBEDDING_NORM + (POOLER + 8 * 2 + 2) / 16
    assert multiplied(small("bert_tiny_sst2")) == pytest.approx(expected)
    answered = BLOCK + 8 * 2 / 16
    assert multiplied(small("gpt1_tiny_sst2", objective__auxiliary=0)) == pytest.approx(answered)
    table = (100 + 3) * 8  # and the three marks
    assert multiplied(small("gpt1_tiny_sst2")) == pytest.approx(answered + table)


def test_a_task_that_asks_every_position_pays_at_every_position():
    expected = BLOCK + EMBEDDING_NORM + 8 * 2 + 2
    assert multiplied(small("bert_squad", data__length=16)) == pytest.approx(expected)


def test_attention_grows_with_the_length():
    short = override(experiments.get("gpt2_small"), {"data.length": 512})
    more = flops_a_token(experiments.get("gpt2_small")) - flops_a_token(short)
    assert more == 12 * 12 * 512 * 768
