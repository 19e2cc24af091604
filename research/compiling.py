"""What XLA is asked for when a program is compiled."""

from collections.abc import Callable
from typing import Any

import jax


def jit(function: Callable, **settings: Any) -> Any:
    """`jax.jit`, on CPUs with LLVM's second level of optimization instead of its third.

    The third makes neither a step nor a first state faster and changed no bit of either where this was
    measured, but takes an eighth longer to compile a step, and twice as long for what draws random numbers.
    """
    options = {"xla_backend_optimization_level": 2} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options, **settings)
