"""Which parameters an optimizer treats differently, by name, since the blocks of a model are stacked."""

from typing import Any

from jax.tree_util import tree_map_with_path
from optax import contrib

from research.config import Model, scaling
from research.models.parameters import path_name


def decays(model: Any) -> Any:
    """True for matrices and tables, False for biases and norms."""
    return tree_map_with_path(lambda path, _: not {"bias", "scale"} & _names(path), model)


def hidden_matrices(model: Any) -> Any:
    """The input and output axes of the blocks' kernels, for Muon; None for other parameters."""

    def axes(path, leaf):
        if not {"blocks", "kernel"} <= _names(path):
            return None
        first = matrix_axis(path)
        return contrib.MuonDimensionNumbers(
            reduction_axis=first, output_axis=tuple(range(first + 1, leaf.ndim))
        )

    return tree_map_with_path(axes, model)


def matrix_axis(path: Any) -> int:
    """The first axis of the matrices in a kernel (N, in, …out) of blocks, or (N, E, in, …out) of experts."""
    return 2 if "experts" in _names(path) else 1


def rate_multipliers(params: Any, optimizer: str, model: Model) -> Any:
    """The factor of each parameter's rate, from `research.config.scaling`."""
    return tree_map_with_path(lambda path, _: scaling.rate_multiplier(_names(path), optimizer, model), params)


def are_hidden_matrices(model: Any, experts: bool = True) -> Any:
    """True for the blocks' kernels, else False; without `experts`, also False for theirs."""

    def hidden(path, _):
        return {"blocks", "kernel"} <= _names(path) and (experts or matrix_axis(path) == 1)

    return tree_map_with_path(hidden, model)


def _names(path: Any) -> set[str]:
    return set(path_name(path).split("/"))
