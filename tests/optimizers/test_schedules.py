"""Every schedule equals its formula at its corners."""

import math

import jax.numpy as jnp
import pytest

from research.config import Schedule
from research.config.names import SCHEDULES
from research.optimizers.schedules import schedule

DECAYING = {0: 0.25, 3: 1.0, 4: 1.0, 54: 0.55, 104: 0.1, 200: 0.1}
CORNERS = {
    "constant": {0: 0.25, 3: 1.0, 4: 1.0, 104: 1.0},
    "linear": DECAYING,
    "cosine": DECAYING,
    "inverse_sqrt": {0: 0.25, 3: 1.0, 15: 0.5, 99: 0.2},
    "warmup_stable_decay": {0: 0.25, 3: 1.0, 83: 1.0, 94: 0.1 + 0.9 * 10 / 21, 104: 0.1},
    "bert": {0: 0.0, 2: 0.5, 4: 1 - 4 / 105, 84: 0.2, 105: 0.0},
    "gpt1_cosine": {0: 0.0, 2: 0.5, 4: 1.0, 5: 0.5 * (1 + math.cos(math.pi * 5 / 105)), 105: 0.0},
    "gpt1_linear": {0: 0.0, 2: 0.5 * (1 - 2 / 105), 4: 1 - 4 / 105, 84: 0.2, 105: 0.0},
    "transformers_linear": {0: 0.0, 2: 0.5, 4: 1.0, 5: 100 / 101, 54: 51 / 101, 105: 0.0, 200: 0.0},
}


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_corners(name):
    rate = schedule(Schedule(name=name, peak=2.0, warmup=4, final=0.1), steps=105)
    for step, share in CORNERS[name].items():
        assert float(rate(jnp.int32(step))) == pytest.approx(2.0 * share, rel=1e-5, abs=1e-6), step


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_without_warmup_the_peak_comes_first(name):
    rate = schedule(Schedule(name=name, peak=2.0), steps=10)
    assert float(rate(jnp.int32(0))) == pytest.approx(2.0)
