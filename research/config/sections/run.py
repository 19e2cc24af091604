"""Declarations of a run: its length, its intervals, its devices."""

from dataclasses import dataclass
from typing import Annotated, Literal

from research.config import target
from research.config.checks import choices, positive
from research.config.names import EVALUATORS, TRACKERS
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Run:
    """Length and intervals. `*_every` count steps; 0 means only at the last step."""

    steps: int  # number of parameter updates [steps; above 0]
    seed: int = 0  # seed of initial parameters, order of examples and dropout [number; from 0 to 4294967295]
    log_every: int = 10  # interval of rows of training metrics; 0: last step only [steps; from 0]
    evaluate_every: int = 250  # interval of evaluations on the validation split; 0: last step [steps; from 0]
    checkpoint_every: int = 250  # interval of checkpoints; 0: last step only [steps; from 0]
    checkpoint_minutes: float = 0.0  # longest time between checkpoints; 0: no limit [minutes; from 0]
    keep: int = 2  # number of newest checkpoints to keep [checkpoints; above 0]
    keep_every: int = 0  # also keep every checkpoint at a multiple of this; 0: none [steps; from 0]
    keep_at: tuple[int, ...] = ()  # also save and keep the checkpoints of these steps; 0: the initial state
    # Also keep the best checkpoint by this validation metric: loss, accuracy, a metric of the task …; none:
    # no such checkpoint.
    keep_best: str | None = None
    # End the run at the first evaluation after step 0 that reaches a target such as 'loss<3.28' (a validation
    # metric, <, <=, > or >=, and a number), or after so many evaluations in a row without a better value:
    # 'loss patience 5'. Quoted for the shell; none: end at run.steps.
    stop_at: str | None = None
    # End the process, to be resumed, after this many mean step times without a finished step; 0: never
    # [mean step times; from 0]
    watchdog: float = 50.0
    watchdog_minutes: float = 10.0  # minimum time that counts as a hang [minutes; from 0]
    evaluators: tuple[Annotated[str, EVALUATORS], ...] = ()  # further measurements at every evaluation
    sample: int = 200  # length of the text sampled at each evaluation of a GPT; 0: none [tokens; from 0]
    steps_per_call: int = 1  # steps per compiled call; results are equal up to rounding [steps; above 0]
    profile: int = 0  # step to trace into the run's profile/; 0: none [step; from 0]
    # Skip updates whose loss or gradient norm is this many standard deviations above its mean; 0: never
    # [standard deviations; any]
    skip_spikes: float = 0.0
    # Compile rates, decays, dropout, λs and the seed into the step as constants, or pass them as inputs, so
    # that runs that differ only in them share a program. Results are equal up to rounding.
    hyperparameters: Literal["constants", "inputs"] = "constants"
    # Use only deterministic kernels on a GPU, so that repeated and resumed runs are equal bit for bit. Slows
    # the gradients of embedding tables. CPUs are always deterministic.
    deterministic: bool = False
    stop_on_nan: bool = False  # end at the first non-finite step instead of skipping its update
    # Where metrics go beside metrics.jsonl; run.trackers= for nowhere
    trackers: tuple[Annotated[str, TRACKERS], ...] = ("tensorboard",)
    # Keep a copy of the run under this URL, gs://BUCKET/RUN or s3://BUCKET/RUN, or an absolute path; a new
    # directory continues from it. none: no copy
    mirror: str | None = None
    wandb: bool = False  # also track in Weights & Biases; WANDB_MODE, WANDB_PROJECT … apply

    def __post_init__(self):
        choices("run", self)
        positive("run", self, "steps", "keep", "steps_per_call")
        not_negative = ("seed", "log_every", "evaluate_every", "checkpoint_every", "sample", "profile")
        for name in (*not_negative, "checkpoint_minutes", "keep_every", "watchdog", "watchdog_minutes"):
            if getattr(self, name) < 0:
                raise UsageError(f"run.{name}={getattr(self, name)}: expected 0 or more")
        for name, value in vars(self).items():
            limit = 2**32 if name == "seed" else 2**31  # JAX ignores higher bits of a seed, and counts in 32
            if isinstance(value, int) and value >= limit:
                raise UsageError(f"run.{name}={value}: expected at most {limit - 1}")
        for name in ("evaluate_every", "checkpoint_every", "keep_every"):
            if getattr(self, name) % self.steps_per_call:
                raise UsageError(
                    f"run.steps_per_call={self.steps_per_call}: "
                    f"expected a divisor of run.{name}={getattr(self, name)}"
                )
        for step in self.keep_at:
            if step < 0 or step % self.steps_per_call:
                expected = f"multiples of run.steps_per_call={self.steps_per_call}, from 0"
                raise UsageError(f"run.keep_at={step}: expected {expected}")
        if self.profile > self.steps:
            raise UsageError(f"run.profile={self.profile}: expected at most run.steps={self.steps}")
        if self.target and not self.evaluate_every:
            raise UsageError(
                f"run.stop_at={self.stop_at}: run.evaluate_every=0 evaluates only the last step; "
                "expected an interval"
            )

    @property
    def target(self) -> target.Target | None:
        """`stop_at`, parsed."""
        return None if self.stop_at is None else target.parse(self.stop_at)


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """The compiler and the mesh of devices. An axis of -1 takes the remaining devices.

    `auto` is resolved when a run starts, from the devices present.
    """

    # jit: one device; sharded: one program over all; pmap: one per device. auto: jit on one device, sharded
    # on several; for simulated devices of one CPU jit, unless data, fsdp or tensor is a number.
    compile: Literal["auto", "jit", "sharded", "pmap"] = "auto"
    data: int = -1  # devices that split the batch; -1: the remaining ones [devices; -1 or above 0]
    fsdp: int = 1  # devices that split the batch, parameters and moments [devices; -1 or above 0]
    tensor: int = 1  # devices that split heads and hidden features [devices; -1 or above 0]
    # Gradient accumulation: sequential parts of a batch; auto: as few as fit [parts; above 0]
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
                f"parallel.compile={self.compile}: does not split parameters; "
                "expected sharded, or fsdp=1 and tensor=1"
            )
        if self.compile == "jit" and self.data not in (-1, 1):
            raise UsageError(
                f"parallel.data={self.data}: parallel.compile=jit uses one device; "
                "expected sharded, or parallel.data=1"
            )

    @property
    def parts(self) -> int:
        """`accumulate`, or 1 before it is settled."""
        return 1 if self.accumulate == "auto" else self.accumulate


@dataclass(frozen=True, kw_only=True)
class Start:
    """Initial parameters, if not random."""

    # Initial parameters: a run (DIR, or DIR:STEP for one checkpoint), a directory of Hugging Face, nanoGPT,
    # OpenAI's GPT-1 or TensorFlow weights, or hub:OWNER/NAME[@REVISION]; none: random.
    weights: str | None = None
    # Numbers of the weights' blocks that become the model's, from 0: with 0,2,4 a model of three blocks is
    # every second one of six; empty: all
    blocks: tuple[int, ...] = ()

    def __post_init__(self):
        if any(block < 0 for block in self.blocks):
            raise UsageError(f"start.blocks={','.join(map(str, self.blocks))}: expected blocks from 0")
