"""μP (Yang et al., 2021): sizes over widths, and equality with the standard at the base width."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import experiments
from research.config import Model, Optimizer, Schedule, scaling
from research.config.settings import override
from research.errors import UsageError
from research.models import GPT, build
from research.models.ops.attention import NEGATIVE
from research.models.parameters import by_path, refill
from research.models.sites import observed
from research.optimizers.masks import rate_multipliers
from research.optimizers.optimizer import optimizer
from research.weights.folding import folded
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

BASE = 32
SIZES = {"vocabulary": 32, "context": 8, "depth": 1, "heads": 4, "base_width": BASE}
NORMS = {"gpt1": "post", "gpt2": "pre", "bert": "post"}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 32, (8, 8)), jnp.int32)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam raises a float to an integer power, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def declared(family: str, width: int, kind: str = "mup", **changes) -> Model:
    chosen = {"family": family, "norm": NORMS[family], "width": width, "scaling": kind}
    return Model(**SIZES | chosen | changes)


def logits_of(model) -> jax.Array:
    return model(TOKENS) if isinstance(model, GPT) else model(TOKENS)[0]


def loss_of(model) -> jax.Array:
    targets = jnp.roll(TOKENS, -1, axis=1)
    return optax.softmax_cross_entropy_with_integer_labels(logits_of(model), targets).mean()


def seen(model) -> dict[str, jax.Array]:
    states = model.states(TOKENS)
    _, found = observed(model.features, ["**/attention/scores"])(TOKENS)
    scores = jnp.stack([jnp.where(x > NEGATIVE, x, 0) for x in found.values()])
    return {"embeddings": states[0], "final": states[-1], "logits": logits_of(model), "scores": scores}


def moved(config: Model, steps: int) -> dict[str, float]:
    """How far activations move in `steps` of Adam: root mean squares."""
    chosen = Optimizer(rate=Schedule(name="constant", peak=3e-3), epsilon=1e-12)
    update = optimizer(chosen, steps, config)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(key):
        def step(carry, _):
            model, state = carry
            updates, state = update.update(jax.grad(loss_of)(model), state, model)
            return (optax.apply_updates(model, updates), state), None

        first = build(config, key=key)
        (last, _), _ = jax.lax.scan(step, (first, update.init(first)), None, length=steps)
        both = jax.lax.map(seen, jax.tree.map(lambda *models: jnp.stack(models), first, last))
        return jax.tree.map(lambda x: jnp.sqrt(jnp.mean((x[1] - x[0]) ** 2)), both)

    return {name: float(size) for name, size in run(jax.random.key(0)).items()}


def slopes(family: str, kind: str, widths: tuple[int, ...] = (64, 256)) -> dict[str, float]:
    """Of log(how far an activation has moved in three steps) over log(width)."""
    sizes = [moved(declared(family, width, kind, bias=False), 3) for width in widths]
    return {name: np.polyfit(np.log(widths), np.log([m[name] for m in sizes]), 1)[0] for name in sizes[0]}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_activations_move_as_far_at_every_width_and_only_under_mup(family):
    """The coordinate check: logits and scores of attention move the further the wider the standard is."""
    standard, mup = slopes(family, "standard"), slopes(family, "mup")
    assert standard["logits"] > 0.6 and standard["scores"] > 1.2, standard
    assert all(abs(slope) < 0.35 for slope in mup.values()), mup
    assert abs(mup["logits"]) < 0.15 and abs(mup["final"]) < 0.1, mup


@pytest.mark.parametrize("family", NORMS)
def test_at_the_base_width_the_program_is_the_standard_one(family):
    """The same operations draw the parameters, compute the logits and update, so all bits are equal."""

    def program(config: Model) -> str:
        update = optimizer(Optimizer(rate=Schedule(name="constant", peak=1.0), decay=0.1), 2, config)

        def step(key):
            model = build(config, key=key)
            grads = jax.grad(loss_of)(model)
            updates, _ = update.update(grads, update.init(model), model)
            return jax.tree.leaves((optax.apply_updates(model, updates), logits_of(model)))

        return str(jax.make_jaxpr(step)(jax.random.key(0)))

    assert program(declared(family, BASE)) == program(declared(family, BASE, "standard"))
    assert program(declared(family, 2 * BASE)) != program(declared(family, 2 * BASE, "standard"))


ROLES = {  # at four times the base width: the rate's factor of Adam, of SGD and of Muon
    "tokens": (1, 4, 1),
    "positions": (1, 4, 1),
    "segments": (1, 4, 1),
    "blocks/attention/qkv/kernel": (1 / 4, 1, 1 / 2),
    "blocks/attention/qkv/bias": (1, 4, 1),
    "blocks/attention/output/kernel": (1 / 4, 1, 1 / 2),
    "blocks/mlp/expand/kernel": (1 / 4, 1, 1 / 2),
    "blocks/mlp_norm/scale": (1, 4, 1),
    "pooler/kernel": (1 / 4, 1, 1 / 4),
    "masked/transform/kernel": (1 / 4, 1, 1 / 4),
    "masked/bias": (1, 4, 1),
    "next_sentence/kernel": (1, 4, 1),
    "output": (1, 4, 1),
}


@pytest.mark.parametrize("place, name", [(0, "adamw"), (1, "sgd"), (2, "muon")])
def test_rates_are_those_of_table_8(place, name):
    config = declared("bert", 4 * BASE, tied=False)
    shapes = jax.eval_shape(partial(build, config), key=jax.random.key(0))
    found = by_path(rate_multipliers(shapes, name, config))
    assert {path: found[path] for path in ROLES} == {path: row[place] for path, row in ROLES.items()}


@pytest.mark.parametrize("name", ["adamw", "bert_adam", "gpt1_adam", "lion", "sgd"])
def test_a_step_is_scaled_by_role_and_the_decay_is_not(name):
    """Two steps of a constant gradient, with decay and without: the difference is rate × decay × w."""
    kernel, table = jnp.full((3, 3), 0.5), jnp.full((5, 3), 2.0)
    params = {"blocks": {"kernel": kernel}, "tokens": table}
    grads = jax.tree.map(lambda x: jnp.full_like(x, 0.1), params)

    def first_updates(width: int, decay: float):
        chosen = Optimizer(name=name, rate=Schedule(name="constant", peak=0.01), decay=decay)
        update = optimizer(chosen, 2, declared("gpt2", width))
        return by_path(update.update(grads, update.init(params), params)[0])

    base, wide = first_updates(BASE, 0.0), first_updates(4 * BASE, 0.0)
    factors = (1, 4) if name == "sgd" else (1 / 4, 1)
    for path, factor in zip(("blocks/kernel", "tokens"), factors, strict=True):
        np.testing.assert_allclose(wide[path], factor * base[path], rtol=1e-5)
        decayed = [first_updates(width, 0.3)[path] for width in (BASE, 4 * BASE)]
        np.testing.assert_allclose(decayed[1] - wide[path], decayed[0] - base[path], rtol=1e-4)
        assert (np.abs(decayed[0] - base[path]) > 1e-4).all()


def test_scores_are_divided_by_a_head_s_size():
    """As 4 / d, where heads of 16 were divided by the root 4; heads of a constant size change nothing."""
    for width in (64, 128, 512):
        size = width // 4
        over_root = scaling.query_multiplier(declared("gpt2", width, base_width=64)) / size**0.5
        np.testing.assert_allclose(over_root, 4 / size)
        more_heads = declared("gpt2", width, base_width=64, heads=width // 16, base_heads=4)
        assert scaling.query_multiplier(more_heads) == 1


@pytest.mark.slow
def test_kernels_start_smaller_and_tables_as_before():
    def drawn_by_seed(kind: str):
        config = declared("bert", BASE, kind, base_width=2, heads=2)
        return by_path(jax.jit(partial(build, config))(key=jax.random.key(0)))

    wide, standard = drawn_by_seed("mup"), drawn_by_seed("standard")
    for path, array in standard.items():
        smaller = "kernel" in path and "next_sentence" not in path
        np.testing.assert_allclose(wide[path], array * (0.25 if smaller else 1), rtol=1e-6, err_msg=path)


FOLDED = [
    ("gpt2", {}),
    ("bert", {}),
    ("gpt2", {"tied": False, "bias": False}),
    ("gpt2", {"qk_norm": True, "normalization": "rms", "positions": "rotary"}),
    ("gpt1", {"depth": 3}),
]


@pytest.mark.parametrize("family, changes", mostly_slow(FOLDED))
def test_folded_multipliers_compute_the_same(family, changes):
    config = declared(family, 3 * BASE, **changes)
    model = drawn(config)
    standard, arrays = folded(config, {path: np.asarray(x) for path, x in by_path(model).items()})
    assert standard == declared(family, 3 * BASE, "standard", base_width=None, **changes)
    refilled = refill(drawn(standard), arrays)
    expected = model(TOKENS)
    assert np.abs(logits_of(drawn(standard)) - logits_of(model)).max() > 0.1  # the multipliers matter
    for ours, theirs in zip(jax.tree.leaves(refilled(TOKENS)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_what_mup_is_not_defined_for_is_one_line():
    with pytest.raises(UsageError, match=r"model\.scaling=mup: expected model.base_width=N"):
        declared("gpt2", 64, base_width=None)
    with pytest.raises(UsageError, match=r"model\.base_width=30: expected a multiple of model.heads=4"):
        declared("gpt2", 64, base_width=30)
    quickstart = experiments.get("quickstart")
    mup = {"model.scaling": "mup", "model.base_width": 64}
    for name in ("lamb", "adafactor", "sophia", "schedule_free_adamw"):
        with pytest.raises(UsageError, match=f"optimizer.name={name}: its rates under model.scaling=mup"):
            override(quickstart, mup | {"optimizer.name": name})
    assert override(quickstart, mup | {"optimizer.name": "muon"}).model.base_width == 64
