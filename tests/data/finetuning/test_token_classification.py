"""CoNLL's columns to tags at first pieces."""

import numpy as np
import pytest

from research.data.finetuning.token_classification import assemble
from research.errors import UsageError
from tests.by_experiment import corpus_of
from tests.data.finetuning.labelled import CLS, SEP, A, B, tuned

CONLL = """-DOCSTART- -X- -X- O

a NN B-NP B-PER
xyz NN I-NP I-PER
b VB O O

b NN O B-LOC
"""


def test_a_words_tag_is_at_its_first_piece(tmp_path):
    (tmp_path / "x.txt").write_text(CONLL)
    experiment = tuned("bert_ner", tmp_path, "x.txt")
    store = corpus_of(experiment).train
    batch = assemble(store, np.arange(2), experiment.data.length)
    x, y, z = (store.tokens[0][n] for n in (1, 2, 3))
    assert batch["tokens"][0, 0, :7].tolist() == [CLS, A, x, y, z, B, SEP]
    assert batch["tokens"][1, 0, :3].tolist() == [CLS, B, SEP]
    assert batch["labels"][0].tolist() == [0, 1, 2, 0, 0, 0, *[0] * 6]
    assert batch["label_weights"][0].tolist() == [0, 1, 1, 0, 0, 1, *[0] * 6]
    assert (
        batch["labels"][1, 1] == experiment.task.labels.index("B-LOC")
        and batch["label_weights"][1].sum() == 1
    )


def test_what_is_cut_off_is_not_asked(tmp_path):
    (tmp_path / "x.txt").write_text("a O O O\n" * 20)
    experiment = tuned("bert_ner", tmp_path, "x.txt")
    store = corpus_of(experiment).train
    batch = assemble(store, np.arange(1), experiment.data.length)
    assert batch["lengths"].tolist() == [[12]] and batch["label_weights"].sum() == 10
    assert len(store.labels[0]) == 20


def test_other_tags_and_ragged_lines_are_reported(tmp_path):
    (tmp_path / "x.txt").write_text("a NN O B-FOO\n")
    with pytest.raises(UsageError, match=r"x\.txt:1: label 'B-FOO'"):
        corpus_of(tuned("bert_ner", tmp_path, "x.txt"), print)
    (tmp_path / "x.txt").write_text("a NN O O\nb NN O\n")
    with pytest.raises(UsageError, match=r"x\.txt:2: 3 columns, the line before has 4"):
        corpus_of(tuned("bert_ner", tmp_path, "x.txt"), print)
