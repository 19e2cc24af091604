"""The pre-trained tiny models fine-tuned on GLUE's smaller tasks, in minutes on a CPU.

    lineage train bert_tiny_sst2 start.weights=runs/bert_tiny data.source=files:SST-2/train.tsv \\
        data.validation=files:SST-2/dev.tsv --dir runs/sst2

The tokenizer comes from the run they start from, a gpt1_tiny_books or bert_tiny_wikibooks. To train from
scratch, name the tokenizer and no weights: data.tokenizer=runs/bert_tiny.
"""

from dataclasses import replace

from experiments.finetuning import tasks
from experiments.finetuning.tasks import Examples, finetuned
from experiments.registry import experiment
from experiments.tiny import bert_tiny, gpt1_tiny
from experiments.tiny_pretraining import bert_tiny_wikibooks, gpt1_tiny_books
from research.config import Experiment


def _gpt1(examples: Examples, *, length: int, epochs: int, orders: str = "given") -> Experiment:
    recipe = {"schedule": "gpt1_linear", "rate": 5e-4, "warmup": 0.02, "auxiliary": 0.5}
    base = _as_pretrained(gpt1_tiny(), gpt1_tiny_books())
    tuned = finetuned(base, examples, length=length, batch=32, epochs=epochs, **recipe)
    return _small(replace(tuned, task=replace(tuned.task, orders=orders)))


def _bert(examples: Examples, *, length: int, epochs: int) -> Experiment:
    recipe = {"schedule": "bert", "rate": 5e-4, "warmup": 0.1}
    base = _as_pretrained(bert_tiny(), bert_tiny_wikibooks())
    return _small(finetuned(base, examples, length=length, batch=32, epochs=epochs, **recipe))


def _as_pretrained(tiny: Experiment, pretrained: Experiment) -> Experiment:
    """The namesake with its dropout, at the size and with the optimizer (Muon) of the pre-trained model.

    bert_adam learned less at 3e-4, and at 1e-3 it destroyed the model.
    """
    model = replace(pretrained.model, dropout=tiny.model.dropout)
    return replace(tiny, model=model, optimizer=pretrained.optimizer)


def _small(tuned: Experiment) -> Experiment:
    return replace(tuned, data=replace(tuned.data, tokenizer="start"), run=replace(tuned.run, log_every=20))


@experiment
def gpt1_tiny_sst2() -> Experiment:
    """gpt1_tiny on SST-2: 4,210 steps of 32 of 67,349 examples."""
    return _gpt1(tasks.SST2, length=64, epochs=2)


@experiment
def gpt1_tiny_cola() -> Experiment:
    """gpt1_tiny on CoLA: 1,337 steps of 32 of 8,551 examples."""
    return _gpt1(tasks.COLA, length=32, epochs=5)


@experiment
def gpt1_tiny_rte() -> Experiment:
    """gpt1_tiny on RTE: 390 steps of 32 of 2,490 examples."""
    return _gpt1(tasks.RTE, length=128, epochs=5)


@experiment
def gpt1_tiny_stsb() -> Experiment:
    """gpt1_tiny on STS-B: 899 steps of 32 of 5,749 examples."""
    return _gpt1(tasks.STSB, length=64, epochs=5, orders="both")


@experiment
def bert_tiny_sst2() -> Experiment:
    """bert_tiny on SST-2: 4,210 steps of 32 of 67,349 examples."""
    return _bert(tasks.SST2, length=64, epochs=2)


@experiment
def bert_tiny_cola() -> Experiment:
    """bert_tiny on CoLA: 1,337 steps of 32 of 8,551 examples."""
    return _bert(tasks.COLA, length=32, epochs=5)


@experiment
def bert_tiny_rte() -> Experiment:
    """bert_tiny on RTE: 390 steps of 32 of 2,490 examples."""
    return _bert(tasks.RTE, length=128, epochs=5)


@experiment
def bert_tiny_stsb() -> Experiment:
    """bert_tiny on STS-B: 899 steps of 32 of 5,749 examples."""
    return _bert(tasks.STSB, length=64, epochs=5)
