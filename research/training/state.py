"""What training carries from step to step: arrays only, so that any transform can hold it."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from research import models
from research.config import Experiment
from research.optimizers import optimizer


@struct.dataclass
class State:
    step: Array  # updates done
    model: Any  # the parameters, as the module that applies them
    moments: Any  # the optimizer's state
    key: Array  # constant; each step folds its own number into it


def initial_state(experiment: Experiment) -> State:
    """The state before the first step, a function of `run.seed`; under `jax.eval_shape`, its shapes."""
    key_model, key = jax.random.split(jax.random.key(experiment.run.seed))
    model = models.build(experiment.model, key=key_model)
    moments = optimizer(experiment.optimizer, experiment.run.steps).init(model)
    return State(step=jnp.int32(0), model=model, moments=moments, key=key)
