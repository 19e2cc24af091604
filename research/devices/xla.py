"""How XLA compiles a program, and where a CPU runs it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

from research.devices.malloc import keep_freed_memory
from research.models.platform import platform

_deterministic = ContextVar("deterministic", default=False)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """What is compiled within takes, on GPUs, kernels alone whose results are the same every time."""
    token = _deterministic.set(wanted)
    try:
        yield
    finally:
        _deterministic.reset(token)


def jit(function: Callable, **settings: Any) -> Any:
    """`jax.jit`, on CPUs with LLVM's second level of optimization instead of its third.

    The third level makes neither a step nor an initialization faster, and changed no bit of either where this
    was measured. It compiles a step an eighth more slowly, and an initialization half as fast.
    """
    return jax.jit(function, compiler_options=_options(), **settings)


def _options() -> dict[str, Any] | None:
    if platform() == "cpu":
        return {"xla_backend_optimization_level": 2}
    if platform() == "gpu" and _deterministic.get():
        return {"xla_gpu_deterministic_ops": True}
    return None


def reuse_step_memory() -> bool:
    """`keep_freed_memory`, and synchronous dispatch on CPUs. Call it before JAX is first used.

    Arrays allocated while a step runs would take the place of the last step's buffers, so that the next
    step's no longer fit there: a run of GPT-2 took 5 GB instead of 3.
    """
    kept = keep_freed_memory()
    if kept:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    return kept
