"""BERT (Devlin et al., 2018), with the recipe of google-research/bert."""

from dataclasses import replace

from experiments.registry import experiment
from research.config import Data, Experiment, Later, Masking, Model, Objective, Optimizer, Run, Schedule


@experiment
def bert_base() -> Experiment:
    """BERT-base 110M, uncased (Devlin et al., 2018): 1,000,000 steps of 256 sequences, the last tenth longer.

    At length 128, then 512. 2.4e19 FLOP; the paper took 4 days on 16 TPU chips. Masks are static, and every
    document is cut into pairs ten times, as in create_pretraining_data. Wikipedia (2,500 million words) and
    books (800 million) are mixed by size. TFDS has no BooksCorpus, so books are files; it prepares Wikipedia
    with TensorFlow and Apache Beam. Without them: hf download wikimedia/wikipedia --repo-type dataset
    --include '20231101.en/*' --local-dir wikipedia, and
    data.source=0.76*files:wikipedia/20231101.en/*.parquet+0.24*files:books/*.txt. Expected, after
    fine-tuning: MNLI 84.4 on its development set.
    """
    return Experiment(
        model=Model(
            family="bert",
            vocabulary=30_522,
            context=512,
            width=768,
            depth=12,
            heads=12,
            dropout=0.1,
            norm="post",
            norm_epsilon=1e-12,
        ),
        data=Data(
            source="0.76*tfds:wikipedia/20230601.en+0.24*files:books/*.txt",
            tokenizer="bert-base-uncased",
            batch=256,
            length=128,
            masking=Masking(drawn="static", duplicates=10, next="published", predictions=20),
            later=Later(step=900_000, length=512, predictions=77),
        ),
        objective=Objective(name="masked_token"),
        optimizer=Optimizer(
            name="bert_adam",
            epsilon=1e-6,
            decay=0.01,
            clip=1.0,
            rate=Schedule(name="bert", peak=1e-4, warmup=10_000),
        ),
        run=Run(steps=1_000_000, evaluate_every=10_000, checkpoint_every=10_000),
    )


@experiment
def bert_base_cased() -> Experiment:
    """BERT-base 109M, cased (Devlin et al., 2018): bert_base on cased text.

    Expected, after fine-tuning: CoNLL-2003 92.4 F1 on its test set.
    """
    uncased = bert_base()
    return replace(
        uncased,
        model=replace(uncased.model, vocabulary=28_996),
        data=replace(uncased.data, tokenizer="bert-base-cased"),
    )


@experiment
def bert_base_no_nsp() -> Experiment:
    """bert_base without the next-sentence loss (Devlin et al., 2018, table 5: "No NSP").

    Expected, after fine-tuning, on development sets: MNLI 83.9, QNLI 84.9, MRPC 86.5, SST-2 92.6, SQuAD 87.9
    F1; bert_base has 84.4, 88.4, 86.7, 92.7, 88.5. The pooler gets no gradient, but weight decay.
    """
    base = bert_base()
    return replace(base, objective=replace(base.objective, next=0.0))


@experiment
def bert_base_ltr() -> Experiment:
    """bert_base, left to right, without masks and next sentences (table 5: "LTR & No NSP").

    Fine-tuning takes the direction from the weights, and uses a text's last state instead of [CLS], which
    sees only itself; the paper does not say which state it uses. Expected, after fine-tuning, on development
    sets: MNLI 82.1, QNLI 84.3, MRPC 77.5, SST-2 92.1, SQuAD 77.8 F1.
    """
    base = bert_base()
    return replace(
        base,
        model=replace(base.model, left_only=True),
        objective=replace(base.objective, name="left_to_right"),
    )


@experiment
def bert_large() -> Experiment:
    """BERT-large 336M, uncased (Devlin et al., 2018): bert_base, deeper and wider.

    8.1e19 FLOP; the paper took 4 days on 64 TPU chips. Expected, after fine-tuning: MNLI 86.7 on its test
    set.
    """
    base = bert_base()
    return replace(base, model=replace(base.model, width=1_024, depth=24, heads=16))
