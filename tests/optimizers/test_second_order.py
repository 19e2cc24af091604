"""SOAP, NorMuon and cautious decay against transcriptions in float64 of the papers' algorithms."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from research.config import Optimizer, Schedule
from research.config.settings import override
from research.errors import UsageError
from research.optimizers import soap
from research.optimizers.optimizer import optimizer
from research.runs.state import initial_state

RATE, STEPS = 0.05, 23


def start() -> dict:
    """Two blocks' kernels (2, 4, 2 × 2), their bias and a table."""
    numbers = np.random.default_rng(0)
    shapes = {"kernel": (2, 4, 2, 2), "bias": (2, 4)}
    return {
        "blocks": {name: numbers.normal(size=shape) for name, shape in shapes.items()},
        "table": numbers.normal(size=(3, 4)),
    }


def gradients(t: int) -> dict:
    numbers = np.random.default_rng(t + 1)
    return jax.tree.map(lambda x: numbers.normal(size=x.shape) + 0.3, start())


def ours(config: Optimizer, steps: int = STEPS) -> dict:
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start())
    update = optimizer(config, steps)
    opt_state, step = update.init(params), jax.jit(update.update)
    for t in range(steps):
        grads = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradients(t))
        updates, opt_state = step(grads, opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def configured(name: str, **settings) -> Optimizer:
    return Optimizer(name=name, epsilon=1e-8, rate=Schedule(name="constant", peak=RATE), **settings)


def theirs(rule, config: Optimizer, steps: int = STEPS) -> dict:
    """`rule(kernel, t)` of each block's matrix (4, 4), in float64; Adam for all else; then decay and rate."""
    params = start()
    moments = {
        key: [np.zeros_like(params[key])] * 2 if key == "table" else [np.zeros((2, 4))] * 2
        for key in ("table", "bias")
    }
    states: list[dict] = [{}, {}]

    def step(x, u, decay):
        felt = u * x >= 0 if config.cautious else True
        return x - RATE * (u + decay * felt * x)

    for t in range(1, steps + 1):
        grads = gradients(t - 1)
        for key in ("table", "bias"):
            of = params if key == "table" else params["blocks"]
            g = grads["table"] if key == "table" else grads["blocks"]["bias"]
            m, v = moments[key]
            m, v = config.b1 * m + (1 - config.b1) * g, config.b2 * v + (1 - config.b2) * g**2
            moments[key] = [m, v]
            u = m / (1 - config.b1**t) / (np.sqrt(v / (1 - config.b2**t)) + config.epsilon)
            of[key] = step(of[key], u, config.decay if key == "table" else 0)
        for n in range(2):
            g = grads["blocks"]["kernel"][n].reshape(4, 4)
            u = rule(config, states[n], g, t).reshape(4, 2, 2)
            params["blocks"]["kernel"][n] = step(params["blocks"]["kernel"][n], u, config.decay)
    return params


def soap_rule(c: Optimizer, s: dict, g: np.ndarray, t: int) -> np.ndarray:
    """Vyas et al. (2024), algorithm 3, in the released code's order: the first gradient moves nothing."""
    eigenvectors = lambda x: np.linalg.eigh(x)[1][:, ::-1]  # noqa: E731
    if t == 1:
        s["L"], s["R"] = (1 - c.b2) * g @ g.T, (1 - c.b2) * g.T @ g
        s["QL"], s["QR"] = eigenvectors(s["L"]), eigenvectors(s["R"])
        s["M"], s["V"] = np.zeros_like(g), np.zeros_like(g)
        return np.zeros_like(g)
    step, rotated = t - 1, s["QL"].T @ g @ s["QR"]
    s["M"] = c.b1 * s["M"] + (1 - c.b1) * g  # kept in the space of the weights, as in the paper
    s["V"] = c.b2 * s["V"] + (1 - c.b2) * rotated**2
    n = s["QL"].T @ s["M"] @ s["QR"] / (np.sqrt(s["V"]) + c.epsilon)
    update = np.sqrt(1 - c.b2**step) / (1 - c.b1**step) * s["QL"] @ n @ s["QR"].T
    s["L"], s["R"] = c.b2 * s["L"] + (1 - c.b2) * g @ g.T, c.b2 * s["R"] + (1 - c.b2) * g.T @ g
    if step % 10 == 0:
        rows = np.argsort(-np.diag(s["QL"].T @ s["L"] @ s["QL"]))
        columns = np.argsort(-np.diag(s["QR"].T @ s["R"] @ s["QR"]))
        s["V"] = s["V"][rows][:, columns]
        s["QL"] = np.linalg.qr(s["L"] @ s["QL"][:, rows])[0]
        s["QR"] = np.linalg.qr(s["R"] @ s["QR"][:, columns])[0]
    return update


def normuon_rule(c: Optimizer, s: dict, g: np.ndarray, t: int) -> np.ndarray:
    """Li et al. (2025), algorithm 1, with the Nesterov momentum of Optax's Muon."""
    s["M"] = c.b1 * s.get("M", 0) + (1 - c.b1) * g
    x = c.b1 * s["M"] / (1 - c.b1 ** (t + 1)) + (1 - c.b1) * g / (1 - c.b1**t)
    x = x / (np.linalg.norm(x) + c.epsilon)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    s["v"] = c.b2 * s.get("v", 0) + (1 - c.b2) * (x**2).mean(0)  # a neuron is a column here
    x = x / (np.sqrt(s["v"]) + c.epsilon)
    return 0.2 * np.sqrt(x.size) / np.linalg.norm(x) * x


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name, rule", [("soap", soap_rule), ("normuon", normuon_rule)])
def test_equals_the_published_rule(name, rule, cautious):
    config = configured(name, b1=0.9, b2=0.95, decay=0.1, cautious=cautious)
    mine, reference = ours(config), theirs(rule, config)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(reference), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_long_side_has_no_basis(monkeypatch):
    """It is then one-sided, and equals SOAP whose basis of that side is the identity."""
    monkeypatch.setattr(soap, "LARGEST", 3)
    config = configured("soap", b1=0.9, b2=0.95)
    adam = configured("adamw", b1=0.9, b2=0.95)
    kernels = [ours(one, 1)["blocks"]["kernel"] for one in (config, adam)]
    np.testing.assert_array_equal(kernels[0], np.float32(start()["blocks"]["kernel"]))
    assert np.abs(kernels[1] - kernels[0]).min() > 0
    monkeypatch.setattr(soap, "LARGEST", 4)
    tall = jnp.ones((2, 3, 5))
    state = soap.scale_by_soap(0.9, 0.95, 1e-8).init(tall)
    assert state.left.shape == (2, 3, 3) and state.right.shape == (2, 1, 1)


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd", "lion", "adafactor", "schedule_free_adamw"])
def test_cautious_decay_touches_only_weights_that_shrink(name):
    """One step beside one without decay: a weight is equal, or less by rate × decay × itself."""
    runs = [ours(configured(name, decay=d, cautious=d > 0), 1) for d in (0.0, 0.1)]
    for leaf, (path, before) in zip(
        zip(*map(jax.tree.leaves, runs), strict=True),
        jax.tree_util.tree_leaves_with_path(start()),
        strict=True,
    ):
        free, decayed = map(np.asarray, leaf)
        shrinks = ((before - free) * before >= 0) & ("bias" not in str(path))
        if name == "muon":
            shrinks &= "kernel" in str(path)
        np.testing.assert_allclose(free - decayed, shrinks * RATE * 0.1 * before, atol=2e-6)


@pytest.mark.parametrize("name", ["lamb", "sophia"])
def test_an_optimizer_that_mixes_the_decay_in_refuses_to_be_cautious(name):
    with pytest.raises(UsageError, match=f"optimizer.cautious=true: {name} has its own rule"):
        configured(name, cautious=True)


def test_the_state_of_soap_is_counted():
    """Two moments, and for each kernel (N, I, O) two squares of I and two of O; else as Adam."""
    declared = override(experiments.get("gpt2_small"), {"optimizer.name": "soap"})
    state = jax.eval_shape(partial(initial_state, declared))
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    d = declared.model.width
    squares = sum(i**2 + o**2 for i, o in ((d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)))
    assert size(state.opt_state) == 2 * size(state.model) + 2 * 12 * squares + 3  # and three counts


ON_TWO_CORES = """
import jax, jax.numpy as jnp
from research.optimizers.soap import scale_by_soap

kernels = [jax.random.normal(jax.random.key(n), (2, 64, 192)) for n in range(8)]
soap = scale_by_soap(0.9, 0.95, 1e-8)
update = lambda *given: jax.lax.cond(given[1].count < 99, soap.update, lambda *same: same, *given)
update, state = jax.jit(update), soap.init(kernels)
for _ in range(52):  # the bases are chosen, and renewed five times
    updates, state = update(kernels, state)
print(all(bool(jnp.isfinite(one).all()) for one in updates))
"""


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_decompositions_of_several_kernels_do_not_wait_for_each_other():
    """Whole stacks at once have done so for ever, in most runs of these."""
    command = [sys.executable, "-c", ON_TWO_CORES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True\n"
