"""A data scheme that another package adds: one record, one registration."""

import numpy as np
import pytest

from research.config import Data
from research.config.names import SCHEMES
from research.data.sources import schemes
from research.data.sources.documents import documents, fingerprint
from research.data.sources.schemes import Scheme
from research.data.store.token_store import prepare
from research.errors import UsageError


def texts(source, data, split):
    return (f"number {n}\n" for n in range(int(source.name)))


@pytest.fixture
def numbers(registries):
    SCHEMES.register("numbers")(Scheme("numbers:COUNT", lambda source: int(source.name), documents=texts))


def data(source, **changes):
    return Data(source=source, tokenizer="char", batch=2, length=8, holdout=0.3, **changes)


def test_its_documents_are_tokenized_and_kept_apart(numbers):
    corpus = prepare(data("numbers:40"), 64, lambda line: None)
    both = np.concatenate([corpus.train.tokens, corpus.validation.tokens])
    assert sorted(corpus.tokenizer.decode(both.tolist()).split("\n")[:-1]) == sorted(
        f"number {n}" for n in range(40)
    )
    assert fingerprint(data("numbers:40")) != fingerprint(data("numbers:41"))
    assert len(list(documents(data("0.5*numbers:3+0.5*numbers:4"), "all"))) == 7


def test_unsupported_uses_are_refused(numbers):
    with pytest.raises(UsageError, match=r"numbers: gives no records; expected tfds:.* or files:GLOB"):
        list(schemes.records("numbers:3", (), "train"))
    with pytest.raises(UsageError, match="numbers have no splits of their own"):
        list(documents(data("numbers:3", split="published"), "train"))
    with pytest.raises(
        UsageError, match=r"data\.source=number:3: expected .*numbers:COUNT.*did you mean numbers"
    ):
        list(documents(data("number:3"), "all"))
