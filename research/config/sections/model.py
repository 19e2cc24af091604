"""The network, declared."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from research.config import own
from research.config.checks import choices, fraction, positive
from research.config.names import ACTIVATIONS, BLOCKS, FAMILIES, NORMS, POSITIONS
from research.config.sections import lora  # noqa: F401  (declares the settings of its block)
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Settings that other packages declare for the parts of a model that they register."""

    family: Any = own.NONE
    block: Any = own.NONE
    normalization: Any = own.NONE
    positions: Any = own.NONE
    activation: Any = own.NONE


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network. `heads` divides `width`. Defaults of parts are those of the originals."""

    family: Annotated[str, FAMILIES]  # architecture, with its initialisation and heads
    vocabulary: int  # rows of the embedding table, at least the tokenizer's size [tokens; above 0]
    context: int  # maximum sequence length [positions; above 0]
    width: int  # size of the residual stream [features; above 0]
    depth: int  # number of transformer blocks [blocks; above 0]
    heads: int  # attention heads per block; a divisor of model.width [heads; above 0]
    hidden: int | None = None  # width of the MLP; none: 4 × model.width [features; above 0]
    # Kind of block: its attention, its MLP and their residual sums
    block: Annotated[str, BLOCKS] = "transformer"
    # Dropout rate of embeddings, residual branches and attention probabilities [share; from 0 to below 1]
    dropout: float = 0.0
    # Drop entries of a GPT's embedding table once per step, as in GPT-1's code
    table_dropout: bool = False
    norm: Literal["pre", "post"] = "pre"  # norm before each branch, or after each residual sum
    normalization: Annotated[str, NORMS] = "layer"  # kind of norm: layer norm, or RMS norm
    norm_epsilon: float = 1e-5  # ε of norms, added to the variance [variance; any]
    positions: Annotated[str, POSITIONS] = "learned"  # encoding of token positions
    activation: Annotated[str, ACTIVATIONS] = "gelu_tanh"  # activation function of the MLP
    left_only: bool = False  # causal attention in a BERT, as in a GPT
    qk_norm: bool = False  # RMS normalization of each head's queries and keys
    bias: bool = True  # biases in linear layers and layer norms
    tied: bool = True  # share the embedding table with the output
    # How initialization and rates scale with the width: as published, or by μP, which keeps the best rate
    scaling: Literal["standard", "mup"] = "standard"
    base_width: int | None = None  # width at which mup equals standard [features; above 0]
    base_heads: int | None = None  # heads at that width; none: model.heads [heads; above 0]
    # Type of activations; auto: bfloat16 on TPUs and on GPUs that have it, else float32. With
    # bfloat16_matmul only the operands of matrix products are bfloat16. float16 is for GPUs without bfloat16
    # and scales the loss dynamically.
    precision: Literal["auto", "float32", "bfloat16", "bfloat16_matmul", "float16"] = "auto"
    # Type in which training stores vocabulary logits; sums over them are float32. auto: float32 on CPUs, else
    # the type of activations. Evaluation always stores float32.
    logits: Literal["auto", "float32", "bfloat16"] = "auto"
    # Implementation of attention; auto: cudnn on a GPU, splash on a TPU where they support the model; else
    # flash, our kernels, which add dropout and, on a GPU, data.attend=document; else xla
    attention: Literal["auto", "xla", "cudnn", "flash", "splash"] = "auto"
    # Head: the original's pre-training heads, or a randomly initialised one for a whole sequence or for every
    # token, for fine-tuning.
    head: Literal["pretraining", "sequence", "tokens"] = "pretraining"
    outputs: int = 0  # outputs of a fine-tuning head, one per label; else 0 [numbers; from 0]
    head_bias: bool = False  # bias in a GPT's fine-tuning head, as in GPT-1's code; a BERT's always has one
    # Start, delimiter and classify tokens around the texts that a GPT is fine-tuned on, as in GPT-1's paper;
    # false: the texts alone, as Transformers' classes read them
    special_tokens: bool = True
    # Activations that the backward pass recomputes: none, all but matrix products (dots), or all inside a
    # block (least memory, a third more time).
    remat: Literal["none", "dots", "block"] = "none"
    # Blocks per iteration of the compiled loop over depth; auto: on a GPU all of up to 48, else 1
    # [blocks; above 0]
    unroll: int | Literal["auto"] = "auto"
    # Source of dropout's random numbers: JAX's threefry, or a hash of ten operations per element; auto:
    # threefry on CPUs, else hash.
    dropout_generator: Literal["auto", "threefry", "hash"] = "auto"
    own: Parts = field(default_factory=Parts)  # settings that parts declare for themselves

    def __post_init__(self):
        choices("model", self)
        object.__setattr__(self, "own", self._own_settings())
        positive("model", self, "vocabulary", "context", "width", "depth", "heads")
        if self.unroll != "auto":
            positive("model", self, "unroll")
        fraction("model", self, "dropout")
        if self.hidden is not None:
            positive("model", self, "hidden")
        if (self.head == "pretraining") != (self.outputs == 0):
            raise UsageError(
                f"model.outputs={self.outputs}: expected 0 with model.head=pretraining, "
                f"more than 0 with other heads; model.head={self.head}"
            )
        if self.width % self.heads:
            divisors = [h for h in range(1, self.width + 1) if self.width % h == 0]
            nearest = sorted(sorted(divisors, key=lambda h: abs(h - self.heads))[:3])
            raise UsageError(
                f"model.heads={self.heads}: expected a divisor of model.width={self.width}, such as "
                + ", ".join(map(str, nearest))
            )
        for name in ("base_width", "base_heads"):
            if getattr(self, name) is not None:
                positive("model", self, name)
        if self.scaling == "mup":
            self._check_base()
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise UsageError(
                f"model.positions=rotary: rotates pairs of features, but heads of model.width={self.width} / "
                f"model.heads={self.heads} have {self.width // self.heads}; expected an even number"
            )

    def _own_settings(self) -> Parts:
        settled = {
            part.name: own.settled(
                own.PLACES[f"model.own.{part.name}"], getattr(self, part.name), getattr(self.own, part.name)
            )
            for part in fields(Parts)
        }
        return Parts(**settled)

    def _check_base(self) -> None:
        if self.base_width is None:
            raise UsageError(
                "model.scaling=mup: expected model.base_width=N too, the width that the rates are for"
            )
        heads = "heads" if self.base_heads is None else "base_heads"
        if self.base_width % getattr(self, heads):
            raise UsageError(
                f"model.base_width={self.base_width}: expected a multiple of model.{heads}="
                f"{getattr(self, heads)}, or model.base_heads=N, the heads at that width"
            )

    @property
    def mlp_width(self) -> int:
        return 4 * self.width if self.hidden is None else self.hidden
