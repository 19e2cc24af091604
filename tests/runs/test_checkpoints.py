"""State goes to disk and comes back, under any layout; a damaged checkpoint or a full disk is one line."""

import errno
import os
import shutil
from functools import partial

import jax
import numpy as np
import pytest

from research.config import Parallel
from research.devices import compilers
from research.errors import EnvironmentFault
from research.models.parameters import by_path, refill
from research.runs.checkpoints.store import Checkpoints, check_disk_space
from research.runs.state import initial_state
from tests.mostly_slow import mostly_slow
from tests.training.tiny import quickstart


@pytest.fixture
def state(tmp_path):
    return jax.jit(partial(initial_state, quickstart(tmp_path / "corpus.txt")))()


ONE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
ALL = jax.sharding.NamedSharding(compilers.mesh_of(Parallel()), jax.sharding.PartitionSpec())


@pytest.mark.parametrize("before, after", mostly_slow([(ONE, ALL), (ONE, ONE), (ALL, ONE)]))
def test_round_trip_across_layouts(state, tmp_path, before, after):
    placed = jax.device_put(state, before)
    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        checkpoints.save(7, placed)
    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        layout = compilers.everywhere(after, state)
        restored = checkpoints.restore(checkpoints.latest(), jax.eval_shape(lambda: state), layout)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for name, leaf in by_path(restored).items():
        expected = by_path(state)[name]
        assert leaf.sharding.is_equivalent_to(after, leaf.ndim)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf, expected = jax.random.key_data(leaf), jax.random.key_data(expected)
        assert np.asarray(leaf).tobytes() == np.asarray(expected).tobytes(), name


def test_names_are_paths(state):
    names = set(by_path(state))
    assert {"step", "key", "model/tokens", "model/blocks/mlp/expand/kernel"} <= names
    assert any(name.endswith("mu/blocks/attention/qkv/bias") for name in names)
    assert all("value" not in name for name in names)
    doubled = {name: leaf for name, leaf in by_path(state).items()} | {"step": jax.numpy.int32(5)}
    assert int(refill(state, doubled).step) == 5


def test_the_last_few_stay(state, tmp_path):
    with Checkpoints(tmp_path, 2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state)
        checkpoints.save(3, state)  # again: left alone
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["2", "3"]


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault) as fault:
        Checkpoints(tmp_path / "file" / "checkpoints", 2)
    assert "\n" not in str(fault.value) and str(tmp_path) in str(fault.value)


def test_a_disk_without_room_is_reported_before_anything_is_written(state, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        for ask in (partial(check_disk_space, tmp_path), lambda state: checkpoints.save(1, state)):
            with pytest.raises(
                EnvironmentFault, match=r"the disk is full: a checkpoint takes 0\.\d MB, 0\.0 MB"
            ):
                ask(state)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_quota_that_ends_a_save_is_one_line(state, tmp_path, monkeypatch, number):
    """TensorStore's error has only the text: a real one leaves its threads on a closed event loop."""

    def save(*arguments, **named):
        raise ValueError(f'Error writing "step": Failed writing: [OS error {number}: {os.strerror(number)}]')

    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", save)
        with pytest.raises(EnvironmentFault, match="the disk or a quota is full; earlier"):
            checkpoints.save(1, state)
