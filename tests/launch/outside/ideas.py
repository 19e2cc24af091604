"""Somebody else's ideas in one file outside the repository: an optimizer, an activation, an experiment."""

import jax
import jax.numpy as jnp
import optax

from experiments.registry import experiment
from research.config import Data, Experiment, Model, Optimizer, Run, Schedule
from research.config.names import ACTIVATIONS, OPTIMIZERS


@OPTIMIZERS.register("sign_momentum")
def sign_momentum(config: Optimizer, rate):
    """The sign of a running average of the gradient (Bernstein et al., 2018)."""
    signs = optax.stateless(lambda updates, _: jax.tree.map(jnp.sign, updates))
    return optax.chain(optax.ema(config.b1), signs, optax.scale_by_learning_rate(rate))


@ACTIVATIONS.register("softsign_gelu")
def softsign_gelu(x):
    """A GELU whose gate is algebraic."""
    return x * (1 + jax.nn.soft_sign(x)) / 2


@experiment
def ideas_tiny() -> Experiment:
    """A GPT-2 of two layers on lines of text, with another activation, by the sign of its momentum."""
    return Experiment(
        model=Model(
            family="gpt2",
            vocabulary=300,
            context=32,
            width=16,
            depth=2,
            heads=2,
            dropout=0.1,
            activation="softsign_gelu",
        ),
        data=Data(
            source="files:corpus.txt",
            tokenizer="bpe:300",
            batch=8,
            length=32,
            split="tail",
            holdout=0.02,
        ),
        optimizer=Optimizer(name="sign_momentum", rate=Schedule(name="cosine", peak=1e-3, warmup=2)),
        run=Run(steps=120, log_every=1, evaluate_every=60, checkpoint_every=20, sample=8),
    )
