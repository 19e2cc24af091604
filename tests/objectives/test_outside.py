"""An objective of another package: one record, which every command then knows."""

import jax.numpy as jnp
import numpy as np
import pytest

from research.bench.cost import flops_a_token
from research.bench.synthetic import batches
from research.config.names import OBJECTIVES
from research.config.settings import from_json, override, to_json
from research.errors import UsageError
from research.objectives.next_token import NEXT_TOKEN
from research.training.loop import train
from research.training.placement import compile_for
from tests.by_experiment import batch_shapes
from tests.training.tiny import quickstart, timeless

SMOOTHING = 0.1


def smoothed_loss(model, batch, key, settings):
    """Next-token cross-entropy with label smoothing (Szegedy et al., 2016)."""
    logits_BLV = model.logits(model.features(batch["tokens"], key))
    log_p_BLV = logits_BLV - jnp.log(jnp.exp(logits_BLV).sum(-1, keepdims=True))
    right_BL = jnp.take_along_axis(log_p_BLV, batch["targets"][..., None], axis=-1)[..., 0]
    losses_BL = -(1 - SMOOTHING) * right_BL - SMOOTHING * log_p_BLV.mean(-1)
    plain, weights_BL = -(right_BL * batch["weights"]).sum(), batch["weights"]
    return {"loss": (losses_BL * weights_BL).sum(), "plain_loss": plain}


def check(experiment):
    NEXT_TOKEN.check(experiment)
    if experiment.objective.z_loss:
        raise UsageError("objective.z_loss: objective.name=smoothed has none; expected 0")


@pytest.fixture
def smoothed(registries):
    record = NEXT_TOKEN._replace(loss=smoothed_loss, check=check, columns=("plain_loss",), per_byte=False)
    return OBJECTIVES.register("smoothed")(record)


def small(folder, **changes):
    more = {
        "objective__name": "smoothed",
        "run__steps": 3,
        "run__evaluate_every": 1,
        "run__checkpoint_every": 1,
    }
    return quickstart(folder / "text.txt", **more | changes)


@pytest.mark.slow
def test_it_trains_resumes_and_shows_its_columns(smoothed, tmp_path, capsys):
    experiment = small(tmp_path, run__sample=8)
    straight = train(experiment, tmp_path / "straight", lambda line: None)
    assert straight.finished and straight.validation.keys() == {
        "step",
        "split",
        "loss",
        "plain_loss",
        "sample",
    }
    last = [
        line
        for line in capsys.readouterr().out.splitlines()
        if "step  3/3  validation" in line or "step 3/3  validation" in line
    ]
    assert f"plain loss {straight.validation['plain_loss']:.3f}" in last[0]

    stopped = train(
        experiment, tmp_path / "stopped", lambda line: None, should_stop=lambda row: row["step"] == 1
    )
    assert not stopped.finished and stopped.step == 1
    train(from_json(to_json(experiment)), tmp_path / "stopped", lambda line: None)
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "straight")


def test_it_is_measured_and_planned(smoothed, tmp_path):
    experiment = small(tmp_path)
    batch = next(batches(experiment))
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert shapes == {
        name: (shape, np.dtype(kind)) for name, (shape, kind) in batch_shapes(experiment).items()
    }
    assert flops_a_token(experiment) == flops_a_token(override(experiment, {"objective.name": "next_token"}))
    abstract, program = compile_for(experiment)
    assert program.lower(abstract, batch) is not None


def test_its_own_check_refuses_before_anything_is_written(smoothed, tmp_path):
    experiment = small(tmp_path, objective__z_loss=1e-4)
    with pytest.raises(UsageError, match="smoothed has none; expected 0"):
        train(experiment, tmp_path / "run", lambda line: None)
    assert not (tmp_path / "run").exists()


def test_the_same_record_may_register_again_and_another_may_not(smoothed):
    OBJECTIVES.register("smoothed")(smoothed._replace(columns=()))
    for name in ("smoothed", "next_token"):
        with pytest.raises(UsageError, match=f"objective.name={name}: already registered"):
            OBJECTIVES.register(name)(smoothed._replace(loss=lambda *given: {}))


def test_without_it_the_name_is_not_known(tmp_path):
    with pytest.raises(UsageError, match=r"objective\.name=smoothed: not known"):
        small(tmp_path)
