"""The document of each token in a window, for attention within documents.

An `<|endoftext|>` belongs to the document after it: a model starts to write from this token, and the first
token of a document is then not predicted from the previous document. Without `<|endoftext|>`, a document
starts with its first token.
"""

from typing import NamedTuple

import numpy as np

from research.config import Data
from research.data.store.token_store import TokenStore


class DocumentStarts(NamedTuple):
    """Where the documents of a store begin."""

    starts: np.ndarray  # int64 (documents,): first token of each
    offset: int  # tokens before `starts` that belong to the document: 1 for an `<|endoftext|>`, or 0


def document_starts(data: Data, store: TokenStore) -> DocumentStarts | None:
    """The starts for `data.attend=document`; None for attention to the whole window."""
    return DocumentStarts(store.starts, int(store.ended)) if data.attend == "document" else None


def document_ids(
    documents: DocumentStarts | None, begins_B: np.ndarray, length: int
) -> dict[str, np.ndarray]:
    """{"documents": int32 (B, length)} for windows that begin at `begins_B`; each row counts from 0.

    Empty where `documents` is None.
    """
    if documents is None:
        return {}
    starts, offset = documents
    # Documents that start after the first token of a window, up to its last.
    first_B, last_B = (np.searchsorted(starts, begins_B + offset + n, "right") for n in (0, length - 1))
    counts_B = last_B - first_B
    rows = np.repeat(np.arange(len(begins_B)), counts_B)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
    starts_BL = np.zeros((len(begins_B), length), np.int32)
    starts_BL[rows, starts[first_B[rows] + nth] - offset - begins_B[rows]] = 1
    return {"documents": starts_BL.cumsum(axis=1, dtype=np.int32)}
