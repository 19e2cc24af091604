"""The device that a program is traced for; it selects between formulations of the same function.

A program may be compiled for devices that this machine does not have, so model code never asks JAX for its
devices.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax

AMPERE = (8, 0)  # NVIDIA's first GPUs with bfloat16; the minimum for fused kernels
Capability = tuple[int, int]


class Traced(NamedTuple):
    platform: str
    capability: Capability | None


_differentiated_again: ContextVar[bool] = ContextVar("differentiated again", default=False)
_traced_for: ContextVar[Traced | None] = ContextVar("device", default=None)


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
    token = _traced_for.set(traced)
    if changes:
        jax.clear_caches()
    try:
        yield
    finally:
        _traced_for.reset(token)
        if changes:
            jax.clear_caches()


@contextmanager
def tracing_for_device(device: Any) -> Iterator[None]:
    """`tracing_for` any device object. Pallas compiles kernels for JAX's default device."""
    with tracing_for(device.platform, capability_of(device)), jax.default_device(device):
        yield


def is_differentiated_again() -> bool:
    return _differentiated_again.get()


@contextmanager
def differentiated_again() -> Iterator[None]:
    """Traces a model whose gradient is differentiated too, with formulations that allow it."""
    token = _differentiated_again.set(True)
    try:
        yield
    finally:
        _differentiated_again.reset(token)
