"""Schedules at their corners, decay by name, and AdamW against its paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from research.config import Optimizer, Schedule
from research.models import build
from research.models.account import name
from research.optimizers import decays, optimizer, schedule


@pytest.mark.parametrize(
    "kind, corners",
    [
        ("cosine", {0: 0.25, 3: 1.0, 4: 1.0, 54: 0.55, 104: 0.1, 200: 0.1}),
        ("linear", {0: 0.25, 3: 1.0, 4: 1.0, 54: 0.55, 104: 0.1, 200: 0.1}),
        ("constant", {0: 0.25, 3: 1.0, 4: 1.0, 104: 1.0}),
    ],
)
def test_corners(kind, corners):
    rate = schedule(Schedule(name=kind, peak=2.0, warmup=4, final=0.1), steps=105)
    for step, share in corners.items():
        assert float(rate(jnp.int32(step))) == pytest.approx(2.0 * share, rel=1e-6), step


def test_no_warmup_starts_at_the_peak():
    assert float(schedule(Schedule(name="cosine", peak=2.0), steps=10)(jnp.int32(0))) == 2.0


def test_decay_falls_on_matrices_and_tables():
    model = jax.eval_shape(lambda key: build(experiments.get("gpt2_small").model, key=key), jax.random.key(0))
    decayed = {name(path) for path, yes in jax.tree_util.tree_leaves_with_path(decays(model)) if yes}
    assert decayed == {
        "tokens",
        "positions",
        "blocks/attention/qkv/kernel",
        "blocks/attention/output/kernel",
        "blocks/mlp/expand/kernel",
        "blocks/mlp/output/kernel",
    }


def test_adamw_is_the_papers():
    """Loshchilov & Hutter (2019), algorithm 2, with clipping, transcribed in float64."""
    config = Optimizer(
        b1=0.8, b2=0.9, epsilon=1e-3, decay=0.1, clip=0.5, rate=Schedule(name="linear", peak=0.1, warmup=3)
    )
    update = optimizer(config, 20)
    step = jax.jit(update.update)
    params = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])}
    # Names decide what decays; a dict's keys are not attributes, so give the tree attributes.
    from flax import nnx

    class Layer(nnx.Module):
        def __init__(self):
            self.kernel, self.bias = nnx.Param(params["kernel"]), nnx.Param(params["bias"])

    layer = Layer()
    moments = update.init(layer)
    p = {n: np.asarray(x, np.float64) for n, x in params.items()}
    m, v = ({n: np.zeros_like(x) for n, x in p.items()} for _ in range(2))
    for t in range(1, 21):
        g = {n: np.sin(t + np.arange(x.size)).reshape(x.shape) for n, x in p.items()}
        grads = jax.tree.unflatten(
            jax.tree.structure(layer), [jnp.asarray(g[n], jnp.float32) for n in ("bias", "kernel")]
        )
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises a float to an integer
            updates, moments = step(grads, moments, layer)
        layer = jax.tree.map(jnp.add, layer, updates)
        norm = np.sqrt(sum((x**2).sum() for x in g.values()))
        rate = 0.1 * min(t / 3, 1) * (1 - max(t - 1 - 3, 0) / 16)
        for n in p:
            clipped = g[n] * min(1, 0.5 / norm)
            m[n] = 0.8 * m[n] + 0.2 * clipped
            v[n] = 0.9 * v[n] + 0.1 * clipped**2
            step = m[n] / (1 - 0.8**t) / (np.sqrt(v[n] / (1 - 0.9**t)) + 1e-3)
            p[n] = p[n] - rate * (step + (0.1 * p[n] if n == "kernel" else 0))
    np.testing.assert_allclose(layer.kernel[...], p["kernel"], rtol=1e-5)
    np.testing.assert_allclose(layer.bias[...], p["bias"], rtol=1e-5)
