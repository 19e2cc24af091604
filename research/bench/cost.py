"""Floating-point operations of a step by the usual formula, and the peak rate of this machine's devices."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from research.config import Experiment, Model
from research.config.sections.freezing import BLOCKS, is_embedding, share_trained, trained_blocks, trains
from research.devices.targets import chip_of
from research.models.parameters import components
from research.models.precision import matmul_dtype
from research.objectives import objective_of

FORMULA = (
    "6N + 12·depth·length·width per token; N: parameters without embedding look-ups; less if some are frozen"
)
LAST = ("tokens", "output", "task_head", "next_sentence")  # modules that make a model's outputs


class Peak(NamedTuple):
    flops: float | None  # per second, of all devices used; None if unknown
    source: str


def flops_a_token(experiment: Experiment) -> float:
    """Forward and backward FLOPs by PaLM's formula (Chowdhery et al., 2022, appendix B), without remat.

    The forward pass takes a third of them, and so do the gradients of parameters and those of states. The
    latter two count only for parameters that train, and above the lowest of them.
    """
    model, freeze = experiment.model, experiment.optimizer.freeze
    lowest = _lowest_trained(freeze, model)

    def trained(name: str) -> float:
        return float(share_trained(freeze, name, model))

    def passed(name: str) -> float:
        if name.startswith(BLOCKS):
            return min(max(model.depth + 1 - lowest, 0) / model.depth, 1.0)
        return float(lowest < _layer(name, model))

    products = sum(2 * applied_parameters(experiment, share) for share in (lambda name: 1.0, trained, passed))
    scores = 4 * model.depth * experiment.data.length * model.width
    return products + scores * (1 + 2 * passed(BLOCKS))


def _lowest_trained(freeze: str | None, model: Model) -> int:
    """The layer of the lowest parameter that trains: 0 for embeddings, n + 1 for block n, then the heads."""
    layers = []
    for name, *_ in components(model):
        if name.startswith(BLOCKS):
            layers += [run[0] + 1 for run in trained_blocks(freeze, name, model)]
        elif trains(freeze, name, model):
            embedded = is_embedding(name, model) or name == "special_embeddings"
            layers.append(0 if embedded else _layer(name, model))
    return min(layers)


def _layer(name: str, model: Model) -> int:
    """The layer of a module above the blocks."""
    return model.depth + (2 if name.split("/")[0] in LAST else 1)


def applied_parameters(experiment: Experiment, factor: Callable[[str], float] = lambda name: 1.0) -> float:
    """Parameters applied to a token on average, times their factors; embedding look-ups do not count.

    The output table counts at predicted positions: all of a GPT, a few of a BERT, and in fine-tuning only for
    an auxiliary loss.
    """
    once = 1 / experiment.data.length  # of a sequence
    predicted = objective_of(experiment.objective).predicted(experiment)
    share = {
        "tokens": predicted if experiment.model.tied else 0,
        "output": predicted,
        "special_embeddings": predicted,
        "masked": predicted,
        "positions": 0,
        "segments": 0,
        "pooler": once,
        "next_sentence": once,
        "task_head": 1 if experiment.model.head == "tokens" else once,
    }
    return sum(
        part.count * share.get(part.name.split("/")[0], 1) * factor(part.name)
        for part in components(experiment.model)
    )


def peak(precision: str, devices: int) -> Peak:
    """Peak FLOP/s of `devices` like the first; measured on a CPU, in the type of the model's matrices."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        dtype = matmul_dtype(precision)
        # Simulated devices share the cores that one matrix product uses.
        return Peak(measured(dtype), f"a {dtype} product of 2,048² matrices in this run")
    chip = chip_of(device.device_kind)
    if chip is None:
        return Peak(None, f"{device.device_kind}: unknown")
    return Peak(devices * chip.half, f"dense 16-bit, from the data sheet of {device.device_kind}")


def measured(dtype: jnp.dtype, size: int = 2_048, repeats: int = 5) -> float:
    """FLOP/s of the fastest of a few products."""
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    multiply = jax.jit(lambda a: jnp.dot(a, a, preferred_element_type=jnp.float32))
    multiply(a).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        multiply(a).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
