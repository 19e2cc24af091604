"""Tasks to fine-tune for: the examples and the metrics of each.

Sources are the data sets' own splits; files in GLUE's layouts work too:
data.source=files:SST-2/train.tsv data.validation=files:SST-2/dev.tsv.
"""

import math
from dataclasses import replace
from typing import NamedTuple

from research.config import Data, Experiment, Objective, Schedule, Task


class Examples(NamedTuple):
    objective: str
    task: Task
    source: str
    validation: str
    count: int  # examples to train on, as published
    outputs: int | None = None  # outputs of the model's head; None: one per label
    head: str = "sequence"  # on a sequence's summary, or "tokens": on every token


def _pair(first: str, second: str, *labels: str, metrics: tuple[str, ...] = ("accuracy",), **more) -> Task:
    return Task(fields=(first, second), labels=labels, metrics=metrics, **more)


SENTENCES = ("sentence1", "sentence2")
NLI = ("entailment", "neutral", "contradiction")
TWO_WAY = ("entailment", "not_entailment")

COLA = Examples(
    "classification",
    Task(
        fields=("sentence|3",),
        label="label|1",
        labels=("unacceptable", "acceptable"),
        numbered=True,
        metrics=("matthews", "accuracy"),
    ),
    "tfds:glue/cola:train",
    "tfds:glue/cola:validation",
    8_551,
)
SST2 = Examples(
    "classification",
    Task(fields=("sentence",), labels=("negative", "positive"), numbered=True, metrics=("accuracy",)),
    "tfds:glue/sst2:train",
    "tfds:glue/sst2:validation",
    67_349,
)
MRPC = Examples(
    "classification",
    _pair(
        "sentence1|#1 String",
        "sentence2|#2 String",
        "not_equivalent",
        "equivalent",
        label="label|Quality",
        numbered=True,
        metrics=("f1", "accuracy"),
    ),
    "tfds:glue/mrpc:train",
    "tfds:glue/mrpc:validation",
    3_668,
)
STSB = Examples(
    "regression",
    Task(
        fields=("sentence1|0", "sentence2|1"),
        label="label|score|2",
        bounds=(0.0, 5.0),
        metrics=("pearson", "spearman"),
    ),
    "tfds:glue/stsb:train",
    "tfds:glue/stsb:validation",
    5_749,
    outputs=1,
)
STSB_SOFT = STSB._replace(
    objective="soft_scores", task=replace(STSB.task, labels=("0", "1", "2", "3", "4", "5")), outputs=6
)
QQP = Examples(
    "classification",
    _pair(
        "question1",
        "question2",
        "not_duplicate",
        "duplicate",
        label="label|is_duplicate",
        numbered=True,
        metrics=("f1", "accuracy"),
    ),
    "tfds:glue/qqp:train",
    "tfds:glue/qqp:validation",
    363_849,
)
MNLI = Examples(
    "classification",
    _pair("premise|sentence1", "hypothesis|sentence2", *NLI, label="label|gold_label"),
    "tfds:glue/mnli:train",
    "tfds:glue/mnli:validation_matched",
    392_702,
)
SNLI = Examples("classification", MNLI.task, "tfds:snli:train", "tfds:snli:validation", 549_367)
QNLI = Examples(
    "classification",
    _pair("question", "sentence", *TWO_WAY),
    "tfds:glue/qnli:train",
    "tfds:glue/qnli:validation",
    104_743,
)
RTE = Examples(
    "classification",
    _pair(*SENTENCES, *TWO_WAY),
    "tfds:glue/rte:train",
    "tfds:glue/rte:validation",
    2_490,
)
WNLI = Examples(
    "classification",
    _pair(*SENTENCES, "not_entailment", "entailment", numbered=True),
    "tfds:glue/wnli:train",
    "tfds:glue/wnli:validation",
    635,
)
SCITAIL = Examples(
    "classification",
    _pair("premise|0", "hypothesis|1", "entails", "neutral", label="label|2"),
    "tfds:sci_tail:train",
    "tfds:sci_tail:validation",
    23_596,
)
# Drawn as in openai/finetune-transformer-lm, datasets.py: n_valid of 1,871 stories, with its seed. This needs
# the order of the file, which TFDS does not keep.
STORIES = "files:cloze_test_val__spring2016 - cloze_test_ALL_val.csv"
STORYCLOZE = Examples(
    "choice",
    Task(fields=("context",), options="endings", labels=("1", "2"), metrics=("accuracy",)),
    f"rest:374:3535999445:{STORIES}",
    f"drawn:374:3535999445:{STORIES}",
    1_497,
    outputs=1,
)
RACE = Examples(
    "choice",
    Task(
        fields=("article", "question"), options="options", labels=("A", "B", "C", "D"), metrics=("accuracy",)
    ),
    "tfds:race/middle:train+tfds:race/high:train",
    "tfds:race/middle:dev+tfds:race/high:dev",
    87_866,
    outputs=1,
)
SWAG = Examples(
    "choice",
    Task(fields=("sent1", "sent2"), options="endings", labels=("0", "1", "2", "3"), metrics=("accuracy",)),
    "files:swag/train.csv",
    "files:swag/val.csv",
    73_546,
    outputs=1,
)

SQUAD2 = Examples(
    "spans",
    Task(
        fields=("question", "context"),
        label="answers",
        unanswerable=True,
        metrics=(
            *("f1", "exact_match", "has_answer_f1", "no_answer_accuracy"),
            *("best_f1", "best_f1_threshold", "best_exact_match"),
        ),
    ),
    "tfds:squad/v2.0:train",
    "tfds:squad/v2.0:validation",
    130_319,
    outputs=2,
    head="tokens",
)
SQUAD = Examples(
    "spans",
    Task(fields=("question", "context"), label="answers", metrics=("f1", "exact_match")),
    "tfds:squad/v1.1:train",
    "tfds:squad/v1.1:validation",
    87_599,
    outputs=2,
    head="tokens",
)
CONLL = Examples(
    "tags",
    Task(
        fields=("0",),
        label="3",
        labels=("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"),
        metrics=("f1", "accuracy"),
    ),
    "files:conll2003/train.txt",
    "files:conll2003/valid.txt",
    14_041,
    head="tokens",
)


def finetuned(
    base: Experiment,
    examples: Examples,
    *,
    length: int,
    batch: int,
    epochs: int,
    schedule: str,
    rate: float,
    warmup: float,
    auxiliary: float = 0.0,
) -> Experiment:
    """The pre-trained `base`, on the examples; `rate` is the peak, `warmup` a share of all steps."""
    epoch = math.ceil(examples.count / batch)
    steps = math.ceil(epochs * examples.count / batch)
    outputs = len(examples.task.labels) if examples.outputs is None else examples.outputs
    data = Data(
        source=examples.source,
        validation=examples.validation,
        tokenizer=base.data.tokenizer,
        standardize=base.data.standardize,
        batch=batch,
        length=length,
    )
    warmed = Schedule(name=schedule, peak=rate, warmup=math.ceil(warmup * steps))
    return replace(
        base,
        model=replace(base.model, head=examples.head, outputs=outputs),
        data=data,
        objective=Objective(name=examples.objective, auxiliary=auxiliary),
        task=examples.task,
        optimizer=replace(base.optimizer, clip=1.0, rate=warmed),
        run=replace(base.run, steps=steps, evaluate_every=epoch, checkpoint_every=epoch),
    )
