"""Sites: what is read obeys the model's equations, and what is edited decides what follows."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model
from research.errors import UsageError
from research.models.decoding import decode, decoder, empty
from research.models.ops.attention import NEGATIVE
from research.models.sites import observed, site
from research.models.transformer import unstack
from tests.drawn import drawn

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

TOKENS = jnp.asarray([[1, 2, 3, 4, 5, 6], [7, 3, 3, 1, 2, 9]])
GPT2 = Model(family="gpt2", norm="pre", vocabulary=11, context=8, width=8, depth=2, heads=2)
MODELS = {
    "gpt2": GPT2,
    "gpt1": replace(GPT2, family="gpt1", norm="post"),
    "bert": replace(GPT2, family="bert", norm="post"),
    "modern": replace(
        GPT2, positions="rotary", qk_norm=True, activation="swiglu", normalization="rms", bias=False
    ),
    "alibi": replace(GPT2, positions="alibi"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return drawn(MODELS[request.param])


def features(model, **options):
    return observed(model.features, **options)(TOKENS)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_observation_changes_no_result(model):
    plain = model.features(TOKENS)
    result, found = features(model, read=["**"])
    close(result, plain)
    assert (found["final"] == result).all()
    close(features(model, edits={"**": lambda x: x})[0], plain)


def test_sites_obey_the_equations_of_a_block(model):
    _, found = features(model, read=["**"])
    state, pre = found["embeddings"], model.config.norm == "pre"
    for n, block in enumerate(unstack(model.blocks, model.config.depth)):
        here = {name.removeprefix(f"blocks/{n}/"): x for name, x in found.items() if f"blocks/{n}/" in name}
        p, scores = here["attention/probabilities"], here["attention/scores"]
        close(p.sum(-1), 1)
        close(jax.nn.softmax(scores), p)
        size = model.config.width // model.config.heads
        products = jnp.einsum("BLHK,BSHK->BHLS", here["attention/query"], here["attention/key"]) / size**0.5
        if model.config.positions != "alibi":
            close(jnp.where(scores > NEGATIVE, products, NEGATIVE), scores)
        assert (scores == NEGATIVE).any() != model.bidirectional
        close(jnp.einsum("BHLS,BSHK->BLHK", p, here["attention/value"]), here["attention/heads"])
        heads = here["attention/heads"].reshape(*TOKENS.shape, -1)
        close(block.attention.output(heads), here["attention/output"])
        middle, end = state + here["attention/output"], here["middle"] + here["mlp/output"]
        close(here["middle"], middle if pre else block.attention_norm(middle))
        close(here["output"], end if pre else block.mlp_norm(end))
        close(here["attention/input"], block.attention_norm(state) if pre else state)
        close(here["mlp/input"], block.mlp_norm(here["middle"]) if pre else here["middle"])
        close(block.mlp.output(here["mlp/features"]), here["mlp/output"])
        close(block.mlp.expand(here["mlp/input"]), here["mlp/hidden"])
        state = here["output"]
    close(found["final"], model.norm(state) if pre else state)


def test_an_edit_decides_what_follows(model):
    """The states of other tokens in place of a block's output: the result is theirs; earlier sites stay."""
    others = TOKENS[::-1]
    site = "blocks/0/output"
    (theirs, wanted), (_, before) = observed(model.features, [site])(others), features(model, read=["**"])
    result, after = features(model, read=["**"], edits=wanted)
    close(result, theirs)
    for name in before:
        same = (before[name] == after[name]).all()
        assert same == (name == "embeddings" or (name.startswith("blocks/0/") and name != site))


def test_a_head_without_output_is_a_head_without_rows_in_the_kernel(model):
    silent, _ = features(model, edits={"blocks/1/attention/heads": lambda x: x.at[:, :, 0].set(0)})
    kernel = model.blocks.attention.output.kernel
    size = model.config.width // model.config.heads
    model.blocks.attention.output.kernel = kernel.replace(kernel[...].at[1, :size].set(0))
    close(silent, model.features(TOKENS))


def test_hidden_scores_hide_a_token():
    """With the scores of key 2 hidden in every block, other tokens' states do not depend on that token."""
    model = drawn(GPT2)
    edits = {"blocks/*/attention/scores": lambda x: x.at[:, :, jnp.arange(6) != 2, 2].set(NEGATIVE)}
    result, _ = features(model, edits=edits)
    other, _ = observed(model.features, edits=edits)(TOKENS.at[:, 2].set(8))
    close(jnp.delete(result, 2, axis=1), jnp.delete(other, 2, axis=1))
    assert abs(result[:, 2] - other[:, 2]).max() > 0.1


def test_gradients_at_a_site_are_finite_differences():
    model = drawn(GPT2)

    @jax.jit
    def logit(change):
        edits = {"blocks/0/mlp/output": lambda x: x + change}
        return observed(model, edits=edits)(TOKENS)[0][0, -1, 3]

    zero, direction = jnp.zeros((*TOKENS.shape, 8)), jax.random.normal(jax.random.key(0), (*TOKENS.shape, 8))
    slope = (logit(1e-2 * direction) - logit(-1e-2 * direction)) / 2e-2
    assert (jax.grad(logit)(zero) * direction).sum() == pytest.approx(float(slope), rel=1e-3)
    many = jax.vmap(lambda n: logit(zero.at[0, n, 1].set(1.0)))(jnp.arange(6))
    assert many[4] == pytest.approx(float(logit(zero.at[0, 4, 1].set(1.0))), rel=1e-5)


def test_edits_of_the_model_hold_in_decoding():
    model = drawn(GPT2)
    model.edits = (("blocks/*/mlp/output", lambda x: -x),)
    whole = model.features(TOKENS)
    gpt, cache = decoder(model), empty(model.config, jnp.zeros(2, jnp.int32), 8)
    parts = []
    for piece in (TOKENS[:, :4], TOKENS[:, 4:5], TOKENS[:, 5:]):
        states, cache = jax.jit(decode)(gpt, piece, cache)
        parts.append(states)
    close(jnp.concatenate(parts, axis=1), whole)
    model.edits = ()
    assert abs(model.features(TOKENS) - whole).max() > 0.1


def test_dropout_is_the_same_under_observation():
    model = drawn(replace(GPT2, dropout=0.3))
    key = jax.random.key(3)
    result, _ = observed(model.features, ["final"])(TOKENS, key)
    close(result, model.features(TOKENS, key))


def test_a_transformation_around_the_function_reads_and_one_within_it_only_edits():
    model = drawn(GPT2)

    def loss(model):
        return observed(model.features, ["final"])(TOKENS)[1]["final"].sum()

    gradient = jax.grad(loss)(model)
    assert abs(gradient.tokens[...]).max() > 0

    def whole(model):
        return jax.grad(lambda m: m.features(TOKENS).sum())(model)

    stopped, _ = observed(whole, edits={"blocks/1/output": jax.lax.stop_gradient})(model)
    assert abs(stopped.tokens[...]).max() == 0 < abs(whole(model).tokens[...]).max()
    with pytest.raises(UsageError, match="final: cannot be read within a transformation"):
        observed(whole, ["final"])(model)


def test_a_star_stays_within_a_part_of_a_name():
    model = drawn(GPT2)
    outputs = {f"blocks/{n}/{part}output" for n in range(2) for part in ("attention/", "mlp/", "")}
    _, found = features(model, read=["blocks/*/output"])
    assert found.keys() == {"blocks/0/output", "blocks/1/output"}
    assert features(model, read=["**/output"])[1].keys() == outputs
    edits = {name: lambda x: x + 1 for name in found}
    close(features(model, edits={"blocks/*/output": lambda x: x + 1})[0], features(model, edits=edits)[0])
    with pytest.raises(
        UsageError, match=r"^\*/output: no such site of this model; did you mean \*\*/output\?$"
    ):
        features(model, read=["*/output"])


def test_numbers_and_axes_of_size_1_are_repeated():
    model, name = drawn(GPT2), "blocks/1/attention/heads"
    zero, _ = features(model, edits={name: jnp.zeros_like})
    for edit in (0, lambda x: 0.0, lambda x: [[[[0.0]]]], np.zeros((1, 1, 2, 4))):
        assert (features(model, edits={name: edit})[0] == zero).all()
    _, means = features(model, read=[name], edits={name: lambda x: np.mean(x, (0, 1), keepdims=True)})
    close(means[name], jnp.broadcast_to(features(model, read=[name])[1][name].mean((0, 1)), (2, 6, 2, 4)))


def test_edits_of_a_site_apply_in_their_order():
    _, found = features(
        drawn(GPT2), read=["final"], edits={"**": lambda x: 0 * x + 2, "final": lambda x: 3 * x}
    )
    assert (found["final"] == 6).all()


def test_a_name_that_comes_again_is_numbered_and_one_that_begins_alike_is_not():
    _, found = observed(lambda x: site("a", site("a", site("a_b", x))), ["**"])(jnp.ones(1))
    assert list(found) == ["a_b", "a", "a_2"]


def test_edits_hold_in_each_forward_pass_and_one_of_them_is_read():
    model, edits = drawn(GPT2), {"final": jnp.negative}
    twice = lambda tokens: (model.features(tokens), model.features(tokens[::-1]))  # noqa: E731
    (one, other), _ = observed(twice, edits=edits)(TOKENS)
    assert abs(one + model.features(TOKENS)).max() < 1e-5 and abs(other - one[::-1]).max() < 1e-5
    with pytest.raises(UsageError, match=r"^final: read in two forward passes; expected one$"):
        observed(twice, ["final"])(TOKENS)


def test_a_compiled_function_keeps_no_edit():
    """JAX would keep its edited program, or run the one compiled before, without the edit."""
    model, edits = drawn(GPT2), {"blocks/1/output": jnp.zeros_like}
    for outer in (lambda f: f, jax.jit):
        compiled = jax.jit(lambda tokens: model.features(tokens))
        with pytest.raises(UsageError, match=r"^blocks/1/output: within a compiled function; expected"):
            outer(observed(compiled, edits=edits))(TOKENS)
        close(compiled(TOKENS), model.features(TOKENS))
        with pytest.raises(UsageError, match="no site; if the function is compiled"):
            outer(observed(compiled, edits=edits))(TOKENS)
    edited, _ = jax.jit(observed(model.features, edits=edits))(TOKENS)
    close(edited, features(model, edits=edits)[0])


def test_names_that_no_site_has_and_shapes_are_refused():
    model = drawn(GPT2)
    with pytest.raises(UsageError, match=r"^blocks/2/output: no such site.* did you mean blocks/0/output"):
        features(model, read=["blocks/2/output"])
    with pytest.raises(
        UsageError, match=r"^resid_post: no such site .* expected one of blocks/0/attention/heads, "
    ):
        features(model, edits={"resid_post": jnp.zeros_like})
    with pytest.raises(UsageError, match=r"^final: the edit gives None; expected .* \(2, 6, 8\)$"):
        features(model, edits={"final": lambda x: None})
    with pytest.raises(UsageError, match=r"^final: the edit has shape \(6, 8\); expected \(2, 6, 8\)$"):
        features(model, edits={"final": lambda x: x[0]})


def test_masks_of_documents_and_of_padding_are_observed_too():
    model = drawn(GPT2)
    documents = jnp.asarray([[0, 0, 0, 1, 1, 1]] * 2)
    result, found = observed(model.features, ["**/probabilities"])(TOKENS, documents_BL=documents)
    close(result, model.features(TOKENS, documents_BL=documents))
    assert all((p[:, :, 3:, :3] == 0).all() for p in found.values())
