"""The linear layer, and how kernels and tables are drawn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.models.axes import BOTH, Axes, current_mesh, parameter
from research.models.ops.linear import linear
from research.models.precision import matmul_dtype

Initializer = Callable[[Array, tuple[int, ...]], Array]  # (key, shape) → values


def normal(std: float) -> Initializer:
    return lambda key, shape: std * jax.random.normal(key, shape)


def truncated_normal(std: float) -> Initializer:
    """A normal truncated at two standard deviations; `std` is that before truncation, as in TensorFlow."""
    return lambda key, shape: std * jax.random.truncated_normal(key, -2, 2, shape)


class Linear(nnx.Module):
    """A kernel (inputs, *outputs) and a bias (*outputs).

    Operands of the product are rounded to the type of `precision`, by default to the input's type. `axes` and
    `heads` declare how parameters are split over devices. `multiplier` scales the kernel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: tuple[int, ...],
        init: Initializer,
        bias: bool,
        *,
        key: Array,
        precision: str | None = None,
        axes: Axes = ("fsdp", "tensor"),
        heads: int | None = None,
        multiplier: float = 1.0,
    ):
        self.kernel = parameter(init(key, (inputs, *outputs)), *axes, heads=heads)
        # Over `tensor` only if the product is split: a split bias would split the states.
        bias_axes = (*[None] * (len(outputs) - 1), BOTH if axes[-1] == "tensor" else "fsdp")
        self.bias = parameter(jnp.zeros(outputs), *bias_axes, heads=heads) if bias else None
        self.precision = precision
        self.multiplier = multiplier

    def __call__(self, x: Array | tuple[Array, ...], activation: Callable[..., Array] | None = None) -> Array:
        """Maps (…, inputs) to (…, *outputs); with an `activation`, of `activation(x)`, which is not saved."""
        bias = None if self.bias is None else self.bias[...]
        dtype = None if self.precision is None else matmul_dtype(self.precision)
        kernel = self.kernel[...] if self.multiplier == 1 else self.multiplier * self.kernel[...]
        return linear(x, kernel, bias, dtype, current_mesh() is not None, activation)
