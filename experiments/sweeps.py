"""Sweeps that answer a question with small models on Python's documentation, in minutes on two cores."""

from dataclasses import replace
from typing import Any

from experiments.registry import get, sweep
from research.config import Experiment, Sweep, space


def small(steps: int = 150) -> Experiment:
    """gpt2_tiny with two blocks, few steps, five evaluations and no samples."""
    tiny = get("gpt2_tiny")
    rate = replace(tiny.optimizer.rate, warmup=steps // 10)
    return replace(
        tiny,
        model=replace(tiny.model, depth=2, width=64, heads=4),
        optimizer=replace(tiny.optimizer, rate=rate),
        run=replace(
            tiny.run, steps=steps, evaluate_every=steps // 5, checkpoint_every=steps // 5, keep=1, sample=0
        ),
    )


@sweep
def rate_by_width() -> Sweep:
    """Does the best learning rate fall as the model widens, and stay with μP? Widths × rates, AdamW."""
    return Sweep(
        base=small(),
        space=space.product(
            space.grid("model.scaling", "standard", "mup"),
            space.grid("model.base_width", 32),
            space.grid("model.width", 32, 64, 128, 256),
            space.grid("optimizer.rate.peak", 1e-3, 3e-3, 1e-2, 3e-2),
        ),
    )


@sweep
def optimizers() -> Sweep:
    """Which optimizer is best, in steps and in seconds, each at the best of four equally spaced rates?"""

    def rates(name: str, *peaks: float, **fixed: Any) -> space.Product:
        given = [space.grid(f"optimizer.{setting}", value) for setting, value in fixed.items()]
        return space.product(
            space.grid("optimizer.name", name), space.grid("optimizer.rate.peak", *peaks), *given
        )

    return Sweep(
        base=small(),
        space=space.chain(
            rates("adamw", 1e-3, 3e-3, 1e-2, 3e-2),
            rates("adamw", 1e-3, 3e-3, 1e-2, 3e-2, cautious=True),
            rates("schedule_free_adamw", 3e-3, 1e-2, 3e-2, 1e-1, **{"rate.name": "constant"}),
            rates("adafactor", 1e-3, 3e-3, 1e-2, 3e-2),
            rates("lion", 3e-4, 1e-3, 3e-3, 1e-2, b2=0.99),
            rates("sophia", 1e-4, 3e-4, 1e-3, 3e-3, b1=0.965, b2=0.99),
            rates("soap", 1e-3, 3e-3, 1e-2, 3e-2, b1=0.95, b2=0.95),
            rates("muon", 3e-3, 1e-2, 3e-2, 1e-1, b1=0.95),
            rates("normuon", 3e-3, 1e-2, 3e-2, 1e-1, b1=0.95, b2=0.95),
        ),
    )


@sweep
def warmup_by_batch() -> Sweep:
    """Do large batches need a warm-up, at equal tokens and the rate scaled by the root of the batch?"""
    return Sweep(
        base=small(),
        space=space.product(
            space.zip(
                space.grid("data.batch", 4, 8, 16, 32),
                space.grid("run.steps", 300, 150, 76, 38),
                space.grid("run.evaluate_every", 60, 30, 38, 19),
                space.grid("optimizer.rate.peak", 7e-3, 1e-2, 1.4e-2, 2e-2),
            ),
            space.grid("optimizer.rate.warmup", 0, 4, 15),
        ),
    )


@sweep
def norm_by_depth() -> Sweep:
    """At which depths does post-LN train, compared with pre-LN? Norms × depths × rates."""
    return Sweep(
        base=small(),
        space=space.product(
            space.grid("model.norm", "pre", "post"),
            space.grid("model.depth", 2, 4, 8),
            space.grid("optimizer.rate.peak", 1e-3, 1e-2),
        ),
    )


@sweep
def loss_by_size() -> Sweep:
    """Does a scaling law fitted to the smaller half predict the larger? Widths × rates × steps."""
    base, steps = small(), (150, 300, 600, 1_200)
    return Sweep(
        base=replace(base, optimizer=replace(base.optimizer, name="muon", b1=0.95)),
        space=space.product(
            space.grid("model.width", 16, 32, 64, 96, 128),
            space.grid("optimizer.rate.peak", 1e-2, 3e-2),
            space.zip(
                space.grid("run.steps", *steps),
                space.grid("run.evaluate_every", *(count // 2 for count in steps)),
                space.grid("run.checkpoint_every", *steps),
                space.grid("optimizer.rate.warmup", *(count // 10 for count in steps)),
            ),
        ),
    )


@sweep
def tune_gpt2_tiny() -> Sweep:
    """Rate, optimizer, decay and warm-up of gpt2_tiny, searched by TPE and pruned by ASHA in 24 trials."""
    return Sweep(
        base=small(),
        space=space.product(
            space.choice("optimizer.name", "adamw", "muon", "lion"),
            space.log_uniform("optimizer.rate.peak", 1e-4, 3e-2),
            space.uniform("optimizer.decay", 0.0, 0.2),
            space.integer("optimizer.rate.warmup", 0, 40, 10),
        ),
        trials=24,
        pruner="asha",
    )
