"""The three models, small enough for a CPU and the interpreter's own documentation.

They do better on more text: data.source=files:wiki.jsonl.gz data.split=documents.
"""

from dataclasses import replace

from experiments.bert import bert_base
from experiments.gpt1 import gpt1
from experiments.quickstart import quickstart
from experiments.registry import experiment
from research.config import Experiment, Optimizer, Schedule


@experiment
def gpt2_tiny() -> Experiment:
    """GPT-2 with 4 blocks of width 128: quickstart's model and text, a quarter of its steps, AdamW."""
    quick = quickstart()
    rate = Schedule(name="cosine", peak=3e-3, warmup=30, final=0.1)
    return replace(
        quick,
        optimizer=Optimizer(b2=0.95, decay=0.1, clip=1.0, rate=rate),
        run=replace(quick.run, steps=300, evaluate_every=100, checkpoint_every=100),
    )


@experiment
def gpt1_tiny() -> Experiment:
    """GPT-1 with 4 blocks of width 128: its normalization, dropout, optimizer and schedule."""
    tiny, full = gpt2_tiny(), gpt1()
    rate = replace(full.optimizer.rate, peak=1e-3, warmup=30)
    return replace(
        full,
        model=replace(full.model, vocabulary=4_096, context=128, width=128, depth=4, heads=4),
        data=tiny.data,
        optimizer=replace(full.optimizer, clip=1.0, rate=rate),
        run=tiny.run,
    )


@experiment
def bert_tiny() -> Experiment:
    """BERT with 4 blocks of width 128, on pairs of 64 word pieces: both objectives and its optimizer.

    Not Google's BERT-Tiny (Turc et al., 2019), which has 2 blocks of width 128 and bert_base's vocabulary.
    The length is constant. Masks are new at every visit, since a small text is visited often; half of all
    pairs are random, where bert_base's published rule makes more of them random.
    """
    tiny, full = gpt2_tiny(), bert_base()
    rate = replace(full.optimizer.rate, peak=1e-3, warmup=30)
    return replace(
        full,
        model=replace(full.model, vocabulary=4_096, context=128, width=128, depth=4, heads=4),
        data=replace(
            tiny.data,
            tokenizer="wordpiece:4096",
            batch=64,
            length=64,
            masking=replace(tiny.data.masking, predictions=10),
        ),
        optimizer=replace(full.optimizer, rate=rate),
        run=tiny.run,
    )
