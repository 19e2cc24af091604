"""The curvature that Sophia asks for: on any device, and of a batch in parts."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from research.config.settings import override
from research.models.platform import differentiated_again, tracing_for
from research.objectives import objective_of, training_loss
from research.runs.state import initial_model
from research.training.step import of_parts, split
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

TINY = {
    "model.vocabulary": 64,
    "model.context": 64,
    "model.width": 32,
    "model.depth": 2,
    "model.heads": 2,
    "model.precision": "float32",
    "model.dropout_generator": "hash",
    "data.batch": 4,
    "data.length": 64,
    "data.later.step": 0,
}
DEVICES = {"cpu": ("cpu", None), "gpu": ("gpu", (9, 0)), "tpu": ("tpu", None)}


def batch_of(experiment):
    random = np.random.default_rng(0)
    shapes = objective_of(experiment.objective).batch_shapes(experiment)
    return {
        name: random.integers(0, 2, shape).astype(dtype)
        if np.issubdtype(dtype, np.integer)
        else np.ones(shape, dtype)
        for name, (shape, dtype) in shapes.items()
    }


def curvature(experiment, device, parts=1):
    """The gradient's derivative in one direction, as Optax takes it in an update."""
    with tracing_for(*DEVICES[device]):
        model = jax.jit(partial(initial_model, experiment.model, experiment.run.seed))()
        loss, dealt = (
            training_loss(experiment.objective),
            split(batch_of(experiment), parts),
        )

        def of_part(model, part, index):
            sums = loss(model, part, jax.random.fold_in(jax.random.key(1), index))
            return sums["loss"], sums

        along = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), model)
        with differentiated_again.being(True):
            derivative = jax.jit(
                lambda model: jax.jvp(jax.grad(of_parts(of_part, dealt)), (model,), (along,))[1]
            )
            return jax.tree.leaves(derivative(model))


@cache
def expected_of(name):
    return curvature(override(experiments.get(name), TINY), "cpu")


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * float(abs(b).max()))


@pytest.mark.parametrize(
    ("name", "device"),
    mostly_slow(
        [(name, device) for name in ("gpt1", "gpt2_small", "bert_base") for device in ("gpu", "tpu")]
    ),
)
def test_all_devices_find_the_same(name, device):
    """With formulations of their own in the step, some of which JAX does not differentiate twice."""
    experiment = override(experiments.get(name), TINY)
    assert_close(curvature(experiment, device), expected_of(name))


def test_parts_find_what_the_whole_batch_does():
    experiment = override(experiments.get("gpt2_small"), TINY | {"model.dropout": 0.0})
    assert_close(curvature(experiment, "cpu", parts=4), curvature(experiment, "cpu"))


@pytest.mark.slow
def test_parts_need_the_memory_of_one():
    def temporaries(parts):
        experiment = override(experiments.get("gpt2_small"), TINY | {"data.batch": 64, "model.dropout": 0.0})
        compiled = jax.jit(partial(curvature, experiment, "cpu", parts)).lower().compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(16) < 0.2 * temporaries(1)
