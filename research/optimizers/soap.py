"""SOAP (Vyas et al., 2024): Adam in the eigenbasis of Shampoo's statistics, for stacks of matrices."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

EVERY = 10  # updates between renewals of the bases
LARGEST = 10_000  # longer sides of a matrix have no basis


class SoapState(NamedTuple):
    """For kernels (N, I, …O): moments of that shape; for each side S, statistics and a basis (N, S, …1, S).

    With the kernel's number of axes, these are split over devices like the kernel.
    """

    count: Array  # gradients so far
    mu: Any  # in the bases, as is nu
    nu: Any
    left: Any
    right: Any
    left_basis: Any
    right_basis: Any


def scale_by_soap(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """Scales by SOAP. As in nikhilvyas/SOAP, the first gradient only sets the bases."""

    def init(params) -> SoapState:
        def squares(side: int) -> Any:
            return jax.tree.map(lambda p: jnp.zeros(_square(p.shape, side), p.dtype), params)

        zeros = optax.tree.zeros_like(params)
        return SoapState(jnp.int32(0), zeros, zeros, squares(0), squares(1), squares(0), squares(1))

    def update(updates, state: Any, params=None):
        trees = [jax.tree.flatten(tree) for tree in (updates, *state[1:])]
        treedefs = [treedef for _, treedef in trees]
        leaves = zip(*(leaves for leaves, _ in trees), strict=True)
        results = [_update(state.count, parts, b1, b2, epsilon) for parts in leaves]
        columns = list(zip(*results, strict=True)) or [()] * len(trees)
        updates, *others = map(jax.tree.unflatten, treedefs, columns)
        return updates, SoapState(state.count + 1, *others)

    return optax.GradientTransformation(init, update)


def _update(count, arrays, b1, b2, epsilon) -> list[Array]:
    grad, mu, nu, left, right, left_basis, right_basis = arrays
    shapes = [array.shape for array in (grad, mu, nu, left, right, left_basis, right_basis)]
    grad_NIO, mu_NIO, nu_NIO = (array.reshape(*grad.shape[:2], -1) for array in (grad, mu, nu))
    stats, bases = (
        [_squeezed(array) for array in pair] for pair in ((left, right), (left_basis, right_basis))
    )

    rotated_NIO = _rotate(grad_NIO, *bases)  # zeros before there are bases
    mu_NIO = b1 * mu_NIO + (1 - b1) * rotated_NIO
    nu_NIO = b2 * nu_NIO + (1 - b2) * rotated_NIO**2
    done = jnp.maximum(count, 1).astype(jnp.float32)
    correction = jnp.sqrt(1 - b2**done) / (1 - b1**done)
    scaled_NIO = correction * _rotate_back(mu_NIO / (jnp.sqrt(nu_NIO) + epsilon), *bases)
    scaled_NIO = jnp.where(count == 0, 0, scaled_NIO)

    products = (_product(grad_NIO, "nio,njo->nij"), _product(grad_NIO, "nio,nip->nop"))
    stats = [s if _is_whole(s) else b2 * s + (1 - b2) * p for s, p in zip(stats, products, strict=True)]
    which = jnp.where(count == 0, 0, jnp.where(count % EVERY == 0, 1, 2))
    mu_NIO, nu_NIO, *bases = jax.lax.switch(which, (_first, _renew, _keep), mu_NIO, nu_NIO, *stats, *bases)
    arrays = (scaled_NIO, mu_NIO, nu_NIO, *stats, *bases)
    return [array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)]


def _keep(mu, nu, left, right, *bases):
    return mu, nu, *bases


def _first(mu, nu, left, right, *_):
    """The statistics' eigenvectors, by descending eigenvalue."""
    return mu, nu, *(s if _is_whole(s) else _of_each(_eigenvectors, s) for s in (left, right))


def _renew(mu, nu, left, right, *bases):
    """A power iteration from the bases, sorted by their estimates of the eigenvalues."""
    mu, renewed = _rotate_back(mu, *bases), []
    for side, (stats, basis) in enumerate(zip((left, right), bases, strict=True)):
        if not _is_whole(stats):
            powers = jnp.einsum("nij,njk->nik", stats, basis, precision="highest")
            order = jnp.argsort((basis * powers).sum(1), axis=-1, descending=True)
            nu = jnp.take_along_axis(nu, order[:, :, None] if side == 0 else order[:, None], axis=1 + side)
            basis = _of_each(_orthogonal, jnp.take_along_axis(powers, order[:, None], axis=2))
        renewed.append(basis)
    return _rotate(mu, *renewed), nu, *renewed


def _eigenvectors(square: Array) -> Array:
    return jnp.linalg.eigh(square)[1][..., ::-1]


def _orthogonal(square: Array) -> Array:
    return jnp.linalg.qr(square)[0]


def _of_each(decompose: Callable[[Array], Array], stack: Array) -> Array:
    """Applies `decompose` to a stack of matrices; sequentially on CPUs.

    A batched decomposition waits for the threads that work on its matrices; as many decompositions as there
    are threads would deadlock.
    """
    one_by_one = partial(jax.lax.map, jax.custom_batching.sequential_vmap(decompose))
    return jax.lax.platform_dependent(stack, cpu=one_by_one, default=decompose)


def _rotate(x_NIO: Array, left: Array, right: Array) -> Array:
    if not _is_whole(left):
        x_NIO = jnp.einsum("nij,nio->njo", left, x_NIO, precision="highest")
    return x_NIO if _is_whole(right) else jnp.einsum("nio,nop->nip", x_NIO, right, precision="highest")


def _rotate_back(x_NIO: Array, left: Array, right: Array) -> Array:
    return _rotate(x_NIO, left.swapaxes(1, 2), right.swapaxes(1, 2))


def _product(x_NIO: Array, axes: str) -> Array:
    return jnp.einsum(axes, x_NIO, x_NIO, precision="highest")


def _square(shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    """The shape of the statistics; single zeros for a side without a basis."""
    size = (shape[1], math.prod(shape[2:]))[side]
    size = size if size <= LARGEST else 1
    return shape[0], size, *(1,) * (len(shape) - 3), size


def _squeezed(square: Array) -> Array:
    return square.reshape(square.shape[0], square.shape[1], square.shape[-1])


def _is_whole(square: Array) -> bool:
    """Whether a side has no basis."""
    return square.shape[1] == 1
