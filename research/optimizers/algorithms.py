"""The built-in optimizers, each a function of its declaration and a learning-rate schedule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from research.config import Optimizer
from research.config.names import OPTIMIZERS
from research.optimizers.masks import are_hidden_matrices, decays, hidden_matrices
from research.optimizers.normuon import normalize_neurons
from research.optimizers.soap import scale_by_soap

Rate = optax.Schedule  # number of updates → learning rate of the next


@OPTIMIZERS.register("adamw")
def adamw(config: Optimizer, rate: Rate):
    """Loshchilov & Hutter (2019)."""
    return optax.chain(
        optax.scale_by_adam(config.b1, config.b2, config.epsilon), _decay(config), _times(rate)
    )


@OPTIMIZERS.register("gpt1_adam")
def gpt1_adam(config: Optimizer, rate: Rate):
    """openai/finetune-transformer-lm, opt.py: the correction of the moments multiplies the rate.

    It therefore also scales the decay, but not ε.
    """
    return optax.chain(
        _uncorrected_adam(config),
        _decay(config),
        optax.scale_by_schedule(
            lambda step: jnp.sqrt(1 - config.b2 ** (step + 1.0)) / (1 - config.b1 ** (step + 1.0))
        ),
        _times(rate),
    )


@OPTIMIZERS.register("bert_adam")
def bert_adam(config: Optimizer, rate: Rate):
    """google-research/bert, optimization.py: moments are not corrected, ε is added outside the root."""
    return optax.chain(_uncorrected_adam(config), _decay(config), _times(rate))


def _uncorrected_adam(config: Optimizer) -> optax.GradientTransformation:
    def init(params):
        zeros = optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(count=jnp.int32(0), mu=zeros, nu=zeros)

    def update(updates, state, params=None):
        mu = optax.tree.update_moment(updates, state.mu, config.b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, config.b2, 2)
        scaled = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + config.epsilon), mu, nu)
        return scaled, optax.ScaleByAdamState(count=state.count + 1, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


@OPTIMIZERS.register("sgd")
def sgd(config: Optimizer, rate: Rate):
    """Gradient descent with momentum `b1`."""
    return optax.chain(optax.trace(config.b1), _decay(config), _times(rate))


@OPTIMIZERS.register("lion")
def lion(config: Optimizer, rate: Rate):
    """Chen et al. (2023)."""
    return optax.chain(optax.scale_by_lion(config.b1, config.b2), _decay(config), _times(rate))


@OPTIMIZERS.register("lamb")
def lamb(config: Optimizer, rate: Rate):
    """You et al. (2020)."""
    return optax.lamb(rate, config.b1, config.b2, config.epsilon, weight_decay=config.decay, mask=decays)


@OPTIMIZERS.register("adafactor")
def adafactor(config: Optimizer, rate: Rate):
    """Shazeer & Stern (2018) without momentum; the rate is absolute and also multiplies the decay."""
    return optax.chain(
        optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), _decay(config), _times(rate)
    )


@OPTIMIZERS.register("muon")
def muon(config: Optimizer, rate: Rate):
    """Jordan et al. (2024): Muon with momentum `b1` for hidden matrices, Adam without decay for the rest.

    Updates are scaled to Adam's size (Liu et al., 2025), so that one rate works for both.
    """
    settings: dict[str, Any] = {
        "beta": config.b1,
        "adam_b1": config.b1,
        "adam_b2": config.b2,
        "eps": config.epsilon,
        "muon_weight_dimension_numbers": hidden_matrices,
        "consistent_rms": 0.2,
    }
    if not config.cautious:
        return contrib.muon(rate, weight_decay=config.decay, **settings)
    return optax.chain(  # ascent at a rate of 1, without its own decay
        contrib.muon(-1.0, weight_decay=0.0, **settings),
        cautious_decay(config.decay, are_hidden_matrices),
        _times(rate),
    )


@OPTIMIZERS.register("normuon")
def normuon(config: Optimizer, rate: Rate):
    """Li et al. (2025): as `muon`, normalized per neuron with `b2` (0.95 in the paper)."""
    orthogonal = contrib.scale_by_muon(
        beta=config.b1, eps=config.epsilon, weight_dimension_numbers=hidden_matrices
    )
    hidden = optax.chain(orthogonal, normalize_neurons(config.b2, config.epsilon))
    return optax.chain(_hidden_apart(hidden, config), _decay(config), _times(rate))


@OPTIMIZERS.register("soap")
def soap(config: Optimizer, rate: Rate):
    """Vyas et al. (2024): SOAP for hidden matrices (the paper's `b1` and `b2` are 0.95), else Adam."""
    hidden = scale_by_soap(config.b1, config.b2, config.epsilon)
    return optax.chain(_hidden_apart(hidden, config, experts=False), _decay(config), _times(rate))


def _hidden_apart(
    hidden: optax.GradientTransformation, config: Optimizer, experts: bool = True
) -> optax.GradientTransformation:
    """`hidden` for the kernels of blocks, if `experts` also of their experts, and Adam for the rest."""
    adam = optax.scale_by_adam(config.b1, config.b2, config.epsilon)

    def labels(params: Any) -> Any:
        return jax.tree.map(
            lambda hidden: "hidden" if hidden else "rest", are_hidden_matrices(params, experts)
        )

    return optax.partition({"hidden": hidden, "rest": adam}, labels)


@OPTIMIZERS.register("sophia")
def sophia(config: Optimizer, rate: Rate):
    """Liu et al. (2023), with Hutchinson's estimate of the curvature every ten steps."""
    return contrib.sophia(
        rate, config.b1, config.b2, config.epsilon, weight_decay=config.decay, weight_decay_mask=decays
    )


@OPTIMIZERS.register("schedule_free_adamw")
def schedule_free_adamw(config: Optimizer, rate: Rate, multiply: optax.GradientTransformation | None = None):
    """Defazio et al. (2024); `research.optimizers.optimizer.evaluation_params` returns its average.

    `multiply` has the factors of the layers' rates.
    """
    inner = optax.chain(
        optax.scale_by_rms(config.b2, config.epsilon, eps_in_sqrt=False, bias_correction=True),
        _decay(config),
        _times(rate),
        optax.identity() if multiply is None else multiply,
    )
    return contrib.schedule_free(inner, learning_rate=rate, b1=config.b1)


def _decay(config: Optimizer) -> optax.GradientTransformation:
    if config.cautious:
        return cautious_decay(config.decay, decays)
    return optax.add_decayed_weights(config.decay, mask=decays)


def cautious_decay(decay: float, mask: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Decays only weights that the update shrinks too (Chen et al., 2025, algorithm 1).

    Chain it after the update's direction, which is subtracted, and before the rate.
    """

    def add(updates, params):
        return jax.tree.map(lambda u, p: u + decay * jnp.where(u * p >= 0, p, 0), updates, params)

    return optax.masked(optax.stateless(add), mask)


def _times(rate: Rate) -> optax.GradientTransformation:
    return optax.scale_by_learning_rate(rate)
