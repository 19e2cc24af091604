"""The first run of a newcomer."""

from experiments.registry import experiment
from research.config import Data, Experiment, Model, Optimizer, Run, Schedule


@experiment
def quickstart() -> Experiment:
    """A small GPT-2 on the interpreter's own documentation: no network, no accelerator, minutes."""
    return Experiment(
        model=Model(family="gpt2", vocabulary=4_096, context=128, width=192, depth=4, heads=6),
        data=Data(source="tfds:python_docs", split="published", tokenizer="bpe:4096", batch=32, length=128),
        optimizer=Optimizer(
            b2=0.95, decay=0.1, clip=1.0, rate=Schedule(name="cosine", peak=2e-3, warmup=40, final=0.1)
        ),
        run=Run(steps=400, evaluate_every=100, checkpoint_every=100),
    )
