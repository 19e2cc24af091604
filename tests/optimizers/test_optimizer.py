"""Clipping, the average that an optimizer keeps, and whether it evaluates the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from research.config import Optimizer, Schedule
from research.config.names import OPTIMIZERS
from research.optimizers.optimizer import (
    averages_iterates,
    evaluates_loss,
    evaluation_params,
    optimizer,
)

RATE = Schedule(name="constant", peak=0.5)
PARAMS = {"kernel": jnp.array([[3.0, 0.0], [0.0, 4.0]]), "bias": jnp.array([0.0, 12.0])}  # of norm 13


def declared(name: str, **settings) -> optax.GradientTransformationExtraArgs:
    return optimizer(Optimizer(name=name, rate=RATE, **settings), 10)


@pytest.mark.parametrize("norm", [None, jnp.float32(13)])
@pytest.mark.parametrize("limit, scale", [(1.3, 0.1), (13.0, 1.0), (100.0, 1.0)])
def test_clipping_scales_to_the_limit(norm, limit, scale):
    update = declared("sgd", b1=0.0, clip=limit)
    updates, _ = update.update(PARAMS, update.init(PARAMS), PARAMS, norm=norm)
    for name, gradient in PARAMS.items():
        np.testing.assert_allclose(updates[name], -0.5 * scale * gradient, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_only_an_optimizer_that_estimates_curvature_evaluates_the_loss(name):
    assert evaluates_loss(declared(name), PARAMS) == (name == "sophia")


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_only_a_schedule_free_optimizer_averages(name):
    update = declared(name, clip=1.0)
    opt_state = update.init(PARAMS)
    assert averages_iterates(opt_state) == averages_iterates(jax.eval_shape(update.init, PARAMS))
    assert averages_iterates(opt_state) == (name == "schedule_free_adamw")
    if not averages_iterates(opt_state):
        assert evaluation_params(PARAMS, opt_state) is PARAMS


def test_another_schedule_free_optimizer_is_found_wherever_it_lies():
    inner = contrib.schedule_free(optax.sgd(0.5), learning_rate=0.5, b1=0.9)
    update = optax.chain(optax.clip(1.0), optax.chain(optax.identity(), inner))
    opt_state = update.init(PARAMS)
    (*_, (_, state)) = opt_state
    expected = contrib.schedule_free_eval_params(state, PARAMS)
    jax.tree.map(np.testing.assert_array_equal, evaluation_params(PARAMS, opt_state), expected)
