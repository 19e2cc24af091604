"""Pairs against create_pretraining_data, written out as its loop over lists and driven by the same draws."""

import random
from itertools import chain

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from research.data.pretraining.counter_rng import bernoulli, bits, randint
from research.data.pretraining.sentence_pairs import (
    BEGIN,
    FRONT_A,
    FRONT_B,
    OTHER,
    RANDOM,
    SHORT,
    SPLIT,
    TARGET,
    Sentences,
    balanced,
    pairs,
    sentences_of,
)  # fmt: skip
from research.data.store.token_store import TokenStore

CORPUS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=8)


def laid_out(corpus):
    """Documents of sentence lengths → where they begin."""
    lengths = [length for document in corpus for length in document]
    begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sentences(begins, np.concatenate([[0], np.cumsum([len(d) for d in corpus])]).astype(np.int64))


def by_the_loop(sentences, document, duplicate, length, short, coin):
    """(tokens of A, tokens of B, random) of a document, tokens being their places."""
    texts = [
        [list(range(*sentences.begins[n : n + 2])) for n in range(*sentences.documents[d : d + 2])]
        for d in range(len(sentences.documents) - 1)
    ]
    offset = sentences.documents

    def random_number(n, kind, bound=None):
        address = duplicate, offset[document] + n, kind
        return bernoulli(coin, *address) if bound is None else int(randint(bound, *address))

    most = target = length - 3
    if bernoulli(short, duplicate, offset[document], SHORT):
        target = 2 + random_number(0, TARGET, most - 1)
    found, chunk, i, begin = [], [], 0, 0
    while i < len(texts[document]):
        chunk.append(texts[document][i])
        if i == len(texts[document]) - 1 or sum(map(len, chunk)) >= target:
            a_end = 1 if len(chunk) == 1 else 1 + random_number(begin, SPLIT, len(chunk) - 1)
            a, b = list(chain(*chunk[:a_end])), []
            is_random = len(chunk) == 1 or random_number(begin, RANDOM)
            if is_random:
                other = random_number(begin, OTHER, max(len(texts) - 1, 1))
                other += other >= document and len(texts) > 1
                for n in range(random_number(begin, BEGIN, len(texts[other])), len(texts[other])):
                    b += texts[other][n]
                    if len(b) >= target - len(a):
                        break
                i -= len(chunk) - a_end
            else:
                b = list(chain(*chunk[a_end:]))
            coins = {
                kind: iter(coin_tosses(duplicate, offset[document] + begin, kind))
                for kind in (FRONT_A, FRONT_B)
            }
            while len(a) + len(b) > most:
                longer, kind = (a, FRONT_A) if len(a) > len(b) else (b, FRONT_B)
                longer.pop(0 if next(coins[kind]) else -1)
            found.append((a, b, is_random))
            chunk, begin = [], i + 1
        i += 1
    return found


def coin_tosses(*address):
    word = 0
    while True:
        yield from (int(bit) for bit in f"{int(bits(*address, word)):064b}")
        word += 1


@given(CORPUS, st.integers(5, 60), st.sampled_from([0.0, 0.1, 0.9]), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=150, deadline=None)
def test_equal_to_the_published_loop(corpus, length, short, coin):
    sentences = laid_out(corpus)
    for duplicate in range(2):
        found = pairs(sentences, np.arange(len(corpus)), duplicate, length, short, coin)
        expected = [
            pair
            for document in range(len(corpus))
            for pair in by_the_loop(sentences, document, duplicate, length, short, coin)
        ]
        assert len(found) == len(expected)
        for pair, (a, b, is_random) in zip(found, expected, strict=True):
            assert list(range(pair["a"], pair["a"] + pair["a_length"])) == a
            assert list(range(pair["b"], pair["b"] + pair["b_length"])) == b
            assert bool(pair["random"]) == bool(is_random)


def test_a_case_by_hand():
    """Two documents, no chance: three sentences of 4, 3, 2 tokens and one of 5; length 3 + 9.

    The first fills 9 with all three and is cut after one or two, B being the rest. The second is alone,
    so its B is random: of the first document.
    """
    sentences = laid_out([[4, 3, 2], [5]])
    first, second = pairs(sentences, np.arange(2), 0, 12, 0.0, 0.0)
    assert (int(first["a"]), int(first["a_length"]), int(first["b_length"])) in ((0, 4, 5), (0, 7, 2))
    assert first["b"] == first["a_length"] and not first["random"]
    assert (int(second["a"]), int(second["a_length"]), bool(second["random"])) == (9, 5, True)
    # B is gathered until it has the 4 tokens that are left, or the document ends; more than 4 are cut.
    assert 0 <= second["b"] < 9 and second["b_length"] in (4, 2)
    (cut,) = pairs(sentences, np.array([1]), 0, 3 + 6, 0.0, 0.0)
    assert cut["a_length"] + cut["b_length"] == 6 and cut["a_length"] in (3, 4)


def test_blocks_do_not_matter():
    corpus = [[random.Random(n).randint(1, 30) for _ in range(n % 9 + 1)] for n in range(60)]
    sentences = laid_out(corpus)
    whole = pairs(sentences, np.arange(60), 0, 40, 0.1, 0.5)
    parts = [pairs(sentences, np.arange(n, n + 12), 0, 40, 0.1, 0.5) for n in range(0, 60, 12)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, pairs(sentences, np.arange(60), 1, 40, 0.1, 0.5))


def test_half_are_random_whatever_the_documents_are_like():
    corpus = [[random.Random(n).randint(5, 40) for _ in range(n % 30 + 4)] for n in range(3000)]
    sentences = laid_out(corpus)
    coin = balanced(sentences, 128, 0.1)
    found = pairs(sentences, np.arange(3000), 1, 128, 0.1, coin)
    assert coin < 0.5
    assert abs(found["random"].mean() - 0.5) < 0.01


def test_documents_without_a_sentence_are_left_out():
    store = TokenStore(
        np.zeros(9, np.uint16), np.array([0, 4, 4, 9]), 9, 0.0, "", sentences=np.array([0, 2, 4, 7])
    )
    begins, documents = sentences_of(store)
    assert begins.tolist() == [0, 2, 4, 7, 9]
    assert documents.tolist() == [0, 2, 4]
