"""Texts of people, by a tokenizer of any kind."""

import json
import os

import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from research.data.tokenizers.published import SPECIAL, read
from research.data.tokenizers.tokenizer import document_start, encode
from research.errors import UsageError


def characters(alphabet: str) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({character: n for n, character in enumerate(alphabet)}))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    return tokenizer


def test_characters_that_the_vocabulary_lacks_are_named():
    tokenizer = characters("abc é")
    assert encode(tokenizer, "cab é").ids == [2, 0, 1, 3, 4]
    with pytest.raises(UsageError, match="'caf€ éd': the vocabulary has no 'd', 'f', '€'"):
        encode(tokenizer, "caf€ éd")


def test_a_text_that_is_not_utf_8_is_refused():
    with pytest.raises(UsageError, match="is not UTF-8"):
        encode(characters("abd"), os.fsdecode(b"bad\xff"))


def test_a_document_starts_with_what_there_is():
    assert document_start(characters("ab\n")) == [2]
    assert document_start(characters("ab")) == [0]  # of a text that is one line
    ended = characters("ab\n")
    ended.add_special_tokens(["<|endoftext|>"])
    assert document_start(ended) == [3]


@pytest.mark.parametrize(
    "settings, pieces",
    [
        (None, ["cafe", "日", "本"]),  # a vocabulary without capitals
        ({"do_lower_case": False}, ["[UNK]", "日", "本"]),
        ({"do_lower_case": False, "strip_accents": True}, ["Cafe", "日", "本"]),
        ({"strip_accents": False}, ["café", "日", "本"]),
        ({"tokenize_chinese_chars": False}, ["cafe", "日", "##本"]),
    ],
)
def test_settings_beside_a_vocabulary_are_heeded(tmp_path, settings, pieces):
    words = [*SPECIAL, "cafe", "café", "日", "本", "##本", *(["Cafe"] if settings else [])]
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(words).encode())
    if settings:
        defaults = {"do_lower_case": True}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(defaults | settings))
    assert encode(read(tmp_path), "Café 日本").tokens == pieces
