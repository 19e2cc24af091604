"""Marks all but the first cases of a test as slow: they differ in detail from those that run always."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], fast: int = 1) -> list[Any]:
    """`cases` of `pytest.mark.parametrize`, of which the first `fast` are in the plain set."""
    marked = []
    for number, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        marked.append(case if number < fast else pytest.param(*values, marks=pytest.mark.slow))
    return marked
