"""Fill-mask: a BERT predicts the tokens at [MASK].

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax import Array
from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import encode, special_tokens
from research.errors import UsageError
from research.generation.sampling import round_up
from research.models.bert import BERT
from research.models.sites import is_changed


class Candidate(NamedTuple):
    piece: str
    probability: float


class Filled(NamedTuple):
    prompt: str
    text: str  # the prompt with the most likely piece at each [MASK]
    masks: list[list[Candidate]]  # for each [MASK], the most likely pieces, best first


def fill_masks(model: BERT, tokenizer: Tokenizer, prompts: Sequence[str], top: int = 5) -> list[Filled]:
    """The `top` most likely pieces at each [MASK], predicted independently of each other.

    Raises UsageError for a prompt without [MASK] or longer than the context, for a tokenizer without [MASK],
    for a left-to-right BERT, and for a fine-tuned model, which has no masked-token head.
    """
    if model.config.left_only:
        raise UsageError("model.left_only=true: this BERT reads from left to right, and fills in no [MASK]")
    if model.masked is None:
        raise UsageError(
            f"the model was fine-tuned (model.head={model.config.head}) and fills in no [MASK]; "
            "lineage evaluate --task answers gives its predictions"
        )
    special = special_tokens(tokenizer)
    if special is None:
        raise UsageError("the tokenizer has no [MASK]; a BERT's is needed")
    encoded = [encode(tokenizer, prompt, add_special_tokens=True) for prompt in prompts]
    for prompt, row in zip(prompts, encoded, strict=True):
        if special.mask not in row.ids:
            raise UsageError(f"{prompt!r}: a BERT fills in masked tokens; expected a [MASK] in it")
        if len(row.ids) > model.config.context:
            raise UsageError(f"{len(row.ids)} tokens: expected at most {model.config.context}, the context")
    lengths_B = np.asarray([len(row.ids) for row in encoded], np.int32)
    length, most_likely = int(lengths_B.max()), _most_likely
    if not is_changed(model):
        length, most_likely = min(round_up(length), model.config.context), _compiled_most_likely
    tokens_BL = np.full((len(encoded), length), special.pad, np.int32)
    segments_BL = np.zeros_like(tokens_BL)
    for n, row in enumerate(encoded):
        tokens_BL[n, : len(row.ids)], segments_BL[n, : len(row.ids)] = row.ids, row.type_ids
    top = min(top, model.config.vocabulary)
    probabilities, pieces = jax.device_get(most_likely(model, tokens_BL, segments_BL, lengths_B, top))
    return [
        _filled(tokenizer, prompt, row.ids, special.mask, probabilities[n], pieces[n])
        for n, (prompt, row) in enumerate(zip(prompts, encoded, strict=True))
    ]


def _most_likely(model: BERT, tokens_BL, segments_BL, lengths_B, top: int) -> tuple[Array, Array]:
    """Probabilities and ids of the most likely pieces at each position, both (B, L, top)."""
    logits_BLV = model(tokens_BL, segments_BL, lengths_B)[0]
    return jax.lax.top_k(jax.nn.softmax(logits_BLV), top)


_compiled_most_likely = jax.jit(_most_likely, static_argnames="top")


def _filled(tokenizer, prompt, ids, mask, probabilities, pieces) -> Filled:
    """From the top probabilities and ids of pieces at each position, both (L, top)."""
    positions = [position for position, token in enumerate(ids) if token == mask]
    best = {position: int(pieces[position, 0]) for position in positions}
    text = tokenizer.decode([best.get(position, token) for position, token in enumerate(ids)])
    masks = [
        [
            Candidate(tokenizer.id_to_token(int(piece)) or f"#{piece}", float(probability))
            for piece, probability in zip(pieces[position], probabilities[position], strict=True)
        ]
        for position in positions
    ]
    return Filled(prompt, text, masks)
