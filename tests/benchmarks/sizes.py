"""What is compared: models, batches and the update, said once for all contenders."""

from dataclasses import replace

import experiments
from research.config import Experiment
from research.config.settings import override

# Without dropout, whose masks are made in ways that differ; with clipping, and decay on matrices alone.
UPDATE = {
    "model.dropout": 0.0,
    "optimizer.name": "adamw",
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.95,
    "optimizer.epsilon": 1e-8,
    "optimizer.decay": 0.1,
    "optimizer.clip": 1.0,
    "optimizer.ema": None,
    "optimizer.rate.name": "constant",
    "optimizer.rate.peak": 1e-4,
    "optimizer.rate.warmup": 0,
}
NARROW = {"model.width": 384, "model.depth": 6, "model.heads": 6, "model.vocabulary": 50_304}

SIZES = {  # name: (experiment, changes, what a person would call it)
    "A": ("gpt2_shakespeare_char_cpu", {"model.bias": True}, "4 × 128, 12 × 64 characters"),
    "C": ("gpt2_small", NARROW | {"data.batch": 8, "data.length": 256}, "GPT-2 6 × 384, 8 × 256"),
    "G": ("gpt2_small", {"data.batch": 1, "data.length": 512}, "GPT-2 124M, 1 × 512"),
    "E": ("bert_base", {"data.batch": 4, "data.length": 128}, "BERT-base, 4 × 128, 20 masked each"),
    "P": ("gpt1", {"data.batch": 1, "data.length": 512}, "GPT-1 117M, 1 × 512"),
    "small": ("gpt2_small", {"data.batch": 32}, "GPT-2 124M, 32 × 1,024"),
    "medium": ("gpt2_medium", {"data.batch": 16}, "GPT-2 355M, 16 × 1,024"),
    "xl": ("gpt2_xl", {"data.batch": 8}, "GPT-2 1,558M, 8 × 1,024"),
    "gpt1": ("gpt1", {"data.batch": 64}, "GPT-1 117M, 64 × 512"),
    "bert128": ("bert_base", {"data.batch": 256}, "BERT-base, 256 × 128, 20 masked each"),
    "bert512": (
        "bert_base",
        {"data.batch": 64, "data.length": 512, "data.masking.predictions": 77},
        "BERT-base, 64 × 512, 77 masked each",
    ),
}


def declared(size: str, changes: dict | None = None) -> Experiment:
    """The experiment of a size, with further settings changed."""
    name, own, _ = SIZES[size]
    experiment = override(experiments.get(name), UPDATE | own | {"run.steps": 1_000})
    experiment = override(experiment, changes or {})
    return replace(experiment, name=name)
