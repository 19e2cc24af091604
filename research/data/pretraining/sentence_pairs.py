"""An index of BERT's pairs of segments, as in create_pretraining_data of google-research/bert.

A pair is two contiguous ranges of the token store, because truncation only removes tokens at the ends. The
address of every random number contains the sentence of the decision, so the order of computation does not
matter: this code makes one pair of every document at a time.
"""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from research.config import Data
from research.data.pretraining.counter_rng import bernoulli, fair_binomial, randint
from research.data.store.token_store import TokenStore, mapped
from research.errors import UsageError
from research.io.activity import activity
from research.io.make_once import make_once

FORMAT = 1  # version of the file format
SPECIAL = 3  # special tokens of a sequence: [CLS] A [SEP] B [SEP]
BLOCK = 1 << 16  # documents processed at once; bounds memory
SAMPLE = 1 << 14  # maximum number of documents that `balanced` measures

PAIR = np.dtype([("a", "<i8"), ("b", "<i8"), ("a_length", "<i4"), ("b_length", "<i4"), ("random", "?")])

# The decision that a random number makes is the third part of its address; the first two are the duplicate
# and the sentence.
SHORT, TARGET, SPLIT, RANDOM, OTHER, BEGIN, FRONT_A, FRONT_B = range(8)


class Sentences(NamedTuple):
    """Offsets of sentences in the store, and of documents among the sentences."""

    begins: np.ndarray  # int64 (sentences + 1,): first token of each; then the number of tokens
    documents: np.ndarray  # int64 (documents + 1,): first sentence of each; then their number


def open_pairs(store: TokenStore, data: Data) -> tuple[np.ndarray, list[int]]:
    """The PAIRs (pairs,) of a store, memory-mapped, and the first pair of each source of a mixture.

    Makes the file beside the store if it does not exist. Raises UsageError for a store without sentences, and
    for a length too short for a pair.
    """
    if store.folder is None or store.sentences is None or store.special_tokens is None:
        raise UsageError(
            f"data.tokenizer={data.tokenizer}: BERT's pre-training needs a tokenizer of BERT's, with"
            " [CLS], [SEP], [MASK] and [PAD], such as bert-base-uncased or wordpiece:SIZE"
        )
    if data.length < SPECIAL + 2:
        raise UsageError(f"data.length={data.length}: expected {SPECIAL + 2} or more for a pair of segments")
    masking = data.masking
    facts = FORMAT, data.length, masking.duplicates, _shortest_repr(masking.short), masking.next
    folder = store.folder / "-".join(map(str, ("pairs", *facts)))
    with activity("pairing sentences"):
        make_once(folder, partial(_write, store=store, data=data))
    return mapped(folder / "pairs.bin", PAIR), json.loads((folder / "parts.json").read_text(encoding="utf-8"))


def _shortest_repr(number: float) -> str:
    """The short form of a number if it is exact, else all digits."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _write(folder: Path, store: TokenStore, data: Data) -> None:
    sentences = sentences_of(store)
    edges = np.searchsorted(sentences.begins[sentences.documents], [*store.parts, len(store.tokens)])
    masking, parts = data.masking, []
    p_random = 0.5 if masking.next == "published" else balanced(sentences, data.length, masking.short)
    with open(folder / "pairs.bin", "wb") as file:
        for begin, end in pairwise(edges.tolist()):
            parts.append(file.tell() // PAIR.itemsize)
            for duplicate in range(masking.duplicates):
                for first in range(begin, end, BLOCK):
                    block = np.arange(first, min(first + BLOCK, end))
                    pairs(sentences, block, duplicate, data.length, masking.short, p_random).tofile(file)
    (folder / "parts.json").write_text(json.dumps(parts), encoding="utf-8")


def sentences_of(store: TokenStore) -> Sentences:
    """The offsets of a store's sentences; documents without a sentence are left out."""
    assert store.sentences is not None  # `open_pairs` refuses a store without them
    begins = np.append(store.sentences, len(store.tokens))
    firsts = np.unique(np.searchsorted(store.sentences, store.starts))
    return Sentences(begins, np.append(firsts[firsts < len(begins) - 1], len(begins) - 1))


def balanced(sentences: Sentences, length: int, short: float) -> float:
    """The probability of a random B that makes half of all pairs random, measured on a sample of documents.

    The published probability is 1/2. But B is always random after a single remaining sentence, which is
    frequent at the end of documents, so 55% of Wikipedia's pairs are random at 1/2.
    """
    count = len(sentences.documents) - 1
    sample = np.arange(0, count, -(-count // SAMPLE))
    p_random = 0.5
    for _ in range(4):  # the share of random pairs grows almost as fast as p_random
        p_random += 0.5 - pairs(sentences, sample, 0, length, short, p_random)["random"].mean()
    return float(np.clip(p_random, 0, 1))


def pairs(
    sentences: Sentences, block: np.ndarray, duplicate: int, length: int, short: float, p_random: float
) -> np.ndarray:
    """The PAIRs of the documents `block`, document by document; each `duplicate` gives different pairs.

    As published: sentences are collected until they fill the target length, which is a random shorter one for
    a share `short` of documents. A is a random number of these sentences. B is the rest; or, with probability
    `p_random` and always if there is no rest, text from a random sentence of another document on. After a
    random B the next pair begins with the rest.
    """
    max_tokens = length - SPECIAL
    start, end = sentences.documents[block], sentences.documents[block + 1]
    targets = np.where(
        bernoulli(short, duplicate, start, SHORT),
        2 + randint(max_tokens - 1, duplicate, start, TARGET),
        max_tokens,
    )
    batches, owners = [], []  # pairs, and the document of each in the block
    owner = np.arange(len(block))
    while len(start):
        pair, after = _next_pairs(sentences, block[owner], start, end, targets, duplicate, p_random)
        batches.append(_truncated(pair, max_tokens, duplicate, start))
        owners.append(owner)
        left = after < end
        start, end, targets, owner = after[left], end[left], targets[left], owner[left]
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(batches)[order]


def _next_pairs(
    sentences, documents, start, end, targets, duplicate, p_random
) -> tuple[np.ndarray, np.ndarray]:
    """The pair that begins at sentence `start` of each document, and the first sentence of the next pair."""
    begins = sentences.begins
    stop = np.minimum(np.searchsorted(begins, begins[start] + targets), end)
    gathered = stop - start
    middle = start + np.where(
        gathered > 1, 1 + randint(np.maximum(gathered - 1, 1), duplicate, start, SPLIT), 1
    )
    random = (gathered == 1) | bernoulli(p_random, duplicate, start, RANDOM)

    count = len(sentences.documents) - 1
    other = randint(max(count - 1, 1), duplicate, start, OTHER)
    other += (other >= documents) & (count > 1)  # a lone document is its own other, as published
    first, last = sentences.documents[other], sentences.documents[other + 1]
    b_first = np.where(random, first + randint(last - first, duplicate, start, BEGIN), middle)
    missing = targets - (begins[middle] - begins[start])
    enough = np.maximum(np.searchsorted(begins, begins[b_first] + missing), b_first + 1)
    b_stop = np.where(random, np.minimum(enough, last), stop)

    pair = np.empty(len(start), PAIR)
    pair["a"], pair["a_length"] = begins[start], begins[middle] - begins[start]
    pair["b"], pair["b_length"] = begins[b_first], begins[b_stop] - begins[b_first]
    pair["random"] = random
    return pair, np.where(random, middle, stop)


def _truncated(pair: np.ndarray, max_tokens: int, duplicate: int, start: np.ndarray) -> np.ndarray:
    """Remove tokens from the longer segment (B if both are equal), at a random end, until the pair fits."""
    a, b = pair["a_length"].astype(np.int64), pair["b_length"].astype(np.int64)
    half = max_tokens // 2
    a_kept = np.where(
        a + b <= max_tokens,
        a,
        np.where(a <= max_tokens - half, a, np.maximum(max_tokens - half, max_tokens - b)),
    )
    b_kept = np.minimum(b, np.where(a + b <= max_tokens, b, max_tokens - a_kept))
    pair["a"] += fair_binomial(a - a_kept, duplicate, start, FRONT_A)
    pair["b"] += fair_binomial(b - b_kept, duplicate, start, FRONT_B)
    pair["a_length"], pair["b_length"] = a_kept, b_kept
    return pair
