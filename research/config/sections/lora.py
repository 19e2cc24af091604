"""The settings of `model.block=lora`. Standard library only."""

from dataclasses import dataclass
from typing import Literal

from research.config.names import BLOCKS

Kernel = Literal["query", "key", "value", "qkv", "attention_output", "mlp_expand", "mlp_gate", "mlp_output"]


@dataclass(frozen=True)
class LoRA:
    rank: int = 8  # inner features of the factors [features; above 0]
    alpha: float = 16.0  # scale of their product, times the rank [factor; any]
    root: bool = False  # divide alpha by the root of the rank (rsLoRA: Kalajdzievski, 2023), not by the rank
    # Kernels with factors; qkv: one pair for queries, keys and values together, as for GPT-2's c_attn in peft
    kernels: tuple[Kernel, ...] = ("query", "value")
    # Dropout rate of the factors' input, in training [share; from 0 to below 1]
    dropout: float = 0.0

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError("expected a rank above 0")
        if not self.kernels or len({*self.kernels}) < len(self.kernels):
            raise ValueError("expected some kernels, each once")
        if not 0 <= self.dropout < 1:
            raise ValueError("expected a dropout from 0 to below 1")

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.root else self.rank)


BLOCKS.declare("lora", LoRA)
