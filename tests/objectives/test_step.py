"""An objective that reads the step has its number in training and in evaluation, however the step is made."""

import pytest

from research.config.names import OBJECTIVES
from research.objectives.next_token import NEXT_TOKEN
from research.training.evaluating.evaluate_run import evaluate_run
from research.training.loop import train
from tests.mostly_slow import mostly_slow
from tests.training.tiny import quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

WAYS = {
    "parts of a batch": {"parallel__accumulate": 2},
    "jit": {},
    "sharded": {"parallel__compile": "sharded", "parallel__fsdp": 2, "parallel__accumulate": 2},
    "shards": {"parallel__compile": "sharded", "parallel__accumulate": 2, "model__dropout": 0.0},
    "pmap": {"parallel__compile": "pmap"},
    "calls of three steps": {"run__steps_per_call": 3},
    "rates as inputs": {"run__hyperparameters": "inputs"},
    "curvature": {"optimizer__name": "sophia"},
}


@pytest.fixture
def annealed(registries):
    """Next-token cross-entropy that counts from step 2 on, and what it reads."""

    def loss(model, batch, key=None, settings=None):
        sums = NEXT_TOKEN.loss(model, batch, key, settings)
        step = batch["step"].astype(sums["loss"].dtype)
        return sums | {"loss": sums["loss"] * (step >= 2), "reads": step * batch["weights"].sum()}

    OBJECTIVES.register("annealed")(NEXT_TOKEN._replace(loss=loss, reads_step=True))


@pytest.mark.parametrize("way", mostly_slow(list(WAYS)))
def test_it_is_the_number_of_updates_so_far(way, annealed, tmp_path):
    every = {"run__steps": 6, "run__evaluate_every": 3, "run__checkpoint_every": 3, "run__sample": 0}
    rows = {"data__batch": 16, "objective__name": "annealed"}
    experiment = quickstart(tmp_path / "text.txt", **every | rows | WAYS[way])
    train(experiment, tmp_path / "run", lambda line: None)
    found = {(row["step"], row["split"]): row for row in timeless(tmp_path / "run")}
    for (step, split), row in found.items():
        assert row["reads"] == pytest.approx(step - (split == "train"), rel=1e-4)
    norms = [found[step, "train"]["gradient_norm"] for step in range(1, 7)]
    assert norms[:2] == [0, 0] and all(norms[2:])
    assert evaluate_run(tmp_path / "run", 3, lambda line: None)["reads"] == pytest.approx(3, rel=1e-4)


def test_an_objective_that_does_not_ask_gets_none(registries, tmp_path):
    read = []

    def loss(model, batch, key=None, settings=None):
        read.append(set(batch))
        return NEXT_TOKEN.loss(model, batch, key, settings)

    OBJECTIVES.register("plain")(NEXT_TOKEN._replace(loss=loss))
    experiment = quickstart(tmp_path / "text.txt", run__steps=1, run__sample=0, objective__name="plain")
    train(experiment, tmp_path / "run", lambda line: None)
    assert all(names == {"tokens", "targets", "weights"} for names in read) and read
