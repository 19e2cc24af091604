"""Fixtures of the tests of weights."""

import pytest

from tests.weights.directory import Directory


@pytest.fixture
def directory(tmp_path):
    return lambda name: Directory(name, tmp_path)
