"""Rotary positions (Su et al., 2021) as another package would add them."""

import jax.numpy as jnp

from research.config.names import POSITIONS
from research.models.parts.positions import Positions


@POSITIONS.register("rope")
class RoPE(Positions):
    """Turns neighbouring features of a query and a key by angles in proportion to their positions."""

    def rotation(self, parameter, places, length):
        size = self.model.width // self.model.heads
        places = jnp.arange(length)[None] if places is None else places
        angles_BLHK = places[..., None, None] * 10_000.0 ** (-jnp.arange(0, size, 2) / size)
        cos, sin = jnp.cos(angles_BLHK), jnp.sin(angles_BLHK)

        def turn(x_BLHK):
            x, y = x_BLHK[..., ::2].astype(jnp.float32), x_BLHK[..., 1::2].astype(jnp.float32)
            pairs = jnp.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)
            return pairs.reshape(x_BLHK.shape).astype(x_BLHK.dtype)

        return lambda q, k: (turn(q), turn(k))
