"""Matrix product with a kernel, with a hand-written derivative (see `research.models.ops.norms`).

Shapes: T rows, D features in, … or F features out.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from research.models.platform import platform


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def linear(
    x: Array | tuple[Array, ...],
    kernel: Array,
    bias: Array | None,
    operand_dtype: DTypeLike | None = None,
    keep_axes: bool = False,
    activation: Callable[..., Array] | None = None,
) -> Array:
    """Multiplies (…, D) by (D, …) in the type of `x`; gradients of parameters have the parameters' types.

    Operands are first rounded to `operand_dtype`, here and in both gradients; None: the type of `x`. The
    kernel's output axes are merged into one, since the compiler would otherwise transpose the kernel;
    `keep_axes` keeps them, as axes split over devices require.

    With an `activation` the input is `activation(x)`, or `activation(*x)` for a tuple. Only `x` is saved for
    the gradients and the activation is recomputed: its derivative needs `x` in any case, and these are the
    largest arrays of a block.
    """
    return _linear_forward(x, kernel, bias, operand_dtype, keep_axes, activation)[0]


def _linear_forward(x, kernel, bias, operand_dtype, keep_axes, activation):
    inputs = x
    x, _ = _activated(activation, x)
    rounded = x if operand_dtype is None else x.astype(operand_dtype)
    y = lax.dot_general(
        rounded,
        _factor(kernel, keep_axes).astype(rounded.dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=x.dtype,
    ).reshape(*x.shape[:-1], *kernel.shape[1:])
    y = y if bias is None else y + bias.astype(x.dtype)
    # Operands are saved as passed in. A loop over layers would copy a reshaped kernel, and XLA:CPU would
    # convert a saved bfloat16 array of all layers once for each layer.
    return y, (inputs, kernel, bias is not None)


def _linear_backward(operand_dtype, keep_axes, activation, saved, dy):
    inputs, kernel, has_bias = saved
    x, pull_back = _activated(activation, inputs)
    if activation is not None and platform() == "gpu":
        _, pull_back = _activated(activation, jax.tree.map(_as_if_changed, inputs))
    x = x if operand_dtype is None else x.astype(operand_dtype)
    factor = _factor(kernel, keep_axes)
    dy = dy.reshape(*x.shape[:-1], *factor.shape[1:])
    outputs = factor.ndim - 1
    rounded = dy.astype(x.dtype)
    dx = lax.dot_general(
        rounded,
        factor.astype(x.dtype),
        ((tuple(range(dy.ndim - outputs, dy.ndim)), tuple(range(1, factor.ndim))), ((), ())),
        preferred_element_type=dy.dtype,
    )
    dy_T = rounded.reshape(-1, *factor.shape[1:])
    dkernel = rows_by_rows(x.reshape(-1, x.shape[-1]), dy_T, kernel.dtype).reshape(kernel.shape)
    dbias = None
    if has_bias:
        dbias = dy.sum(tuple(range(dy.ndim - outputs)), dtype=kernel.dtype).reshape(kernel.shape[1:])
    return pull_back(dx), dkernel, dbias


def _activated(activation, x):
    """The activation's value, and the function that takes a gradient back through it.

    It uses `jax.vjp` even if only the value is needed: otherwise an activation with a hand-written derivative
    has no forward-mode derivative, which Sophia needs.
    """
    if activation is None:
        return x, lambda dx: dx
    if isinstance(x, tuple):
        return jax.vjp(activation, *x)
    y, pull_back = jax.vjp(activation, x)
    return y, lambda dy: pull_back(dy)[0]


def _as_if_changed(x):
    """`x`, disguised from the compiler as another array.

    Otherwise the compiler would store parts of an activation for its derivative, which costs more than
    recomputing them.
    """
    return x * lax.optimization_barrier(jnp.ones((), x.dtype))


def _factor(kernel, keep_axes):
    return kernel if keep_axes else kernel.reshape(len(kernel), -1)


linear.defvjp(_linear_forward, _linear_backward)


def rows_by_rows(x_TD: Array, y_T: Array, dtype: DTypeLike) -> Array:
    """(T, D) and (T, …) to (D, …) of type `dtype`: the sum over rows of outer products, a kernel's gradient.

    It contracts rows with rows: a transposed copy of either operand would cost a twelfth of a float32 step.
    """
    if x_TD.dtype == jnp.bfloat16 and dtype == jnp.float32 and platform() == "cpu":
        return _bfloat16_rows_by_rows(x_TD, y_T)
    return lax.dot_general(x_TD, y_T, (((0,), (0,)), ((), ())), preferred_element_type=dtype)


def _bfloat16_rows_by_rows(x_TD: Array, y_T: Array) -> Array:
    """Transposes for XLA:CPU, whose bfloat16 product is fast only if the left rows are the result's rows.

    It transposes `x`, or `y` and the result if they are smaller.
    """
    (T, D), outputs = x_TD.shape, y_T.shape[1:]
    y_TF = y_T.reshape(T, -1)
    F = y_TF.shape[1]
    if T % 2:
        operands = x_TD.astype(jnp.float32), y_TF.astype(jnp.float32)
        result_DF = lax.dot_general(*operands, (((0,), (0,)), ((), ())))
    elif T * D <= (T + D) * F or F % 2:
        result_DF = lax.dot(_transposed(x_TD), y_TF, preferred_element_type=jnp.float32)
    else:
        result_DF = _transposed(lax.dot(_transposed(y_TF), x_TD, preferred_element_type=jnp.float32))
    return result_DF.reshape(D, *outputs)


def _transposed(x: Array) -> Array:
    """The transpose of a matrix with an even number of rows.

    XLA would fold a plain transpose back into the product, but it executes a transpose between two reshapes.
    """
    rows, columns = x.shape
    return x.reshape(2, -1, columns).transpose(2, 0, 1).reshape(columns, rows)
