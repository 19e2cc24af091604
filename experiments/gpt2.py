"""GPT-2 in its four sizes (Radford et al., 2019), with the recipes that reproduce them (llm.c, nanoGPT).

WebText was never published. llm.c's runs read FineWeb; download it with the Hub's tool (pip install
huggingface_hub); the files are Parquet (pip install 'lineage-lm[parquet]'):

    hf download HuggingFaceFW/fineweb --repo-type dataset --include 'sample/10BT/*' --local-dir fineweb

About 30 GB; 'sample/100BT/*' is ten times as much. nanoGPT's run reads OpenWebText, a reproduction of WebText
of about 24 GB, which also works for the others: data.source=files:openwebtext/**/*.parquet.

    hf download Skylion007/openwebtext --repo-type dataset --local-dir openwebtext

The optimizer is theirs: decay only on matrices and embeddings, and 0.9, 0.95, 1e-8. Differences: validation
is one percent of documents, by hash, where llm.c takes the first 100M tokens. Examples are shuffled over all
files, llm.c's within each shard. The table has 50,257 rows, which both pad to 50,304. The cosine ends at the
last step, not one step later, and nanoGPT's warm-up is one step longer.
"""

from dataclasses import replace

from experiments.registry import experiment
from research.config import Data, Experiment, Model, Optimizer, Run, Schedule

FINEWEB = "files:fineweb/sample/{}/*.parquet"


@experiment
def gpt2_small() -> Experiment:
    """GPT-2 124M (Radford et al., 2019, as reproduced by llm.c): 18,865 steps of 524,288 tokens of FineWeb.

    8.5e18 FLOP. Expected: validation loss of about 3.29; OpenAI's weights have 3.42 (llm.c's vislog).
    """
    return Experiment(
        model=Model(family="gpt2", vocabulary=50_257, context=1_024, width=768, depth=12, heads=12),
        data=Data(source=FINEWEB.format("10BT"), tokenizer="gpt2", batch=512, length=1_024),
        optimizer=Optimizer(
            b2=0.95, decay=0.1, clip=1.0, rate=Schedule(name="cosine", peak=6e-4, warmup=700)
        ),
        run=Run(steps=18_865, checkpoint_every=1_000),
    )


@experiment
def gpt2_medium() -> Experiment:
    """GPT-2 355M (as reproduced by llm.c): 60,000 steps of 524,288 tokens of FineWeb.

    7.6e19 FLOP. Expected: below the 3.08 validation loss of OpenAI's weights on FineWeb.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, width=1_024, depth=24, heads=16),
        data=replace(small.data, source=FINEWEB.format("100BT")),
        optimizer=replace(small.optimizer, rate=replace(small.optimizer.rate, peak=3e-4)),
        run=replace(small.run, steps=60_000),
    )


@experiment
def gpt2_large() -> Experiment:
    """GPT-2 774M (as reproduced by llm.c): 286,102 steps of 524,288 tokens of FineWeb.

    7.8e20 FLOP. Expected: below the 3.00 validation loss of OpenAI's weights on FineWeb.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, width=1_280, depth=36, heads=20),
        data=replace(small.data, source=FINEWEB.format("100BT")),
        optimizer=replace(small.optimizer, rate=replace(small.optimizer.rate, peak=2.5e-4)),
        run=replace(small.run, steps=286_102),
    )


@experiment
def gpt2_xl() -> Experiment:
    """GPT-2 1558M (as reproduced by llm.c): 32,000 steps of 1,048,576 tokens, rate down to a tenth.

    Data: FineWeb-Edu, HuggingFaceFW/fineweb-edu, downloaded like FineWeb to a folder fineweb-edu. 3.5e20
    FLOP. Expected: 48.9 accuracy on HellaSwag, as OpenAI's weights; no loss on these data is published.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, width=1_600, depth=48, heads=25),
        data=replace(small.data, source="files:fineweb-edu/sample/100BT/*.parquet", batch=1_024),
        optimizer=replace(small.optimizer, rate=replace(small.optimizer.rate, final=0.1)),
        run=replace(small.run, steps=32_000),
    )


@experiment
def gpt2_speedrun() -> Experiment:
    """GPT-2 124M until 3.28 validation loss on FineWeb: modded-nanoGPT's speedrun (Jordan et al., 2024).

    The speedrun's baseline, llm.c's run of October 2024: at most 19,560 steps of 524,288 tokens. Expected:
    3.2785 after step 17,250, 9.04e9 tokens, 40 minutes on 8 H100 in the original; 3.2722 at its end. Compete
    with any setting, such as optimizer.name=muon; lineage table shows steps, tokens and seconds to 3.28.

    Validation is the speedrun's: the first 10,485,760 tokens of FineWeb's 10BT sample, downloaded as for
    gpt2_small, in the order of its files. Differences: all other tokens are for training, including the next
    89.5 million, which the speedrun reserves and never evaluates, and they are shuffled. The first token is
    not a target, since no <|endoftext|> precedes it. The speedrun's token shards work too:
    experiments/README.md. Seconds include the first step's compilation, but no evaluations. A record needs a
    mean of at most 3.28 (p < 0.01): lineage sweep gpt2_speedrun run.stop_at=none --seeds N …
    """
    small = gpt2_small()
    return replace(
        small,
        data=replace(small.data, split="head", head=10_485_760),
        run=Run(steps=19_560, evaluate_every=250, checkpoint_every=1_000, sample=0, stop_at="loss<=3.28"),
    )


@experiment
def gpt2_small_openwebtext() -> Experiment:
    """GPT-2 124M on OpenWebText (nanoGPT's config/train_gpt2.py): 600,000 steps of 491,520 tokens.

    Without biases, and on randomly drawn windows. 2.5e20 FLOP; nanoGPT took 4 to 5 days on 8 A100. Expected:
    2.85 validation loss. OpenAI's weights have 3.12, and 2.84, 2.67, 2.54 in the larger sizes.
    """
    small = gpt2_small()
    return replace(
        small,
        model=replace(small.model, bias=False),
        data=replace(
            small.data,
            source="files:openwebtext/**/*.parquet",
            holdout=0.0005,
            order="random",
            batch=480,
        ),
        optimizer=replace(small.optimizer, rate=Schedule(name="cosine", peak=6e-4, warmup=2_000, final=0.1)),
        run=Run(steps=600_000, evaluate_every=1_000, checkpoint_every=1_000),
    )
