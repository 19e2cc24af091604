"""The vocabulary of experiments: typed, frozen declarations. Standard library only."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network. Sizes are counts; `heads` divides `width`."""

    family: Literal["gpt1", "gpt2", "bert"]
    vocabulary: int
    context: int  # positions
    width: int
    depth: int  # blocks
    heads: int
    dropout: float = 0.0  # of embeddings, residual branches and attention probabilities
    norm: Literal["pre", "post"] = "pre"  # before each branch, or after each residual sum
    norm_epsilon: float = 1e-5
    activation: Literal["gelu_tanh", "gelu_erf"] = "gelu_tanh"
    bias: bool = True  # in linear layers and layer norms
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of activations; auto: float32 on CPUs
    attention: Literal["auto", "xla", "cudnn"] = "auto"  # auto: cuDNN's where it can serve
    remat: Literal["none", "dots", "block"] = "none"  # what the backward pass makes again
    unroll: int = 1  # blocks a turn of the compiled loop over depth

    def __post_init__(self):
        _positive("model", self, "vocabulary", "context", "width", "depth", "heads", "unroll")
        _fraction("model", self, "dropout")
        if self.width % self.heads:
            divisors = [h for h in range(1, self.width + 1) if self.width % h == 0]
            choices = sorted(sorted(divisors, key=lambda h: abs(h - self.heads))[:3])
            raise UsageError(
                f"model.heads={self.heads}: expected a divisor of model.width={self.width}, such as "
                + ", ".join(map(str, choices))
            )


@dataclass(frozen=True, kw_only=True)
class Masking:
    """BERT's examples: pairs of segments and their masks, as Google's create_pretraining_data makes them."""

    drawn: Literal["dynamic", "static"] = "dynamic"  # anew at every visit, or once, with the pairs
    duplicates: int = 1  # times that every document is cut into pairs; 10 as published, with static masks
    share: float = 0.15  # of a sequence's tokens that is predicted
    predictions: int = 20  # a sequence at most; 77 at length 512
    whole_words: bool = False  # a word's pieces are predicted all or none
    short: float = 0.1  # share of documents that is cut into pairs of a shorter, random length
    next: Literal["balanced", "published"] = "balanced"  # B is random for half of all, or where it can follow

    def __post_init__(self):
        _positive("data.masking", self, "duplicates", "predictions", "share")
        _fraction("data.masking", self, "share", "short")


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is read, how it is cut into tokens, and what a batch is."""

    source: str  # tfds:NAME[/CONFIG][:SPLIT], files:GLOB, or a mixture: 0.7*SOURCE+0.3*SOURCE
    tokenizer: str  # a name, a path, hub:OWNER/NAME; or trained on the source: char, bpe:SIZE, wordpiece:SIZE
    batch: int  # sequences a step, over all devices
    length: int  # tokens a sequence
    field: str = "text"  # of the source's records; a number counts the columns of a .tsv without header
    split: Literal["published", "documents", "tail"] = "documents"  # where validation comes from
    holdout: float = 0.01  # share held out: of documents, by hash, or of the tail's tokens
    order: Literal["shuffled", "random"] = "shuffled"  # every example once an epoch, or drawn anywhere
    documents: Literal["files", "paragraphs"] = "files"  # of .txt: the whole, or between blank lines
    sentences: Literal["punctuation", "lines"] = "punctuation"  # where they end, for BERT's segments
    standardize: Literal["none", "gpt1"] = "none"  # how texts are cleaned before they are tokenized
    masking: Masking = dataclasses.field(default_factory=Masking)

    def __post_init__(self):
        _positive("data", self, "batch", "length")
        _fraction("data", self, "holdout")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised."""

    name: Literal["next_token", "masked_token"] = "next_token"
    z_loss: float = 0.0  # weight of the squared log of the softmax's denominator (Chowdhery et al., 2022)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over steps: linear warm-up, then by name."""

    name: Literal[
        "constant",
        "linear",
        "cosine",
        "inverse_sqrt",
        "warmup_stable_decay",
        "bert",
        "gpt1_cosine",
        "gpt1_linear",
    ] = "cosine"
    peak: float
    warmup: int = 0  # steps
    final: float = 0.0  # share of the peak left at the last step, of linear, cosine, warmup_stable_decay
    cooldown: float = 0.2  # share of the steps in which warmup_stable_decay decays

    def __post_init__(self):
        _positive("optimizer.rate", self, "peak")
        if self.warmup < 0:
            raise UsageError(f"optimizer.rate.warmup={self.warmup}: expected a number of steps from 0")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How gradients become updates."""

    name: Literal[
        "adamw",
        "gpt1_adam",
        "bert_adam",
        "sgd",
        "lion",
        "lamb",
        "adafactor",
        "muon",
        "sophia",
        "schedule_free_adamw",
    ] = "adamw"
    rate: Schedule
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.0  # decoupled, times the rate; never on biases and norms
    clip: float | None = None  # global norm of the gradient
    ema: float | None = None  # share of the old in a running average of the parameters, which is evaluated

    def __post_init__(self):
        _fraction("optimizer", self, "b1", "b2")
        if self.clip is not None:
            _positive("optimizer", self, "clip")
        if self.ema is not None:
            _fraction("optimizer", self, "ema")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long, how often. `*_every` count steps; 0 is never, but for the last step."""

    steps: int
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 250
    checkpoint_every: int = 250
    keep: int = 2  # checkpoints left on disk
    sample: int = 200  # tokens of text written at each evaluation
    skip_spikes: float = 0.0  # standard deviations of loss or gradient norm above which an update is skipped
    stop_on_nan: bool = False  # rather than skip updates that are not finite

    def __post_init__(self):
        _positive("run", self, "steps", "keep")
        for name in ("seed", "log_every", "evaluate_every", "checkpoint_every", "sample"):
            if getattr(self, name) < 0:
                raise UsageError(f"run.{name}={getattr(self, name)}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Which compiler, over which devices. An axis of -1 takes what devices are left."""

    compile: Literal["jit", "sharded", "pmap"] = "jit"  # one device; all, one program; all, one each
    data: int = -1  # devices among which a batch is split
    fsdp: int = 1  # … and parameters and moments too
    tensor: int = 1  # devices among which heads and hidden features are split
    accumulate: int = 1  # parts in which a device takes its share of a batch, one after the other

    def __post_init__(self):
        _positive("parallel", self, "accumulate")
        axes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        for name, size in axes.items():
            if size < 1 and size != -1:
                raise UsageError(f"parallel.{name}={size}: expected -1 or a number of devices")
        if list(axes.values()).count(-1) > 1:
            raise UsageError("parallel: expected at most one axis of -1, the one that takes what is left")
        if self.compile != "sharded" and (self.fsdp != 1 or self.tensor != 1):
            raise UsageError(
                f"parallel.compile={self.compile}: splits no parameters; "
                "expected sharded, or fsdp=1 and tensor=1"
            )


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where the parameters begin, if not at random."""

    weights: str | None = None  # a run's directory, Hugging Face's, OpenAI's GPT-1, a TensorFlow checkpoint


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a run's numbers. Two equal experiments train to equal bits."""

    name: str = ""  # as registered
    model: Model
    data: Data
    objective: Objective = field(default_factory=Objective)
    optimizer: Optimizer
    run: Run
    parallel: Parallel = field(default_factory=Parallel)
    start: Start = field(default_factory=Start)

    def __post_init__(self):
        if self.data.length > self.model.context:
            raise UsageError(
                f"data.length={self.data.length}: expected at most model.context={self.model.context}"
            )
        if self.optimizer.name == "sophia" and self.parallel.compile == "pmap":
            raise UsageError(
                "optimizer.name=sophia: its curvature is not added up under pmap; expected sharded"
            )
        if (self.objective.name == "masked_token") != (self.model.family == "bert"):
            raise UsageError(
                f"objective.name={self.objective.name}: not for model.family={self.model.family}; "
                "bert goes with masked_token, the others with next_token"
            )


def _positive(section: str, config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{section}.{name}={getattr(config, name)}: expected more than 0")


def _fraction(section: str, config: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{section}.{name}={getattr(config, name)}: expected from 0 to below 1")
