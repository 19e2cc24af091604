"""The formula of a token's work, by hand; peaks by name."""

import pytest

import experiments
from research.bench.cost import applied_parameters, flops_a_token
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
    assert applied_parameters(small("bert_tiny", data__masking__predictions=4)) == pytest.approx(expected)


def test_a_fine_tuned_model_pays_for_its_answer_and_for_tokens_that_it_predicts():
    expected = BLOCK + EMBEDDING_NORM + (POOLER + 8 * 2 + 2) / 16
    assert applied_parameters(small("bert_tiny_sst2")) == pytest.approx(expected)
    answered = BLOCK + 8 * 2 / 16
    assert applied_parameters(small("gpt1_tiny_sst2", objective__auxiliary=0)) == pytest.approx(answered)
    table = (100 + 3) * 8  # and the three marks
    assert applied_parameters(small("gpt1_tiny_sst2")) == pytest.approx(answered + table)


def test_a_task_that_asks_every_position_pays_at_every_position():
    expected = BLOCK + EMBEDDING_NORM + 8 * 2 + 2
    assert applied_parameters(small("bert_squad", data__length=16)) == pytest.approx(expected)


def test_attention_grows_with_the_length():
    short = override(experiments.get("gpt2_small"), {"data.length": 512})
    more = flops_a_token(experiments.get("gpt2_small")) - flops_a_token(short)
    assert more == 12 * 12 * 512 * 768


HEADS = (POOLER + 8 * 2 + 2) / 16
SCORES = 16 * 8  # length × width


@pytest.mark.parametrize(
    "freeze, gradients",
    [
        (None, 4 * (BLOCK + EMBEDDING_NORM + HEADS) + 8 * SCORES),
        ("!task_head", 2 * (8 * 2 + 2) / 16),
        ("!task_head+!pooler", 2 * HEADS + 2 * (8 * 2 + 2) / 16),
        ("embeddings", 4 * (BLOCK + HEADS) + 2 * EMBEDDING_NORM + 8 * SCORES),  # it is listed with the heads
        ("blocks", 2 * BLOCK + 4 * (EMBEDDING_NORM + HEADS) + 8 * SCORES),
    ],
)
def test_what_is_frozen_has_no_gradient(freeze, gradients):
    """Forward 2 per parameter; gradients of parameters 2, and of states 2, above the lowest that trains."""
    forward = 2 * (BLOCK + EMBEDDING_NORM + HEADS) + 4 * SCORES
    found = flops_a_token(small("bert_tiny_sst2", optimizer__freeze=freeze))
    assert found == pytest.approx(forward + gradients)


def test_half_of_the_blocks():
    found = [
        flops_a_token(override(experiments.get("gpt2_small"), {"optimizer.freeze": freeze}))
        for freeze in (None, "embeddings+blocks/0-5", "embeddings+blocks")
    ]
    block = 7_087_872
    assert found[0] - found[1] == pytest.approx(4 * 6 * block + 8 * 6 * 1_024 * 768 + 2 * 50_257 * 768)
    states_of_the_norm = 2 * 2 * 768
    assert found[1] - found[2] == pytest.approx(4 * 6 * block + 8 * 6 * 1_024 * 768 + states_of_the_norm)
