"""BERT's pairs of segments: Google's create_pretraining_data (google-research/bert), as an index.

A pair is two stretches of the token store, for what is cut off is cut off at an end. Every decision is
drawn by the sentence at which it is made, so pairs can be found in any order; here it is all documents
side by side, a pair of each at a time.
"""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from research.config import Data
from research.data.draws import below, chance, heads
from research.data.mapped import mapped
from research.data.once import make_once
from research.data.store import Store
from research.errors import UsageError

FORMAT = 1  # of the file
SPECIAL = 3  # tokens that a sequence adds to its pair: [CLS] A [SEP] B [SEP]
BLOCK = 1 << 16  # documents at once, which bounds memory
SAMPLE = 1 << 14  # documents, at most, on which half of all is found

PAIR = np.dtype([("a", "<i8"), ("b", "<i8"), ("a_length", "<i4"), ("b_length", "<i4"), ("random", "?")])

# What a draw decides is the last but one number of its address; the first two are pass and sentence.
SHORT, TARGET, SPLIT, RANDOM, OTHER, BEGIN, FRONT_A, FRONT_B = range(8)


class Sentences(NamedTuple):
    """The documents that have sentences, and where these begin in the store."""

    begins: np.ndarray  # int64 (sentences + 1,): the last is where the tokens end
    documents: np.ndarray  # int64 (documents + 1,): the first sentence of each


def open_pairs(store: Store, data: Data) -> tuple[np.ndarray, list[int]]:
    """The PAIRs (pairs,) of a store, mapped, and how many come before each source of a mixture.

    Made where they are not yet kept beside the store. Raises UsageError for a store without sentences,
    and for a length too short for a pair.
    """
    if store.sentences is None or store.marks is None:
        raise UsageError(
            f"data.tokenizer={data.tokenizer}: objective.name=masked_token needs a tokenizer of BERT's, with"
            " [CLS], [SEP], [MASK] and [PAD], such as bert-base-uncased or wordpiece:SIZE"
        )
    if data.length < SPECIAL + 2:
        raise UsageError(f"data.length={data.length}: expected {SPECIAL + 2} or more for a pair of segments")
    masking = data.masking
    facts = FORMAT, data.length, masking.duplicates, _exactly(masking.short), masking.next
    folder = store.folder / "-".join(map(str, ("pairs", *facts)))
    make_once(folder, partial(_write, store=store, data=data))
    return mapped(folder / "pairs.bin", PAIR), json.loads((folder / "parts.json").read_text(encoding="utf-8"))


def _exactly(number: float) -> str:
    """In few digits, but in all that tell it from every other."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _write(folder: Path, store: Store, data: Data) -> None:
    sentences = sentences_of(store)
    edges = np.searchsorted(sentences.begins[sentences.documents], [*store.parts, len(store.tokens)])
    masking, parts = data.masking, []
    coin = 0.5 if masking.next == "published" else balanced(sentences, data.length, masking.short)
    with open(folder / "pairs.bin", "wb") as file:
        for begin, end in pairwise(edges.tolist()):
            parts.append(file.tell() // PAIR.itemsize)
            for duplicate in range(masking.duplicates):
                for first in range(begin, end, BLOCK):
                    block = np.arange(first, min(first + BLOCK, end))
                    pairs(sentences, block, duplicate, data.length, masking.short, coin).tofile(file)
    (folder / "parts.json").write_text(json.dumps(parts), encoding="utf-8")


def sentences_of(store: Store) -> Sentences:
    """Documents without any sentence are left out."""
    begins = np.append(store.sentences, len(store.tokens))
    firsts = np.unique(np.searchsorted(store.sentences, store.starts))
    return Sentences(begins, np.append(firsts[firsts < len(begins) - 1], len(begins) - 1))


def balanced(sentences: Sentences, length: int, short: float) -> float:
    """The chance of a random B that makes half of all pairs random, found on a sample of documents.

    As published the chance is a half; but a lone sentence's B is always random, and many documents end
    in one: of Wikipedia's pairs, 55% are then random.
    """
    count = len(sentences.documents) - 1
    sample = np.arange(0, count, -(-count // SAMPLE))
    coin = 0.5
    for _ in range(4):  # the share moves almost as the coin does
        coin += 0.5 - pairs(sentences, sample, 0, length, short, coin)["random"].mean()
    return float(np.clip(coin, 0, 1))


def pairs(
    sentences: Sentences, block: np.ndarray, duplicate: int, length: int, short: float, coin: float
) -> np.ndarray:
    """The PAIRs of the documents `block`, document after document; another `duplicate`, other pairs.

    As published: sentences are gathered until they fill the length (for a share `short` of documents a
    random one), A is a random number of them, B is the rest or, by chance `coin` and always where there
    is no rest, what begins at a random sentence of another document; then the rest begins the next pair.
    """
    most = length - SPECIAL
    at, end = sentences.documents[block], sentences.documents[block + 1]
    targets = np.where(chance(short, duplicate, at, SHORT), 2 + below(most - 1, duplicate, at, TARGET), most)
    found, owners = [], []
    owner = np.arange(len(block))
    while len(at):
        pair, after = _next_pairs(sentences, block[owner], at, end, targets, duplicate, coin)
        found.append(_truncated(pair, most, duplicate, at))
        owners.append(owner)
        left = after < end
        at, end, targets, owner = after[left], end[left], targets[left], owner[left]
    order = np.argsort(np.concatenate(owners), kind="stable")
    return np.concatenate(found)[order]


def _next_pairs(sentences, documents, at, end, targets, duplicate, coin) -> tuple[np.ndarray, np.ndarray]:
    """The pair that begins at sentence `at` of each document, and where its next one begins."""
    begins = sentences.begins
    stop = np.minimum(np.searchsorted(begins, begins[at] + targets), end)
    gathered = stop - at
    middle = at + np.where(gathered > 1, 1 + below(np.maximum(gathered - 1, 1), duplicate, at, SPLIT), 1)
    random = (gathered == 1) | chance(coin, duplicate, at, RANDOM)

    count = len(sentences.documents) - 1
    other = below(max(count - 1, 1), duplicate, at, OTHER)
    other += (other >= documents) & (count > 1)  # a lone document is its own other, as published
    first, last = sentences.documents[other], sentences.documents[other + 1]
    b_first = np.where(random, first + below(last - first, duplicate, at, BEGIN), middle)
    wanted = targets - (begins[middle] - begins[at])
    enough = np.maximum(np.searchsorted(begins, begins[b_first] + wanted), b_first + 1)
    b_stop = np.where(random, np.minimum(enough, last), stop)

    pair = np.empty(len(at), PAIR)
    pair["a"], pair["a_length"] = begins[at], begins[middle] - begins[at]
    pair["b"], pair["b_length"] = begins[b_first], begins[b_stop] - begins[b_first]
    pair["random"] = random
    return pair, np.where(random, middle, stop)


def _truncated(pair: np.ndarray, most: int, duplicate: int, at: np.ndarray) -> np.ndarray:
    """The longer one (B, if they are equal) loses a token, at either end, until both fit."""
    a, b = pair["a_length"].astype(np.int64), pair["b_length"].astype(np.int64)
    half = most // 2
    a_kept = np.where(a + b <= most, a, np.where(a <= most - half, a, np.maximum(most - half, most - b)))
    b_kept = np.minimum(b, np.where(a + b <= most, b, most - a_kept))
    pair["a"] += heads(a - a_kept, duplicate, at, FRONT_A)
    pair["b"] += heads(b - b_kept, duplicate, at, FRONT_B)
    pair["a_length"], pair["b_length"] = a_kept, b_kept
    return pair
