"""Each optimizer: the originals' against transcriptions in float64, all against what they must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.config import Optimizer, Schedule
from research.config.names import OPTIMIZERS
from research.models import build
from research.optimizers.optimizer import evaluation_params, optimizer

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


class Layer(nnx.Module):
    """A matrix that decays and a vector that does not."""

    def __init__(self):
        self.kernel = nnx.Param(jnp.array([[1.0, -2.0, 0.5], [0.1, 0.2, 3.0]]))
        self.bias = nnx.Param(jnp.array([0.5, -0.25]))


def gradient(parameter, t: int) -> np.ndarray:
    """Anything that changes sign and size over steps."""
    n = np.arange(parameter.size)
    return (np.sin(t * (n + 1)) * (1 + n)).reshape(parameter.shape)


def run(config: Optimizer, steps: int) -> dict[str, np.ndarray]:
    layer = Layer()
    update = optimizer(config, steps)
    opt_state = update.init(layer)
    step = jax.jit(update.update)
    for t in range(1, steps + 1):
        grads = jax.tree.map(lambda x, t=t: jnp.asarray(gradient(x, t), jnp.float32), layer)
        updates, opt_state = step(grads, opt_state, layer)
        layer = jax.tree.map(jnp.add, layer, updates)
    return {"kernel": np.asarray(layer.kernel[...]), "bias": np.asarray(layer.bias[...])}


def transcribed(config: Optimizer, steps: int, rule) -> dict[str, np.ndarray]:
    """`rule(p, m, v, t, decay)` returns the next parameter, in float64."""
    layer = Layer()
    p = {n: np.asarray(getattr(layer, n)[...], np.float64) for n in ("kernel", "bias")}
    m, v = ({n: np.zeros_like(x) for n, x in p.items()} for _ in range(2))
    for t in range(1, steps + 1):
        g = {n: gradient(x, t) for n, x in p.items()}
        norm = np.sqrt(sum((x**2).sum() for x in g.values()))
        for n in p:
            clipped = g[n] * min(1, config.clip / norm)
            m[n] = config.b1 * m[n] + (1 - config.b1) * clipped
            v[n] = config.b2 * v[n] + (1 - config.b2) * clipped**2
            p[n] = rule(p[n], m[n], v[n], t, config.decay if n == "kernel" else 0)
    return p


STEPS, PEAK, WARMUP = 50, 0.1, 5


def adamw(c):
    """Loshchilov & Hutter (2019), algorithm 2."""

    def rule(p, m, v, t, decay):
        rate = PEAK * min(t / WARMUP, 1) * (1 - max(t - 1 - WARMUP, 0) / (STEPS - 1 - WARMUP))
        m, v = m / (1 - c.b1**t), v / (1 - c.b2**t)
        return p - rate * (m / (np.sqrt(v) + c.epsilon) + decay * p)

    return rule


def gpt1_adam(c):
    """openai/finetune-transformer-lm: adam() with warmup_cosine."""

    def rule(p, m, v, t, decay):
        rate = PEAK * np.sqrt(1 - c.b2**t) / (1 - c.b1**t)
        x, warmup = (t - 1) / STEPS, WARMUP / STEPS
        rate *= x / warmup if x <= warmup else 0.5 * (1 + np.cos(np.pi * x))
        return p - rate * (m / (np.sqrt(v) + c.epsilon) + decay * p)

    return rule


def bert_adam(c):
    """google-research/bert: AdamWeightDecayOptimizer under create_optimizer's schedule."""

    def rule(p, m, v, t, decay):
        done = t - 1
        rate = PEAK * (done / WARMUP if done < WARMUP else 1 - done / STEPS)
        return p - rate * (m / (np.sqrt(v) + c.epsilon) + decay * p)

    return rule


@pytest.mark.parametrize("rule, shape", [(adamw, "linear"), (gpt1_adam, "gpt1_cosine"), (bert_adam, "bert")])
def test_equals_the_published_rule(rule, shape):
    rate = Schedule(name=shape, peak=PEAK, warmup=WARMUP)
    config = Optimizer(name=rule.__name__, b1=0.8, b2=0.95, epsilon=1e-2, decay=0.1, clip=2.0, rate=rate)
    ours, theirs = run(config, STEPS), transcribed(config, STEPS, rule(config))
    for n in theirs:
        np.testing.assert_allclose(ours[n], theirs[n], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(OPTIMIZERS, key=lambda kind: kind != "adamw"))
def test_learns_a_small_language(kind):
    """A GPT-2 of two layers learns that each token is followed by its successor."""
    from research.config import Model
    from research.objectives import next_token

    model = build(
        Model(family="gpt2", vocabulary=16, context=8, width=16, depth=2, heads=2), key=jax.random.key(0)
    )
    tokens = (jnp.arange(8)[None] + jnp.arange(16)[:, None]) % 16
    batch = {"tokens": tokens, "targets": (tokens + 1) % 16, "weights": jnp.full((16, 8), 1 / 128)}
    peak = {"sgd": 0.3, "lion": 2e-3, "sophia": 3e-3, "lamb": 3e-2}.get(kind, 1e-2)
    config = Optimizer(name=kind, decay=0.01, clip=1.0, rate=Schedule(name="constant", peak=peak, warmup=5))
    update = optimizer(config, 60)

    @jax.jit
    def step(model, opt_state):
        def total(model):
            return next_token.loss(model, batch)["loss"]

        value, grads = jax.value_and_grad(total)(model)
        updates, opt_state = update.update(grads, opt_state, model, obj_fn=total)
        return jax.tree.map(jnp.add, model, updates), opt_state, value

    opt_state, losses = update.init(model), []
    for _ in range(60):
        model, opt_state, value = step(model, opt_state)
        losses.append(float(value))
    final = float(next_token.loss(evaluation_params(model, opt_state), batch)["loss"])
    assert losses[0] == pytest.approx(np.log(16), abs=0.1)
    assert final < 0.8 * losses[0], (losses[0], final)
