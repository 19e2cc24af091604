"""Tokenizers: a published one, or one trained on the source. All are Hugging Face `Tokenizer`s."""

from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.tokenizers import published, trained
from research.data.tokenizers.published import END_OF_TEXT


class SpecialTokens(NamedTuple):
    """What BERT's examples need to know of a vocabulary."""

    entries: int
    pad: int
    cls: int
    sep: int
    mask: int
    continues: np.ndarray  # bool (entries,): of the pieces that continue a word


def load(data: Data) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names.

    `char`, `bpe:SIZE` and `wordpiece:SIZE` are trained on the source once and kept. Others are a path,
    a name under home, or on the Hub. Raises UsageError for a name without files, for files that are no
    tokenizer, for a SIZE that the source cannot fill; EnvironmentFault where the Hub is out of reach.
    """
    scheme = data.tokenizer.partition(":")[0]
    tokenizer = trained.load(data) if scheme in trained.SCHEMES else published.load(data.tokenizer)
    # A published tokenizer.json may cut or fill to the length of the model it came with.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def end_of_text(tokenizer: Tokenizer) -> int | None:
    """The id that ends a document, where the tokenizer has one."""
    return tokenizer.token_to_id(END_OF_TEXT)


def entries(tokenizer: Tokenizer) -> int:
    """Rows that an embedding needs: the largest id and one."""
    return 1 + max(tokenizer.get_vocab().values())


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens | None:
    """None where the tokenizer is not of BERT's kind."""
    special = [tokenizer.token_to_id(f"[{name}]") for name in ("PAD", "CLS", "SEP", "MASK")]
    if None in special:
        return None
    continues = np.zeros(entries(tokenizer), bool)
    continues[[index for piece, index in tokenizer.get_vocab().items() if piece.startswith("##")]] = True
    return SpecialTokens(len(continues), *special, continues)
