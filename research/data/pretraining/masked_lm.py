"""BERT's examples: pairs of segments, with masks or without.

B is rows of this process, L is data.length, P is data.masking.predictions. A batch's keys:
`research.objectives.masked_token.batch_shapes`.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from research.config import Data
from research.data.decode import describe_pairs
from research.data.examples import Batch, Examples, Numbered
from research.data.pretraining.counter_rng import bits
from research.data.pretraining.masking import mask
from research.data.pretraining.sentence_pairs import open_pairs
from research.data.sources.documents import parts
from research.data.store import token_store
from research.data.store.token_store import TokenStore
from research.data.tokenizers.tokenizer import SpecialTokens
from research.errors import UsageError

STATIC, DYNAMIC = range(2)  # random numbers of masks depend on the pair, or on seed and position in the order


# (store, data, PAIRs of rows, a uint64 for each row's random numbers) → the rows' batch
MakeBatch = Callable[[TokenStore, Data, np.ndarray, np.ndarray], Batch]


def examples(data: Data, vocabulary: int, masked: bool = True) -> Examples:
    """`vocabulary` is the model's. Without masks, each token is predicted from those before it."""
    make_batch = masked_batch if masked else unmasked_batch
    return Examples(
        prepare=partial(token_store.prepare, data, vocabulary),
        train=partial(train, make_batch),
        validation=partial(validation, make_batch),
        describe=describe_pairs,
    )


def train(make_batch: MakeBatch, data: Data, seed: int, store: TokenStore) -> Numbered:
    """Static masks are fixed per pair, as published; dynamic masks are new at each visit.

    Raises UsageError if a source gives no pair.
    """
    pairs, begins = open_pairs(store, data)
    edges = [*begins, len(pairs)]
    if min(counts := np.diff(edges).tolist()) < 1:
        source = parts(data)[counts.index(0)][1].source
        raise UsageError(f"data.source={source}: no document to take a pair of segments from")
    static = data.masking.drawn == "static"

    def read(numbers: np.ndarray, places: np.ndarray) -> Batch:
        names = bits(STATIC, numbers) if static else bits(DYNAMIC, seed, places)
        return make_batch(store, data, pairs[numbers], names)

    return Numbered(edges, read, store.shares)


def validation(make_batch: MakeBatch, data: Data, store: TokenStore) -> Numbered:
    """Every pair once, with the masks it always has."""
    pairs, _ = open_pairs(store, data)

    def read(numbers: np.ndarray, _: np.ndarray) -> Batch:
        numbers = np.where(numbers < len(pairs), numbers, 0)
        return make_batch(store, data, pairs[numbers], bits(STATIC, numbers))

    return Numbered([0, len(pairs)], read)


def masked_batch(store: TokenStore, data: Data, pairs: np.ndarray, names: np.ndarray) -> Batch:
    tokens, segments, lengths = assemble(store, pairs, data.length)
    masked = mask(tokens, lengths, names, data.masking, _special(store))
    return {
        **masked._asdict(),
        "segments": segments,
        "lengths": lengths,
        "next_targets": pairs["random"].astype(np.int32),
        "next_weights": np.ones(len(pairs), np.float32),
    }


def unmasked_batch(store: TokenStore, data: Data, pairs: np.ndarray, names: np.ndarray) -> Batch:
    """The target of a token is the next one; the last token of a row has none."""
    tokens, segments, lengths = assemble(store, pairs, data.length)
    targets = np.roll(tokens, -1, axis=1)
    weights = (np.arange(data.length) < lengths[:, None] - 1).astype(np.float32)
    batch = {"tokens": tokens, "segments": segments, "lengths": lengths}
    return batch | {"targets": targets, "weights": weights}


def assemble(store: TokenStore, pairs: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[CLS] A [SEP] B [SEP] and padding: tokens (B, L), segments (B, L), lengths (B,), all int32."""
    lane_L = np.arange(length)
    a_B1, b_B1 = pairs["a_length"][:, None], pairs["b_length"][:, None]
    middle_B1, last_B1 = a_B1 + 1, a_B1 + b_B1 + 2  # positions of the two [SEP]
    in_a_BL, in_b_BL = (lane_L > 0) & (lane_L < middle_B1), (lane_L > middle_B1) & (lane_L < last_B1)
    places_BL = np.where(
        in_a_BL, pairs["a"][:, None] + lane_L - 1, pairs["b"][:, None] + lane_L - middle_B1 - 1
    )
    special = _special(store)
    special_BL = np.where((lane_L == middle_B1) | (lane_L == last_B1), special.sep, special.pad)
    special_BL[:, 0] = special.cls
    inside_BL = in_a_BL | in_b_BL
    tokens_BL = special_BL.astype(np.int32)
    tokens_BL[inside_BL] = store.tokens[places_BL[inside_BL]]
    segments_BL = ((lane_L > middle_B1) & (lane_L <= last_B1)).astype(np.int32)
    return tokens_BL, segments_BL, (last_B1[:, 0] + 1).astype(np.int32)


def _special(store: TokenStore) -> SpecialTokens:
    assert store.special_tokens is not None  # `open_pairs` refuses a store without them
    return store.special_tokens
