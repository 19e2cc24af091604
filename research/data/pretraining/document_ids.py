"""Which document a window's tokens are of, for attention that stays within them.

`<|endoftext|>` opens the document that it stands before: it is what a model begins to write from, and so no
first token is predicted from the document before it. Without one, a document's first token opens it.
"""

from typing import NamedTuple

import numpy as np

from research.config import Data
from research.data.store.token_store import TokenStore


class Openings(NamedTuple):
    """Where the documents of a store begin, and how many tokens before that they are opened."""

    starts: np.ndarray  # int64 (documents,)
    ahead: int


def openings(data: Data, store: TokenStore) -> Openings | None:
    """None where attention does not ask for documents."""
    return Openings(store.starts, int(store.ended)) if data.attend == "document" else None


def documents(openings: Openings | None, begins_B: np.ndarray, length: int) -> dict[str, np.ndarray]:
    """Of windows that begin at `begins_B`, the numbers within them: int32 (B, length), each row from 0."""
    if openings is None:
        return {}
    starts, ahead = openings
    # Those that open after a window's first token, up to its last.
    first_B, last_B = (np.searchsorted(starts, begins_B + ahead + n, "right") for n in (0, length - 1))
    counts_B = last_B - first_B
    rows = np.repeat(np.arange(len(begins_B)), counts_B)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
    opens_BL = np.zeros((len(begins_B), length), np.int32)
    opens_BL[rows, starts[first_B[rows] + nth] - ahead - begins_B[rows]] = 1
    return {"documents": opens_BL.cumsum(axis=1, dtype=np.int32)}
