"""What a BERT puts in the place of [MASK].

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import special_tokens
from research.errors import UsageError
from research.models.bert import BERT


class Candidate(NamedTuple):
    piece: str
    probability: float


class Filled(NamedTuple):
    prompt: str
    text: str  # with the likeliest piece in each place
    masks: list[list[Candidate]]  # of each [MASK], the likeliest first


def fill_masks(model: BERT, tokenizer: Tokenizer, prompts: Sequence[str], top: int = 5) -> list[Filled]:
    """Each mask is filled as if it were the only one; raises UsageError for a prompt without."""
    known = special_tokens(tokenizer)
    if known is None:
        raise UsageError("the tokenizer has no [MASK]; a BERT's is needed")
    encoded = [tokenizer.encode(prompt) for prompt in prompts]
    for prompt, row in zip(prompts, encoded, strict=True):
        if known.mask not in row.ids:
            raise UsageError(f"{prompt!r}: a BERT fills in what is masked; expected a [MASK] in it")
        if len(row.ids) > model.config.context:
            raise UsageError(f"{len(row.ids)} tokens: expected at most {model.config.context}, the context")
    lengths_B = np.asarray([len(row.ids) for row in encoded], np.int32)
    tokens_BL = np.full((len(encoded), lengths_B.max()), known.pad, np.int32)
    segments_BL = np.zeros_like(tokens_BL)
    for n, row in enumerate(encoded):
        tokens_BL[n, : len(row.ids)], segments_BL[n, : len(row.ids)] = row.ids, row.type_ids

    @jax.jit
    def likeliest(model):
        logits_BLV = model(tokens_BL, segments_BL, lengths_B)[0]
        return jax.lax.top_k(jax.nn.softmax(logits_BLV), min(top, logits_BLV.shape[-1]))

    probabilities, pieces = jax.device_get(likeliest(model))
    return [
        _filled(tokenizer, prompt, row.ids, known.mask, probabilities[n], pieces[n])
        for n, (prompt, row) in enumerate(zip(prompts, encoded, strict=True))
    ]


def _filled(tokenizer, prompt, ids, mask, probabilities, pieces) -> Filled:
    places = [place for place, token in enumerate(ids) if token == mask]
    best = {place: int(pieces[place, 0]) for place in places}
    text = tokenizer.decode([best.get(place, token) for place, token in enumerate(ids)])
    masks = [
        [
            Candidate(tokenizer.id_to_token(int(piece)) or f"#{piece}", float(probability))
            for piece, probability in zip(pieces[place], probabilities[place], strict=True)
        ]
        for place in places
    ]
    return Filled(prompt, text, masks)
