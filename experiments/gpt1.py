"""GPT-1 (Radford et al., 2018)."""

from experiments.registry import experiment
from research.config import Data, Experiment, Model, Optimizer, Run, Schedule


@experiment
def gpt1() -> Experiment:
    """GPT-1 117M (Radford et al., 2018): 100 epochs of books, 64 sequences of 512 tokens per step.

    3e6 steps at 1 billion tokens per epoch, 7e19 FLOP; the authors took a month on 8 GPUs. Text is cleaned as
    published. Expected: perplexity 18.4 per token (2.91 nats) on held-out books.
    """
    return Experiment(
        model=Model(
            family="gpt1",
            vocabulary=40_478,
            context=512,
            width=768,
            depth=12,
            heads=12,
            dropout=0.1,
            norm="post",
        ),
        data=Data(
            source="files:books/*.txt", tokenizer="spacy:gpt1", standardize="gpt1", batch=64, length=512
        ),
        optimizer=Optimizer(
            name="gpt1_adam", decay=0.01, rate=Schedule(name="gpt1_cosine", peak=2.5e-4, warmup=2_000)
        ),
        run=Run(steps=3_000_000, evaluate_every=10_000, checkpoint_every=10_000),
    )
