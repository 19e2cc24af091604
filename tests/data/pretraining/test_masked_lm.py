"""BERT's batches: of real text, with a tokenizer trained on it."""

import gzip
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

import experiments
from research.config import Masking, Model, Objective
from research.data.batches import stream
from research.data.decode import describe_pairs
from research.data.pretraining.sentence_pairs import open_pairs
from research.data.store.token_store import prepare
from research.errors import UsageError
from tests.by_experiment import batch_shapes, train_batches, validation_batches

LENGTH = 64


def declared(
    source="tfds:python_docs", tokenizer="wordpiece:2000", split="published", vocabulary=2000, **data
):
    config = experiments.get("quickstart")
    return replace(
        config,
        model=Model(
            family="bert", vocabulary=vocabulary, context=128, width=8, depth=1, heads=1, norm="post"
        ),
        data=replace(
            config.data,
            source=source,
            tokenizer=tokenizer,
            split=split,
            **{"batch": 16, "length": LENGTH} | data,
        ),
        objective=Objective(name="masked_token"),
    )


def prepared(config):
    return prepare(config.data, config.model.vocabulary, lambda line: None)


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def restored(batch):
    """The tokens before they were masked."""
    tokens = batch["tokens"].copy()
    rows, nth = np.nonzero(batch["weights"])
    tokens[rows, batch["positions"][rows, nth]] = batch["targets"][rows, nth]
    return tokens


@pytest.mark.slow
def test_shapes_are_the_objectives():
    config = declared()
    batch = train_batches(config, prepared(config).train)[0]
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "tokens": ((16, LENGTH), "int32"),
        "segments": ((16, LENGTH), "int32"),
        "lengths": ((16,), "int32"),
        "positions": ((16, 20), "int32"),
        "targets": ((16, 20), "int32"),
        "weights": ((16, 20), "float32"),
        "next_targets": ((16,), "int32"),
        "next_weights": ((16,), "float32"),
    }


@pytest.mark.parametrize("drawn", ["dynamic", "static"])
def test_a_row_is_a_pair_of_the_store(drawn):
    config = declared(masking=Masking(drawn=drawn))
    corpus = prepared(config)
    store, special_tokens = corpus.train, corpus.train.special_tokens
    whole = store.tokens.astype(np.int64)
    ends = set(store.starts.tolist())
    for step in range(5):
        batch = train_batches(config, store)[step]
        for tokens, segments, length, random in zip(
            restored(batch), batch["segments"], batch["lengths"], batch["next_targets"], strict=True
        ):
            assert (
                tokens[0] == special_tokens.cls and not tokens[length:].any() and not segments[length:].any()
            )
            first, last = np.flatnonzero(tokens == special_tokens.sep)
            assert last == length - 1
            assert np.array_equal(np.flatnonzero(segments), np.arange(first + 1, length))
            a, b = tokens[1:first], tokens[first + 1 : last]
            assert len(a) and len(b)
            places = [places_of(part, whole) for part in (a, b)]
            assert all(places)
            if not random and len(a) + len(b) < LENGTH - 3:  # nothing was cut: B begins where A ends
                joined = {place + len(a) for place in places[0]} & set(places[1])
                assert joined - ends


def test_without_masks_the_target_is_the_next_token():
    """The rows are those that the masked objective reads, whatever their masks."""
    config = declared()
    model = replace(config.model, left_only=True)
    unmasked = replace(config, model=model, objective=Objective(name="left_to_right"))
    store = prepared(config).train
    one, two = (train_batches(experiment, store)[3] for experiment in (config, unmasked))
    assert {name: (array.shape, array.dtype.type) for name, array in two.items()} == batch_shapes(unmasked)
    np.testing.assert_array_equal(two["tokens"], restored(one))
    np.testing.assert_array_equal(two["segments"], one["segments"])
    for tokens, targets, weights, length in zip(
        two["tokens"], two["targets"], two["weights"], one["lengths"], strict=True
    ):
        np.testing.assert_array_equal(targets[: length - 1], tokens[1:length])
        np.testing.assert_array_equal(np.flatnonzero(weights), np.arange(length - 1))


def places_of(part, whole):
    windows = np.lib.stride_tricks.sliding_window_view(whole, len(part))
    candidates = np.flatnonzero(windows[:, 0] == part[0])
    return candidates[(windows[candidates] == part).all(1)].tolist()


def test_an_epoch_is_every_pair_once_and_dynamic_masks_differ_in_the_next():
    for drawn, same in (("static", True), ("dynamic", False)):
        config = declared(masking=Masking(drawn=drawn), batch=64)
        store = prepared(config).validation  # the smaller one
        batches = train_batches(config, store)
        pairs = len(open_pairs(store, config.data)[0])
        rows = list(
            chain.from_iterable(
                zip(restored(batch), batch["tokens"], strict=True)
                for batch in (batches[step] for step in range(2 * pairs // 64 + 1))
            )
        )
        epochs = [rows[:pairs], rows[pairs : 2 * pairs]]
        plain = [sorted(row.tobytes() for row, _ in epoch) for epoch in epochs]
        assert plain[0] == plain[1] and len(plain[0]) == pairs
        seen = [sorted(row.tobytes() for _, row in epoch) for epoch in epochs]
        assert (seen[0] == seen[1]) is same
        assert [row.tobytes() for row, _ in epochs[0]] != [row.tobytes() for row, _ in epochs[1]]


@pytest.mark.parametrize(
    "changes", [{}, {"masking": Masking(drawn="static", duplicates=3)}, {"order": "random"}]
)
def test_a_batch_depends_on_nothing_but_the_step_and_splits_over_processes(changes):
    config = declared(**changes)
    store = prepared(config).train
    whole = train_batches(config, store)
    for step in (70, 3, 71):
        assert equal(train_batches(config, store)[step], whole[step])
        for count in (2, 4):
            parts = [
                train_batches(config, store, process_index=index, process_count=count)[step]
                for index in range(count)
            ]
            assert equal(
                {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, whole[step]
            )
    for step, batch in enumerate(stream(whole, 5, 9), 5):
        assert equal(batch, whole[step])
    assert not equal(whole[0], whole[1])


def test_another_seed_is_another_order_of_the_same_pairs():
    config = declared(masking=Masking(drawn="static"))
    store = prepared(config).train
    other = replace(config, run=replace(config.run, seed=1))
    assert not equal(train_batches(config, store)[0], train_batches(other, store)[0])
    assert equal(validation_batches(config, store)[0], validation_batches(other, store)[0])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_validation_is_every_pair_once_and_always_the_same(count):
    config = declared()
    store = prepared(config).validation
    pairs, _ = open_pairs(store, config.data)
    batches = [
        validation_batches(config, store, process_index=index, process_count=count) for index in range(count)
    ]
    total = 0
    for step in range(len(batches[0])):
        joined = {name: np.concatenate([part[step][name] for part in batches]) for name in batches[0][step]}
        assert equal(joined, validation_batches(config, store)[step])
        real = joined["next_weights"] == 1
        assert np.array_equal(joined["weights"].any(1), real)
        assert joined["lengths"].min() >= 5  # so that attention has something to see in any row
        expected = pairs[total : total + real.sum()]
        assert np.array_equal(joined["lengths"][real], expected["a_length"] + expected["b_length"] + 3)
        total += real.sum()
    assert total == len(pairs)


def test_a_row_is_read_with_its_masks():
    config = declared()
    corpus = prepared(config)
    batch = train_batches(config, corpus.train)[0]
    for row, (what, text) in enumerate(describe_pairs(batch, corpus)):
        a, b = text.split("\n")
        assert a.startswith("A: [CLS]") and a.endswith("[SEP]") and b.startswith("B: ")
        assert text.count("«") == batch["weights"][row].sum()
        assert ("random" in what) == bool(batch["next_targets"][row])
        assert f"{batch['lengths'][row]} of 64 tokens" in what


def test_gpts_tokenizers_and_short_lengths_are_refused():
    config = declared(tokenizer="bpe:1024")
    with pytest.raises(UsageError, match=r"pre-training needs a tokenizer of BERT's.*wordpiece:SIZE"):
        train_batches(config, prepared(config).train)
    config = declared(length=4)
    with pytest.raises(UsageError, match=r"data\.length=4: expected 5 or more"):
        train_batches(config, prepared(config).train)


@pytest.mark.parametrize("drawn", ["dynamic", "static"])
def test_a_mixture_keeps_its_shares_and_its_sources_apart(tmp_path, drawn):
    """Two sources without a word in common; a random B is drawn from either, as over one corpus."""
    for name, words in (("one", "ab"), ("two", "yz")):
        documents = (". ".join(f"{w * (n + 1)}" for w in words for n in range(d, d + 4)) for d in range(40))
        (tmp_path / f"{name}.txt").write_text("\n\n".join(documents))
    config = declared(
        f"0.75*files:{tmp_path}/one.txt+0.25*files:{tmp_path}/two.txt",
        "wordpiece:32",
        "documents",
        documents="paragraphs",
        holdout=0.1,
        batch=8,
        masking=Masking(drawn=drawn),
    )
    store = prepared(config).train
    batches = train_batches(config, store)
    second = set(store.tokens[store.parts[1] :].tolist()) - set(store.tokens[: store.parts[1]].tolist())
    found = []
    for step in range(60):
        batch = batches[step]
        in_a = (batch["segments"] == 0) & (np.arange(LENGTH) < batch["lengths"][:, None])
        found.append((np.isin(restored(batch), list(second)) & in_a).any(1))
    assert np.concatenate(found).mean() == 0.25
    again = [train_batches(config, store, process_index=n, process_count=2)[9] for n in range(2)]
    assert equal({name: np.concatenate([part[name] for part in again]) for name in again[0]}, batches[9])


@pytest.fixture(scope="module")
def wikipedia(shared_data, tmp_path_factory):
    """Two thousand articles."""
    path = tmp_path_factory.mktemp("wiki") / "wiki.jsonl"
    with gzip.open(shared_data / "corpora" / "wiki.jsonl.gz", "rt") as file:
        path.write_text("".join(line for line, _ in zip(file, range(2000), strict=False)))
    return path


@pytest.mark.slow
def test_the_distribution_on_wikipedia(wikipedia, shared_data):
    config = declared(
        f"files:{wikipedia}",
        str(shared_data / "tokenizers" / "bert-base-uncased"),
        "documents",
        30_522,
        batch=256,
        length=128,
    )
    store = prepared(config).train
    batches = train_batches(config, store)
    pairs, _ = open_pairs(store, config.data)
    steps = [batches[step] for step in range(len(pairs) // 256)]
    join = {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
    real = join["weights"] > 0
    assert real.sum() / join["lengths"].sum() == pytest.approx(0.15, abs=0.002)
    shown = np.take_along_axis(join["tokens"], join["positions"], 1)[real]
    targets = join["targets"][real]
    assert (shown == 103).mean() == pytest.approx(0.8, abs=0.005)
    assert (shown == targets).mean() == pytest.approx(0.1, abs=0.005)
    assert ((shown != 103) & (shown != targets)).mean() == pytest.approx(0.1, abs=0.005)
    assert not np.isin(targets, (0, 101, 102)).any()
    assert join["next_targets"].mean() == pytest.approx(0.5, abs=0.01)
    assert join["lengths"].max() == 128
    # As published, a document is cut to short pairs with probability 0.1; its last pair is short anyway.
    assert 0.5 < (join["lengths"] >= 120).mean() < 0.9
    published = replace(config.data, masking=Masking(next="published"))
    natural, _ = open_pairs(store, published)
    assert 0.51 < natural["random"].mean() < 0.6  # for a lone sentence's is always random


def test_googles_sample(shared_data):
    """A sentence a line, and a blank line between documents."""
    config = declared(
        f"files:{shared_data}/lm/bert_sample_text/sample_text.txt",
        str(shared_data / "tokenizers" / "bert-base-uncased"),
        "documents",
        30_522,
        documents="paragraphs",
        sentences="lines",
        holdout=0.7,
    )
    corpus = prepared(config)
    text = (shared_data / "lm" / "bert_sample_text" / "sample_text.txt").read_text()
    assert corpus.train.documents + corpus.validation.documents == text.strip().count("\n\n") + 1
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(corpus.train.sentences) + len(corpus.validation.sentences) == len(lines)
    store = corpus.train
    sentences = [corpus.tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    cut = np.split(store.tokens, store.sentences[1:])
    assert all(part.tolist() in sentences for part in cut)
