"""The network, declared."""

from dataclasses import dataclass
from typing import Annotated, Literal

from research.config.checks import choices, fraction, positive
from research.config.names import ACTIVATIONS, FAMILIES, NORMS, POSITIONS
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network. Sizes are counts; `heads` divides `width`. Defaults of parts are the originals'."""

    family: Annotated[str, FAMILIES]
    vocabulary: int
    context: int  # positions
    width: int
    depth: int  # blocks
    heads: int
    hidden: int | None = None  # width of the MLP; None: 4 × width
    dropout: float = 0.0  # of embeddings, residual branches and attention probabilities
    table_dropout: bool = (
        False  # a GPT's embeddings: drop those of the table, once a step, as in GPT-1's code
    )
    norm: Literal["pre", "post"] = "pre"  # before each branch, or after each residual sum
    normalization: Annotated[str, NORMS] = "layer"
    norm_epsilon: float = 1e-5
    positions: Annotated[str, POSITIONS] = "learned"
    activation: Annotated[str, ACTIVATIONS] = "gelu_tanh"
    left_only: bool = False  # a BERT's token sees those before it alone, as a GPT's does
    qk_norm: bool = False  # RMS normalization of each head's queries and keys
    bias: bool = True  # in linear layers and layer norms
    tied: bool = True  # the output table is the input's
    # Type of activations; auto: float32 on CPUs, else bfloat16. With bfloat16_matmul only the operands of
    # matrix products are bfloat16.
    precision: Literal["auto", "float32", "bfloat16", "bfloat16_matmul"] = "auto"
    attention: Literal["auto", "xla", "cudnn"] = "auto"  # auto: cuDNN's where it supports the model
    # The original's pre-training heads, or one for a whole sequence or for every token, which fine-tuning
    # initialises at random.
    head: Literal["pretraining", "sequence", "tokens"] = "pretraining"
    outputs: int = 0  # numbers that a fine-tuning head gives: one a label
    head_bias: bool = False  # a GPT's fine-tuning head has a bias, as in GPT-1's code; a BERT's always has
    remat: Literal["none", "dots", "block"] = "none"  # activations that the backward pass computes again
    # Blocks in one turn of the compiled loop over depth; auto: on a GPU all of up to 24, else 1.
    unroll: int | Literal["auto"] = "auto"
    # Of dropout's random numbers: JAX's, or ten operations an element; auto: threefry on CPUs, else hash.
    dropout_generator: Literal["auto", "threefry", "hash"] = "auto"

    def __post_init__(self):
        choices("model", self)
        positive("model", self, "vocabulary", "context", "width", "depth", "heads")
        if self.unroll != "auto":
            positive("model", self, "unroll")
        fraction("model", self, "dropout")
        if self.hidden is not None:
            positive("model", self, "hidden")
        if (self.head == "pretraining") != (self.outputs == 0):
            raise UsageError(
                f"model.outputs={self.outputs}: expected 0 with model.head=pretraining, "
                f"more with the others; it is {self.head}"
            )
        if self.width % self.heads:
            divisors = [h for h in range(1, self.width + 1) if self.width % h == 0]
            nearest = sorted(sorted(divisors, key=lambda h: abs(h - self.heads))[:3])
            raise UsageError(
                f"model.heads={self.heads}: expected a divisor of model.width={self.width}, such as "
                + ", ".join(map(str, nearest))
            )
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise UsageError(
                f"model.positions=rotary: turns pairs of features, but heads of model.width={self.width} / "
                f"model.heads={self.heads} have {self.width // self.heads}; expected an even number"
            )

    @property
    def mlp_width(self) -> int:
        return 4 * self.width if self.hidden is None else self.hidden
