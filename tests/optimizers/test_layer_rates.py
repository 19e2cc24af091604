"""Layer-wise decay of the rate, against tables by hand and smaller rates."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from optax import contrib

from research.config.hyperparameters import split
from research.config.names import OPTIMIZERS
from research.config.settings import override
from research.errors import UsageError
from research.models import build
from research.models.parameters import by_path
from research.optimizers.layer_rates import powers
from research.optimizers.optimizer import evaluation_params, optimizer
from research.optimizers.trained import trained
from research.runs.traced_numbers import fill
from tests.mostly_slow import mostly_slow
from tests.optimizers.test_trained import declared, gradients_of, model_of

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

DECAY = 0.8
# Bao et al. (2021), beit/optim_factory.py: layer 0 is the embeddings, n + 1 block n, depth + 1 the head;
# a layer's factor is decay ** (depth + 1 - layer). Of four blocks:
BLOCKS = np.array([0.8**4, 0.8**3, 0.8**2, 0.8**1])
EMBEDDINGS = 0.8**5


def factors(model, freeze=None, config=None) -> dict[str, np.ndarray]:
    found = by_path(powers(model, freeze, config))
    return {name: np.asarray(DECAY ** np.float64(power)).squeeze() for name, power in found.items()}


def test_a_bert_by_hand():
    import experiments

    small = {"model.depth": 4, "model.head": "sequence", "model.outputs": 2}
    config = override(experiments.get("bert_tiny_sst2"), small).model
    model = jax.eval_shape(lambda: build(config, key=jax.random.key(0)))
    found = factors(model, None, config)
    for name in ("tokens", "positions", "segments", "norm/scale", "norm/bias"):
        assert found.pop(name) == pytest.approx(EMBEDDINGS)
    for name in ("pooler/kernel", "pooler/bias", "task_head/kernel", "task_head/bias"):
        assert found.pop(name) == 1
    assert len(found) == 12  # the parameters of blocks
    for name, factor in found.items():
        np.testing.assert_allclose(factor, BLOCKS, rtol=1e-6, err_msg=name)


def test_a_gpt_by_hand():
    """Its norm follows the blocks; a tied table is an embedding."""
    config = declared().model
    found = factors(model_of(declared()), None, config)
    assert found["norm/scale"] == found["norm/bias"] == 1
    assert found["tokens"] == found["positions"] == pytest.approx(EMBEDDINGS)


def test_frozen_blocks_do_not_shift_the_others():
    config, freeze = declared().model, "blocks/0-1+blocks/2/mlp"
    part = trained(freeze, config).select(model_of(declared()))
    found = factors(part, freeze, config)
    np.testing.assert_allclose(found["blocks/attention/qkv/kernel"], BLOCKS[2:], rtol=1e-6)
    np.testing.assert_allclose(found["blocks/mlp/expand/kernel"], BLOCKS[3], rtol=1e-6)


def trajectory(experiment, steps: int, model):
    """A function of the rate that gives the parameters, and those to evaluate.

    After updates by gradients that do not depend on them.
    """
    shape, values = split(override(experiment, {"run.hyperparameters": "inputs"}))
    gradients = [gradients_of(model, seed) for seed in range(steps)]

    def curved(params):  # for Sophia: a curvature that does not depend on the parameters either
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(params))

    @jax.jit
    def run(values):
        given = fill(shape, values)
        update = optimizer(given.optimizer, 10, given.model)
        params = model
        opt_state = update.init(model)
        for grads in gradients:
            updates, opt_state = update.update(grads, opt_state, params, value=0.0, obj_fn=curved)
            params = optax.apply_updates(params, updates)
        return params, evaluation_params(params, opt_state)

    return lambda rate: [by_path(tree) for tree in run(values | {"optimizer.rate.peak": rate})]


@pytest.mark.parametrize("name", mostly_slow(OPTIMIZERS))
def test_a_layer_moves_as_with_a_smaller_rate(name):
    """Also its weight decay. LAMB and Adafactor scale by a norm of all blocks, which rates change later."""
    steps = 1 if name in ("lamb", "adafactor") else 2
    settings = {"optimizer__name": name, "optimizer__clip": None, "optimizer__rate__peak": 0.1}
    even = declared(**settings)
    model = model_of(even)
    found = trajectory(declared(**settings, optimizer__rate__layer_decay=DECAY), steps, model)(0.1)
    at_rate = trajectory(even, steps, model)
    for power in (0, 2, 5):
        for one, other in zip(found, at_rate(0.1 * DECAY**power), strict=True):
            if power == 2:
                names, row = [path for path in one if path.startswith("blocks/")], 2
            else:
                names, row = (["norm/scale", "norm/bias"] if power == 0 else ["tokens", "positions"]), ...
            for path in names:
                np.testing.assert_allclose(
                    one[path][row], other[path][row], rtol=2e-4, atol=2e-6, err_msg=f"{path}, power {power}"
                )
                assert (one[path] != by_path(model)[path]).any()


def test_an_optimizer_that_keeps_iterates_has_to_scale_them(registries):
    @OPTIMIZERS.register("iterates")
    def iterates(config, rate):
        return contrib.schedule_free(optax.sgd(rate), learning_rate=rate)

    experiment = declared(optimizer__name="iterates", optimizer__rate__layer_decay=DECAY)
    model = model_of(experiment)
    with pytest.raises(UsageError, match=r"optimizer\.name=iterates keeps iterates of its own"):
        optimizer(experiment.optimizer, 10, experiment.model).init(model)
    one_rate = replace(experiment.optimizer, rate=replace(experiment.optimizer.rate, layer_decay=1.0))
    optimizer(one_rate, 10, experiment.model).init(model)
