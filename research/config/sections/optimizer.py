"""Objective, optimizer and learning rate, declared."""

from dataclasses import dataclass
from typing import Annotated, Any

from research.config import own
from research.config.checks import choices, fraction, positive
from research.config.names import OBJECTIVES, OPTIMIZERS, SCHEDULES
from research.config.sections import freezing
from research.errors import UsageError

DECAY_THEMSELVES = ("lamb", "sophia")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss, by name. `research.objectives` has a record for each name."""

    name: Annotated[str, OBJECTIVES] = "next_token"  # loss to minimise
    # Weight λ of the next-token loss added when fine-tuning a GPT; 0: none [weight; any]
    auxiliary: float = 0.0
    auxiliary_positions: bool = False  # include position rows in its softmax, as in GPT-1's code
    # Weight of the next-sentence loss in BERT's pre-training; 0: masked tokens alone [weight; from 0]
    next: float = 1.0
    # Weight of the squared log of the softmax's denominator (Chowdhery et al., 2022) [weight; any]
    z_loss: float = 0.0
    # Weights, as of start.weights, of a second model that the loss reads and that does not train, such as a
    # teacher; none: no such model
    teacher: str | None = None
    # Share of the teacher in the loss: 1 − share × the loss of the labels + share × temperature² × the
    # divergence of the distributions (Hinton et al., 2015) [share; from 0 to 1]
    soft: float = 0.5
    temperature: float = 2.0  # divides the logits of both in that divergence [factor; above 0]
    # Weight of 1 − cosine of the final states of both, as in DistilBERT; needs equal widths [weight; from 0]
    hidden: float = 0.0
    own: Any = own.NONE  # settings that another package declares for the name

    def __post_init__(self):
        choices("objective", self)
        positive("objective", self, "temperature")
        if not 0 <= self.soft <= 1:
            raise UsageError(f"objective.soft={self.soft}: expected from 0 to 1")
        if not self.hidden >= 0:
            raise UsageError(f"objective.hidden={self.hidden}: expected 0 or more")
        object.__setattr__(self, "own", own.settled(OBJECTIVES, self.name, self.own))
        if not self.next >= 0:
            raise UsageError(f"objective.next={self.next}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over steps: linear warm-up, then by name."""

    name: Annotated[str, SCHEDULES] = "cosine"  # shape of the decay after the warm-up
    peak: float  # highest learning rate, reached at the end of the warm-up [rate; above 0]
    warmup: int = 0  # steps of linear warm-up from 0 [steps; from 0]
    # Share of the peak left at the last step by linear, cosine, warmup_stable_decay [share; any]
    final: float = 0.0
    # Share of steps at the end of the run in which warmup_stable_decay decays [share; any]
    cooldown: float = 0.2
    # Factor of the rate from each layer to the one below: 1 for heads, this to the power depth − n for block
    # n, depth + 1 for embeddings; 1: one rate for all [factor; above 0 to 1]
    layer_decay: float = 1.0
    own: Any = own.NONE  # settings that another package declares for the name

    def __post_init__(self):
        choices("optimizer.rate", self)
        object.__setattr__(self, "own", own.settled(SCHEDULES, self.name, self.own))
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"optimizer.rate.layer_decay={self.layer_decay}: expected above 0 to 1")
        positive("optimizer.rate", self, "peak")
        if self.warmup < 0:
            raise UsageError(f"optimizer.rate.warmup={self.warmup}: expected a number of steps from 0")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How gradients become updates."""

    name: Annotated[str, OPTIMIZERS] = "adamw"  # update rule; gpt1_adam and bert_adam are the originals'
    rate: Schedule
    # Decay of the running mean of gradients; momentum of sgd and muon [share; from 0 to below 1]
    b1: float = 0.9
    b2: float = 0.999  # decay of the running mean of squared gradients [share; from 0 to below 1]
    epsilon: float = 1e-8  # added to the root of that mean in the denominator [gradient; any]
    decay: float = 0.0  # decoupled weight decay, times the rate; not for biases and norms [per rate; any]
    cautious: bool = False  # decay only weights that the update shrinks too; not for lamb, sophia
    # Maximum global norm of the gradient; none: no clipping [norm; above 0]
    clip: float | None = None
    # Decay of a running average of the parameters, which is evaluated instead of them; none: no average
    # [share; from 0 to below 1]
    ema: float | None = None
    # Parameters that do not train: paths joined by +, as in lineage params --paths, such as
    # embeddings+blocks/0-5; with a ! before them, all but these: !task_head; none: all train
    freeze: str | None = None
    own: Any = own.NONE  # settings that another package declares for the name

    def __post_init__(self):
        choices("optimizer", self)
        object.__setattr__(self, "own", own.settled(OPTIMIZERS, self.name, self.own))
        fraction("optimizer", self, "b1", "b2")
        if self.clip is not None:
            positive("optimizer", self, "clip")
        if self.ema is not None:
            fraction("optimizer", self, "ema")
        if self.freeze is not None:
            freezing.parse(self.freeze)
        if self.cautious and self.name in DECAY_THEMSELVES:
            raise UsageError(f"optimizer.cautious=true: {self.name} has its own rule of weight decay")
