"""How XLA compiles a program, and where a CPU runs it."""

from collections.abc import Callable
from typing import Any

import jax

from research.devices.malloc import keep_freed_memory


def jit(function: Callable, **settings: Any) -> Any:
    """`jax.jit`, on CPUs with LLVM's second level of optimization instead of its third.

    The third makes neither a step nor a first state faster and changed no bit of either where this was
    measured, but takes an eighth longer to compile a step, and twice as long for what draws random numbers.
    """
    options = {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options, **settings)


def reuse_step_memory() -> bool:
    """`keep_freed_memory`, and has a CPU run each step in the thread that calls it. Before JAX is first used.

    What is made beside a running step comes to lie where the last one's buffers were, so that those of the
    next one do not fit there any more: a run of GPT-2 took 5 GB instead of 3.
    """
    kept = keep_freed_memory()
    if kept:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    return kept
