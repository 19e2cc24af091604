"""Which implementation computes attention: `model.attention`."""

from importlib.util import find_spec
from typing import NamedTuple

import jax.numpy as jnp

from research.config import Model, names
from research.errors import UsageError
from research.models.ops.attention import BLOCKS, FLASH_SIZES, TPU_LENGTH
from research.models.ops.dropout import chosen_generator
from research.models.parts.positions import adds_to_scores
from research.models.platform import AMPERE, capability, differentiated_again, platform
from research.models.precision import compute_dtype
from research.models.sites import is_observed


class Choice(NamedTuple):
    used: str  # "xla", "cudnn", "flash" or "splash"
    why: str


FUSED = {"gpu": ("cudnn", "flash"), "tpu": ("splash", "flash")}  # in the order in which auto tries them


def choose(
    config: Model,
    trains: bool,
    documents: bool = False,
    length: int | None = None,
    own_mask: bool = False,
) -> Choice:
    """Chooses the implementation of `model.attention` on this device.

    `trains`: with dropout; `documents`: attention stays within documents; `length`: of sequences, default:
    the longest; `own_mask`: the family has its own mask class. Raises UsageError if the configured
    implementation does not support the model.
    """
    length = config.context if length is None else length
    if config.attention == "xla":
        return Choice("xla", "as set")
    if differentiated_again.get():
        return Choice("xla", "the gradient is differentiated")
    if is_observed():
        return Choice("xla", "its arrays are observed")
    special = "the family's mask is of its own class" if own_mask else None
    if adds_to_scores(config):
        special = f"model.positions={config.positions} adds to the scores"
    if config.attention != "auto":
        if why := special or _obstacle(config.attention, config, trains, documents, length):
            raise UsageError(f"model.attention={config.attention}: {why}; expected auto or xla")
        return Choice(config.attention, "as set")
    if why := special or _old_gpu():
        return Choice("xla", why)
    obstacles = []
    for implementation in FUSED.get(platform(), ()):
        why = _obstacle(implementation, config, trains, documents, length)
        if why is None:
            why = "; ".join(obstacles) or "the preferred implementation here"
            if not names.BLOCKS.is_builtin(config.block):
                why += f", where model.block={config.block} uses it"
            return Choice(implementation, why)
        obstacles.append(f"{implementation}: {why}")
    return Choice("xla", "; ".join(obstacles) or f"the device is a {platform()}")


def _obstacle(implementation: str, config: Model, trains: bool, documents: bool, length: int) -> str | None:
    """Why a fused attention does not support the model; None if it does."""
    dtype, size = compute_dtype(config.precision), config.width // config.heads
    if implementation not in FUSED.get(platform(), ()):
        return f"the device is a {platform()}"
    if why := _old_gpu():
        return why
    if dtype != jnp.bfloat16:
        return f"activations are {dtype}"
    drops = trains and config.dropout != 0
    if implementation == "flash":
        if drops and chosen_generator(config.dropout_generator) != "hash":
            return f"it needs model.dropout_generator=hash, not {config.dropout_generator}"
        if platform() == "gpu" and not _has_triton():
            return "this version of jax has no Pallas for Triton"
        if size not in FLASH_SIZES:
            return f"head size {size} is not one of {', '.join(map(str, FLASH_SIZES))}"
        if platform() == "tpu" and length > TPU_LENGTH:
            return f"sequence length {length} exceeds {TPU_LENGTH:,}"
    elif drops:
        return "it has no dropout of attention probabilities"
    if implementation != "cudnn":
        block = BLOCKS[platform()]
        return f"sequence length {length} is not a multiple of {block}" if length % block else None
    if size % 8 or size > 128:
        return f"head size {size} is not a multiple of 8 up to 128"
    return "it cannot restrict attention to documents" if documents else None


def _has_triton() -> bool:
    """JAX 0.12 announces that this part of it will go."""
    return find_spec("jax.experimental.pallas.triton") is not None


def _old_gpu() -> str | None:
    """Why this GPU runs no fused kernel; None if it does, or on other devices."""
    if platform() != "gpu":
        return None
    found = capability()
    if found is None:
        return "the GPU is not made by NVIDIA"
    return None if found >= AMPERE else f"the GPU's compute capability is {found[0]}.{found[1]}, below 8.0"
