"""Named experiments. A file here is known once it is imported below."""

from experiments import bert, gpt1, gpt2, quickstart, shakespeare, tiny
from experiments.registry import describe, get, names

__all__ = ["bert", "describe", "get", "gpt1", "gpt2", "names", "quickstart", "shakespeare", "tiny"]
