"""Attention within documents: what a token has seen is its own document, and all of it before the token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research.config import Model
from research.errors import UsageError
from research.models import build
from research.models.attention import AttentionMask
from research.models.attention_choice import choose
from research.models.platform import AMPERE, tracing_for
from research.objectives.next_token import loss
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

DOCUMENTS = jnp.array([[0] * 3 + [1] * 5 + [2] * 4, [0] * 12], jnp.int32)


@pytest.fixture(scope="module", params=mostly_slow(["gpt2", "gpt1"]))
def model(request):
    norm = "post" if request.param == "gpt1" else "pre"
    config = Model(family=request.param, vocabulary=40, context=16, width=16, depth=2, heads=2, norm=norm)
    return build(config, key=jax.random.key(0))


@pytest.fixture
def tokens():
    return jax.random.randint(jax.random.key(1), (2, 12), 0, 40)


@pytest.mark.slow
def test_no_gradient_crosses_a_boundary(model, tokens):
    one_hot = jax.nn.one_hot(tokens, 40)

    def seen_by(position):
        def state(embedded):
            table = model.tokens[...]
            shifted = model.positions[...][:12] + embedded @ table
            features = _from_embedding(model, shifted, DOCUMENTS)
            return (features[0, position] ** 3).sum()

        return np.abs(jax.grad(state)(one_hot)[0]).max(-1) > 0

    for position in range(12):
        own = np.asarray(DOCUMENTS[0] == DOCUMENTS[0, position]) & (np.arange(12) <= position)
        assert np.array_equal(seen_by(position), own)


def _from_embedding(model, x_BLD, documents_BL):
    from research.models.transformer import run_blocks

    mask = AttentionMask(causal=True, documents_BL=documents_BL)
    return run_blocks(model.blocks, model.config, x_BLD, mask, lambda q, k: (q, k))[0]


def test_documents_are_as_if_alone(model, tokens):
    """With the positions that they have in the row."""
    together = model.features(tokens, None, DOCUMENTS)
    for begin, end in ((0, 3), (3, 8), (8, 12)):
        alone = jax.tree.map(lambda x: x, model)
        alone.positions = nnx.Param(model.positions[...][begin:])
        expected = alone.features(tokens[:1, begin:end])
        np.testing.assert_allclose(together[0, begin:end], expected[0], atol=2e-6)
    np.testing.assert_allclose(together[1], model.features(tokens)[1], atol=2e-6)  # one document throughout


def test_the_objective_takes_them_from_the_batch(model, tokens):
    batch = {"tokens": tokens, "targets": tokens, "weights": jnp.ones((2, 12))}
    other = batch | {"tokens": tokens.at[0, :3].set((tokens[0, :3] + 1) % 40)}
    batch["weights"] = other["weights"] = batch["weights"].at[0, :3].set(0)
    apart = [loss(model, one | {"documents": DOCUMENTS})["loss"] for one in (batch, other)]
    joined = [loss(model, one)["loss"] for one in (batch, other)]
    assert apart[0] == apart[1] and abs(joined[0] - joined[1]) > 1e-4


def test_cudnn_does_not_serve():
    config = {"family": "gpt2", "vocabulary": 8, "context": 8, "width": 64, "depth": 1, "heads": 2}
    with tracing_for("gpu", AMPERE):
        choice = choose(Model(**config), trains=True, documents=True)
        with pytest.raises(UsageError, match=r"model\.attention=cudnn: it cannot restrict attention"):
            choose(Model(**config, attention="cudnn"), trains=True, documents=True)
    assert choice.used == "xla" and choice.why.startswith(
        "cudnn: it cannot restrict attention to documents; flash: "
    )
