"""The platform that a program is traced for, which decides between formulations of the same function.

A program may be compiled for devices that this machine does not have, so nothing asks JAX for its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_traced_for: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
    """`cpu`, `gpu` or `tpu`: by default that of JAX's own devices."""
    return _traced_for.get() or jax.default_backend()


@contextmanager
def tracing_for(name: str) -> Iterator[None]:
    """Traces for the platform `name`. JAX keeps traces by function, so those for another one are dropped."""
    changes = name != platform()
    token = _traced_for.set(name)
    if changes:
        jax.clear_caches()
    try:
        yield
    finally:
        _traced_for.reset(token)
        if changes:
            jax.clear_caches()
