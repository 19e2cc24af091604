"""Steps of an optimizer are taken here; what is pretended has nothing to free."""

import pytest

from tests.promotion import standard_promotion  # noqa: F401


@pytest.fixture
def nothing_to_free(monkeypatch):
    """What is pretended leaves no arrays behind."""
    monkeypatch.setattr("research.sweeping.worker._free_memory", lambda: None)
