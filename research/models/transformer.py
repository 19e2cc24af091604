"""The loop that runs the blocks of the three models, in training and in decoding.

Modules are plain pytrees of parameters. A call takes a `key` for dropout; without a key there is none.
Shapes: B batch, L length, D width, N depth.
"""

from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from research.config import Model
from research.config.names import BLOCKS
from research.errors import UsageError
from research.models.attention import Attend, AttentionMask, attend_by
from research.models.attention_choice import choose
from research.models.axes import split_rows, stacked
from research.models.linear import Initializer
from research.models.parts.blocks import Block, auxiliary_loss, auxiliary_losses
from research.models.parts.positions import Rotate
from research.models.platform import platform
from research.models.sites import inside, is_observed, site
from research.scoped import Scoped

MOST_UNROLLED = 48  # blocks; more take minutes to compile

Blocks = Block | tuple[Block, ...]  # one stacked Block with a leading axis N, or N of them


class Frozen(NamedTuple):
    """The first blocks, if they do not train: they run in a loop of their own.

    One loop over all blocks would compute the gradients of all. If the blocks' input does not train either,
    there is no backward pass through these blocks, and it keeps none of their states.
    """

    count: int
    before: Any  # a model with these blocks, which is not differentiated
    merged: Any  # the traced model


frozen_blocks = Scoped("frozen blocks", Frozen(0, None, None))


def stack(config: Model, init: Initializer, init_output: Initializer, *, key: Array) -> Block:
    """Stacks `depth` blocks: each parameter gets a leading axis N, so compile time does not grow with N."""
    kind, keys = BLOCKS[config.block], jax.random.split(key, config.depth)
    return stacked(jax.vmap(lambda key: kind(config, init, init_output, key=key))(keys))


def unstack(blocks: Block, depth: int) -> tuple[Block, ...]:
    """Unstacks blocks, for decoding.

    A compiled loop over a stack copies each block out of it. This is cheap compared to the products of a
    whole batch, but more expensive than decoding one token.
    """
    return tuple(jax.tree.map(itemgetter(n), blocks) for n in range(depth))


def run_blocks(
    blocks: Blocks,
    config: Model,
    x_BLD: Array,
    attention_mask: AttentionMask,
    rotate: Rotate,
    key: Array | None = None,
    caches: tuple[Any, ...] | None = None,
    places: int | None = None,
) -> tuple[Array, Array | tuple[Array, ...], tuple[Any, ...] | None]:
    """Runs the blocks: returns the last state, the states after each block, and the extended caches.

    A stack runs as a compiled loop and takes no caches; `places` is the number of keys in those.
    """
    keys = None if key is None else jax.random.split(key, config.depth)
    attend = _attend(config, attention_mask, x_BLD.shape[1], key is not None, places)
    if isinstance(blocks, tuple) or is_observed():
        return _one_by_one(blocks, config, x_BLD, attend, rotate, keys, caches)
    return *_in_a_loop(blocks, config, x_BLD, attend, rotate, keys), None


def _attend(config: Model, mask: AttentionMask, length: int, trains: bool, places: int | None) -> Attend:
    """The attention of every block, of `length` queries; of a cache with `places`, by XLA."""
    heads = config.heads, config.width // config.heads
    if places is not None:
        return Attend(mask, attend_by("xla", mask, length, places), heads, length, places)
    documents, own = mask.documents_BL is not None, type(mask) is not AttentionMask
    implementation = choose(config, trains, documents, length, own).used
    return Attend(mask, attend_by(implementation, mask, length, length), heads, length, length)


def _one_by_one(
    blocks: Blocks,
    config: Model,
    x_BLD: Array,
    attend: Attend,
    rotate: Rotate,
    keys: Array | None,
    caches: tuple[Any, ...] | None,
) -> tuple[Array, tuple[Array, ...], tuple[Any, ...] | None]:
    states, grown = [], []
    for n in range(config.depth):
        block = blocks[n] if isinstance(blocks, tuple) else jax.tree.map(itemgetter(n), blocks)
        key, cache = None if keys is None else keys[n], None if caches is None else caches[n]
        with inside(f"blocks/{n}/"):
            x_BLD, cache = _called(block, config, x_BLD, attend._replace(layer=n), rotate, key, cache)
            x_BLD = site("output", x_BLD)
        states.append(x_BLD)
        grown.append(cache)
    return x_BLD, tuple(states), None if caches is None else tuple(grown)


def _in_a_loop(
    blocks: Block, config: Model, x_BLD: Array, attend: Attend, rotate: Rotate, keys: Array | None
) -> tuple[Array, Array]:
    """The last state, and all of them (N, B, L, D); frozen first blocks have a loop of their own."""

    def step(x, layer):
        block, key, n = layer
        added: list[Array] = []
        with auxiliary_losses.being(added):
            x, _ = _called(block, config, split_rows(x), attend._replace(layer=n), rotate, key)
        return split_rows(x), (x, added)

    step, unroll = rematerialized(step, config), blocks_in_a_turn(config)
    numbers = jnp.arange(config.depth) if BLOCKS[config.block].reads_layer else None
    count, before, merged = frozen_blocks.get()
    if not (0 < count < config.depth and all(map(is_, *map(jax.tree.leaves, (merged.blocks, blocks))))):
        x_BLD, (states_NBLD, added) = lax.scan(step, x_BLD, (blocks, keys, numbers), unroll=unroll)
        _add_up(added)
        return x_BLD, states_NBLD

    def frozen_step(x, n):  # a slice of what is indexed would be a copy
        return step(x, jax.tree.map(itemgetter(n), (before.blocks, keys, numbers)))

    above, left = jax.tree.map(itemgetter(slice(count, None)), (blocks, keys, numbers)), config.depth - count
    x_BLD, (below_NBLD, added) = lax.scan(frozen_step, x_BLD, jnp.arange(count), unroll=min(unroll, count))
    _add_up(added)
    x_BLD, (above_NBLD, added) = lax.scan(step, x_BLD, above, unroll=min(unroll, left))
    _add_up(added)
    return x_BLD, jnp.concatenate([below_NBLD, above_NBLD])


def _called(block: Block, config: Model, x_BLD: Array, *others: Any) -> tuple[Array, Any]:
    """The block's result. Raises UsageError unless it is a state like the given one, and a cache."""
    result = block(x_BLD, *others)
    match result:
        case (Array(shape=x_BLD.shape, dtype=x_BLD.dtype), _):
            return result
        case (Array() as y, _):
            returned = f"a state of shape {y.shape} and type {y.dtype}"
        case _:
            returned = "an array alone" if isinstance(result, Array) else f"a {type(result).__name__}"
    raise UsageError(
        f"model.block={config.block}: its call returned {returned}; expected (state, cache), the state of "
        f"shape {x_BLD.shape} and type {x_BLD.dtype}"
    )


def _add_up(losses_N: list[Array]) -> None:
    """Passes on what the blocks of a loop added to the loss; a loop's values leave it only as its results."""
    for loss_N in losses_N:
        auxiliary_loss(loss_N.sum())


def blocks_in_a_turn(config: Model) -> int:
    """Resolves `model.unroll`. On a GPU the loop's arrays of saved states cost a sixth of a step."""
    if config.unroll != "auto":
        return min(config.unroll, config.depth)
    return config.depth if platform() == "gpu" and config.depth <= MOST_UNROLLED else 1


def rematerialized(step: Callable, config: Model) -> Callable:
    """Wraps `step` to save all arrays (`none`), matrix products (`dots`) or its input for the backward pass.

    A loop computes one block after the other. In unrolled blocks a compiler may merge the recomputation with
    the first computation, or delay all gradients of parameters and keep their inputs.
    """
    if config.remat == "none":
        return step
    policies = {
        "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # scores are recomputed
        "block": jax.checkpoint_policies.nothing_saveable,
    }
    unrolled = blocks_in_a_turn(config) > 1

    def ordered(x, layer):
        block, *others = layer
        x, block = _gradients_together((x, block)) if unrolled else (x, block)
        return step(x, (block, *others))

    return jax.checkpoint(ordered, policy=policies[config.remat], prevent_cse=unrolled)


@jax.custom_vjp
def _gradients_together(arrays: Any) -> Any:
    """`arrays`, with a barrier: none of their gradients is used before all are computed."""
    return arrays


_gradients_together.defvjp(
    lambda arrays: (arrays, None), lambda _, gradients: (lax.optimization_barrier(gradients),)
)
