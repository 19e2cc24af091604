"""Norms, chosen by `model.normalization`.

A norm is a module, constructed as `norm(width, epsilon, bias)`. It maps (…, width) to the same shape and
type. Its parameters, created by `research.models.axes.parameter`, are called `scale` and `bias`, which weight
decay skips. `bias` is `model.bias`; a norm without bias ignores it. One registered with settings takes them
as the keyword `own`.
"""

import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.config.names import NORMS
from research.config.own import NONE
from research.models.axes import parameter
from research.models.ops.norms import layer_norm, rms_norm


@NORMS.register("layer")
class LayerNorm(nnx.Module):
    """Ba et al. (2016)."""

    def __init__(self, width: int, epsilon: float, bias: bool):
        self.scale = parameter(jnp.ones(width), "fsdp")
        self.bias = parameter(jnp.zeros(width), "fsdp") if bias else None
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        bias = None if self.bias is None else self.bias[...]
        return layer_norm(x, self.scale[...], bias, self.epsilon)


@NORMS.register("rms")
class RMSNorm(nnx.Module):
    """Zhang & Sennrich (2019): without centering and without bias."""

    def __init__(self, width: int, epsilon: float, bias: bool = False):
        self.scale = parameter(jnp.ones(width), "fsdp")
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        return rms_norm(x, self.scale[...], self.epsilon)


def norm(config: Model, bias: bool | None = None) -> nnx.Module:
    """Builds the norm of `config` over its width; `bias` overrides `model.bias` where a model fixes it."""
    own = {} if config.own.normalization == NONE else {"own": config.own.normalization}
    return NORMS[config.normalization](
        config.width, config.norm_epsilon, config.bias if bias is None else bias, **own
    )
