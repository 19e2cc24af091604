"""Named experiments and sweeps. A file here is known once it is imported below."""

from experiments import (
    bert,
    bert_finetune,
    gpt1,
    gpt1_finetune,
    gpt2,
    gpt2_modern,
    quickstart,
    shakespeare,
    sweeps,
    tiny,
    tiny_finetune,
    tiny_pretraining,
)
from experiments.registry import describe, get, get_sweep, names, sweep_names

__all__ = [
    "bert",
    "bert_finetune",
    "describe",
    "get",
    "get_sweep",
    "gpt1",
    "gpt1_finetune",
    "gpt2",
    "gpt2_modern",
    "names",
    "quickstart",
    "shakespeare",
    "sweep_names",
    "sweeps",
    "tiny",
    "tiny_finetune",
    "tiny_pretraining",
]
