"""The learning rate as a function of the step."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from research.config import Schedule
from research.config.names import SCHEDULES


def schedule(config: Schedule, steps: int) -> Callable[[ArrayLike], Array]:
    """Maps the number of updates to the next learning rate; `steps` is the run's length.

    The originals' schedules differ from the others: they warm up from a rate of zero, and their decay starts
    at step 0 instead of the end of the warm-up.
    """
    shape = SCHEDULES[config.name]

    def rate(step: ArrayLike) -> Array:
        return config.peak * shape(jnp.asarray(step, jnp.float32), config, steps)

    return rate


def at_least_one(number: Any) -> Any:
    """`max` of 1 and a number, which may be traced."""
    return max(number, 1) if isinstance(number, int | float) else jnp.maximum(number, 1)


def _warmed(step: Array, config: Schedule) -> Array:
    """Reaches 1 at the last step of the warm-up; the first step has a nonzero rate."""
    return jnp.minimum((step + 1) / at_least_one(config.warmup), 1)


def _done(step: Array, config: Schedule, steps: int) -> Array:
    """0 at the warm-up's end, 1 at the last step."""
    return jnp.clip((step - config.warmup) / at_least_one(steps - 1 - config.warmup), 0, 1)


def _to_final(left: Array, config: Schedule) -> Array:
    return config.final + (1 - config.final) * left


@SCHEDULES.register("constant")
def constant(step, config, steps):
    return _warmed(step, config)


@SCHEDULES.register("linear")
def linear(step, config, steps):
    return _warmed(step, config) * _to_final(1 - _done(step, config, steps), config)


@SCHEDULES.register("cosine")
def cosine(step, config, steps):
    left = 0.5 * (1 + jnp.cos(math.pi * _done(step, config, steps)))
    return _warmed(step, config) * _to_final(left, config)


@SCHEDULES.register("inverse_sqrt")
def inverse_sqrt(step, config, steps):
    """Vaswani et al. (2017), section 5.3, with the peak at the end of the warm-up."""
    warmup = at_least_one(config.warmup)
    return jnp.minimum((step + 1) / warmup, jnp.sqrt(warmup / (step + 1)))


@SCHEDULES.register("warmup_stable_decay")
def warmup_stable_decay(step, config, steps):
    """Hu et al. (2024), section 4: constant until the last `cooldown` of the steps, then linear."""
    cooldown = at_least_one(config.cooldown * steps)
    left = jnp.clip((steps - 1 - step) / cooldown, 0, 1)
    return _warmed(step, config) * _to_final(left, config)


@SCHEDULES.register("bert")
def bert(step, config, steps):
    """google-research/bert, optimization.py: linear decay to zero from step 0, also during the warm-up."""
    line = 1 - jnp.minimum(step, steps) / steps
    return jnp.where(step < config.warmup, step / at_least_one(config.warmup), line)


@SCHEDULES.register("transformers_linear")
def transformers_linear(step, config, steps):
    """Hugging Face Transformers, get_linear_schedule_with_warmup; also that of its Flax examples."""
    left = (steps - step) / at_least_one(steps - config.warmup)
    return jnp.where(step < config.warmup, step / at_least_one(config.warmup), jnp.maximum(left, 0))


@SCHEDULES.register("gpt1_cosine")
def gpt1_cosine(step, config, steps):
    """openai/finetune-transformer-lm, opt.py: warmup_cosine."""
    warming = step <= config.warmup
    return jnp.where(
        warming & (config.warmup > 0),
        step / at_least_one(config.warmup),
        0.5 * (1 + jnp.cos(math.pi * step / steps)),
    )


@SCHEDULES.register("gpt1_linear")
def gpt1_linear(step, config, steps):
    """openai/finetune-transformer-lm, opt.py: warmup_linear, which also decays during the warm-up."""
    warming = (step <= config.warmup) & (config.warmup > 0)
    return jnp.where(warming, step / at_least_one(config.warmup), 1) * (1 - step / steps)
