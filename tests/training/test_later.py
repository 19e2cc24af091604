"""A run whose sequences become longer at a step: before, after, and stopped in between."""

import os
import signal
from functools import partial

import numpy as np
import pytest

from research.data.store.token_store import prepare
from research.errors import UsageError
from research.training.evaluating import validation
from research.training.logging.progress import Lines
from research.training.loop import train
from tests.by_experiment import batch_shapes, train_batches, validation_batches
from tests.training.tiny import final_arrays, shrunk, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

CHANGE = 3
PHASES = {
    "data__length": 16,
    "data__masking__predictions": 4,
    "data__later__step": CHANGE,
    "data__later__length": 32,
    "data__later__predictions": 6,
}


def declared(tmp_path, **changes):
    changes = {"run__steps": 6, "run__evaluate_every": 2, "run__checkpoint_every": 2} | PHASES | changes
    return shrunk("bert_tiny", tmp_path / "corpus.txt", **changes)


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("drawn", ["static", "dynamic"])
def test_batches_are_the_two_orders_end_to_end(tmp_path, drawn):
    experiment = declared(tmp_path, data__masking__drawn=drawn)
    store = prepare(experiment.data, 300, print).train
    both = train_batches(experiment, store)
    short = declared(tmp_path, data__masking__drawn=drawn, data__later__step=0)
    long = declared(
        tmp_path,
        data__masking__drawn=drawn,
        data__later__step=0,
        data__length=32,
        data__masking__predictions=6,
    )
    early, later = train_batches(short, store), train_batches(long, store)
    for step in (4, 0, 2, 3, 7):
        assert equal(both[step], early[step] if step < CHANGE else later[step - CHANGE])
    for step in (0, CHANGE):
        shapes = {name: (array.shape, array.dtype) for name, array in both[step].items()}
        assert shapes == batch_shapes(experiment.at_step(step))
    parts = [train_batches(experiment, store, process_index=n, process_count=2)[CHANGE] for n in range(2)]
    assert equal({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, both[CHANGE])
    assert validation_batches(experiment, store)[0]["tokens"].shape == (8, 16)
    assert validation_batches(experiment.at_step(CHANGE), store)[0]["tokens"].shape == (8, 32)


def test_tokens_are_counted_over_the_change(tmp_path):
    experiment = declared(tmp_path)
    store = prepare(experiment.data, 300, print).train
    batches = train_batches(experiment, store)
    for steps in range(6):
        assert experiment.tokens(steps) == sum(batches[step]["tokens"].size for step in range(steps))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["jit", "sharded", "pmap"])
def test_a_stop_at_the_change_leaves_no_trace(tmp_path, monkeypatch, compiler):
    experiment = declared(tmp_path, parallel__compile=compiler)
    lengths = []

    def noted(model, batches, evaluate_batch, evaluate=validation.evaluate):
        batches = list(batches)
        lengths.append({batch["tokens"].shape[1] for batch in batches})
        return evaluate(model, batches, evaluate_batch)

    monkeypatch.setattr(validation, "evaluate", noted)
    train(experiment, tmp_path / "straight", print)
    assert lengths == [{16}, {16}, {32}, {32}]  # after 0, 2, 4 and 6 steps

    stops = [CHANGE - 1, CHANGE, CHANGE + 1]

    def interrupt(lines, step):
        if step in stops:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Lines, "advance", interrupt)
    reached = [train(experiment, tmp_path / "stopped", print).step for _ in (*stops, "end")]
    assert reached == [*stops, 6]
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "straight")
    expected = final_arrays(experiment, tmp_path / "straight")
    for name, array in final_arrays(experiment, tmp_path / "stopped").items():
        assert array.tobytes() == expected[name].tobytes(), name


def test_lengths_beyond_the_context_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"data\.later\.length=64: expected at most model\.context=32"):
        declared(tmp_path, data__later__length=64)
    with pytest.raises(UsageError, match=r"data\.later\.step=-1"):
        declared(tmp_path, data__later__step=-1)
    unused = partial(declared, tmp_path, data__later__step=0, data__later__length=64)
    assert unused().at_step(10**9).data.length == 16
