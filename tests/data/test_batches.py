import threading
from dataclasses import replace

import numpy as np
import pytest

import experiments
from research.data.batches import stream
from research.data.store.token_store import TokenStore
from research.errors import UsageError
from tests.by_experiment import train_batches, validation_batches

LENGTH = 8


def declared(*, batch=8, order="shuffled", seed=0):
    config = experiments.get("quickstart")
    return replace(
        config,
        data=replace(config.data, batch=batch, length=LENGTH, order=order),
        run=replace(config.run, seed=seed),
    )


def counting(count):
    """A store whose tokens are their own positions."""
    return TokenStore(
        np.arange(count, dtype=np.uint32), np.array([0]), bytes=count, unigram_entropy=0.0, sha256=""
    )


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("order", ["shuffled", "random"])
def test_shapes_and_targets(order):
    batch = train_batches(declared(order=order), counting(1000))[0]
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "tokens": ((8, LENGTH), "int32"),
        "targets": ((8, LENGTH), "int32"),
        "weights": ((8, LENGTH), "float32"),
    }
    assert np.array_equal(batch["targets"], batch["tokens"] + 1)
    assert np.array_equal(batch["tokens"], batch["tokens"][:, :1] + np.arange(LENGTH))
    assert np.all(batch["weights"] == 1)
    assert all(array.flags.c_contiguous for array in batch.values())


@pytest.mark.parametrize("order", ["shuffled", "random"])
def test_a_batch_depends_on_nothing_but_the_step(order):
    config, store = declared(order=order), counting(1000)
    forwards = [train_batches(config, store)[step] for step in range(40)]
    again = train_batches(config, store)
    for step in [31, 4, 39, 0, 17, 4]:
        assert equal(again[step], forwards[step])
    assert not equal(forwards[0], forwards[1])
    assert not equal(train_batches(declared(order=order, seed=1), store)[0], forwards[0])


@pytest.mark.parametrize("order", ["shuffled", "random"])
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_processes_share_one_global_batch(order, count):
    config, store = declared(order=order), counting(1000)
    for step in (0, 3, 15):  # 15: where an epoch ends inside the batch
        parts = [
            train_batches(config, store, process_index=index, process_count=count)[step]
            for index in range(count)
        ]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert equal(joined, train_batches(config, store)[step])


@pytest.mark.parametrize("tokens", [LENGTH * 37 + 1, LENGTH * 37 + LENGTH])
def test_an_epoch_is_every_window_once_across_batches(tokens):
    batches = train_batches(declared(batch=5), counting(tokens))
    starts = np.concatenate([batches[step]["tokens"][:, 0] for step in range(37 * 3 // 5)])
    epochs = [starts[epoch * 37 : (epoch + 1) * 37] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == [window * LENGTH for window in range(37)]
    assert not np.array_equal(*epochs)


def test_seeds_next_to_each_other_share_no_epoch():
    """An epoch's order must not be the next seed's earlier one."""
    store = counting(LENGTH * 64 + 1)
    orders = {
        train_batches(declared(batch=64, seed=seed), store)[epoch]["tokens"].tobytes()
        for seed in range(6)
        for epoch in range(6)
    }
    assert len(orders) == 36


def test_random_windows_begin_anywhere_and_equally_often():
    batches = train_batches(declared(order="random", batch=64), counting(LENGTH + 20))
    starts = np.concatenate([batches[step]["tokens"][:, 0] for step in range(500)])
    counts = np.bincount(starts)
    assert len(counts) == 20
    expected = len(starts) / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi-squared, 19 degrees, one in a thousand


def test_random_windows_are_these_for_ever():
    """A resumed run draws what it would have drawn, whatever NumPy is installed by then."""
    starts = train_batches(declared(order="random", seed=3), counting(1_000_000))[7]["tokens"][:, 0]
    bits = np.random.Philox(key=3, counter=7 << 64).random_raw(8)
    assert starts.tolist() == [int(bit) % (1_000_000 - LENGTH) for bit in bits]
    assert starts.tolist() == [820923, 672700, 22592, 198902, 944549, 259637, 239974, 296064]


@pytest.mark.parametrize("tokens", [2, LENGTH, LENGTH + 1, LENGTH + 2, LENGTH * 8 + 1, 1003])
def test_validation_predicts_every_token_but_the_first_once(tokens):
    batches = list(validation_batches(declared(), counting(tokens)))
    assert all(array.shape == (8, LENGTH) for batch in batches for array in batch.values())
    joined = {name: np.concatenate([batch[name] for batch in batches]).ravel() for name in batches[0]}
    weighed = joined["weights"] == 1
    assert np.array_equal(joined["targets"][weighed], np.arange(1, tokens))
    assert np.array_equal(joined["tokens"][weighed], np.arange(tokens - 1))
    assert np.all(joined["weights"][~weighed] == 0)
    assert batches[-1]["weights"].any()


@pytest.mark.parametrize("count", [2, 4, 8])
def test_processes_share_the_validation(count):
    config, store = declared(), counting(1003)
    whole = validation_batches(config, store)
    parts = [
        validation_batches(config, store, process_index=index, process_count=count) for index in range(count)
    ]
    assert {len(part) for part in parts} == {len(whole)}
    for step in range(len(whole)):
        joined = {name: np.concatenate([part[step][name] for part in parts]) for name in whole[step]}
        assert equal(joined, whole[step])


def test_a_stream_is_the_batches_of_its_steps_and_ends():
    batches = train_batches(declared(), counting(1000))
    threads = threading.active_count()
    for start, stop in ((0, 9), (1000, 1003), (5, 5)):
        streamed = list(stream(batches, start, stop))
        assert len(streamed) == stop - start
        assert all(equal(batch, batches[step]) for step, batch in enumerate(streamed, start))
    early = stream(batches, 0, 1_000_000_000)
    assert equal(next(early), batches[0])
    early.close()
    for thread in threading.enumerate():
        if thread.name.startswith("grain"):
            thread.join(timeout=5)
    assert threading.active_count() <= threads


@pytest.mark.parametrize("threads, ahead", [(1, 1), (2, 4), (16, 64)])
def test_any_number_of_readers_gives_the_same_stream(threads, ahead):
    batches = train_batches(declared(), counting(1000))
    streamed = list(stream(batches, 3, 40, threads=threads, ahead=ahead))
    assert all(equal(batch, batches[step]) for step, batch in enumerate(streamed, 3)) and len(streamed) == 37


def test_a_window_is_cut_from_the_map_and_nothing_else(tmp_path):
    """A file of 32 GiB, all holes: reading it whole would not end well."""
    with open(tmp_path / "tokens.bin", "wb") as file:
        file.truncate(1 << 35)
    store = counting(2)._replace(tokens=np.memmap(tmp_path / "tokens.bin", np.uint16, mode="r"))
    for order in ("shuffled", "random"):
        batch = train_batches(declared(order=order), store)[123_456]
        assert not batch["tokens"].any()
        assert {type(array) for array in batch.values()} == {np.ndarray}
    assert not validation_batches(declared(), store)[123_456]["tokens"].any()


def test_bad_declarations_are_named():
    with pytest.raises(
        UsageError, match=r"data\.length=8: the training split has 8 tokens; expected 9 or more"
    ):
        train_batches(declared(), counting(LENGTH))
    assert train_batches(declared(), counting(LENGTH + 1))[0]["tokens"].shape == (8, LENGTH)
    for batches in (train_batches, validation_batches):
        with pytest.raises(UsageError, match=r"data\.batch=8: expected a multiple of 3 processes"):
            batches(declared(), counting(1000), process_count=3)


def mixed(shares=(0.75, 0.25)):
    """Two sources: tokens from 0 to 499, and from 500."""
    return counting(1000)._replace(parts=(0, 500), shares=shares)


@pytest.mark.parametrize("order", ["shuffled", "random"])
def test_a_mixture_keeps_its_shares(order):
    batches = train_batches(declared(order=order), mixed())
    starts = np.concatenate([batches[step]["tokens"][:, 0] for step in range(400)])
    share = (starts < 500).mean()
    assert share == 0.75 if order == "shuffled" else abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 3200)


def test_a_mixtures_sources_have_epochs_of_their_own():
    batches = train_batches(declared(batch=4), mixed())
    starts = np.concatenate([batches[step]["tokens"][:, 0] for step in range(62 * 4)])
    for own in (starts[starts < 500], starts[starts >= 500]):
        windows = len(np.unique(own))
        assert windows == (61 if own[0] >= 500 else 63)
        for epoch in range(len(own) // windows):
            assert len(np.unique(own[epoch * windows : (epoch + 1) * windows])) == windows


@pytest.mark.parametrize("order", ["shuffled", "random"])
def test_processes_share_a_mixture(order):
    config, store = declared(order=order), mixed()
    parts = [train_batches(config, store, process_index=n, process_count=4)[7] for n in range(4)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert equal(joined, train_batches(config, store)[7])


def test_a_source_without_a_window_is_named():
    config = declared()
    config = replace(config, data=replace(config.data, source="1*files:a.txt+1*files:b.txt"))
    message = r"the training split of files:b\.txt has 3 tokens; expected 9 or more"
    with pytest.raises(UsageError, match=message):
        train_batches(config, counting(100)._replace(parts=(0, 97), shares=(0.5, 0.5)))
