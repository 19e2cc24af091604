import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from research.data.pretraining.counter_rng import bernoulli, bits, fair_binomial, randint

WORD = st.integers(0, 2**63 - 1)


def splitmix(state):
    """One output of the published generator, in Python's integers."""
    z = state % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@given(WORD)
def test_one_number_gives_the_published_sequence(index):
    assert int(bits(index)) == splitmix((index + 1) * 0x9E3779B97F4A7C15)


def test_the_published_first_outputs():
    """Of SplitMix64 seeded with 0, as in its authors' test vectors."""
    assert [int(word) for word in bits(np.arange(3))] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(st.lists(WORD, min_size=2, max_size=4), st.integers(0, 3))
def test_a_number_depends_on_its_address_alone(address, size):
    many = bits(*address[:-1], np.array([7] * size + [address[-1]]))
    assert many[-1] == bits(*address)


def test_every_part_of_an_address_counts():
    seen = {int(bits(a, b, c)) for a in range(20) for b in range(20) for c in range(20)}
    assert len(seen) == 8000


def test_distributions():
    counts = np.bincount(randint(20, 3, np.arange(100_000)), minlength=20)
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8  # chi-squared, 19 degrees, one in a thousand
    for share in (0.1, 0.5, 0.8):
        drawn = bernoulli(share, 4, np.arange(100_000)).mean()
        assert abs(drawn - share) < 4 * np.sqrt(share * (1 - share) / 100_000)


def test_fair_binomial_has_its_mean_and_variance():
    for trials in (0, 1, 7, 64, 65, 300):
        counts = fair_binomial(np.full(20_000, trials), 5, np.arange(20_000))
        assert counts.min() >= 0 and counts.max() <= trials
        assert abs(counts.mean() - trials / 2) <= 4 * np.sqrt(trials / 4 / 20_000)
        assert np.isclose(counts.var(), trials / 4, rtol=0.05)
    mixed = fair_binomial(np.array([0, 3, 130]), 5, np.arange(3))
    assert mixed.tolist() == [
        int(fair_binomial(np.array([n]), 5, np.array([i]))[0]) for i, n in enumerate([0, 3, 130])
    ]
