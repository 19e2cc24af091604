"""Dynamic loss scaling for float16, whose smallest number is 6e-8 (Micikevicius et al., 2018, section 3.2).

The gradient of a loss times `scale` is far from both ends of float16; it is divided by `scale` in float32. A
step that overflows is skipped and halves the scale, which is doubled after GROWTH steps without overflow.
"""

import jax.numpy as jnp
from flax import struct
from jax import Array

GROWTH = 2_000  # steps; as in PyTorch's GradScaler
FIRST = 2.0**16
LARGEST = 2.0**40  # of a loss that is a mean over up to 2^24 targets


class LossScale(struct.PyTreeNode):
    scale: Array  # float32
    steps: Array  # since the last change


def fresh() -> LossScale:
    return LossScale(jnp.float32(FIRST), jnp.int32(0))


def following(now: LossScale, finite: Array) -> LossScale:
    """The scale for the next step, after one whose gradient is `finite` or not."""
    grows = now.steps + 1 >= GROWTH
    larger = jnp.where(grows, jnp.minimum(2 * now.scale, LARGEST), now.scale)
    return LossScale(
        scale=jnp.where(finite, larger, jnp.maximum(now.scale / 2, 1.0)),
        steps=jnp.where(finite & ~grows, now.steps + 1, 0),
    )
