"""Sampling: rows do not depend on their batch, a seed fixes the text, filters give their distributions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model
from research.errors import UsageError
from research.generation import GREEDY, Sampling, beam_search, sample
from research.generation.sampling import prefill, step
from research.generation.sampling_params import filter_logits, penalize_repetition, sample_tokens
from research.models.decoding import _converted, decoder
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

TINY = Model(family="gpt2", vocabulary=23, context=12, width=12, depth=2, heads=3)
PROMPTS = [[1, 2, 3, 4, 5], [6], [7, 8, 9], list(range(20))]
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def model():
    return drawn(TINY)


def texts(model, prompts, tokens=30, sampling=GREEDY, **more):
    return np.stack(list(sample(model, prompts, tokens, KEY, sampling, **more)), axis=1).tolist()


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.0, repetition_penalty=1.5)])
def test_a_prompt_gives_the_same_text_alone_and_in_a_batch(model, sampling):
    """Even when one fills the context before the others do."""
    alone = [texts(model, [prompt], sampling=sampling)[0] for prompt in PROMPTS]
    assert texts(model, PROMPTS, sampling=sampling) == alone


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-9])
def test_a_temperature_near_zero_is_greedy(temperature):
    logits_BV = jnp.array([[1.0, 1.0001, -3.0], [-80.0, -90.0, -79.9]])
    keys_B = jax.random.split(KEY, 2)
    assert sample_tokens(logits_BV, keys_B, None, Sampling(temperature=temperature)).tolist() == [1, 2]


def test_a_row_has_its_own_random_numbers(model):
    sampling = Sampling(temperature=1.3)
    together = texts(model, PROMPTS, sampling=sampling)
    for row, prompt in enumerate(PROMPTS):
        assert texts(model, [prompt], sampling=sampling, rows=[row]) == [together[row]]
    first, second = texts(model, [[1], [1]], sampling=sampling)
    assert first != second


@pytest.mark.parametrize("family, norm", mostly_slow([("gpt2", "pre"), ("gpt1", "post")]))
def test_padded_and_cached_logits_equal_the_plain_ones(family, norm):
    model = drawn(dataclasses.replace(TINY, family=family, norm=norm))
    gpt, prompts, next_ = decoder(model), [[1, 2, 3, 4], [5], [6, 7]], [8, 9, 10]
    _, cache = prefill(gpt, prompts, room=4)
    logits_BV, _ = step(gpt, np.asarray(next_, np.int32)[:, None], cache)
    for row, (prompt, token) in enumerate(zip(prompts, next_, strict=True)):
        plain_V = model(jnp.asarray([[*prompt, token]]))[0, -1]
        np.testing.assert_allclose(logits_BV[row], plain_V, atol=1e-5 * float(abs(plain_V).max()))


def test_converting_a_model_again_compiles_nothing(model):
    """As at every evaluation of a run that samples."""
    decoder(model)
    programs = _converted._cache_size()
    decoder(drawn(TINY, seed=2))
    assert _converted._cache_size() == programs


def test_a_penalty_worked_by_hand():
    logits_BV = jnp.asarray([[2.0, -1.0, 3.0, 0.5]])
    seen_BV = jnp.asarray([[True, True, False, False]])
    np.testing.assert_allclose(penalize_repetition(logits_BV, seen_BV, 2.0), [[1.0, -2.0, 3.0, 0.5]])


def test_top_k_and_top_p_worked_by_hand():
    logits_BV = jnp.log(jnp.asarray([[0.1, 0.4, 0.2, 0.3]]))
    kept = lambda k, p: np.isfinite(filter_logits(logits_BV, k, p))[0].tolist()  # noqa: E731
    assert kept(2, None) == [False, True, False, True]
    assert kept(None, 0.3) == [False, True, False, False]
    assert kept(None, 0.6) == [False, True, False, True]
    assert kept(None, 0.75) == [False, True, True, True]
    assert kept(2, 0.5) == [False, True, False, False]  # 0.4 of 0.7 is more than half
    assert kept(None, 1.0) == kept(9, None) == [True] * 4


@pytest.mark.parametrize(
    "sampling, expected",
    [
        (Sampling(), [0.1, 0.4, 0.2, 0.3]),
        (Sampling(top_k=2), [0, 4 / 7, 0, 3 / 7]),
        (Sampling(top_p=0.75), [0, 4 / 9, 2 / 9, 3 / 9]),
        (Sampling(temperature=0.5), [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
    ],
)
def test_samples_follow_the_distribution(sampling, expected):
    count = 20_000
    logits_BV = jnp.broadcast_to(jnp.log(jnp.asarray([0.1, 0.4, 0.2, 0.3])), (count, 4))
    drawn_B = sample_tokens(logits_BV, jax.random.split(KEY, count), None, sampling)
    found = np.bincount(drawn_B, minlength=4) / count
    deviation = np.sqrt(np.asarray(expected) * (1 - np.asarray(expected)) / count)
    assert (abs(found - expected) <= 4.5 * deviation).all()


def test_beams_find_the_best_of_all(model):
    """With as many beams as there are continuations, the search is exhaustive."""
    small = drawn(dataclasses.replace(TINY, vocabulary=6))
    prompt, length = [1, 2], 2
    log_ = {}
    for a in range(6):
        both = jax.nn.log_softmax(small(jnp.asarray([[*prompt, a]]))[0])
        for b in range(6):
            log_[a, b] = float(both[-2, a] + both[-1, b])
    best = sorted(log_, key=log_.get, reverse=True)
    (found,) = beam_search(small, [prompt], length, 3)
    assert found[0].tokens == best[0]
    np.testing.assert_allclose(found[0].score, log_[best[0]] / length, atol=1e-4)


def test_invalid_settings_are_refused(model):
    with pytest.raises(UsageError, match="expected at most 12"):
        beam_search(model, [[1, 2, 3]], 10, 2)
    for wrong in (
        {"temperature": -1},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"repetition_penalty": 0},
    ):
        with pytest.raises(UsageError, match="expected"):
            Sampling(**wrong)
