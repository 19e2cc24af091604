import builtins
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.data.sources.standardize import gpt1
from research.errors import EnvironmentFault

ftfy = pytest.importorskip("ftfy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a—b – c … d´s", "a - b - c ... d's"),
        ("what?! (yes)", "what ? ! ( yes )"),
        ("--- a,,b", "--- a ,, b"),
        ("a\\b a/b a+b", "a\\b a / b a + b"),
        ("  one \t two\n\n\n three ", "one two \n three"),
        ("schÃ¶n", "schön"),  # UTF-8 read as Latin-1
    ],
)
def test_as_published(text, expected):
    assert gpt1(text) == expected


@given(st.text())
def test_what_is_left_is_clean(text):
    clean = gpt1(text)
    assert clean == clean.strip()
    assert not re.search(r"[—–―…´]|[^\S\n]{2}|\n\s*\n", clean)


def test_without_ftfy_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "ftfy":
            raise ImportError
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFault, match=r"needs ftfy: pip install 'lineage-lm\[gpt1\]'"):
        gpt1("a")
