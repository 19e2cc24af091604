"""Document ids in windows: those of the store equal a count from the tokens."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import experiments
from research.data.pretraining.causal_lm import document_ids
from research.data.store.token_store import TokenStore
from tests.by_experiment import train_batches, validation_batches

END = 0


def declared(order="shuffled", attend="document"):
    config = experiments.get("quickstart")
    data = replace(config.data, batch=4, length=8, order=order, attend=attend)
    return replace(config, data=data)


def stored(lengths):
    """Documents of so many tokens, 1 and more, each with an END after them."""
    texts = [[*range(1, length + 1), END] for length in lengths]
    starts = np.cumsum([0, *map(len, texts[:-1])])
    return TokenStore(np.concatenate(texts).astype(np.uint16), starts, 0, 0.0, "", ended=True)


@pytest.mark.parametrize("order", ["shuffled", "random"])
def test_an_end_of_text_opens_what_follows_it(order):
    store = stored([3, 1, 0, 20, 5, 5, 5, 40, 2] * 9)
    train, validation = train_batches(declared(order), store), validation_batches(declared(order), store)
    for batch in [*(train[step] for step in range(30)), *validation]:
        real = np.where(batch["weights"] == 1, batch["tokens"], 1)  # what fills the last batch up is 0 too
        ends = real[:, 1:] == END
        expected = np.concatenate([np.zeros((4, 1)), ends.cumsum(1)], axis=1)
        seen = batch["weights"] == 1
        assert np.array_equal(batch["documents"][seen], expected[seen])
        assert batch["documents"].shape == (4, 8) and batch["documents"].dtype == np.int32
    assert "documents" not in train_batches(declared(order, "window"), store)[0]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 30), st.integers(1, 9))
def test_without_ends_a_first_token_opens(lengths, begin, length):
    """Documents may be empty, and windows may run over the end."""
    starts = np.cumsum([0, *lengths[:-1]])
    own = np.searchsorted(starts, np.arange(begin, begin + length), "right")
    store = TokenStore(np.zeros(0, np.uint16), starts, 0, 0.0, "")
    (found,) = document_ids(store, np.array([begin]), length)
    same = own[:, None] == own[None, :]
    assert np.array_equal(found[:, None] == found[None, :], same) and found[0] == 0
