"""What comes from outside the project into a test's process leaves it again."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from experiments import registry
from research.config import names
from research.config.imports import loading
from research.config.registry import Registry


@contextmanager
def forgotten_afterwards() -> Iterator[None]:
    """Forgets the imports and registrations that are made inside."""
    every = [entry for entry in vars(names).values() if isinstance(entry, Registry)]
    every += [registry.EXPERIMENTS, registry.SWEEPS]
    before = [set(one._entries) for one in every]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "IMPORTED", dict(loading.IMPORTED))
        patch.setattr(loading, "FAILED", {})
        yield
    for one, known in zip(every, before, strict=True):
        for name in set(one._entries) - known - set(one._builtin):
            del one._entries[name]
