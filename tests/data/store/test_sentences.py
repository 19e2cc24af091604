import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.data.store.encoding import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One. ", "Two! ", "Three? ", "Four"]),
        ('He said: "Stop." Then he left.', ['He said: "Stop." ', "Then he left."]),
        ("A title\nBy Joseph Conrad\n\nText.", ["A title\n", "By Joseph Conrad\n\n", "Text."]),
        ("Mr. Smith met J. R. Jones. They spoke.", ["Mr. Smith met J. R. Jones. ", "They spoke."]),
        ("It grew by 3.5 percent. In 1999 it fell.", ["It grew by 3.5 percent. ", "In 1999 it fell."]),
        ("e.g. this one, i.e. that", ["e.g. this one, i.e. that"]),
        ("Wait... what? (Yes.) Oh!", ["Wait... what? ", "(Yes.) ", "Oh!"]),
    ],
)
def test_ends(text, expected):
    assert list(sentences(text, "punctuation")) == expected


def test_one_sentence_per_line_as_in_googles_input():
    assert list(sentences("One. Two.\nThree", "lines")) == ["One. Two.\n", "Three"]


@given(st.text(st.sampled_from("Ab. !?\n\"') ")), st.sampled_from(["punctuation", "lines"]))
def test_nothing_is_lost(text, rule):
    cut = list(sentences(text, rule))
    assert "".join(cut) == text
    assert all(cut)
