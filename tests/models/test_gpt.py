"""Laws of the decoder, and its values against a second implementation in plain NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model
from research.errors import UsageError
from research.generation import GREEDY, Sampling, sample
from research.models import build
from research.models.decoding import decode, decoder, empty
from research.models.parameters import by_path, path_name, refill
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

TINY = dict(family="gpt2", vocabulary=61, context=16, width=24, depth=3, heads=4)
KEY = jax.random.key(1)


def tiny(**changes):
    """A model whose every parameter is random, norms and biases too."""
    model = build(Model(**TINY | changes), key=KEY)
    leaves, structure = jax.tree.flatten(model)
    keys = jax.random.split(KEY, len(leaves))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


TOKENS = jax.random.randint(KEY, (2, 11), 0, TINY["vocabulary"])


def numpy_gpt(model, tokens):
    """Radford et al. (2019), section 2.3, and its variants, for one sequence at a time in float64."""
    p = {path_name(path): np.asarray(x, np.float64) for path, x in jax.tree_util.tree_leaves_with_path(model)}
    c = model.config

    def norm(x, prefix, n=...):
        if c.normalization == "rms":
            return rms(x, prefix, n)
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + c.norm_epsilon)
        return y * p[prefix + "/scale"][n] + (p[prefix + "/bias"][n] if c.bias else 0)

    def rms(x, prefix, n):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.norm_epsilon) * p[prefix + "/scale"][n]

    def linear(x, prefix, n):
        return np.tensordot(x, p[prefix + "/kernel"][n], 1) + (p[prefix + "/bias"][n] if c.bias else 0)

    def attend(x, n):
        L, K = len(x), c.width // c.heads
        q, k, v = linear(x, "blocks/attention/qkv", n).transpose(1, 0, 2)
        heads = []
        for h in range(c.heads):
            part = slice(h * K, (h + 1) * K)
            q_h, k_h = q[:, part], k[:, part]
            if c.qk_norm:
                q_h = rms(q_h, "blocks/attention/query_norm", n)
                k_h = rms(k_h, "blocks/attention/key_norm", n)
            if c.positions == "rotary":
                q_h, k_h = turned(q_h), turned(k_h)
            scores = q_h @ k_h.T / math.sqrt(K)
            if c.positions == "alibi":
                places = np.arange(L)
                scores = scores - 2.0 ** (-8 * (h + 1) / c.heads) * (places[:, None] - places)
            scores[np.triu_indices(L, 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        return linear(np.concatenate(heads, -1), "blocks/attention/output", n)

    def turned(x):
        """Feature i and feature i + K / 2 are a complex number, turned by position × 10,000^(-2i / K)."""
        half = x.shape[1] // 2
        turns = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * turns)
        return np.concatenate([z.real, z.imag], -1)

    def mlp(x, n):
        hidden = linear(x, "blocks/mlp/expand", n)
        if c.activation == "swiglu":
            gate = linear(x, "blocks/mlp/gate", n)
            hidden = hidden * gate / (1 + np.exp(-gate))
        elif c.activation == "relu_squared":
            hidden = np.maximum(hidden, 0) ** 2
        else:
            cubic = hidden + 0.044715 * hidden**3
            hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * cubic))
        return linear(hidden, "blocks/mlp/output", n)

    logits, output = [], "tokens" if c.tied else "output"
    for row in np.asarray(tokens):
        x = p["tokens"][row] + (p["positions"][: len(row)] if c.positions == "learned" else 0)
        for n in range(c.depth):
            if c.norm == "pre":
                x = x + attend(norm(x, "blocks/attention_norm", n), n)
                x = x + mlp(norm(x, "blocks/mlp_norm", n), n)
            else:
                x = norm(x + attend(x, n), "blocks/attention_norm", n)
                x = norm(x + mlp(x, n), "blocks/mlp_norm", n)
        logits.append((norm(x, "norm") if c.norm == "pre" else x) @ p[output].T)
    return np.stack(logits)


VARIANTS = [
    {},
    {"normalization": "rms", "positions": "rotary", "qk_norm": True, "tied": False, "bias": False}
    | {"activation": "relu_squared"},
    {"norm": "post", "family": "gpt1"},
    {"normalization": "rms", "positions": "rotary", "norm": "post", "activation": "swiglu"},
    {"bias": False},
    {"hidden": 37},
    {"normalization": "rms"},
    {"positions": "rotary"},
    {"positions": "none"},
    {"positions": "alibi", "heads": 2},
    {"positions": "alibi", "qk_norm": True},
    {"activation": "relu_squared"},
    {"activation": "swiglu", "hidden": 16},
    {"qk_norm": True},
    {"tied": False},
]


@pytest.mark.parametrize("changes", mostly_slow(VARIANTS, 2), ids=str)
def test_equals_the_paper_in_numpy(changes):
    model = tiny(**changes)
    expected = numpy_gpt(model, TOKENS)
    found = jax.jit(lambda model: model(TOKENS))(model)
    np.testing.assert_allclose(found, expected, atol=2e-5 * abs(expected).max())


def test_causality():
    """No logit has a gradient with respect to a later position's input, and each has one to its own."""
    model = tiny()
    L = TOKENS.shape[1]

    def logits_of(table):
        moved = refill(model, by_path(model) | {"positions": table})
        return moved(TOKENS[:1])[0].sum(-1)

    jacobian = jax.jacobian(jax.jit(logits_of))(model.positions[...])  # (L, context, D)
    size = np.asarray(abs(jacobian).max(-1))[:, :L]
    assert (size[np.triu_indices(L, 1)] == 0).all()
    assert (size[np.tril_indices(L)] > 0).all()


@pytest.mark.parametrize(
    "changes",
    mostly_slow(
        [{"remat": "block"}, {"unroll": 3}, {"remat": "dots"}, {"remat": "block", "unroll": 3}], fast=0
    ),
)
def test_how_it_is_compiled_changes_nothing(changes):
    @jax.jit
    def loss_and_gradient(model):
        return jax.value_and_grad(lambda m: jax.nn.logsumexp(m(TOKENS, KEY)))(model)

    expected = jax.tree.leaves(loss_and_gradient(tiny(dropout=0.1)))
    for a, b in zip(jax.tree.leaves(loss_and_gradient(tiny(dropout=0.1, **changes))), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(abs(b).max()))


def test_a_row_does_not_see_its_neighbours():
    model = tiny()
    alone = jnp.concatenate([model(TOKENS[:1]), model(TOKENS[1:])])
    np.testing.assert_allclose(model(TOKENS), alone, atol=2e-5)


def test_dropout_needs_a_key_and_each_key_is_another():
    model = tiny(dropout=0.5)
    a, b, c = model(TOKENS), model(TOKENS, KEY), model(TOKENS, jax.random.key(2))
    assert (a == model(TOKENS)).all() and (b == model(TOKENS, KEY)).all()
    assert abs(a - b).max() > 0.1 and abs(b - c).max() > 0.1


def test_initial_loss_is_that_of_guessing():
    config = Model(family="gpt2", vocabulary=5_000, context=64, width=128, depth=4, heads=4)
    model = build(config, key=KEY)
    tokens = jax.random.randint(KEY, (4, 64), 0, 5_000)
    log_probabilities = jax.nn.log_softmax(model(tokens[:, :-1]))
    loss = -jnp.take_along_axis(log_probabilities, tokens[:, 1:, None], -1).mean()
    assert abs(float(loss) / math.log(5_000) - 1) < 0.02


@pytest.mark.slow
def test_initial_deviations():
    config = Model(family="gpt2", vocabulary=500, context=64, width=256, depth=8, heads=4)
    blocks = build(config, key=KEY).blocks
    for kernel, std in [
        (blocks.attention.qkv.kernel, 0.02),
        (blocks.mlp.expand.kernel, 0.02),
        (blocks.attention.output.kernel, 0.02 / math.sqrt(16)),
        (blocks.mlp.output.kernel, 0.02 / math.sqrt(16)),
    ]:
        for layer in np.asarray(kernel[...]):  # no two layers alike, each of the right spread
            assert abs(layer.std() / std - 1) < 0.02
    assert len({float(layer.sum()) for layer in np.asarray(blocks.mlp.output.kernel[...])}) == 8


@pytest.mark.parametrize("changes", mostly_slow(VARIANTS, 2), ids=str)
def test_cached_decoding_equals_uncached(changes):
    model = tiny(**changes)
    expected = model.features(TOKENS)
    parts = decoder(model)
    first, cache = decode(parts, TOKENS[:, :4], empty(model.config, jnp.zeros(2), 16))
    states = [first]
    for i in range(4, TOKENS.shape[1]):
        state, cache = decode(parts, TOKENS[:, i : i + 1], cache)
        states.append(state)
    found = jnp.concatenate(states, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(abs(expected).max()))
    np.testing.assert_allclose(parts.logits(found), model.logits(found), rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"activation": "swiglu"}, {"activation": "relu_squared"}], ids=str)
def test_modern_parts_compile_any_way(changes):
    """Unrolled or computed again: the same gradient."""
    modern = {"normalization": "rms", "positions": "rotary", "qk_norm": True, "tied": False} | changes

    gradient_of = jax.jit(jax.grad(lambda m: jax.nn.logsumexp(m(TOKENS))))

    def gradient(**how):
        return jax.tree.leaves(gradient_of(tiny(**modern, **how)))

    expected = gradient()
    for how in ({"unroll": 3}, {"remat": "block"}):
        for a, b in zip(gradient(**how), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * float(abs(b).max()))


def test_a_new_part_changes_no_other_parameter():
    """Each draws from a key of its own: a comparison of two variants starts from the same kernels."""
    plain = by_path(build(Model(**TINY), key=KEY))
    parts = {"activation": "swiglu", "qk_norm": True, "tied": False, "positions": "rotary"}
    modern = by_path(build(Model(**TINY | parts), key=KEY))
    assert plain.keys() - modern.keys() == {"positions"}
    added = ("mlp/gate/kernel", "mlp/gate/bias", "attention/query_norm/scale", "attention/key_norm/scale")
    assert modern.keys() - plain.keys() == {"output", *(f"blocks/{path}" for path in added)}
    for path in plain.keys() & modern.keys():
        np.testing.assert_array_equal(plain[path], modern[path], err_msg=path)
    for a, b in (("output", "tokens"), ("blocks/mlp/gate/kernel", "blocks/mlp/expand/kernel")):
        assert abs(np.corrcoef(modern[a].ravel(), modern[b].ravel())[0, 1]) < 0.1


def test_rotary_needs_pairs():
    with pytest.raises(UsageError, match=r"model.positions=rotary: .* have 3; expected an even number"):
        Model(**TINY | {"heads": 8, "positions": "rotary"})


def test_states_end_in_the_features():
    model = tiny()
    states = model.states(TOKENS)
    assert len(states) == TINY["depth"] + 1
    np.testing.assert_allclose(states[-1], model.features(TOKENS), atol=1e-6)


def test_greedy_sampling_equals_argmax_of_the_whole_text():
    model = tiny()
    text = jnp.zeros((2, 12), jnp.int32).at[:, :3].set(TOKENS[:, :3])
    greedy = jax.jit(lambda text: model(text).argmax(-1))
    for length in range(3, 12):  # what follows does not matter: causality
        text = text.at[:, length].set(greedy(text)[:, length - 1])
    drawn = jnp.stack(list(sample(model, TOKENS[:, :3], 9, KEY, GREEDY)), axis=1)
    np.testing.assert_array_equal(drawn, text[:, 3:])


def test_sampling_goes_on_past_the_context_and_reproduces():
    model = tiny()
    how = Sampling(top_k=5)
    once, again = (jnp.stack(list(sample(model, TOKENS, 40, KEY, how)), axis=1) for _ in range(2))
    assert once.shape == (2, 40)
    np.testing.assert_array_equal(once, again)
