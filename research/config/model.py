"""The network, declared."""

from dataclasses import dataclass
from typing import Annotated, Literal

from research.config.checks import choices, fraction, positive
from research.config.names import ACTIVATIONS, FAMILIES
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network. Sizes are counts; `heads` divides `width`."""

    family: Annotated[str, FAMILIES]
    vocabulary: int
    context: int  # positions
    width: int
    depth: int  # blocks
    heads: int
    dropout: float = 0.0  # of embeddings, residual branches and attention probabilities
    norm: Literal["pre", "post"] = "pre"  # before each branch, or after each residual sum
    norm_epsilon: float = 1e-5
    activation: Annotated[str, ACTIVATIONS] = "gelu_tanh"
    bias: bool = True  # in linear layers and layer norms
    # Of activations; auto is float32 on CPUs. bfloat16_matmul: those are float32, what is multiplied is not.
    precision: Literal["auto", "float32", "bfloat16", "bfloat16_matmul"] = "auto"
    attention: Literal["auto", "xla", "cudnn"] = "auto"  # auto: cuDNN's where it can serve
    head: Literal["pretraining", "sequence", "tokens"] = "pretraining"  # on top: the originals'; one
    # for a whole sequence, or for every position of it, that fine-tuning begins at random
    outputs: int = 0  # numbers that such a head gives: one a label
    remat: Literal["none", "dots", "block"] = "none"  # what the backward pass makes again
    unroll: int = 1  # blocks a turn of the compiled loop over depth

    def __post_init__(self):
        choices("model", self)
        positive("model", self, "vocabulary", "context", "width", "depth", "heads", "unroll")
        fraction("model", self, "dropout")
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
