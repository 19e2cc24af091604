"""A fixture for the tests of rooms that take optimizer steps."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="package")
def standard_promotion():
    """Optax's Adam raises a float to an integer power, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield
