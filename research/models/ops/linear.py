"""Matrix product with a kernel, with its derivative written by hand (why: see `research.models.ops.norms`).

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
    """(…, D) by (D, …) to (…, …), in the type of `x`; gradients of parameters have the parameters' types.

    `operand_dtype` is the type to which operands are rounded first, here and in both gradients; None: the
    type of `x`. The kernel's output axes are merged into one, or the compiler would transpose the kernel;
    `keep_axes` leaves them as they are, which axes split over devices require.

    With an `activation` the input is `activation(x)`, or `activation(*x)` of a tuple. Only `x` is saved for
    the gradients and the activation is computed again: its derivative needs `x` in any case, and these are
    the largest arrays of a block.
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
    # Operands are saved as they came. Of a reshaped kernel a loop over layers would keep a copy; and XLA:CPU
    # adds to a saved bfloat16 array by converting all layers' worth of it, once for each layer.
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

    By `jax.vjp`, also where only the value is needed: an activation with a derivative written by hand could
    not be differentiated forwards otherwise, as Sophia does.
    """
    if activation is None:
        return x, lambda dx: dx
    if isinstance(x, tuple):
        return jax.vjp(activation, *x)
    y, pull_back = jax.vjp(activation, x)
    return y, lambda dy: pull_back(dy)[0]


def _as_if_changed(x):
    """`x`, which a compiler takes for another array.

    Otherwise it would store parts of an activation for their use in its derivative, which costs more than to
    compute them again.
    """
    return x * lax.optimization_barrier(jnp.ones((), x.dtype))


def _factor(kernel, keep_axes):
    return kernel if keep_axes else kernel.reshape(len(kernel), -1)


linear.defvjp(_linear_forward, _linear_backward)


def rows_by_rows(x_TD: Array, y_T: Array, dtype: DTypeLike) -> Array:
    """(T, D) and (T, …) to (D, …) of type `dtype`: the sum over rows of outer products, a kernel's gradient.

    Rows are contracted with rows: a transposed copy of either operand would cost a twelfth of a float32 step.
    """
    if x_TD.dtype == jnp.bfloat16 and dtype == jnp.float32 and platform() == "cpu":
        return _bfloat16_rows_by_rows(x_TD, y_T)
    return lax.dot_general(x_TD, y_T, (((0,), (0,)), ((), ())), preferred_element_type=dtype)


def _bfloat16_rows_by_rows(x_TD: Array, y_T: Array) -> Array:
    """XLA:CPU multiplies bfloat16 to float32 fast only where the left operand's rows are the result's.

    So `x` is transposed, or, where these are smaller, `y` and the result.
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

    XLA would fold a plain transpose back into the product; a transpose between two reshapes it carries out.
    """
    rows, columns = x.shape
    return x.reshape(2, -1, columns).transpose(2, 0, 1).reshape(columns, rows)
