"""Position schemes, chosen by `model.positions`.

A scheme acts on embeddings (`embed`), on queries and keys (`rotation`) or on scores (`bias`). It is a class,
constructed as `scheme(model)`, with the methods of `Positions`; methods that it does not override have no
effect. `parameter` is the result of its `init`: an `nnx.Param` (on disk `positions`), a module, or None.
`places` are the tokens' positions (B, L), int32; None means 0 to L - 1 in every row.

Shapes: B batch, L length, S source length, H heads, K head size, D width.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.config.names import POSITIONS
from research.models.axes import BOTH, parameter
from research.models.linear import Initializer

Rotate = Callable[[Array, Array], tuple[Array, Array]]  # queries and keys (B, L, H, K), before and after


class Positions:
    """Base class of schemes; it encodes no positions."""

    def __init__(self, model: Model):
        self.model = model

    def init(self, init: Initializer, key: Array) -> nnx.Param | nnx.Module | None:
        """Creates the scheme's parameter with the family's `init`."""
        return None

    def embed(self, parameter, x_BLD: Array, places: Array | None) -> Array:
        """Adds positions to token embeddings."""
        return x_BLD

    def rotation(self, parameter, places: Array | None, length: int) -> Rotate:
        """The rotation of queries and keys. Called once for all blocks: compute tables here."""
        return lambda q, k: (q, k)

    def bias(self, parameter, queries: Array, keys: Array) -> Array | None:
        """The bias added to the scores before the softmax; broadcasts to (B, H, L, S); -inf hides a key.

        `queries` (L,) or (B, L) and `keys` (S,) or (B, S) are positions. Called once for all blocks.
        """
        return None


@POSITIONS.register("none")
class NoPositions(Positions):
    """Positions follow only from causal attention (Haviv et al., 2022)."""


@POSITIONS.register("learned")
class Learned(Positions):
    """A table (context, D), added to the embeddings."""

    def init(self, init: Initializer, key: Array) -> nnx.Param:
        return parameter(init(key, (self.model.context, self.model.width)), None, BOTH)

    def embed(self, parameter: nnx.Param, x_BLD: Array, places: Array | None) -> Array:
        table = parameter[...]
        # A slice's gradient is a sum over rows; that of an indexed table would be a scatter.
        return x_BLD + (table[: x_BLD.shape[1]] if places is None else table[places])


@POSITIONS.register("rotary")
class Rotary(Positions):
    """Rotary embeddings (Su et al., 2021), base 10,000; the two halves of a head form the pairs."""

    BASE = 10_000.0

    def rotation(self, parameter: None, places: Array | None, length: int) -> Rotate:
        half = self.model.width // self.model.heads // 2
        frequencies = self.BASE ** (-jnp.arange(half) / half)
        places = jnp.arange(length) if places is None else places
        angles = places[..., None, None].astype(jnp.float32) * frequencies  # (…, L, 1, K / 2)
        cosines, sines = jnp.cos(angles), jnp.sin(angles)

        def turn(x_BLHK: Array) -> Array:
            x, y = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
            turned = (x * cosines - y * sines, x * sines + y * cosines)
            return jnp.concatenate(turned, axis=-1).astype(x_BLHK.dtype)

        return lambda q, k: (turn(q), turn(k))


@POSITIONS.register("alibi")
class ALiBi(Positions):
    """A penalty on scores, linear in the distance with one slope per head (Press et al., 2022)."""

    def bias(self, parameter: None, queries: Array, keys: Array) -> Array:
        heads = self.model.heads
        power = 2 ** (heads.bit_length() - 1)  # the paper's slopes are for powers of 2; its code adds others
        slopes = [2.0 ** (-8 * (n + 1) / power) for n in range(power)]
        slopes += [2.0 ** (-4 * (2 * n + 1) / power) for n in range(heads - power)]
        distances = jnp.abs(queries[..., :, None] - keys[..., None, :])[..., None, :, :]
        return -jnp.asarray(slopes, jnp.float32)[:, None, None] * distances.astype(jnp.float32)


def adds_to_scores(model: Model) -> bool:
    """Whether the scheme has a `bias`, which only XLA's attention supports."""
    return POSITIONS[model.positions].bias is not Positions.bias


def score_bias(
    scheme: Positions, parameter, places: Array | None, length: int, keys: int, padding_B: Array | None
) -> Array | None:
    """The scheme's `bias` in a forward pass; positions of a row's cached keys start after its padding."""
    if not adds_to_scores(scheme.model):
        return None
    queries = jnp.arange(length) if places is None else places
    sources = jnp.arange(keys) if padding_B is None else jnp.arange(keys) - padding_B[:, None]
    return scheme.bias(parameter, queries, sources)


def positions(model: Model) -> Positions:
    """The scheme of `model`."""
    return POSITIONS[model.positions](model)
