"""Activity for the second or two in which a command imports JAX."""

from collections.abc import Iterator
from contextlib import contextmanager

from research.io.activity import activity
from research.training.stopping.interrupts import at_once


@contextmanager
def starting() -> Iterator[None]:
    """Shows that the command starts; an interrupt ends it at once."""
    with activity("starting JAX"), at_once():
        yield
