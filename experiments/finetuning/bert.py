"""BERT fine-tuned (Devlin et al., 2018, section 4), as in google-research/bert: run_classifier, run_squad.

Weights: start.weights=DIR, Google's release, a run of bert_base, or Hugging Face's, which determine the GELU
(by erf), epsilon, sizes and vocabulary. For each task the paper takes the best rate of 5e-5, 4e-5, 3e-5 and
2e-5 on the development set: the sweeps bert_cola_rates, …. Costs are for 3 epochs at length 128, 6 × 110M
FLOP per token. Steps and warm-up are rounded down, as in run_classifier and run_squad. Examples are fully
shuffled in each epoch; Google's code shuffles within 100 of them.
"""

from dataclasses import replace

from experiments.bert import bert_base, bert_base_cased
from experiments.finetuning import tasks
from experiments.finetuning.tasks import Examples, finetuned
from experiments.registry import experiment
from research.config import Experiment


def _published(
    examples: Examples,
    base: Experiment | None = None,
    *,
    length: int = 128,
    batch: int = 32,
    epochs: int = 3,
    rate: float = 2e-5,
) -> Experiment:
    """The recipe of run_classifier, and of run_squad with other numbers."""
    recipe = {"schedule": "bert", "rate": rate, "warmup": 0.1}
    tuned = finetuned(base or bert_base(), examples, length=length, batch=batch, epochs=epochs, **recipe)
    steps = int(examples.count / batch * epochs)
    schedule = replace(tuned.optimizer.rate, warmup=int(steps * 0.1))
    return replace(
        tuned, optimizer=replace(tuned.optimizer, rate=schedule), run=replace(tuned.run, steps=steps)
    )


@experiment
def bert_cola() -> Experiment:
    """BERT-base on CoLA: 801 steps of 32 of 8,551 examples, 2e15 FLOP.

    Expected: 52.1 Matthews's correlation on the test set.
    """
    return _published(tasks.COLA)


@experiment
def bert_sst2() -> Experiment:
    """BERT-base on SST-2: 6,313 steps of 32 of 67,349 examples, 2e16 FLOP.

    Expected: 93.5 accuracy on the test set.
    """
    return _published(tasks.SST2)


@experiment
def bert_mrpc() -> Experiment:
    """BERT-base on MRPC: 343 steps of 32 of 3,668 examples, 9e14 FLOP.

    Expected: 88.9 F1 on the test set; 86.7 accuracy on the development set.
    """
    return _published(tasks.MRPC)


@experiment
def bert_stsb() -> Experiment:
    """BERT-base on STS-B: 538 steps of 32 of 5,749 examples, 1e15 FLOP.

    Expected: 85.8 Spearman's correlation on the test set.
    """
    tuned = _published(tasks.STSB)
    return replace(tuned, task=replace(tuned.task, metrics=("spearman", "pearson")))


@experiment
def bert_qqp() -> Experiment:
    """BERT-base on QQP: 34,110 steps of 32 of 363,849 examples, 9e16 FLOP.

    Expected: 71.2 F1 on the test set.
    """
    return _published(tasks.QQP)


@experiment
def bert_mnli() -> Experiment:
    """BERT-base on MNLI: 36,815 steps of 32 of 392,702 examples, 1e17 FLOP.

    Expected: 84.6 accuracy on matched test genres, 83.4 on mismatched ones; 84.4 in development. Training
    validates on matched genres; for the others: lineage evaluate DIR --task answers --data
    dev_mismatched.tsv, or tfds:glue/mnli:validation_mismatched.
    """
    return _published(tasks.MNLI)


@experiment
def bert_qnli() -> Experiment:
    """BERT-base on QNLI: 9,819 steps of 32 of 104,743 examples, 3e16 FLOP.

    Expected: 90.5 accuracy on the test set; 88.4 on the first version's development set.
    """
    return _published(tasks.QNLI)


@experiment
def bert_rte() -> Experiment:
    """BERT-base on RTE: 233 steps of 32 of 2,490 examples, 6e14 FLOP.

    Expected: 66.4 accuracy on the test set.
    """
    return _published(tasks.RTE)


@experiment
def bert_wnli() -> Experiment:
    """BERT-base on WNLI: 59 steps of 32 of 635 examples, 2e14 FLOP.

    Expected: 65.1 accuracy, the majority class; the paper leaves WNLI out.
    """
    return _published(tasks.WNLI)


@experiment
def bert_squad() -> Experiment:
    """BERT-base on SQuAD 1.1: 14,599 steps of 12 of 87,599 questions, 4e16 FLOP; run_squad's two epochs.

    An answer is a span of the paragraph, which is read in windows of 384 tokens, 128 apart. Expected on the
    development set: 81.25 exact match, 88.41 F1, from Google's README for this recipe. The paper has 80.8 and
    88.5, after 3 epochs in batches of 32 at a rate of 5e-5.
    """
    return _published(tasks.SQUAD, length=384, batch=12, epochs=2, rate=3e-5)


@experiment
def bert_squad2() -> Experiment:
    """BERT-base on SQuAD 2.0: 21,719 steps of 12 of 130,319 questions, 6e16 FLOP; run_squad's two epochs.

    A third of the questions have no answer: their span is [CLS]. An answer is empty if [CLS] leads the best
    span by more than task.null_threshold; best_f1 is the F1 at the best threshold, best_f1_threshold. Not yet
    run at this size; Google gives figures only for BERT-large.
    """
    return _published(tasks.SQUAD2, length=384, batch=12, epochs=2, rate=3e-5)


@experiment
def bert_ner() -> Experiment:
    """BERT-base, cased, on CoNLL-2003's named entities: 1,316 steps of 32 of 14,041 sentences, 4e15 FLOP.

    A word's tag is that of its first piece. The data are not free: files:conll2003/train.txt, one word per
    line. Expected: 96.4 F1 on the development set, 92.4 on the test set; the paper also uses document
    context.
    """
    return _published(tasks.CONLL, bert_base_cased(), rate=5e-5)


@experiment
def bert_swag() -> Experiment:
    """BERT-base on SWAG: 13,789 steps of 16 of 73,546 situations, each read with 4 endings; 7e16 FLOP.

    Segment A is the first sentence, segment B the beginning of the second and an ending. The data are the
    authors' train.csv and val.csv: files:swag/train.csv. Expected: 81.6 accuracy on the development set.
    """
    return _published(tasks.SWAG, batch=16)
