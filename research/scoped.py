"""Values that hold within a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class Scoped(Generic[T]):
    """A value that code deep within a call reads, such as what a trace depends on beside its arguments.

    From Python 3.14 on, `ContextVar.set` does the same.
    """

    def __init__(self, name: str, default: T):
        self._variable = ContextVar(name, default=default)

    def get(self) -> T:
        return self._variable.get()

    @contextmanager
    def being(self, value: T) -> Iterator[T]:
        """The value is `value` within the block, in this thread."""
        token = self._variable.set(value)
        try:
            yield value
        finally:
            self._variable.reset(token)
