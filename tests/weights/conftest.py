"""What the tests of this room share."""

import pytest

from tests.weights.directory import Directory


@pytest.fixture
def directory(tmp_path):
    return lambda name: Directory(name, tmp_path)
