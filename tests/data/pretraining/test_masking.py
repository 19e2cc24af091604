import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.config import Masking
from research.data.pretraining.counter_rng import bits
from research.data.pretraining.masking import mask
from research.data.tokenizers.tokenizer import SpecialTokens
from research.errors import UsageError

PAD, CLS, SEP, MASK, ENTRIES, LENGTH = 0, 1, 2, 3, 1000, 64
SPECIAL_TOKENS = SpecialTokens(
    ENTRIES, PAD, CLS, SEP, MASK, np.arange(ENTRIES) % 3 == 0
)  # a third continue a word


def rows(count, seed=0, length=LENGTH):
    """[CLS] A [SEP] B [SEP] of random tokens, full and short ones."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, length + 1, count).astype(np.int32)
    lengths[: count // 2] = length
    tokens = rng.integers(4, ENTRIES, (count, length)).astype(np.int32)
    tokens[np.arange(length) >= lengths[:, None]] = PAD
    tokens[:, 0] = CLS
    tokens[np.arange(count), lengths // 2] = SEP
    tokens[np.arange(count), lengths - 1] = SEP
    return tokens, lengths


def masked(count=4000, seed=0, **changes):
    tokens, lengths = rows(count, seed)
    masking = Masking(**changes)
    return (
        tokens,
        lengths,
        masking,
        mask(tokens, lengths, bits(seed, np.arange(count)), masking, SPECIAL_TOKENS),
    )


@pytest.mark.parametrize("whole_words", [False, True])
def test_laws_of_a_masked_row(whole_words):
    tokens, lengths, masking, (seen, positions, targets, weights) = masked(whole_words=whole_words)
    real = weights > 0
    assert set(np.unique(weights)) == {0, 1}
    assert np.array_equal(targets[real], np.take_along_axis(tokens, positions, 1)[real])
    assert not np.isin(targets[real], (PAD, CLS, SEP)).any()
    assert not targets[~real].any() and not positions[~real].any()
    ascending = np.diff(np.where(real, positions, LENGTH), axis=1)
    assert np.all((ascending > 0) | ~real[:, 1:])
    untouched = np.ones(tokens.shape, bool)
    untouched[np.nonzero(real)[0], positions[real]] = False
    assert np.array_equal(seen[untouched], tokens[untouched])
    number = np.clip(np.rint(lengths * masking.share), 1, masking.predictions)
    assert np.all(real.sum(1) <= number)
    if not whole_words:
        candidates = lengths - 3
        assert np.array_equal(real.sum(1), np.minimum(number, candidates))


def test_four_fifths_are_masked_and_a_tenth_each_kept_and_random():
    _, _, _, (seen, positions, targets, weights) = masked(20_000, seed=1)
    real = weights > 0
    shown = np.take_along_axis(seen, positions, 1)[real]
    share = {"mask": (shown == MASK).mean(), "kept": (shown == targets[real]).mean()}
    assert share["mask"] == pytest.approx(0.8 + 0.1 / ENTRIES, abs=0.005)
    assert share["kept"] == pytest.approx(0.1 + 0.1 / ENTRIES, abs=0.005)
    others = shown[(shown != MASK) & (shown != targets[real])]
    counts = np.bincount(others, minlength=ENTRIES)
    assert counts.max() < 6 * counts.mean()


# Devlin et al. (2018), appendix C.2: the shares that table 8 compares, and what the model then sees.
@pytest.mark.parametrize(
    "mask_share, kept, random", [(1, 0, 0), (0.8, 0, 0.2), (0.8, 0.2, 0), (0, 0.2, 0.8), (0, 0, 1)]
)
def test_other_shares(mask_share, kept, random):
    *_, (seen, positions, targets, weights) = masked(8_000, seed=1, mask=mask_share, random=random)
    *_, published = masked(8_000, seed=1)
    np.testing.assert_array_equal(positions, published.positions)  # the same tokens are predicted
    np.testing.assert_array_equal(targets, published.targets)
    shown = np.take_along_axis(seen, positions, 1)[weights > 0]
    same = (shown == targets[weights > 0]).mean()
    assert (shown == MASK).mean() == pytest.approx(mask_share + random / ENTRIES, abs=0.005)
    assert same == pytest.approx(kept + random / ENTRIES, abs=0.005)


@pytest.mark.parametrize(
    "changes", [{"mask": 0.95}, {"mask": -0.1}, {"random": 1.1}, {"random": float("nan")}]
)
def test_shares_that_are_none(changes):
    with pytest.raises(UsageError, match="shares of 0 or more that add up to at most 1"):
        Masking(**changes)


def test_all_pairs_of_positions_are_equally_likely():
    tokens = np.full((40_000, 12), 5, np.int32)
    tokens[:, 0], tokens[:, 5], tokens[:, 11] = CLS, SEP, SEP
    lengths = np.full(len(tokens), 12, np.int32)
    result = mask(tokens, lengths, bits(2, np.arange(len(tokens))), Masking(share=0.17), SPECIAL_TOKENS)
    assert np.all(result.weights.sum(1) == 2)
    code = result.positions[:, 0] * 12 + result.positions[:, 1]
    counts = np.bincount(code)[np.bincount(code) > 0]
    assert len(counts) == 9 * 8 // 2
    expected = len(tokens) / 36
    assert ((counts - expected) ** 2 / expected).sum() < 66.6  # chi-squared, 35 degrees, one in a thousand


def test_whole_words_are_predicted_all_or_none():
    tokens, lengths, masking, (_, positions, _, weights) = masked(whole_words=True)
    predicted = np.zeros(tokens.shape, bool)
    real = weights > 0
    predicted[np.nonzero(real)[0], positions[real]] = True
    continues = SPECIAL_TOKENS.continues[tokens] & ~np.isin(tokens, (PAD, CLS, SEP))
    before = np.roll(np.isin(tokens, (CLS, SEP)), 1, axis=1)
    inside = continues & ~before
    rows_, lanes = np.nonzero(inside)
    assert np.array_equal(predicted[rows_, lanes], predicted[rows_, lanes - 1])
    # Nearly the full number: a word that is too long is skipped for a shorter one.
    assert real.sum() > 0.97 * np.clip(np.rint(lengths * masking.share), 1, masking.predictions).sum()


@given(st.integers(0, 100), st.integers(1, 7), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_row_depends_on_its_seed_alone(seed, count, whole_words):
    tokens, lengths = rows(16, seed)
    seeds, masking = bits(seed, np.arange(16)), Masking(whole_words=whole_words)
    whole = mask(tokens, lengths, seeds, masking, SPECIAL_TOKENS)
    part = mask(tokens[:count], lengths[:count], seeds[:count], masking, SPECIAL_TOKENS)
    for a, b in zip(whole, part, strict=True):
        assert np.array_equal(a[:count], b)
    again = mask(tokens, lengths, bits(seed, np.arange(16), 1), masking, SPECIAL_TOKENS)
    assert not np.array_equal(whole.positions, again.positions)


def test_the_published_limits():
    tokens, lengths = rows(64, length=512)
    result = mask(tokens, lengths, bits(0, np.arange(64)), Masking(predictions=77), SPECIAL_TOKENS)
    assert result.positions.shape == (64, 77)
    assert np.all(result.weights[:32].sum(1) == 77)  # 15% of 512 is 76.8
    few = mask(tokens, lengths, bits(0, np.arange(64)), Masking(predictions=20), SPECIAL_TOKENS)
    assert few.weights.sum(1).max() == 20
