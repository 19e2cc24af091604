"""Blocks with low-rank factors beside some of their kernels: `model.block=lora` (Hu et al., 2021).

A linear layer becomes x W + s · x A B, with A (inputs, rank) drawn at random and B (rank, outputs) zero, so
that a model starts as the plain one. W keeps its path: weights of a plain model fill it, and
`optimizer.freeze='!*/lora*'` trains only the factors.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from research.config import Model
from research.config.names import BLOCKS
from research.config.own import NONE
from research.config.sections.lora import LoRA
from research.errors import UsageError
from research.models.attention import Attend
from research.models.axes import declared_axes, declared_heads
from research.models.linear import Initializer, Linear
from research.models.ops.dropout import dropout
from research.models.parts.blocks import Block
from research.models.parts.positions import Rotate
from research.scoped import Scoped

PARTS = ("query", "key", "value")  # of one kernel (inputs, 3, outputs), each with factors of its own
# The module and the layer of a kernel.
LAYERS = {
    **dict.fromkeys(("qkv", *PARTS), ("attention", "qkv")),
    "attention_output": ("attention", "output"),
    "mlp_expand": ("mlp", "expand"),
    "mlp_gate": ("mlp", "gate"),
    "mlp_output": ("mlp", "output"),
}
FIRST = 3  # folded into a block's key for its first layer with factors; lower numbers are in use

dropout_key = Scoped[Array | None]("the key of the dropout before a block's factors", None)


class Factors(nnx.Module):
    """Maps (…, inputs) to (…, *outputs) by way of `rank` features. `axes` and `heads` are the kernel's.

    `number` is that of the factors in their block: each has a dropout mask of its own.
    """

    def __init__(
        self, inputs, outputs, own: LoRA, number: int, generator: str, *, axes, heads, precision, key: Array
    ):
        bound = inputs**-0.5  # Kaiming's uniform distribution with a = √5, as in the paper's code
        uniform = partial(jax.random.uniform, minval=-bound, maxval=bound)
        linear = partial(Linear, bias=False, key=key, precision=precision)
        self.a = linear(inputs, (own.rank,), uniform, axes=(axes[0], None))
        self.b = linear(
            own.rank, outputs, lambda key, shape: jnp.zeros(shape), axes=(None, *axes[1:]), heads=heads
        )
        self.scale, self.number = own.scale, number
        self.dropout, self.generator = own.dropout, generator

    def __call__(self, x: Array) -> Array:
        key = dropout_key.get()
        if key is not None:
            x = dropout(x, self.dropout, jax.random.fold_in(key, self.number), self.generator)
        return self.scale * self.b(self.a(x))


class Adapted(Linear):
    """A linear layer with factors for some `kernels` of it: its only one or, in attention, of PARTS."""

    def __init__(self, plain: Linear, kernels: tuple[str, ...], config: Model, *, key: Array):
        own: LoRA = config.own.block
        self.kernel, self.bias = plain.kernel, plain.bias
        self.precision, self.multiplier = plain.precision, plain.multiplier
        inputs, *outputs = plain.kernel.shape
        axes, heads = declared_axes(plain.kernel), declared_heads(plain.kernel)
        assert axes is not None  # `Linear` declares them
        for n, kernel in enumerate(kernels):
            drop = 1 if kernel in PARTS else 0  # the axis of three
            factors = Factors(
                inputs,
                tuple(outputs[drop:]),
                own,
                own.kernels.index(kernel),
                config.dropout_generator,
                axes=(axes[0], *axes[1 + drop :]),
                heads=heads,
                precision=plain.precision,
                key=jax.random.fold_in(key, n),
            )
            setattr(self, attribute(kernel), factors)
        self.kernels = kernels

    def __call__(self, x: Array | tuple[Array, ...], activation: Callable[..., Array] | None = None) -> Array:
        y = super().__call__(x, activation)
        if activation is not None:
            x = activation(*x) if isinstance(x, tuple) else activation(x)
        for kernel in self.kernels:
            change = getattr(self, attribute(kernel))(x)
            y = y.at[..., PARTS.index(kernel), :].add(change) if kernel in PARTS else y + change
        return y


@BLOCKS.register("lora", settings=LoRA)
class LoraBlock(Block):
    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        super().__init__(config, init, init_output, key=key)
        own: LoRA = config.own.block
        for n, (module, layer) in enumerate(dict.fromkeys(LAYERS[kernel] for kernel in own.kernels)):
            kernels = tuple(kernel for kernel in own.kernels if LAYERS[kernel] == (module, layer))
            plain = getattr(getattr(self, module), layer)
            if plain is None:
                raise UsageError(
                    f"model.own.block.kernels={kernels[0]}: model.activation={config.activation} has no gate"
                )
            adapted = Adapted(plain, kernels, config, key=jax.random.fold_in(key, FIRST + n))
            setattr(getattr(self, module), layer, adapted)
        self.drops = own.dropout != 0

    def __call__(
        self,
        x_BLD: Array,
        attend: Attend,
        rotate: Rotate,
        key: Array | None = None,
        cache: Any = None,
    ) -> tuple[Array, Any]:
        own = jax.random.fold_in(key, FIRST) if self.drops and key is not None else None
        with dropout_key.being(own):  # the calls of layers take no key
            return super().__call__(x_BLD, attend, rotate, key, cache)

    @staticmethod
    def folded(config: Model, arrays: Mapping[str, NDArray]) -> tuple[Model, dict[str, NDArray]]:
        """The plain model that computes the same, W + s · A B: see `research.weights.folding`."""
        own, merged = config.own.block, dict(arrays)
        for kernel in own.kernels:
            layer = "/".join(("blocks", *LAYERS[kernel]))
            a, b = (merged.pop(f"{layer}/{attribute(kernel)}/{part}/kernel") for part in "ab")
            whole = merged[f"{layer}/kernel"].copy()
            rows = whole[..., PARTS.index(kernel), :] if kernel in PARTS else whole
            rows += np.float32(own.scale) * np.einsum("NDR,NR...->ND...", a, b)
            merged[f"{layer}/kernel"] = whole
        return replace(config, block="transformer", own=replace(config.own, block=NONE)), merged


def attribute(kernel: str) -> str:
    return f"lora_{kernel}" if kernel in PARTS else "lora"
