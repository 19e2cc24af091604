"""Batches for measuring have the shapes of those that are trained on."""

import numpy as np
import pytest

import experiments
from research.bench.synthetic import batches, read_tokens
from research.config.settings import override
from research.errors import UsageError
from tests.by_experiment import batch_shapes
from tests.data.sources.test_token_files import llm_c


@pytest.mark.parametrize(
    "name, settings",
    [
        ("gpt2_tiny", {}),
        ("gpt2_tiny", {"data.attend": "document"}),
        ("gpt1_tiny", {}),
        ("bert_tiny", {}),
        ("gpt1_tiny_sst2", {}),
        ("gpt1_tiny_stsb", {}),
        ("gpt1_race", {"data.batch": 2}),
        ("bert_tiny_rte", {}),
        ("bert_squad", {"data.batch": 2}),
        ("bert_ner", {"data.batch": 2}),
    ],
)
def test_shapes_are_the_declared_ones(name, settings):
    experiment = override(experiments.get(name), settings)
    batch = next(batches(experiment))
    shapes = {key: (array.shape, array.dtype) for key, array in batch.items()}
    assert shapes == {key: (shape, np.dtype(kind)) for key, (shape, kind) in batch_shapes(experiment).items()}
    assert batch["tokens"].min() >= 0 and batch["tokens"].max() < experiment.model.vocabulary
    assert len(np.unique(batch["tokens"])) > 100


@pytest.mark.parametrize(
    "name, several", [("bert_tiny_sst2", 2), ("bert_squad", 384), ("gpt1_tiny_stsb", None)]
)
def test_labels_are_those_that_a_task_can_have(name, several):
    """A class, a place; of a score, any number."""
    labels = next(batches(override(experiments.get(name), {"data.batch": 64})))["labels"]
    assert len(np.unique(labels)) > 1 and labels.min() >= 0
    assert labels.dtype == np.float32 if several is None else labels.max() < several


def test_masked_positions_are_distinct_and_their_targets_are_there():
    batch = next(batches(experiments.get("bert_tiny")))
    for tokens, positions, targets in zip(
        *(batch[k] for k in ("tokens", "positions", "targets")), strict=True
    ):
        assert len(set(positions)) == len(positions)
        assert (tokens[positions] == targets).all()


@pytest.mark.parametrize("write", [np.save, lambda path, tokens: path.write_bytes(llm_c(tokens))])
def test_tokens_of_a_file_come_in_a_row(write, tmp_path):
    path = tmp_path / ("tokens.npy" if write is np.save else "tokens.bin")
    write(path, np.arange(3_000, dtype=np.uint16))
    experiment = experiments.get("gpt2_tiny")
    batch = next(batches(experiment, read_tokens(path, experiment.data.length, experiment.model.vocabulary)))
    assert (np.diff(batch["tokens"]) == 1).all() and (batch["targets"] == batch["tokens"] + 1).all()


@pytest.mark.parametrize(
    "tokens, message",
    [
        (np.zeros(10, np.uint16), "holds 10 tokens; expected 129 or more"),
        (np.zeros(1_000, np.float32), "expected one row"),
        (np.full(1_000, 5_000, np.uint16), r"token 5000; expected all below model\.vocabulary=4096"),
    ],
)
def test_tokens_that_do_not_serve_are_refused(tokens, message, tmp_path):
    np.save(tmp_path / "t.npy", tokens)
    with pytest.raises(UsageError, match=message):
        read_tokens(tmp_path / "t.npy", 128, 4_096)
    with pytest.raises(UsageError, match=r"none\.npy: cannot be read: No such file"):
        read_tokens(tmp_path / "none.npy", 128, 4_096)
