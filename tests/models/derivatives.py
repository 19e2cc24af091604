"""A function and its hand-written derivatives beside autodiff of the plain formula."""

import jax
import numpy as np

KEY = jax.random.key(0)


def arrays(*shapes):
    return [jax.random.normal(jax.random.fold_in(KEY, i), shape) for i, shape in enumerate(shapes)]


def assert_same(ours, plain, *arguments, tolerance=2e-6):
    """Values and all gradients, of a random weighting of the output."""
    weights = jax.random.normal(KEY, jax.eval_shape(plain, *arguments).shape)
    wanted = [i for i, argument in enumerate(arguments) if argument is not None]
    for function in (lambda f: f(*arguments), lambda f: jax.grad(weighted(f, weights), wanted)(*arguments)):
        for a, b in zip(jax.tree.leaves(function(ours)), jax.tree.leaves(function(plain)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(abs(b).max()))


def weighted(function, weights):
    return lambda *arguments: (function(*arguments) * weights).sum()
