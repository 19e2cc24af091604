"""Who is judged, how, and what comes out."""

from typing import Any, NamedTuple

from tokenizers import Tokenizer

from research.models.gpt import GPT


class EvalModel(NamedTuple):
    model: GPT
    tokenizer: Tokenizer

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


class Settings(NamedTuple):
    limit: int | None = None  # the first so many examples
    stride: int | None = None  # None: half of the context
    batch: int = 8
    raw: bool = False  # no de-tokenizers
    seed: int = 0


class Result(NamedTuple):
    metrics: dict[str, float]
    examples: int  # or what the first metric is a mean over
    settings: dict[str, Any]  # that decide the numbers
