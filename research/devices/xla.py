"""Settings of XLA's compilation, and of execution on CPUs."""

from collections.abc import Callable
from typing import Any

import jax

from research.devices.malloc import keep_freed_memory
from research.models.platform import platform
from research.scoped import Scoped

deterministic = Scoped("only deterministic kernels on GPUs", False)


def jit(function: Callable, **settings: Any) -> Any:
    """`jax.jit`, on CPUs with LLVM's optimization level 2 instead of 3.

    In our measurements level 3 makes neither a step nor an initialization faster and changes no bit. It
    compiles a step an eighth more slowly, and an initialization half as fast.
    """
    return jax.jit(function, compiler_options=_options(), **settings)


def _options() -> dict[str, Any] | None:
    if platform() == "cpu":
        return {"xla_backend_optimization_level": 2}
    if platform() == "gpu" and deterministic.get():
        return {"xla_gpu_deterministic_ops": True}
    return None


def reuse_step_memory() -> bool:
    """`keep_freed_memory`, and synchronous dispatch on CPUs. Call it before JAX is first used.

    Arrays allocated while a step runs would occupy the last step's buffers, and the next step would need new
    ones: a run of GPT-2 took 5 GB instead of 3.
    """
    kept = keep_freed_memory()
    if kept:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    return kept
