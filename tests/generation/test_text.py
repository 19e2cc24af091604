"""Tokens to text: whole characters, stops, [MASK]s."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from research.config import Model
from research.data.tokenizers.published import SPECIAL, byte_level, word_level
from research.errors import UsageError
from research.generation import Sampling, complete, fill_masks
from research.generation.streaming import BYTES, Writer
from tests.drawn import drawn

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_LEVEL = byte_level(models.BPE({char: n for n, char in enumerate(ALPHABET)}, []))
WORDS = ["the", "cat", "sat", ".", "##s"]
PIECES = word_level(
    models.WordPiece({piece: n for n, piece in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]"), cased=False
)


def test_the_alphabet_is_the_tokenizers():
    assert sorted(BYTES) == ALPHABET and sorted(BYTES.values()) == list(range(256))


@given(st.lists(st.integers(0, 255)))
@settings(deadline=None)
def test_streamed_text_is_the_decoded_text(ids):
    """Bytes that are no UTF-8 too."""
    writer = Writer(BYTE_LEVEL, [])
    streamed = "".join(writer.push(token) for token in ids) + writer.flush()
    assert streamed == writer.text == BYTE_LEVEL.decode(ids)


def test_no_half_character_is_told():
    writer = Writer(BYTE_LEVEL, [])
    ids = BYTE_LEVEL.encode("é€😀").ids
    assert [writer.push(token) for token in ids] == ["", "é", "", "", "€", "", "", "", "😀"]


@given(st.text("ab"), st.lists(st.text("ab", min_size=1), max_size=3))
@settings(deadline=None)
def test_text_ends_at_the_first_stop(text, stops):
    writer = Writer(BYTE_LEVEL, [], stops)
    told = ""
    for token in BYTE_LEVEL.encode(text).ids:
        told += writer.push(token)
        if writer.stopped:
            break
        assert not any(told.endswith(stop[:1]) for stop in stops if len(stop) > 1) or told == writer.text
    told += writer.flush()
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if ends:
        before = text[: min(ends)]  # where it is first known
        assert told == before[: min(before.find(stop) for stop in stops if stop in before)]
    else:
        assert told == text


def test_pieces_join_to_words():
    writer = Writer(PIECES, PIECES.encode("the", add_special_tokens=False).ids)
    ids = PIECES.encode("cats sat", add_special_tokens=False).ids
    assert "".join(map(writer.push, ids)) + writer.flush() == " cats sat"


def gpt(vocabulary=256):
    return drawn(Model(family="gpt2", vocabulary=vocabulary, context=24, width=8, depth=1, heads=2), seed=3)


def test_seeds_reproduce_and_batches_change_nothing():
    prompts, how = ["abc", "", "x", "yz"], Sampling(temperature=0.8)
    once = complete(gpt(), BYTE_LEVEL, prompts, 20, how, seed=1, batch=4)
    again = complete(gpt(), BYTE_LEVEL, prompts, 20, how, seed=1, batch=3)
    other = complete(gpt(), BYTE_LEVEL, prompts, 20, how, seed=2)
    assert once == again and once != other
    assert all(one.ended == "length" and one.tokens == 20 for one in once)


def test_listeners_hear_all_and_stops_cut():
    heard = [""] * 2
    plain = complete(gpt(), BYTE_LEVEL, ["abc", "x"], 20, seed=1)
    stop = plain[0].text[4:6]

    def listen(row, text):
        heard[row] += text

    cut = complete(gpt(), BYTE_LEVEL, ["abc", "x"], 20, seed=1, stops=[stop], listen=listen)
    assert heard == [one.text for one in cut]
    assert cut[0].ended == "stop" and cut[0].text == plain[0].text[: plain[0].text.index(stop)]


def test_another_models_tokenizer_is_refused():
    with pytest.raises(UsageError, match="not its own"):
        complete(gpt(100), BYTE_LEVEL, ["abc"], 3)


def test_masks_are_filled_with_the_likeliest():
    config = Model(family="bert", vocabulary=10, context=16, width=8, depth=1, heads=2, norm="post")
    model = drawn(config)
    short, long = fill_masks(model, PIECES, ["The [MASK] .", "The cats [MASK] [MASK] ."], top=3)
    logits_LV = np.asarray(model(np.asarray([PIECES.encode("The [MASK] .").ids]))[0][0])
    probabilities = np.exp(logits_LV[2]) / np.exp(logits_LV[2]).sum()
    order = probabilities.argsort()[::-1][:3]
    (mask,) = short.masks
    assert [one.piece for one in mask] == [PIECES.id_to_token(int(n)) for n in order]
    np.testing.assert_allclose([one.probability for one in mask], probabilities[order], rtol=1e-4)
    assert len(long.masks) == 2 and all(len(one) == 3 for one in long.masks)
    with pytest.raises(UsageError, match=r"expected a \[MASK\]"):
        fill_masks(model, PIECES, ["The cat ."])
