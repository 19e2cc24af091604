"""Programs compiled with less optimization compute what JAX's own settings do."""

from functools import partial

import jax
import numpy as np
import pytest

from research import compiling
from research.bench.synthetic import batches
from research.training.calls import call_of
from research.training.state import initial_state
from tests.training.tiny import shrunk


@pytest.mark.parametrize("name", ["gpt2_tiny", "bert_tiny"])
def test_first_states_and_steps_are_those_of_jax(name, tmp_path):
    """With dropout, and so with random numbers in both."""
    experiment = shrunk(name, tmp_path / "corpus.txt")
    first, batch = partial(initial_state, experiment), next(batches(experiment))

    def after_two_steps(jit):
        state, step = jit(first)(), jit(call_of(experiment))
        (state, _), again = step(state, batch), state
        return again, step(state, batch)

    for ours, theirs in zip(*map(arrays, map(after_two_steps, (compiling.jit, jax.jit))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def arrays(tree) -> list[np.ndarray]:
    def told(leaf):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf)

    return [told(leaf) for leaf in jax.tree.leaves(tree)]
