"""GPT-1's recipes beside the released code, and the list of what differs from it."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from experiments.finetuning import gpt1 as finetuning
from research.config import Data, Task
from research.config.settings import flatten
from research.data.finetuning.inputs import _gpt, readings
from research.data.order import order
from research.objectives.soft_scores import predict, soft_targets

# openai/finetune-transformer-lm, train.py: its arguments' defaults, ours at the left. `e=1e-5` is norm's.
MODEL = {
    "model.context": 512,  # n_ctx
    "model.width": 768,  # n_embd
    "model.heads": 12,  # n_head
    "model.depth": 12,  # n_layer
    "model.hidden": None,  # nx*4, in block
    "model.dropout": 0.1,  # embd_pdrop, attn_pdrop, resid_pdrop, clf_pdrop
    "model.activation": "gelu_tanh",  # afn
    "model.norm": "post",  # norm(x+a), in block
    "model.norm_epsilon": 1e-5,  # e, in _norm
    "optimizer.name": "gpt1_adam",  # opt
    "optimizer.b1": 0.9,  # b1
    "optimizer.b2": 0.999,  # b2
    "optimizer.epsilon": 1e-8,  # e
    "optimizer.decay": 0.01,  # l2, without vector_l2: not of biases and gains
    "data.standardize": "gpt1",  # text_utils.py: text_standardize
    "data.tokenizer": "spacy:gpt1",  # text_utils.py: TextEncoder
}
FINETUNING = MODEL | {
    "model.table_dropout": True,  # we = dropout(we, embd_pdrop, train)
    "model.head_bias": True,  # clf
    "objective.auxiliary": 0.5,  # lm_coef
    "objective.auxiliary_positions": True,  # tf.matmul(lm_h, we, transpose_b=True)
    "optimizer.clip": 1.0,  # max_grad_norm
    "optimizer.rate.name": "gpt1_linear",  # lr_schedule
    "optimizer.rate.peak": 6.25e-5,  # lr
    "data.batch": 8 * 4,  # n_batch, n_gpu
}
N_ITER, LR_WARMUP = 3, 0.002
TASKS = [name for name in experiments.names() if name.startswith("gpt1_") and "tiny" not in name]


def settings(name: str) -> dict:
    return flatten(experiments.get(name))


def test_the_pretrained_model_is_that_of_the_released_code():
    found = settings("gpt1")
    assert {name: found[name] for name in MODEL} == MODEL


@pytest.mark.parametrize("name", TASKS)
def test_finetuning_is_that_of_the_released_code(name):
    found = settings(name)
    assert {name: found[name] for name in FINETUNING} == FINETUNING


@pytest.mark.parametrize("name", TASKS)
def test_steps_are_whole_batches_of_three_epochs(name):
    """n_updates_total = (n_train//n_batch_train)*n_iter; every epoch is evaluated."""
    (count,) = re.findall(r"of 32 of ([\d,]+) examples", experiments.describe(name))
    epoch = int(count.replace(",", "")) // 32
    run = experiments.get(name).run
    assert (run.steps, run.evaluate_every, run.checkpoint_every) == (N_ITER * epoch, epoch, epoch)
    assert f": {run.steps:,} steps" in experiments.describe(name)


def test_storycloze_is_split_and_chosen_as_released():
    """datasets.py: rocstories' n_valid and seed; train.py: log saves where va_acc exceeds all before."""
    found = settings("gpt1_storycloze")
    file = "files:cloze_test_val__spring2016 - cloze_test_ALL_val.csv"
    assert found["data.source"] == f"rest:374:3535999445:{file}"
    assert found["data.validation"] == f"drawn:374:3535999445:{file}"
    assert found["run.keep_best"] == "accuracy" and found["run.keep"] >= 1


def epochs():
    """An example that the last batch of an epoch has no room for is in the next batch."""
    data = Data(source="files:x", tokenizer="x", batch=2, length=8)
    steps = order(data, 0, [0, 5], (1.0,), process_index=0, process_count=1)
    seen = np.concatenate([steps[step] for step in range(5)]).tolist()
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]


def warm_up():
    for name in TASKS:
        declared = experiments.get(name)
        assert declared.optimizer.rate.warmup == math.ceil(LR_WARMUP * declared.run.steps)


def positions():
    """The table's rows do not follow the length of the data."""
    lengths = {experiments.get(name).data.length for name in TASKS}
    assert len(lengths) > 1 and {experiments.get(name).model.context for name in TASKS} == {512}


def devices():
    """One program draws one mask for all devices; pmap would not, and nobody declares it."""
    assert {experiments.get(name).parallel.compile for name in TASKS} == {"auto"}


def spacy():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert re.search(r'^gpt1 = .*"spacy>=3\.', text, re.MULTILINE)


def scores():
    """Those of a distribution that is the soft targets themselves are the scores again."""
    assert experiments.get("gpt1_stsb").objective.name == "soft_scores"
    given = np.array([0.0, 2.25, 3.8, 5.0])
    logits = np.log(np.asarray(soft_targets(jnp.asarray(given, jnp.float32), 6)) + 1e-12)
    found, _ = predict(
        Task(metrics=()), SimpleNamespace(known=np.zeros(len(given), bool), labels=given), logits
    )
    np.testing.assert_allclose(found, given, atol=1e-6)


def contexts():
    """The question and the option stay whole, and the article is cut."""
    task = experiments.get("gpt1_race").task
    article, question, options = np.arange(30), np.arange(40, 44), [np.arange(50, 53)] * 4
    texts = [article, question, *options]
    split = SimpleNamespace(texts=6, text=lambda example, which: texts[which])
    (context, last), *_ = readings(task, split, 0)
    assert _gpt(100, None, context, last, 20)[0].tolist() == [
        100, *range(10), *question, 101, *options[0], 102,
    ]  # fmt: skip


DIFFERENCES = {
    "epochs": epochs,
    "warm-up": warm_up,
    "positions": positions,
    "devices": devices,
    "spaCy": spacy,
    "scores": scores,
    "contexts": contexts,
}


def test_every_difference_is_listed():
    _, _, listed = finetuning.__doc__.partition("Differences from the released code:\n")
    assert re.findall(r"^- ([\w-]+): ", listed, re.MULTILINE) == list(DIFFERENCES)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_listed_difference_is_one(name):
    DIFFERENCES[name]()
