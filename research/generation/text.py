"""Prompts to their continuations, as text."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import end_of_text
from research.errors import UsageError
from research.generation.beams import search
from research.generation.sampling import sample
from research.generation.sampling_params import Sampling
from research.generation.streaming import Writer
from research.models.decoding import Decoder, decoder
from research.models.gpt import GPT

Listener = Callable[[int, str], None]  # (the prompt's number, the text that was added to it)


class Completion(NamedTuple):
    prompt: str
    text: str  # that follows it
    tokens: int  # that were drawn
    ended: Literal["length", "end", "stop"]  # by --tokens, the end of a document, or a stop string


class Beams(NamedTuple):
    """How a search goes; see `research.generation.beams`."""

    count: int
    length_penalty: float = 1.0
    early_stopping: bool = False


def complete(
    model: GPT | Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    tokens: int,
    how: Sampling | Beams = Sampling(),  # noqa: B008 (frozen)
    seed: int = 0,
    stops: Sequence[str] = (),
    batch: int = 8,
    listen: Listener | None = None,
) -> list[Completion]:
    """Continues each prompt by at most `tokens`; the same seed gives the same texts.

    `listen` hears what is added as it comes: of a search, when it is over. Raises UsageError for a tokenizer
    that is not the model's.
    """
    parts = model if isinstance(model, Decoder) else decoder(model)
    largest = max(tokenizer.get_vocab().values())
    if largest >= parts.config.vocabulary:
        raise UsageError(
            f"the tokenizer has {largest + 1} entries, the model only {parts.config.vocabulary}: not its own"
        )
    ids = [encoded(tokenizer, prompt) for prompt in prompts]
    one = _searched if isinstance(how, Beams) else _sampled
    done = []
    for first in range(0, len(prompts), batch):
        rows = range(first, min(first + batch, len(prompts)))
        written = one(parts, tokenizer, [ids[row] for row in rows], rows, tokens, how, seed, stops, listen)
        done += [Completion(prompts[row], *found) for row, found in zip(rows, written, strict=True)]
    return done


def encoded(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The prompt's ids; of an empty one, those of a document's start."""
    if ids := tokenizer.encode(prompt, add_special_tokens=False).ids:
        return ids
    end = end_of_text(tokenizer)
    ids = [end] if end is not None else tokenizer.encode("\n", add_special_tokens=False).ids
    return ids or [0]


def _sampled(parts, tokenizer, ids, rows, tokens, how, seed, stops, listen):
    writers = [Writer(tokenizer, prompt, stops) for prompt in ids]
    end, counts, ended = end_of_text(tokenizer), [0] * len(ids), [None] * len(ids)

    def hear(n: int, text: str) -> None:
        if listen and text:
            listen(rows[n], text)

    for drawn in sample(parts, ids, tokens, jax.random.key(seed), how, rows):
        for n, token in enumerate(drawn.tolist()):
            if ended[n]:
                continue
            counts[n] += 1
            if token == end:
                ended[n] = "end"
                hear(n, writers[n].flush())
                continue
            hear(n, writers[n].push(token))
            ended[n] = "stop" if writers[n].stopped else None
        if all(ended):
            break
    for n, writer in enumerate(writers):
        if not ended[n]:
            hear(n, writer.flush())
            ended[n] = "stop" if writer.stopped else "length"
    return [(writer.text, *facts) for writer, *facts in zip(writers, counts, ended, strict=True)]


def _searched(parts, tokenizer, ids, rows, tokens, how, seed, stops, listen):
    end, found = end_of_text(tokenizer), []
    beams = search(parts, ids, tokens, how.count, end, how.length_penalty, how.early_stopping)
    for row, prompt, (best, *_) in zip(rows, ids, beams, strict=True):
        writer, over = Writer(tokenizer, prompt, stops), best.tokens[-1] == end
        for token in best.tokens[:-1] if over else best.tokens:
            writer.push(token)
        writer.flush()
        if listen and writer.text:
            listen(row, writer.text)
        ended = "stop" if writer.stopped else "end" if over else "length"
        found.append((writer.text, len(best.tokens), ended))
    return found
