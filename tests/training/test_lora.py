"""Runs with `model.block=lora`, under every compiler: what trains, resumed runs, weights in and out."""

import jax
import numpy as np
import pytest

from research import weights
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import by_path
from research.runs.state import initial_state
from research.training.first_state import drawn, load_start_weights
from research.training.loop import train
from research.training.placement import compile_for
from research.training.resolving import resolve
from tests.mostly_slow import mostly_slow
from tests.training.test_loop import assert_same_run
from tests.training.test_multi_step import batch_of
from tests.training.tiny import quickstart

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def tuning(folder, **changes):
    lora = {"model__block": "lora", "model__own__block__rank": 2, "optimizer__freeze": "!*/lora*"}
    return quickstart(folder / "text.txt", run__steps=6, run__evaluate_every=3, **lora | changes)


WAYS = {
    "jit": {},
    "inputs": {"run__hyperparameters": "inputs", "parallel__accumulate": 2},
    "fsdp": {"parallel__compile": "sharded", "parallel__data": 1, "parallel__fsdp": -1},
    "tensor": {"parallel__compile": "sharded", "parallel__tensor": 2},
    "pmap": {"parallel__compile": "pmap"},
}


@pytest.mark.parametrize("way", mostly_slow(WAYS))
def test_only_factors_train_and_have_moments(way, tmp_path):
    changes = {"model__own__block__kernels": ("qkv", "query", "attention_output", "mlp_expand", "mlp_output")}
    experiment = tuning(tmp_path, model__dropout=0.0, **changes | WAYS[way])
    abstract = compile_for(experiment)[0]
    moments = [path for path, leaf in by_path(abstract.opt_state).items() if leaf.size > 1]
    assert moments and all("/lora" in path for path in moments)
    first, last, losses = two_steps(experiment)
    changed = {path for path in first if not np.array_equal(last[path], first[path])}
    assert changed == {path for path in first if "/lora" in path}
    if way != "jit":
        np.testing.assert_allclose(losses, two_steps(override(experiment, ON_ONE_DEVICE))[2], rtol=1e-5)


ON_ONE_DEVICE = {"parallel.compile": "jit", "parallel.data": -1, "parallel.fsdp": 1, "parallel.tensor": 1}
ON_ONE_DEVICE |= {"run.hyperparameters": "constants", "parallel.accumulate": 1}


def two_steps(experiment):
    program, losses = compile_for(experiment)[1], []
    state = drawn(experiment, program.layout)
    first = by_path(jax.tree.map(np.array, state.model))
    for step in range(2):
        state, sums = program.step(state, program.feed(batch_of(step)))
        losses.append(float(sums["loss"]))
    return first, by_path(state.model), losses


def test_weights_go_in_and_merged_ones_come_out(tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    base = quickstart(tmp_path / "text.txt", run__steps=2, run__evaluate_every=0)
    train(base, tmp_path / "base", print)
    experiment, lines = tuning(tmp_path, start__weights=str(tmp_path / "base")), []
    train(experiment, tmp_path / "tuned", lines.append)
    total = sum(leaf.size for leaf in by_path(initial_state(experiment).model).values())
    factors = 2 * 2 * (16 * 2 + 2 * 16)  # blocks, kernels, a and b
    assert f"training {factors:,} of {total:,} parameters: optimizer.freeze=!*/lora*" in lines

    def loss(path) -> float:
        ids = np.arange(32)[None] * 7 % 300
        return np.asarray(weights.load(path).model(ids))

    weights.export(tmp_path / "tuned", tmp_path / "merged")
    np.testing.assert_allclose(loss(tmp_path / "merged"), loss(tmp_path / "tuned"), atol=2e-5)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "merged").eval()
    ids = np.arange(32)[None] * 7 % 300
    np.testing.assert_allclose(
        theirs(torch.tensor(ids)).logits.detach(), loss(tmp_path / "tuned")[..., :300], atol=2e-5
    )
    # A plain model starts from merged weights, one with factors goes on with them, at their rank.
    start = {"start.weights": str(tmp_path / "tuned")}
    plain = resolve(base, start, print)
    assert plain.model == base.model
    model = load_start_weights(plain, print)
    np.testing.assert_allclose(model(ids), loss(tmp_path / "tuned"), atol=2e-5)
    assert resolve(base, start | {"model.block": "lora"}, print).model.own.block.rank == 2
    with pytest.raises(UsageError, match=r"model\.own\.block\.rank=4: .*expected model\.own\.block\.rank=2"):
        resolve(base, start | {"model.block": "lora", "model.own.block.rank": 4}, print)


@pytest.mark.slow
def test_a_run_stopped_and_resumed_is_one_that_was_not(tmp_path):
    experiment = tuning(tmp_path, model__dropout=0.1, model__own__block__dropout=0.2, optimizer__ema=0.9)
    train(experiment, tmp_path / "one", print)
    train(experiment, tmp_path / "other", print, should_stop=lambda row: row["step"] == 3)
    train(experiment, tmp_path / "other", print)
    assert_same_run(experiment, tmp_path / "one", tmp_path / "other")


def test_settings_that_make_no_sense(tmp_path):
    for own, message in (
        ({"dropout": 1.0}, r"model\.own\.block\.dropout=1\.0: expected a dropout from 0 to below 1"),
        ({"rank": 0}, r"model\.own\.block\.rank=0: expected a rank above 0"),
        ({"kernels": ("query", "query")}, "expected some kernels, each once"),
        ({"kernels": ("quary",)}, r"model\.own\.block\.kernels=quary: .*did you mean query"),
    ):
        settings = {f"model.own.block.{name}": value for name, value in own.items()}
        with pytest.raises(UsageError, match=message):
            override(quickstart(tmp_path / "text.txt", model__block="lora"), settings)
