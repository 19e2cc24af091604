"""Hand-written derivatives of attention against autodiff of the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models.ops.attention import attention
from research.models.ops.dropout import dropout_mask
from tests.models.derivatives import KEY, arrays, assert_same

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def plain_attention(mask, dropped):
    def attend(q, k, v):
        scores = jnp.einsum("blhk,bshk->bhls", q, k) / np.sqrt(q.shape[-1])
        probabilities = jax.nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf))
        probabilities = probabilities if dropped is None else probabilities * dropped
        return jnp.einsum("bhls,bshk->blhk", probabilities, v)

    return attend


@pytest.mark.parametrize("masked", ["no", "causal", "padding"])
@pytest.mark.parametrize("drops", [False, True])
def test_attention(masked, drops):
    q, k, v = arrays((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4))
    mask = {
        "no": None,
        "causal": (jnp.arange(5)[:, None] + 2 >= jnp.arange(7))[None, None],
        "padding": jnp.arange(7)[None, None, None] < jnp.array([4, 7])[:, None, None, None],
    }[masked]
    dropped = dropout_mask((2, 3, 5, 7), 0.3, KEY, jnp.float32) if drops else None
    assert_same(lambda q, k, v: attention(q, k, v, mask, dropped), plain_attention(mask, dropped), q, k, v)


@pytest.mark.slow
@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("length", [262, 256])  # the last piece of 262 is short
def test_attention_that_leaves_out_later_keys(length, drops):
    q, k, v = arrays(*[(2, length, 2, 4)] * 3)
    causal = jnp.tri(length, dtype=bool)[None, None]
    mask = causal & (jnp.arange(length) < jnp.array([9, length])[:, None, None, None])
    dropped = dropout_mask((2, 2, length, length), 0.3, KEY, jnp.float32) if drops else None

    def attend(q, k, v):
        return attention(q, k, v, mask, dropped, causal=True)

    assert str(jax.make_jaxpr(attend)(q, k, v)).count("reduce_max") == 4  # softmaxes
    assert_same(attend, plain_attention(mask, dropped), q, k, v)


def test_type():
    (q,) = arrays((1, 4, 2, 3))
    q = q.astype(jnp.bfloat16)
    assert attention(q, q, q, None, None).dtype == jnp.bfloat16
