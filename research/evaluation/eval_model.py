"""Types of an evaluation: the model, the settings and the result."""

from typing import Any, NamedTuple

from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import encode, end_of_text
from research.models.gpt import GPT


class EvalModel(NamedTuple):
    model: GPT  # or a BERT, for a task that takes one
    tokenizer: Tokenizer

    def encode(self, text: str) -> list[int]:
        return encode(self.tokenizer, text).ids

    @property
    def document_start(self) -> list[int]:
        """The context of a text's first token: the end-of-text token, if the tokenizer has one."""
        end = end_of_text(self.tokenizer)
        return [] if end is None else [end]


class Settings(NamedTuple):
    limit: int | None = None  # evaluate only the first examples, at most this many
    stride: int | None = None  # tokens between windows of a long text; None: half of the context
    batch: int = 8
    raw: bool = False  # do not detokenize
    seed: int = 0


class Result(NamedTuple):
    metrics: dict[str, float]
    examples: int  # number of examples, or of the units that the first metric averages over
    settings: dict[str, Any]  # settings that change the numbers
    intervals: dict[str, tuple[float, float]] = {}  # of some metrics, by their names  # noqa: RUF012
