"""A function and its hand-written derivatives beside autodiff of the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)


def arrays(*shapes):
    return [jax.random.normal(jax.random.fold_in(KEY, i), shape) for i, shape in enumerate(shapes)]


def assert_same(ours, plain, *arguments, tolerance=2e-6):
    """Values and all gradients, of a random weighting of the output."""
    weights = jax.random.normal(KEY, jax.eval_shape(plain, *arguments).shape)
    wanted = [i for i, argument in enumerate(arguments) if argument is not None]

    def value_and_gradients(f):
        return jax.jit(lambda *a: (f(*a), jax.grad(weighted(f, weights), wanted)(*a)))(*arguments)

    both = (jax.tree.leaves(value_and_gradients(f)) for f in (ours, plain))
    for a, b in zip(*both, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(abs(b).max()))


def weighted(function, weights):
    return lambda *arguments: (function(*arguments) * weights).sum()


def assert_same_curvature(ours, plain, x):
    """The forward derivative of the gradient, in a random direction."""
    along = jax.random.normal(jax.random.fold_in(KEY, 99), x.shape)

    def curvature(f):
        return jax.jvp(jax.grad(lambda x: jnp.square(f(x)).sum()), (x,), (along,))[1]

    expected = curvature(plain)
    np.testing.assert_allclose(curvature(ours), expected, rtol=2e-4, atol=2e-4 * float(abs(expected).max()))


def assert_keeps_types(function, shape, parameter):
    """Of a bfloat16 input: the output is bfloat16, the gradient of the parameter as it is, float32."""
    x = arrays(shape)[0].astype(jnp.bfloat16)
    assert function(x, parameter).dtype == jnp.bfloat16
    gradient = jax.grad(lambda p: function(x, p).astype(jnp.float32).sum())(parameter)
    assert gradient.dtype == parameter.dtype == jnp.float32
