"""Streamed text, stop strings, completion and fill-mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from research.config import Model
from research.data.tokenizers.published import SPECIAL, byte_level, word_level
from research.errors import UsageError
from research.generation import Sampling, complete, fill_masks
from research.generation.fill_mask import _compiled_most_likely
from research.generation.streaming import BYTES, TextStreamer
from tests.drawn import drawn

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
BYTE_LEVEL = byte_level(models.BPE({char: n for n, char in enumerate(ALPHABET)}, []))
WORDS = ["the", "cat", "sat", ".", "##s"]
PIECES = word_level(
    models.WordPiece({piece: n for n, piece in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]"), cased=False
)


def test_the_byte_alphabet_is_the_tokenizers():
    assert sorted(BYTES) == ALPHABET and sorted(BYTES.values()) == list(range(256))


@given(st.lists(st.integers(0, 255)))
@settings(deadline=None)
def test_streamed_text_is_the_decoded_text(ids):
    """Even for bytes that are not UTF-8."""
    streamer = TextStreamer(BYTE_LEVEL, [])
    streamed = "".join(streamer.push(token) for token in ids) + streamer.flush()
    assert streamed == streamer.text == BYTE_LEVEL.decode(ids)


def test_characters_are_never_split():
    streamer = TextStreamer(BYTE_LEVEL, [])
    ids = BYTE_LEVEL.encode("é€😀").ids
    assert [streamer.push(token) for token in ids] == ["", "é", "", "", "€", "", "", "", "😀"]


@given(st.text("ab"), st.lists(st.text("ab", min_size=1), max_size=3))
@settings(deadline=None)
def test_text_ends_at_the_first_stop(text, stops):
    streamer = TextStreamer(BYTE_LEVEL, [], stops)
    streamed = ""
    for token in BYTE_LEVEL.encode(text).ids:
        streamed += streamer.push(token)
        if streamer.stopped:
            break
        assert (
            not any(streamed.endswith(stop[:1]) for stop in stops if len(stop) > 1)
            or streamed == streamer.text
        )
    streamed += streamer.flush()
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if ends:
        before = text[: min(ends)]  # at the earliest stop
        assert streamed == before[: min(before.find(stop) for stop in stops if stop in before)]
    else:
        assert streamed == text


def test_pieces_join_to_words():
    streamer = TextStreamer(PIECES, PIECES.encode("the", add_special_tokens=False).ids)
    ids = PIECES.encode("cats sat", add_special_tokens=False).ids
    assert "".join(map(streamer.push, ids)) + streamer.flush() == " cats sat"


def gpt(vocabulary=256):
    return drawn(Model(family="gpt2", vocabulary=vocabulary, context=24, width=8, depth=1, heads=2), seed=3)


def test_seeds_reproduce_and_batches_change_nothing():
    prompts, sampling = ["abc", "", "x", "yz"], Sampling(temperature=0.8)
    once = complete(gpt(), BYTE_LEVEL, prompts, 20, sampling, seed=1, batch=4)
    again = complete(gpt(), BYTE_LEVEL, prompts, 20, sampling, seed=1, batch=3)
    other = complete(gpt(), BYTE_LEVEL, prompts, 20, sampling, seed=2)
    assert once == again and once != other
    assert all(one.ended == "length" and one.tokens == 20 for one in once)


def test_on_text_gets_all_text_and_stops_cut():
    received = [""] * 2
    plain = complete(gpt(), BYTE_LEVEL, ["abc", "x"], 20, seed=1)
    stop = plain[0].text[4:6]

    def on_text(row, text):
        received[row] += text

    cut = complete(gpt(), BYTE_LEVEL, ["abc", "x"], 20, seed=1, stops=[stop], on_text=on_text)
    assert received == [one.text for one in cut]
    assert cut[0].ended == "stop" and cut[0].text == plain[0].text[: plain[0].text.index(stop)]


def test_the_tokenizer_of_another_model_is_refused():
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
    programs = _compiled_most_likely._cache_size()
    assert fill_masks(model, PIECES, ["The [MASK] ."] * 2, top=3) == [short, short]
    assert _compiled_most_likely._cache_size() == programs  # texts of another length need no other
    with pytest.raises(UsageError, match=r"expected a \[MASK\]"):
        fill_masks(model, PIECES, ["The cat ."])
    model.edits = (("embeddings", lambda x: x.at[:, -2].set(1.0)),)  # by position: without padding
    (edited,) = fill_masks(model, PIECES, ["The [MASK] ."], top=1)
    logits_LV = np.asarray(model(np.asarray([PIECES.encode("The [MASK] .").ids]))[0][0])
    assert edited.masks[0][0].piece == PIECES.id_to_token(int(logits_LV[2].argmax()))
    best = np.exp(logits_LV[2]).max() / np.exp(logits_LV[2]).sum()
    assert edited.masks[0][0].probability == pytest.approx(best, rel=1e-4)
    assert abs(best - short.masks[0][0].probability) > 1e-3
