"""GPT-2 in its four sizes (Radford et al., 2019), with the recipes that reproduce them (llm.c)."""

from dataclasses import replace

from experiments.registry import experiment
from research.config import Data, Experiment, Model, Optimizer, Run, Schedule


@experiment
def gpt2_small() -> Experiment:
    """GPT-2 124M (Radford et al., 2019, as reproduced by llm.c): 18,865 steps of 524,288 tokens.

    8.5e18 FLOP. Expected: about 3.29 validation loss on 10B tokens of FineWeb.
    """
    return Experiment(
        model=Model(family="gpt2", vocabulary=50_257, context=1_024, width=768, depth=12, heads=12),
        data=Data(source="tfds:c4/webtextlike", split="published", tokenizer="gpt2", batch=512, length=1_024),
        optimizer=Optimizer(
            b2=0.95, decay=0.1, clip=1.0, rate=Schedule(name="cosine", peak=6e-4, warmup=700)
        ),
        run=Run(steps=18_865, checkpoint_every=1_000),
    )


@experiment
def gpt2_medium() -> Experiment:
    """GPT-2 355M (as reproduced by llm.c): 60,000 steps of 524,288 tokens.

    7.6e19 FLOP. To compare with: 2.84 validation loss of OpenAI's weights on OpenWebText.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, width=1_024, depth=24, heads=16),
        optimizer=replace(small.optimizer, rate=replace(small.optimizer.rate, peak=3e-4)),
        run=replace(small.run, steps=60_000),
    )


@experiment
def gpt2_large() -> Experiment:
    """GPT-2 774M (as reproduced by llm.c): 286,102 steps of 524,288 tokens.

    7.8e20 FLOP. To compare with: 2.67 validation loss of OpenAI's weights on OpenWebText.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, width=1_280, depth=36, heads=20),
        optimizer=replace(small.optimizer, rate=replace(small.optimizer.rate, peak=2.5e-4)),
        run=replace(small.run, steps=286_102),
    )


@experiment
def gpt2_xl() -> Experiment:
    """GPT-2 1558M (as reproduced by llm.c): 32,000 steps of 1,048,576 tokens, rate down to a tenth.

    3.5e20 FLOP. To compare with: 2.54 validation loss of OpenAI's weights on OpenWebText.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, width=1_600, depth=48, heads=25),
        data=replace(small.data, batch=1_024),
        optimizer=replace(small.optimizer, rate=replace(small.optimizer.rate, final=0.1)),
        run=replace(small.run, steps=32_000),
    )
