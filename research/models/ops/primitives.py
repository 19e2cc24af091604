"""Layer norm, linear and GELU with derivatives written by hand; dropout.

XLA fuses a long chain of cheap operations into one and recomputes the chain for each of its readers.
A derivative that names what it saves breaks those chains: on a CPU it halves the time of a step.
The values are the plain formulas'; `tests/models/test_primitives.py` holds them to autodiff.

Shapes: T rows, D features in, … features out.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

NEGATIVE = -1e30  # a masked score; finite, so that a row with nothing to attend to is not NaN


def layer_norm(x: Array, scale_D: Array, bias_D: Array | None, epsilon: float) -> Array:
    """Normalizes the last axis in float32, whatever the type of `x` (Ba et al., 2016)."""
    rows = x.reshape(-1, x.shape[-1])  # on a CPU rows of a batch of one take twice as long
    return _layer_norm(rows, scale_D, bias_D, epsilon).reshape(x.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _layer_norm(x, scale_D, bias_D, epsilon):
    return _layer_norm_forward(x, scale_D, bias_D, epsilon)[0]


def _layer_norm_forward(x, scale_D, bias_D, epsilon):
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    centred = x32 - mean
    rstd = lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    y = centred * rstd * scale_D
    if bias_D is not None:
        y = y + bias_D
    return y.astype(x.dtype), (x, mean, rstd, scale_D, bias_D is not None)


def _layer_norm_backward(epsilon, saved, dy):
    x, mean, rstd, scale_D, has_bias = saved
    dy32 = dy.astype(jnp.float32)
    normed = (x.astype(jnp.float32) - mean) * rstd
    dnormed = dy32 * scale_D
    dx = rstd * (
        dnormed - dnormed.mean(-1, keepdims=True) - normed * (dnormed * normed).mean(-1, keepdims=True)
    )
    return dx.astype(x.dtype), (dy32 * normed).sum(0), dy32.sum(0) if has_bias else None


_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def linear(
    x: Array,
    kernel: Array,
    bias: Array | None,
    multiplied: DTypeLike | None = None,
    apart: bool = False,
    activation: Callable[[Array], Array] | None = None,
) -> Array:
    """(…, D) by (D, …) to (…, …): in the type of `x`, gradients of parameters in their own type.

    `multiplied` is what operands are rounded to first, here and in both gradients; none: the type of `x`.
    Axes of outputs are made into one, or the compiler would transpose the kernel first; `apart` leaves them
    as they are, as those split over devices must be. With an `activation`, of `activation(x)`, which is made
    again for the gradients: its derivative reads `x` in any case, and an MLP's are a block's largest states.
    """
    return _linear_forward(x, kernel, bias, multiplied, apart, activation)[0]


def _linear_forward(x, kernel, bias, multiplied, apart, activation):
    activated, _ = _activated(activation, x)
    rounded = activated if multiplied is None else activated.astype(multiplied)
    y = lax.dot_general(
        rounded,
        _multiplied_by(kernel, apart).astype(rounded.dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=x.dtype,
    ).reshape(*x.shape[:-1], *kernel.shape[1:])
    y = y if bias is None else y + bias.astype(x.dtype)
    # As they came: of a kernel in another shape a loop over layers would keep a copy, and a bfloat16 array
    # XLA:CPU adds to what a loop keeps by converting all of that, for each layer anew.
    return y, (x, kernel, bias is not None)


def _linear_backward(multiplied, apart, activation, saved, dy):
    x, kernel, has_bias = saved
    x, pull = _activated(activation, x)
    x = x if multiplied is None else x.astype(multiplied)
    by = _multiplied_by(kernel, apart)
    dy = dy.reshape(*x.shape[:-1], *by.shape[1:])
    outputs = by.ndim - 1
    rounded = dy.astype(x.dtype)
    dx = lax.dot_general(
        rounded,
        by.astype(x.dtype),
        ((tuple(range(dy.ndim - outputs, dy.ndim)), tuple(range(1, by.ndim))), ((), ())),
        preferred_element_type=dy.dtype,
    )
    dy_T = rounded.reshape(-1, *by.shape[1:])
    dkernel = rows_by_rows(x.reshape(-1, x.shape[-1]), dy_T, kernel.dtype).reshape(kernel.shape)
    dbias = None
    if has_bias:
        dbias = dy.sum(tuple(range(dy.ndim - outputs)), dtype=kernel.dtype).reshape(kernel.shape[1:])
    return *pull(dx), dkernel, dbias


def _activated(activation, x):
    """And what pulls gradients back through it; by its derivative's rule, since a plain call could not be
    differentiated forwards, as Sophia does."""
    return (x, lambda dx: (dx,)) if activation is None else jax.vjp(activation, x)


def _multiplied_by(kernel, apart):
    return kernel if apart else kernel.reshape(len(kernel), -1)


linear.defvjp(_linear_forward, _linear_backward)


def rows_by_rows(x_TD: Array, y_T: Array, dtype: DTypeLike) -> Array:
    """(T, D) and (T, …) to (D, …) of type `dtype`: the sum of outer products, a weight's gradient.

    Rows are contracted with rows: a transposed copy of either operand would cost a twelfth of a float32 step.
    """
    if x_TD.dtype == jnp.bfloat16 and dtype == jnp.float32 and jax.default_backend() == "cpu":
        return _bfloat16_rows_by_rows(x_TD, y_T)
    return lax.dot_general(x_TD, y_T, (((0,), (0,)), ((), ())), preferred_element_type=dtype)


def _bfloat16_rows_by_rows(x_TD: Array, y_T: Array) -> Array:
    """XLA:CPU multiplies bfloat16 to float32 fast where the left operand lies in memory by the result's rows.

    Else it does so slowly or not at all. So `x` is transposed, or, where these are less, `y` and the result.
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
    """Of an even number of rows. A plain transpose the compiler would fold back into the product; one between
    two reshapes it carries out."""
    rows, columns = x.shape
    return x.reshape(2, -1, columns).transpose(2, 0, 1).reshape(columns, rows)


@jax.custom_vjp
def gelu_tanh(x: Array) -> Array:
    """GELU by its tanh approximation (Hendrycks & Gimpel, 2016), as in all three originals."""
    return _gelu_forward(x)[0]


def _gelu_forward(x):
    return 0.5 * x * (1 + _gelu_tanh_of(x)), x


def _gelu_tanh_of(x):
    return jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def _gelu_backward(x, dy):
    tanh = _gelu_tanh_of(x)
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (dy * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * inner),)


gelu_tanh.defvjp(_gelu_forward, _gelu_backward)


def gelu_erf(x: Array) -> Array:
    """GELU exactly, as Hugging Face's BERT checkpoints expect."""
    return jax.nn.gelu(x, approximate=False)


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zeroes a share `rate` of `x` and scales the rest; the identity without a key or a rate."""
    mask = dropout_mask(x.shape, rate, key, x.dtype)
    return x if mask is None else x * mask


def dropout_mask(shape: tuple[int, ...], rate: float, key: Array | None, dtype) -> Array | None:
    """What `dropout` multiplies by: 0, or 1 / (1 - rate)."""
    if key is None or rate == 0:
        return None
    return jax.random.bernoulli(key, 1 - rate, shape).astype(dtype) * jnp.asarray(1 / (1 - rate), dtype)
