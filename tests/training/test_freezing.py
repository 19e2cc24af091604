"""Runs with frozen parameters, under every compiler: bits, gradients, work, averages, resumed runs."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from research import weights
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import by_path
from research.objectives import next_token
from research.optimizers.trained import trained
from research.runs.state import evaluation_params, initial_state
from research.training.first_state import drawn, load_start_weights
from research.training.loop import train
from research.training.placement import compile_for
from research.training.step import train_step
from tests.mostly_slow import mostly_slow
from tests.training.test_loop import assert_same_run
from tests.training.test_multi_step import batch_of
from tests.training.tiny import quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

BOTTOM = "embeddings+blocks/0-1"
SETTINGS = {
    "model__depth": 4,
    "model__heads": 4,
    "optimizer__decay": 0.1,
    "optimizer__clip": 0.5,
    "optimizer__rate__warmup": 0,
}
ALL_AT_ONCE = {
    "optimizer__ema": 0.9,
    "optimizer__cautious": True,
    "optimizer__rate__layer_decay": 0.8,
    "run__skip_spikes": 3.0,
    "parallel__accumulate": 2,
}
WAYS = {
    "jit": {},
    "all at once": ALL_AT_ONCE,
    "inputs": ALL_AT_ONCE | {"run__hyperparameters": "inputs"},
    "several steps": {"run__steps_per_call": 3, "run__checkpoint_every": 6},
    "data": {"parallel__compile": "sharded", "parallel__accumulate": 1},
    "fsdp": ALL_AT_ONCE
    | {"parallel__compile": "sharded", "parallel__data": 1, "parallel__fsdp": -1}
    | {"parallel__accumulate": 1},
    "tensor": {"parallel__compile": "sharded", "parallel__tensor": 2},
    "pmap": {"parallel__compile": "pmap", "optimizer__name": "muon"},
    "remat": {"model__remat": "block", "model__unroll": 4},
}


def declared(folder, freeze: str | None, **changes):
    return quickstart(folder / "corpus.txt", optimizer__freeze=freeze, **SETTINGS | changes)


def changed(before, after) -> dict[str, list[int]]:
    """By path: the rows along the first axis in which a bit changed."""
    pairs = {name: (np.asarray(old), np.asarray(after[name])) for name, old in before.items()}
    return {
        name: np.flatnonzero((old != new).reshape(len(old), -1).any(1)).tolist()
        for name, (old, new) in pairs.items()
    }


def assert_only_the_top_changed(before, after):
    for name, rows in changed(by_path(before), by_path(after)).items():
        if name.startswith("blocks/"):
            assert rows == [2, 3], name
        else:
            assert bool(rows) == name.startswith("norm"), name


@pytest.mark.parametrize("way", mostly_slow(WAYS))
def test_frozen_parameters_keep_their_bits(way, tmp_path):
    experiment = declared(tmp_path, BOTTOM, **WAYS[way])
    abstract, program = compile_for(experiment)
    state = drawn(experiment, program.layout)
    before = jax.tree.map(np.asarray, jax.device_get(state.model))
    calls = experiment.run.steps_per_call
    for step in range(0, 3, calls):
        batches = [program.feed(batch_of(number)) for number in range(step, step + calls)]
        state, _ = program.step(state, batches if calls > 1 else batches[0])
    assert int(state.step) == 3
    assert_only_the_top_changed(before, state.model)
    assert_only_the_top_changed(before, evaluation_params(experiment, state))
    kept = [path for path in by_path(abstract.opt_state) if "tokens" in path or "positions" in path]
    assert not kept


@pytest.mark.slow
def test_ways_agree_on_the_loss(tmp_path):
    losses = []
    for way in ("jit", "data", "fsdp", "remat"):
        changes = WAYS[way] | {"model__dropout": 0.0, "optimizer__ema": None, "optimizer__cautious": False}
        changes |= {"optimizer__rate__layer_decay": 1.0}
        experiment = declared(tmp_path, BOTTOM, **changes)
        program = compile_for(experiment)[1]
        state = drawn(experiment, program.layout)
        for step in range(3):
            state, sums = program.step(state, program.feed(batch_of(step)))
        losses.append(float(sums["loss"]))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.parametrize(
    "freeze", mostly_slow([BOTTOM, "blocks/0-2", "!blocks/1-2/mlp+!positions", "tokens", "!*/bias"])
)
def test_the_step_is_that_of_the_whole_gradient_where_it_trains(freeze, tmp_path):
    """With dropout. The norm, and so clipping, leaves out what is frozen."""
    experiment = declared(tmp_path, freeze)
    batch, split = batch_of(0), trained(freeze, experiment.model)
    descent = optax.with_extra_args_support(optax.sgd(1.0))

    @partial(jax.jit, static_argnums=0)
    def step(frozen: bool):
        state = initial_state(experiment)
        part = split.select(state.model) if frozen else state.model
        settings = {"trained": split} if frozen else {}
        state = state.replace(opt_state=descent.init(part))
        after, sums = train_step(state, batch, loss=next_token.loss, optimizer=descent, **settings)
        return state.model, after.model, sums

    before, whole, expected = step(False)
    _, after, sums = step(True)
    np.testing.assert_allclose(sums["loss"], expected["loss"], rtol=1e-6)
    steps = [jax.tree.map(lambda a, b: a - b, before, model) for model in (whole, after)]
    parts = [split.select(gradient) for gradient in steps]
    np.testing.assert_allclose(sums["gradient_norm"], optax.tree.norm(parts[0]), rtol=1e-4)
    assert float(sums["gradient_norm"]) < float(expected["gradient_norm"])
    for name, gradient in by_path(parts[0]).items():
        np.testing.assert_allclose(by_path(parts[1])[name], gradient, rtol=1e-3, atol=1e-6, err_msg=name)
    frozen = optax.tree.norm(steps[1]) ** 2 - optax.tree.norm(parts[1]) ** 2
    assert abs(float(frozen)) < 1e-6


def loops(jaxpr) -> list[int]:
    """The lengths of all loops in a program."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            found.append(equation.params["length"])
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if hasattr(inner, "eqns"):
                    found += loops(inner)
                elif hasattr(inner, "jaxpr"):
                    found += loops(inner.jaxpr)
    return found


@pytest.mark.parametrize(
    "freeze, expected",
    [
        (None, {4: 2}),  # forward and back
        ("!norm", {4: 1}),
        (BOTTOM.replace("0-1", "0-2"), {3: 1, 1: 2}),
        ("blocks/0-2", {3: 2, 1: 2}),  # the embeddings train
    ],
)
def test_nothing_is_differentiated_below_what_trains(freeze, expected, tmp_path):
    experiment = declared(tmp_path, freeze)
    split = trained(freeze, experiment.model)
    step = partial(train_step, loss=next_token.loss, trained=split)
    update = optax.with_extra_args_support(optax.sgd(1.0))

    def one(batch):
        state = initial_state(experiment)
        state = state.replace(opt_state=update.init(split.select(state.model)))
        return step(state, batch, optimizer=update)

    found = loops(jax.make_jaxpr(one)(batch_of(0)).jaxpr)
    assert {length: found.count(length) for length in set(found) & {1, 3, 4}} == expected


@pytest.mark.slow
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_stopped_and_resumed_is_one_that_was_not(ema, tmp_path):
    experiment, lines = declared(tmp_path, BOTTOM, optimizer__ema=ema), []
    train(experiment, tmp_path / "one", lines.append)
    total = sum(leaf.size for leaf in by_path(initial_state(experiment).model).values())
    top = 2 * (total - 300 * 16 - 32 * 16 - 2 * 16) // 4 + 2 * 16
    assert f"training {top:,} of {total:,} parameters: optimizer.freeze={BOTTOM}" in lines
    stops = {"should_stop": lambda row: row["step"] == 6}
    assert not train(experiment, tmp_path / "other", print, **stops).finished
    train(experiment, tmp_path / "other", lines.append)
    assert_same_run(experiment, tmp_path / "one", tmp_path / "other")
    fresh = by_path(drawn(experiment, compile_for(experiment)[1].layout).model)
    found = weights.read(tmp_path / "one").arrays
    for name, rows in changed(fresh, found).items():
        assert rows == [2, 3] if name.startswith("blocks/") else bool(rows) == name.startswith("norm"), name
    again, row = weights.load(tmp_path / "one").model, timeless(tmp_path / "one")[-1]
    assert row["step"] == 12 and by_path(again).keys() == fresh.keys()


@pytest.mark.slow
def test_another_freeze_is_another_run(tmp_path):
    experiment = declared(tmp_path, BOTTOM, run__steps=4)
    train(experiment, tmp_path / "run", lambda line: None)
    more = override(experiment, {"run.steps": 6, "optimizer.freeze": "embeddings"})
    with pytest.raises(UsageError, match=r"holds another run: optimizer\.freeze was .*, now embeddings"):
        train(more, tmp_path / "run", lambda line: None)
    with pytest.raises(UsageError, match=r"optimizer\.freeze=embeddings: .*; expected start\.weights="):
        train(more, tmp_path / "run", lambda line: None, allow_change=True)
    train(override(experiment, {"run.steps": 6}), tmp_path / "run", lambda line: None)


def test_random_values_that_are_frozen_are_named(tmp_path):
    experiment = declared(tmp_path, None, run__steps=1, run__evaluate_every=0)
    train(experiment, tmp_path / "run", lambda line: None)
    tuned = {"model.head": "sequence", "model.outputs": 2, "start.weights": str(tmp_path / "run")}
    for freeze, expected in (
        ("!task_head", ["special_embeddings"]),
        ("!task_head+!special_embeddings", []),
        (None, []),
    ):
        lines = []
        load_start_weights(override(experiment, tuned | {"optimizer.freeze": freeze}), lines.append)
        named = [line for line in lines if "random initial values" in line]
        assert [line.rpartition("have ")[2] for line in named] == expected
