"""Normalization of the last axis, in float32, with hand-written derivatives.

XLA fuses a long chain of cheap operations into one kernel and recomputes the chain for each reader. A
derivative with named residuals breaks these chains: on a CPU that halves the time of a step. Values are
those of the plain formulas; `tests/models/ops/test_norms.py` compares both with autodiff.

Shapes: D features.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

from research.models.platform import differentiated_again, platform


def layer_norm(x: Array, scale_D: Array, bias_D: Array | None, epsilon: float) -> Array:
    """Layer normalization (Ba et al., 2016) of (…, D): computed in float32, returned in the type of `x`."""
    return _layer_norm(_rows(x), scale_D, bias_D, epsilon).reshape(x.shape)


def rms_norm(x: Array, scale_D: Array, epsilon: float) -> Array:
    """Root mean square normalization (Zhang & Sennrich, 2019) of (…, D); types as for `layer_norm`."""
    return _rms_norm(_rows(x), scale_D, epsilon).reshape(x.shape)


def _rows(x: Array) -> Array:
    """Reshapes (…, D) to (rows, D): on a CPU, an axis for a batch of one doubles the time of reductions."""
    return x.reshape(-1, x.shape[-1])


def _layer_norm_of_rows(x, scale_D, bias_D, epsilon) -> Array:
    return _layer_norm_forward(x, scale_D, bias_D, epsilon)[0]


def _layer_norm_forward(x, scale_D, bias_D, epsilon):
    mean, rstd = _statistics(x, epsilon)
    y = (x.astype(jnp.float32) - mean) * rstd * scale_D
    if bias_D is not None:
        y = y + bias_D
    return y.astype(x.dtype), (x, mean, rstd, scale_D, bias_D is not None)


def _statistics(x, epsilon):
    """The mean and the inverse standard deviation of each row, (rows, 1)."""
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    return mean, lax.rsqrt(jnp.square(x32 - mean).mean(-1, keepdims=True) + epsilon)


def _in_one_pass(x, epsilon):
    """`_statistics` with one read of x, by combining parts of a row as in Chan et al. (1979)."""

    def join(one, other):
        (count, mean, squares), (count2, mean2, squares2) = one, other
        total = jnp.maximum(count + count2, 1.0)
        apart, share = mean2 - mean, count2 / total
        return count + count2, mean + apart * share, squares + squares2 + apart * apart * (count * share)

    x = x.astype(jnp.float32)
    zero = jnp.float32(0)
    arrays = jnp.ones_like(x), x, jnp.zeros_like(x)
    count, mean, squares = lax.reduce(arrays, (zero, zero, zero), join, (x.ndim - 1,))
    return mean[..., None], lax.rsqrt((squares / count)[..., None] + epsilon)


def _layer_norm_backward(epsilon, saved, dy):
    x, mean, rstd, scale_D, has_bias = saved
    if platform() == "gpu" and not differentiated_again.get():
        # No kernel sums over both features and rows: without these statistics, the sum over rows would read a
        # stored float32 array. In the forward pass they would need their own kernel.
        mean, rstd = lax.optimization_barrier(_in_one_pass(lax.optimization_barrier(x), epsilon))
    dy32 = dy.astype(jnp.float32)
    normed = (x.astype(jnp.float32) - mean) * rstd
    dnormed = dy32 * scale_D
    dx = rstd * (
        dnormed - dnormed.mean(-1, keepdims=True) - normed * (dnormed * normed).mean(-1, keepdims=True)
    )
    return dx.astype(x.dtype), (dy32 * normed).sum(0), dy32.sum(0) if has_bias else None


_layer_norm = jax.custom_vjp(_layer_norm_of_rows, nondiff_argnums=(3,))
_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


def _rms_norm_of_rows(x, scale_D, epsilon) -> Array:
    return _rms_norm_forward(x, scale_D, epsilon)[0]


def _rms_norm_forward(x, scale_D, epsilon):
    x32 = x.astype(jnp.float32)
    rrms = lax.rsqrt(jnp.square(x32).mean(-1, keepdims=True) + epsilon)
    return (x32 * rrms * scale_D).astype(x.dtype), (x, rrms, scale_D)


def _rms_norm_backward(epsilon, saved, dy):
    x, rrms, scale_D = saved
    dy32 = dy.astype(jnp.float32)
    normed = x.astype(jnp.float32) * rrms
    dnormed = dy32 * scale_D
    dx = rrms * (dnormed - normed * (dnormed * normed).mean(-1, keepdims=True))
    return dx.astype(x.dtype), (dy32 * normed).sum(0)


_rms_norm = jax.custom_vjp(_rms_norm_of_rows, nondiff_argnums=(2,))
_rms_norm.defvjp(_rms_norm_forward, _rms_norm_backward)
