"""`model.block=lora`: the plain model at first, the merged one at the end, and only the factors train."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import models, weights
from research.config import Model
from research.config.sections.lora import LoRA
from research.config.sections.model import Parts
from research.errors import UsageError
from research.models.decoding import decode, decoder, empty
from research.models.ops.dropout import dropout_mask
from research.models.parameters import by_path, refill
from research.models.parts.lora import dropout_key
from research.weights.folding import with_plain_blocks
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SIZES = dict(vocabulary=41, context=16, width=24, depth=2, heads=4)
TOKENS = jnp.arange(22).reshape(2, 11)
ALL = ("qkv", "query", "key", "value", "attention_output", "mlp_expand", "mlp_output")


def adapted(plain: Model, **own) -> Model:
    return replace(plain, block="lora", own=Parts(block=LoRA(**own)))


def trained(model):
    """The model with other values for its factors."""
    leaves, random = by_path(model), np.random.default_rng(0)
    factors = {p: jnp.float32(random.normal(0, 0.1, x.shape)) for p, x in leaves.items() if "/lora" in p}
    return refill(model, leaves | factors)


@pytest.mark.parametrize(
    "family, kernels, changes",
    mostly_slow(
        [
            ("gpt2", ALL, {}),
            ("bert", ("query", "value"), {"norm": "post"}),
            ("gpt1", ("key", "mlp_expand"), {"norm": "post"}),
            ("gpt2", (*ALL, "mlp_gate"), {"activation": "swiglu", "bias": False, "qk_norm": True}),
            ("gpt2", ("query", "qkv"), {"scaling": "mup", "base_width": 12, "base_heads": 2}),
        ]
    ),
)
def test_it_starts_as_the_plain_model_and_ends_as_the_merged_one(family, kernels, changes):
    plain = Model(family=family, **SIZES | changes)
    config = adapted(plain, kernels=kernels, rank=3, alpha=5.0)
    before, model = (models.build(each, key=jax.random.key(0)) for each in (plain, config))
    for path, leaf in by_path(before).items():
        assert np.array_equal(leaf, by_path(model)[path]), path
    states = before.features(TOKENS)
    np.testing.assert_array_equal(model.features(TOKENS), states)
    model = trained(model)
    tuned = model.features(TOKENS)
    assert abs(tuned - states).max() > 0.01
    merged, arrays = with_plain_blocks(config, {p: np.asarray(x) for p, x in by_path(model).items()})
    assert merged == plain
    again = weights.fill(before, arrays)[0].features(TOKENS)
    np.testing.assert_allclose(again, tuned, atol=2e-5)


@pytest.mark.parametrize("kernel", ["qkv", "value"])
@pytest.mark.parametrize("root, scale", [(False, 16 / 4), (True, 16 / 4**0.5)])
def test_factors_are_those_of_the_papers(kernel, root, scale):
    """h = W x + α/r · B A x (Hu et al., 2021, equation 3); α/√r in rsLoRA. In PyTorch, with gradients."""
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    config = adapted(Model(family="gpt2", **SIZES), kernels=(kernel,), rank=4, root=root)
    linear = jax.tree.map(lambda x: x[0], trained(models.build(config, key=jax.random.key(0)))).blocks
    linear, x = linear.attention.qkv, np.random.default_rng(1).normal(size=(2, 5, 24)).astype(np.float32)
    loss, gradient = jax.value_and_grad(lambda linear: jnp.square(linear(jnp.asarray(x))).sum())(linear)
    values = {
        path: torch.tensor(np.asarray(leaf), requires_grad=True) for path, leaf in by_path(linear).items()
    }
    y = torch.einsum("BLD,DTE->BLTE", torch.tensor(x), values["kernel"]) + values["bias"]
    if kernel == "qkv":
        h = torch.tensor(x) @ values["lora/a/kernel"]
        y = y + scale * torch.einsum("BLR,RTE->BLTE", h, values["lora/b/kernel"])
    else:
        h = torch.tensor(x) @ values["lora_value/a/kernel"]
        change = scale * h @ values["lora_value/b/kernel"]
        y = torch.stack([y[:, :, 0], y[:, :, 1], y[:, :, 2] + change], 2)
    theirs = y.square().sum()
    theirs.backward()
    np.testing.assert_allclose(loss, theirs.item(), rtol=1e-5)
    for path, leaf in by_path(gradient).items():
        np.testing.assert_allclose(leaf, values[path].grad, rtol=1e-4, atol=1e-4, err_msg=path)


def test_dropout_is_on_the_input_of_each_pair_of_factors_and_only_in_training():
    """lora_B(lora_A(lora_dropout(x))) · scaling, as peft's Linear has it."""
    plain, dropping = (
        jax.tree.map(lambda x: x[0], trained(models.build(config, key=jax.random.key(0)))).blocks
        for config in (adapted(Model(family="gpt2", **SIZES), dropout=rate) for rate in (0.0, 0.25))
    )
    x, key = jax.random.normal(jax.random.key(1), (2, 5, 24)), jax.random.key(2)
    full = plain.attention.qkv(x)
    np.testing.assert_array_equal(dropping.attention.qkv(x), full)
    with dropout_key.being(key):
        np.testing.assert_array_equal(plain.attention.qkv(x), full)
        dropped = dropping.attention.qkv(x)
    for number, (name, part) in enumerate({"lora_query": 0, "lora_value": 2}.items()):
        mask = dropout_mask(x.shape, 0.25, jax.random.fold_in(key, number), jnp.float32)
        factors = getattr(plain.attention.qkv, name)
        expected = full[..., part, :] + factors(x * mask) - factors(x)
        np.testing.assert_allclose(dropped[..., part, :], expected, atol=1e-5)


@pytest.mark.parametrize("remat", ["none", "block"])
def test_a_model_drops_by_its_key(remat):
    config = adapted(Model(family="gpt2", remat=remat, **SIZES), kernels=("qkv", "mlp_output"), dropout=0.5)
    model = trained(models.build(config, key=jax.random.key(0)))
    states = jax.jit(lambda seed: model.features(TOKENS, key=jax.random.key(seed)))
    assert np.array_equal(states(0), states(0))
    assert abs(states(0) - states(1)).max() > 0.01 < abs(states(0) - model.features(TOKENS)).max()


def test_decoding_with_a_cache_has_the_factors():
    model = trained(models.build(adapted(Model(family="gpt2", **SIZES), kernels=ALL), key=jax.random.key(0)))
    parts, cache, states = decoder(model), empty(model.config, jnp.zeros(2), 16), []
    for i in range(4):
        state, cache = decode(parts, TOKENS[:, i : i + 1], cache)
        states.append(state)
    np.testing.assert_allclose(jnp.concatenate(states, 1), model.features(TOKENS[:, :4]), atol=2e-5)


@pytest.mark.slow
def test_a_merged_bert_is_read_by_transformers(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    config = adapted(Model(family="bert", norm="post", **SIZES), kernels=ALL)
    model = trained(models.build(config, key=jax.random.key(0)))
    weights.save(tmp_path / "one", weights.layout.Weights(config, by_path(model), {}, None))
    weights.export(tmp_path / "one", tmp_path / "merged")
    theirs = transformers.BertModel.from_pretrained(tmp_path / "merged", add_pooling_layer=False).eval()
    states = theirs(torch.tensor(np.array(TOKENS))).last_hidden_state.detach()
    np.testing.assert_allclose(model.features(TOKENS), states, atol=2e-5)


def test_a_gate_needs_an_activation_that_has_one():
    config = adapted(Model(family="gpt2", **SIZES), kernels=("mlp_gate",))
    with pytest.raises(UsageError, match=r"kernels=mlp_gate: model\.activation=gelu_tanh has no gate"):
        models.build(config, key=jax.random.key(0))
