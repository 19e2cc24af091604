"""Objective, optimizer and learning rate, declared."""

from dataclasses import dataclass
from typing import Annotated

from research.config.checks import choices, fraction, positive
from research.config.names import OBJECTIVES, OPTIMIZERS, SCHEDULES
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss, by name. `research.objectives` holds a record for each name."""

    name: Annotated[str, OBJECTIVES] = "next_token"
    auxiliary: float = 0.0  # λ: weight of the next-token loss that is added in fine-tuning a GPT; 0: none
    auxiliary_positions: bool = False  # its softmax is also over the rows of positions, as in GPT-1's code
    next: float = 1.0  # weight of the next-sentence loss in BERT's pre-training; 0: masked tokens alone
    z_loss: float = 0.0  # weight of the squared log of the softmax's denominator (Chowdhery et al., 2022)

    def __post_init__(self):
        choices("objective", self)
        if not self.next >= 0:
            raise UsageError(f"objective.next={self.next}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over steps: linear warm-up, then by name."""

    name: Annotated[str, SCHEDULES] = "cosine"
    peak: float
    warmup: int = 0  # steps
    final: float = 0.0  # share of the peak left at the last step, of linear, cosine, warmup_stable_decay
    cooldown: float = 0.2  # share of the steps in which warmup_stable_decay decays

    def __post_init__(self):
        choices("optimizer.rate", self)
        positive("optimizer.rate", self, "peak")
        if self.warmup < 0:
            raise UsageError(f"optimizer.rate.warmup={self.warmup}: expected a number of steps from 0")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How gradients become updates."""

    name: Annotated[str, OPTIMIZERS] = "adamw"
    rate: Schedule
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.0  # decoupled, times the rate; never on biases and norms
    clip: float | None = None  # global norm of the gradient
    ema: float | None = None  # share of the old in a running average of the parameters, which is evaluated

    def __post_init__(self):
        choices("optimizer", self)
        fraction("optimizer", self, "b1", "b2")
        if self.clip is not None:
            positive("optimizer", self, "clip")
        if self.ema is not None:
            fraction("optimizer", self, "ema")
