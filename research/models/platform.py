"""The device that a program is traced for; it selects between formulations of the same function.

A program may be compiled for devices that this machine does not have, so model code never asks JAX for its
devices.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from research.scoped import Scoped

AMPERE = (8, 0)  # NVIDIA's first GPUs with bfloat16; the minimum for fused kernels
Capability = tuple[int, int]


class Traced(NamedTuple):
    platform: str
    capability: Capability | None


# True while tracing a model whose gradient is differentiated too, in formulations that allow it.
differentiated_again = Scoped("differentiated again", False)
_traced_for = Scoped[Traced | None]("device", None)


def platform() -> str:
    """`cpu`, `gpu` or `tpu`; default: that of JAX's devices."""
    traced = _traced_for.get()
    return jax.default_backend() if traced is None else traced.platform


def capability() -> Capability | None:
    """The compute capability of an NVIDIA GPU, such as (9, 0) for an H100; None for other devices."""
    traced = _traced_for.get()
    return capability_of(jax.devices()[0]) if traced is None else traced.capability


def capability_of(device: Any) -> Capability | None:
    """As `capability`. AMD's GPUs report a name instead."""
    match = re.fullmatch(r"(\d+)\.(\d+)", getattr(device, "compute_capability", ""))
    return None if match is None else (int(match[1]), int(match[2]))


@contextmanager
def tracing_for(platform_: str, capability_: Capability | None = None) -> Iterator[None]:
    """Traces for a device. JAX caches traces by function, so traces for another device are dropped."""
    traced = Traced(platform_, capability_)
    changes = traced != (platform(), capability())
    if changes:
        jax.clear_caches()
    try:
        with _traced_for.being(traced):
            yield
    finally:
        if changes:
            jax.clear_caches()


@contextmanager
def tracing_for_device(device: Any) -> Iterator[None]:
    """`tracing_for` any device object. Pallas compiles kernels for JAX's default device."""
    with tracing_for(device.platform, capability_of(device)), jax.default_device(device):
        yield
