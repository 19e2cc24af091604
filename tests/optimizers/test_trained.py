"""What is frozen keeps its bits under every optimizer and costs no state; the rest trains as if alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import experiments
from research.config import Experiment
from research.config.names import OPTIMIZERS
from research.config.settings import override
from research.models import build
from research.models.parameters import by_path
from research.optimizers.optimizer import evaluation_params, optimizer
from research.optimizers.trained import ALL, count_trained, trained
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

DEPTH = 4
SMALL = {
    "model.vocabulary": 40,
    "model.context": 8,
    "model.width": 8,
    "model.depth": DEPTH,
    "model.heads": 2,
    "data.length": 8,
    "optimizer.decay": 0.1,
    "optimizer.clip": 1.0,
    "optimizer.rate.warmup": 0,
}
# freeze → by the beginning of a path, the blocks that train, or whether all of the parameter does
CASES = {
    "tokens+positions+blocks/0-1": {"blocks/": {2, 3}, "tokens": False, "positions": False, "norm": True},
    "!norm": {"blocks/": set(), "tokens": False, "positions": False, "norm": True},
    "!blocks/0+!blocks/2-/mlp+!positions": {
        "blocks/mlp/": {0, 2, 3},
        "blocks/": {0},
        "tokens": False,
        "positions": True,
        "norm": False,
    },
}


def declared(**changes) -> Experiment:
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(experiments.get("gpt2_tiny"), SMALL | changes)


def model_of(experiment: Experiment):
    """A model without zeros, so that weight decay would move every parameter."""
    model = build(experiment.model, key=jax.random.key(0))
    leaves, treedef = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def gradients_of(model, seed: int):
    return jax.tree.map(lambda p: jnp.cos(seed + 7 * p), model)


def moved(before, after) -> dict[str, set[int] | bool]:
    """By path: the rows of a stack that changed a bit, or whether a parameter did."""
    changed = {}
    for name, old in by_path(before).items():
        rows = np.asarray(old) != np.asarray(by_path(after)[name])
        changed[name] = (
            set(np.flatnonzero(rows.reshape(DEPTH, -1).any(1)).tolist())
            if name.startswith("blocks/")
            else bool(rows.any())
        )
    return changed


def expected_of(case: dict, name: str):
    return next(value for start, value in case.items() if name.startswith(start))


@pytest.mark.parametrize("freeze", CASES)
@pytest.mark.parametrize("name", mostly_slow(OPTIMIZERS))
def test_every_optimizer_moves_what_trains_and_nothing_else(name, freeze):
    experiment = declared(optimizer__name=name, optimizer__freeze=freeze, optimizer__rate__layer_decay=0.9)
    model = model_of(experiment)
    split = trained(freeze, experiment.model)
    update = optimizer(experiment.optimizer, 10, experiment.model)

    @jax.jit
    def step(model, opt_state, seed):
        part = split.select(model)

        def curved(part):  # for Sophia
            return sum((jnp.sin(leaf) ** 2).sum() for leaf in jax.tree.leaves(part))

        updates, opt_state = update.update(
            split.select(gradients_of(model, seed)), opt_state, part, value=curved(part), obj_fn=curved
        )
        return split.merge(model, optax.apply_updates(part, updates)), opt_state

    after, opt_state = model, jax.jit(update.init)(split.select(model))
    for seed in range(2):  # SOAP's first gradient only sets its bases
        after, opt_state = step(after, opt_state, seed)
    evaluated = split.merge(after, evaluation_params(split.select(after), opt_state))
    for result in (after, evaluated):
        for path, changed in moved(model, result).items():
            assert changed == expected_of(CASES[freeze], path), path


@pytest.mark.parametrize("freeze", CASES)
@pytest.mark.parametrize("name", ["adamw", "muon", "soap", "adafactor"])
def test_the_state_is_that_of_the_part(name, freeze):
    """No optimizer state has more numbers of a parameter than train; frozen ones are not in it."""
    experiment = declared(optimizer__name=name, optimizer__freeze=freeze)
    shapes = jax.eval_shape(partial(model_of, experiment))
    update = optimizer(experiment.optimizer, 10, experiment.model)
    split = trained(freeze, experiment.model)
    state = by_path(jax.eval_shape(update.init, jax.eval_shape(split.select, shapes)))
    for path in by_path(shapes):
        expected = expected_of(CASES[freeze], path)
        of_path = [leaf for kept, leaf in state.items() if kept.endswith(f"/{path}")]
        assert bool(of_path) == bool(expected), path
        if isinstance(expected, set) and name != "adafactor":
            assert {leaf.shape[0] for leaf in of_path} <= {len(expected)}, path


@pytest.mark.parametrize("freeze", CASES)
def test_the_part_and_the_whole(freeze):
    experiment = declared()
    model, split = model_of(experiment), trained(freeze, experiment.model)
    part = split.select(model)
    assert not any(rows for rows in moved(model, split.merge(model, part)).values())
    merged = split.merge(model, jax.tree.map(lambda p: p + 1, part))
    for path, changed in moved(model, merged).items():
        assert changed == expected_of(CASES[freeze], path), path
    again = split.select(merged)
    jax.tree.map(lambda p, q: np.testing.assert_array_equal(p + 1, q), part, again)
    count = sum(
        leaf.size if expected_of(CASES[freeze], path) is True else 0
        for path, leaf in by_path(model).items()
        if not path.startswith("blocks/")
    ) + sum(
        leaf.size // DEPTH * len(expected_of(CASES[freeze], path))
        for path, leaf in by_path(model).items()
        if path.startswith("blocks/")
    )
    assert count_trained(freeze, model, experiment.model) == count


def test_without_freezing_nothing_is_copied():
    experiment = declared()
    assert trained(None, experiment.model) is ALL
    model = model_of(experiment)
    assert ALL.merge(model, ALL.select(model)) is model
    assert ALL.frozen_blocks(model) == 0


@pytest.mark.parametrize(
    "freeze, count",
    [
        ("embeddings+blocks/0-2", 3),
        ("blocks/0-2/mlp", 0),
        ("blocks/1-2", 0),
        ("!*/bias", 0),
        ("!blocks/3/mlp", 3),
        ("!norm", 4),
    ],
)
def test_the_first_blocks_without_a_parameter_that_trains(freeze, count):
    experiment = declared()
    shapes = jax.eval_shape(partial(model_of, experiment))
    assert trained(freeze, experiment.model).frozen_blocks(shapes) == count
