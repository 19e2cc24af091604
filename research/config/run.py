"""Declarations of a run: its length, its intervals, its devices."""

from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices, positive
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Run:
    """Length and intervals. `*_every` count steps; with 0 the event happens at the last step only."""

    steps: int
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 250
    checkpoint_every: int = 250
    checkpoint_minutes: float = 0.0  # since the last checkpoint; 0 is never
    keep: int = 2  # newest checkpoints left on disk
    keep_every: int = 0  # and for good those whose step is a multiple of it; 0 for none
    keep_best: str | None = None  # and the best by this number of the validation rows, saved when reached
    watchdog: float = 50.0  # times the usual without a finished step that are a hang; 0 is never
    watchdog_minutes: float = 10.0  # and no sooner
    sample: int = 200  # tokens of text written at each evaluation
    steps_per_call: int = 1  # of the compiled program; the numbers are the same, to rounding
    profile: int = 0  # a step to trace into the run's profile/; 0 is none
    skip_spikes: float = 0.0  # standard deviations of loss or gradient norm above which an update is skipped
    stop_on_nan: bool = False  # rather than skip updates that are not finite
    wandb: bool = False  # followed in Weights & Biases too; WANDB_MODE, WANDB_PROJECT … are heeded

    def __post_init__(self):
        positive("run", self, "steps", "keep", "steps_per_call")
        not_negative = ("seed", "log_every", "evaluate_every", "checkpoint_every", "sample", "profile")
        for name in (*not_negative, "checkpoint_minutes", "keep_every", "watchdog", "watchdog_minutes"):
            if getattr(self, name) < 0:
                raise UsageError(f"run.{name}={getattr(self, name)}: expected 0 or more")
        for name in ("evaluate_every", "checkpoint_every", "keep_every"):
            if getattr(self, name) % self.steps_per_call:
                raise UsageError(
                    f"run.steps_per_call={self.steps_per_call}: "
                    f"expected a divisor of run.{name}={getattr(self, name)}"
                )
        if self.profile > self.steps:
            raise UsageError(f"run.profile={self.profile}: expected at most run.steps={self.steps}")


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """The compiler and the mesh of devices. An axis of -1 takes the remaining devices.

    `auto` is settled when a run starts, by the devices that are there.
    """

    # One device; all, one program; all, one each. auto: jit on one device, sharded on several.
    compile: Literal["auto", "jit", "sharded", "pmap"] = "auto"
    data: int = -1  # devices among which a batch is split
    fsdp: int = 1  # … and parameters and moments too
    tensor: int = 1  # devices among which heads and hidden features are split
    # Parts in which a device takes its share of a batch, one after the other. auto: as few as fit.
    accumulate: int | Literal["auto"] = "auto"

    def __post_init__(self):
        choices("parallel", self)
        if self.accumulate != "auto":
            positive("parallel", self, "accumulate")
        axes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        for name, size in axes.items():
            if size < 1 and size != -1:
                raise UsageError(f"parallel.{name}={size}: expected -1 or a number of devices")
        if list(axes.values()).count(-1) > 1:
            raise UsageError("parallel: expected at most one axis of -1, which takes the remaining devices")
        if self.compile in ("jit", "pmap") and (self.fsdp != 1 or self.tensor != 1):
            raise UsageError(
                f"parallel.compile={self.compile}: splits no parameters; "
                "expected sharded, or fsdp=1 and tensor=1"
            )

    @property
    def parts(self) -> int:
        """`accumulate`, or 1 before it is settled."""
        return 1 if self.accumulate == "auto" else self.accumulate


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where the parameters begin, if not at random."""

    # A run's directory, or one of its checkpoints as DIR:STEP; Hugging Face's, or its Hub's as
    # hub:OWNER/NAME[@REVISION]; OpenAI's GPT-1, TensorFlow's.
    weights: str | None = None
