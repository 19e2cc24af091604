"""Named experiments and sweeps. Files here must be imported below."""

from experiments import bert, gpt1, gpt2, gpt2_modern, quickstart, shakespeare, sweeps, tiny, tiny_pretraining
from experiments.finetuning import bert as bert_finetuning
from experiments.finetuning import gpt1 as gpt1_finetuning
from experiments.finetuning import rates
from experiments.finetuning import tiny as tiny_finetuning
from experiments.registry import describe, get, get_sweep, names, sweep_names

__all__ = [
    "bert",
    "bert_finetuning",
    "describe",
    "get",
    "get_sweep",
    "gpt1",
    "gpt1_finetuning",
    "gpt2",
    "gpt2_modern",
    "names",
    "quickstart",
    "rates",
    "shakespeare",
    "sweep_names",
    "sweeps",
    "tiny",
    "tiny_finetuning",
    "tiny_pretraining",
]
