import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import Split

from research.config import Data
from research.data.tokenizers.fast_bert import encoder, is_plain
from research.data.tokenizers.tokenizer import load

WORD_PIECES = Data(
    source="tfds:python_docs", split="published", tokenizer="wordpiece:1024", batch=2, length=4
)
ASCII = st.text(st.characters(codec="ascii"))
TEXTS = st.lists(ASCII | st.text(st.characters(exclude_categories=["Cs"])), max_size=6)


def reference(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def tokenizer(request):
    found = load(WORD_PIECES)
    found.normalizer = BertNormalizer(lowercase=request.param)
    return found


@given(TEXTS)
@example(["Print(X)\tdel\x7fete [MASK] [sep]\x0b\x1f\r\n", "", "\x00", "Ünïcode ﬁ 中文", "I\u0130"])
@settings(deadline=None)
def test_ids_are_the_tokenizers_own(tokenizer, texts):
    assert encoder(tokenizer)(texts) == reference(tokenizer, texts)


def test_every_ascii_character_between_letters(tokenizer):
    texts = [f"In{chr(code)}Def" for code in range(128)]
    assert encoder(tokenizer)(texts) == reference(tokenizer, texts)
    assert sum(map(is_plain, texts)) == 128 - 33 + 3  # all but control characters, tab and ends of lines


def test_added_tokens_match_their_spelling(tokenizer):
    spelled = Tokenizer.from_str(tokenizer.to_str())
    spelled.add_tokens([AddedToken("FooBar", normalized=False)])
    ids = encoder(spelled)(["a FooBar b"])
    assert ids == reference(spelled, ["a FooBar b"]) != reference(spelled, ["a foobar b"])


def test_white_space_stays_where_the_pretokenizer_keeps_it(tokenizer):
    """A pre-tokenizer that keeps white space tells a tab from a space, so the normalizer must run."""
    keeping = Tokenizer.from_str(tokenizer.to_str())
    keeping.pre_tokenizer = Split(" ", "removed")
    texts = ["a\tb", "a b", "a\nb"]
    assert encoder(keeping)(texts) == reference(keeping, texts)
    keeping.normalizer = None
    assert reference(keeping, texts)[0] != reference(keeping, texts)[1]


def test_other_tokenizers_are_left_alone():
    byte_pairs = load(dataclasses.replace(WORD_PIECES, tokenizer="bpe:1024"))
    texts = ["Print(X)", "<|endoftext|>", "ß\x00"]
    assert encoder(byte_pairs)(texts) == reference(byte_pairs, texts)
