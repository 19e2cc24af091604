"""Examples as models read them, against the papers' figures worked out by hand."""

import numpy as np
import pytest

from research.config.settings import override
from research.data.finetuning.inputs import cut_longer
from research.errors import UsageError
from research.objectives.task import task_tokenizer
from tests.by_experiment import corpus_of, examples_of, train_batches, validation_batches
from tests.data.finetuning.labelled import (
    CLASSIFY,
    CLS,
    DELIMITER,
    PAD,
    SEP,
    START,
    A,
    B,
    C,
    D,
    E,
    F,
    G,
    tuned,
    vocabulary,
    words_only,
)

ALONE = {"process_index": 0, "process_count": 1}
PAIRS = "sentence1\tsentence2\tlabel\na b\tc\tentailment\nd\te f\tnot_entailment\n"


def batch(experiment):
    """All examples, in order."""
    store = corpus_of(experiment).train
    whole = override(experiment, {"data.batch": len(store.labels)})
    return validation_batches(whole, store)[0]


def rows(array):
    return [[index for index in row if index != PAD] for row in array.reshape(-1, array.shape[-1]).tolist()]


def test_gpt1_classifies_one_text(tmp_path):
    (tmp_path / "x.tsv").write_text("sentence\tlabel\na b\t1\nc\t0\n")
    found = batch(tuned("gpt1_sst2", tmp_path, "x.tsv"))
    assert rows(found["tokens"]) == [[START, A, B, CLASSIFY], [START, C, CLASSIFY]]
    assert found["tokens"].shape == (2, 1, 4) and found["lengths"].tolist() == [[4], [3]]
    assert found["labels"].tolist() == [1, 0] and found["label_weights"].tolist() == [1, 1]


def test_a_gpt_without_special_tokens_reads_the_texts_alone(tmp_path):
    """A text of one token has no next token to predict."""
    (tmp_path / "x.tsv").write_text(PAIRS + "a b c d e f\tg\tentailment\n")
    plain = {"model__special_tokens": False, "data__length": 8}
    found = batch(tuned("gpt1_rte", tmp_path, "x.tsv", **plain))
    assert rows(found["tokens"]) == [[A, B, C], [D, E, F], [A, B, C, D, E, F, G]]
    (tmp_path / "y.tsv").write_text("sentence\tlabel\na\t1\nc d e\t0\n")
    found = batch(tuned("gpt1_sst2", tmp_path, "y.tsv", **plain))
    assert rows(found["tokens"]) == [[A], [C, D, E]] and found["lengths"].tolist() == [[1], [3]]
    assert found["auxiliary_weights"][:, 0].tolist() == [[0, 0, 0], [0.5, 0.5, 0]]


def test_gpt1_entailment_and_its_auxiliary_weights(tmp_path):
    """premise $ hypothesis; all tokens but the first are predicted, and a sequence's weights add up to 1."""
    (tmp_path / "x.tsv").write_text(PAIRS)
    found = batch(tuned("gpt1_rte", tmp_path, "x.tsv"))
    assert rows(found["tokens"])[0] == [START, A, B, DELIMITER, C, CLASSIFY]
    np.testing.assert_allclose(found["auxiliary_weights"][0, 0], [0.2] * 5 + [0])
    without = batch(tuned("gpt1_rte", tmp_path, "x.tsv", objective__auxiliary=0))
    assert "auxiliary_weights" not in without and np.array_equal(without["tokens"], found["tokens"])


def test_gpt1_similarity_reads_both_orders(tmp_path):
    (tmp_path / "x.csv").write_text("a b,c,2.5\n")
    found = batch(tuned("gpt1_stsb", tmp_path, "x.csv"))
    assert rows(found["tokens"]) == [
        [START, A, B, DELIMITER, C, CLASSIFY],
        [START, C, DELIMITER, A, B, CLASSIFY],
    ]
    assert found["tokens"].shape == (1, 2, 6) and found["labels"].tolist() == [2.5]


def test_gpt1_multiple_choice_is_a_sequence_a_choice(tmp_path):
    """RACE's [z; q; $; a]."""
    article = '{"article": "a b c", "question": "d", "options": ["e", "f", "g", "e f"], "label": "C"}\n'
    (tmp_path / "x.jsonl").write_text(article)
    found = batch(tuned("gpt1_race", tmp_path, "x.jsonl"))
    endings = ([E], [F], [G], [E, F])
    assert rows(found["tokens"]) == [[START, A, B, C, D, DELIMITER, *e, CLASSIFY] for e in endings]
    assert found["labels"].tolist() == [2]
    short = batch(tuned("gpt1_race", tmp_path, "x.jsonl", data__length=8))  # the article gives way
    assert rows(short["tokens"])[0] == [START, A, B, C, D, DELIMITER, E, CLASSIFY]
    assert rows(short["tokens"])[3] == [START, A, B, D, DELIMITER, E, F, CLASSIFY]


def test_gpt1_cuts_each_text_of_a_pair_to_almost_half(tmp_path):
    """finetune-transformer-lm: max_len = n_ctx // 2 - 2."""
    (tmp_path / "x.tsv").write_text(
        "sentence1\tsentence2\tlabel\na a a a a a\tb b b b b b b b b\tentailment\n"
    )
    found = batch(tuned("gpt1_rte", tmp_path, "x.tsv", data__length=12))
    assert rows(found["tokens"]) == [[START, A, A, A, A, DELIMITER, B, B, B, B, CLASSIFY]]
    (tmp_path / "y.tsv").write_text("sentence\tlabel\na a a a a a a a a a a a a\t1\n")
    found = batch(tuned("gpt1_sst2", tmp_path, "y.tsv", data__length=12))
    assert rows(found["tokens"]) == [[START, *[A] * 10, CLASSIFY]]


def test_bert_reads_pairs_with_segments(tmp_path):
    (tmp_path / "x.tsv").write_text(PAIRS)
    found = batch(tuned("bert_rte", tmp_path, "x.tsv"))
    assert rows(found["tokens"]) == [[CLS, A, B, SEP, C, SEP], [CLS, D, SEP, E, F, SEP]]
    assert found["segments"][:, 0].tolist() == [[0] * 4 + [1] * 2, [0] * 3 + [1] * 3]
    assert found["lengths"].tolist() == [[6], [6]]
    (tmp_path / "y.tsv").write_text("sentence\tlabel\na [SEP] b\t1\n")
    found = batch(tuned("bert_sst2", tmp_path, "y.tsv"))
    ids = rows(found["tokens"])[0]
    assert ids[0] == CLS and ids[-1] == SEP and ids.count(SEP) == 1  # its spelling is text
    assert not found["segments"].any()


def test_bert_reads_each_ending_of_swag_after_the_beginning_of_its_sentence(tmp_path):
    """The authors' train.csv, and test.csv without labels. Segment A is sent1, B is sent2 and an ending."""
    header = ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
    (tmp_path / "x.csv").write_text(header + "0,v_1,7,a b c,a b,c,gold,d,e,f g,d d,2\n")
    found = batch(tuned("bert_swag", tmp_path, "x.csv"))
    endings = ([D], [E], [F, G], [D, D])
    assert rows(found["tokens"]) == [[CLS, A, B, SEP, C, *ending, SEP] for ending in endings]
    assert found["segments"][0].tolist() == [
        [0] * 4 + [1] * (2 + len(ending)) + [0] * (2 - len(ending)) for ending in endings
    ]
    assert found["labels"].tolist() == [2]
    (tmp_path / "y.csv").write_text(header.replace(",label", "") + "0,v_1,7,a b c,a b,c,gold,d,e,f g,d d\n")
    experiment = tuned("bert_swag", tmp_path, "x.csv")
    test = examples_of(experiment).prepare_test(f"files:{tmp_path}/y.csv", lambda line: None)
    assert len(test.validation) == 1 and not test.validation.known.any()


def test_bert_cuts_the_longer_one_as_published():
    def published(a, b, most):
        while a + b > most:
            if a > b:
                a -= 1
            else:
                b -= 1
        return a, b

    for most in range(5, 12):
        for a in range(15):
            assert [cut_longer(a, b, most) for b in range(15)] == [published(a, b, most) for b in range(15)]


def test_an_epoch_has_every_example_once_and_validation_ends_in_weights_of_zero(tmp_path):
    rows_ = "".join(f"{'a ' * (n + 1)}\t{n % 2}\n" for n in range(6))
    (tmp_path / "x.tsv").write_text("sentence\tlabel\n" + rows_)
    experiment = tuned("gpt1_sst2", tmp_path, "x.tsv")
    store = corpus_of(experiment).train
    batches = train_batches(experiment, store, **ALONE)
    lengths = np.concatenate([batches[step]["lengths"][:, 0] for step in range(3)])
    assert sorted(lengths[:6]) == sorted(lengths[6:]) == [3, 4, 5, 6, 7, 8]
    validation = validation_batches(experiment, store, **ALONE)
    assert [validation[step]["lengths"][:, 0].tolist() for step in range(2)] == [[3, 4, 5, 6], [7, 8, 3, 3]]
    assert validation[1]["label_weights"].tolist() == [1, 1, 0, 0]
    assert validation[1]["auxiliary_weights"].sum((1, 2)).round(5).tolist() == [1, 1, 0, 0]


def test_a_batch_is_as_long_as_its_longest_example_whoever_reads_it(tmp_path):
    """Up to an eighth of data.length; where steps share a call, it is data.length for all."""
    rows_ = "".join(f"{'a ' * (n + 1)}\t{n % 2}\n" for n in range(12))
    (tmp_path / "x.tsv").write_text("sentence\tlabel\n" + rows_)
    experiment = tuned("gpt1_sst2", tmp_path, "x.tsv", data__length=24)
    store = corpus_of(experiment).train
    pairs = {"run.steps_per_call": 2, "run.evaluate_every": 2, "run.checkpoint_every": 2}
    stacked = override(experiment, pairs)
    for kind, steps in ((train_batches, 9), (validation_batches, 3)):
        whole, padded = kind(experiment, store, **ALONE), kind(stacked, store, **ALONE)
        halves = [kind(experiment, store, process_index=p, process_count=2) for p in range(2)]
        for step in range(steps):
            length = whole[step]["tokens"].shape[-1]
            assert 0 <= length - whole[step]["lengths"].max() < 3 and length % 3 == 0
            assert padded[step]["tokens"].shape[-1] == 24
            for name in whole[step]:
                both = np.concatenate([half[step][name] for half in halves])
                np.testing.assert_array_equal(both, whole[step][name])
                padding = padded[step][name][..., length:] if both.ndim == 3 else np.zeros(0)
                assert not np.any(padding)


def test_the_tokenizer_is_the_one_that_the_weights_were_trained_with(tmp_path):
    (tmp_path / "x.tsv").write_text("sentence\tlabel\na\t1\n")
    weights = vocabulary(tmp_path / "run")
    with_start = {"data__tokenizer": "start", "start__weights": str(weights)}
    ids = task_tokenizer(tuned("bert_sst2", tmp_path, "x.tsv", **with_start))().encode("a b").ids
    assert A in ids and B in ids
    stepped = with_start | {"start__weights": f"{weights}:300"}
    assert task_tokenizer(tuned("bert_sst2", tmp_path, "x.tsv", **stepped))().get_vocab_size() == 20
    assert task_tokenizer(tuned("bert_sst2", tmp_path, "x.tsv", start__weights=str(weights)))()
    other = str(words_only(tmp_path / "other"))
    for changes, message in (
        ({"data__tokenizer": "start"}, "which is none"),
        ({"start__weights": other}, "not the vocabulary that start.weights"),
        ({"data__tokenizer": other}, r"a bert needs \[CLS\]"),
        ({"model__vocabulary": 19}, "model.vocabulary=19: the tokenizer .* has 20 entries"),
        ({"start__weights": str(tmp_path / "no")}, "no such directory"),
        ({"data__tokenizer": "start", "start__weights": str(tmp_path)}, "has no tokenizer"),
    ):
        with pytest.raises(UsageError, match=message):
            corpus_of(tuned("bert_sst2", tmp_path, "x.tsv", **changes))
