"""Names to Optax transformations and schedules."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from research.config import Optimizer, Schedule


def schedule(config: Schedule, steps: int) -> Callable[[Array], Array]:
    """Step → learning rate. Warm-up reaches the peak at its last step, never starting from a zero rate;
    what follows reaches `final` times the peak at the last of `steps`."""

    def rate(step: Array) -> Array:
        warmed = jnp.minimum((step + 1) / max(config.warmup, 1), 1.0)
        done = jnp.clip((step - config.warmup) / max(steps - 1 - config.warmup, 1), 0.0, 1.0)
        left = {
            "constant": lambda: jnp.ones_like(done),
            "linear": lambda: 1 - done,
            "cosine": lambda: 0.5 * (1 + jnp.cos(math.pi * done)),
        }[config.name]()
        share = config.final + (1 - config.final) * left if config.name != "constant" else left
        return config.peak * warmed * share

    return rate


def decays(model: Any) -> Any:
    """True for matrices and tables, False for biases and norms: by name, since blocks are stacked."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not {"bias", "scale"} & {getattr(part, "name", None) for part in path}, model
    )


def optimizer(config: Optimizer, steps: int) -> optax.GradientTransformation:
    rate = schedule(config.rate, steps)
    parts = [
        optax.clip_by_global_norm(config.clip) if config.clip is not None else None,
        optax.scale_by_adam(config.b1, config.b2, config.epsilon),
        optax.add_decayed_weights(config.decay, mask=decays) if config.decay else None,
        optax.scale_by_learning_rate(rate),
    ]
    return optax.chain(*(part for part in parts if part is not None))
