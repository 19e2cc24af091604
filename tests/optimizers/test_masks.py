"""Which parameters decay, and which are the hidden matrices that Muon updates."""

import jax
import pytest

import experiments
from research.config import Optimizer, Schedule
from research.models import build
from research.models.parameters import path_name
from research.optimizers.masks import decays
from research.optimizers.optimizer import optimizer

TABLES = {"tokens", "positions"}
KERNELS = {
    f"blocks/{part}/kernel" for part in ("attention/qkv", "attention/output", "mlp/expand", "mlp/output")
}


@pytest.mark.parametrize(
    "experiment, expected",
    [
        ("gpt1", TABLES | KERNELS),
        ("gpt2_small", TABLES | KERNELS),
        (
            "bert_base",
            TABLES
            | KERNELS
            | {"segments", "pooler/kernel", "masked/transform/kernel", "next_sentence/kernel"},
        ),
    ],
)
def test_decay_falls_on_matrices_and_tables(experiment, expected):
    config = experiments.get(experiment).model
    model = jax.eval_shape(lambda key: build(config, key=key), jax.random.key(0))
    decayed = {path_name(path) for path, yes in jax.tree_util.tree_leaves_with_path(decays(model)) if yes}
    assert decayed == expected


def test_muon_takes_hidden_matrices_alone():
    model = build(experiments.get("gpt2_shakespeare_char_cpu").model, key=jax.random.key(0))
    update = optimizer(Optimizer(name="muon", rate=Schedule(name="constant", peak=1e-3)), 10)
    opt_state = jax.eval_shape(update.init, model)
    second = {path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(opt_state)}
    with_two = {n.split("/nu/")[1] for n in second if "/nu/" in n}
    assert "tokens" in with_two and "blocks/attention_norm/scale" in with_two
    assert not any("kernel" in n for n in with_two)
