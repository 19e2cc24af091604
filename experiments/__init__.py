"""Named experiments. A file here is known once it is imported below."""

from experiments import gpt2, quickstart, shakespeare
from experiments.registry import describe, get, names

__all__ = ["describe", "get", "gpt2", "names", "quickstart", "shakespeare"]
