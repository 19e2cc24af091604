"""Text completion: prompts in, continuations out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import jax
from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import document_start, encode, end_of_text
from research.errors import UsageError
from research.generation.beams import beam_search
from research.generation.sampling import sample
from research.generation.sampling_params import Sampling
from research.generation.streaming import TextStreamer
from research.models.decoding import decoder
from research.models.gpt import GPT

OnText = Callable[[int, str], None]  # (number of the prompt, new text of its continuation)


class Completion(NamedTuple):
    prompt: str
    text: str  # the continuation, without the prompt
    tokens: int  # number of new tokens
    ended: Literal["length", "end", "stop"]  # by the maximum length, the end-of-text token, a stop string


class BeamSearch(NamedTuple):
    """Settings of a beam search; see `research.generation.beams`."""

    beams: int
    length_penalty: float = 1.0
    early_stopping: bool = False


def complete(
    model: GPT,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    tokens: int,
    decoding: Sampling | BeamSearch = Sampling(),  # noqa: B008 (frozen)
    seed: int = 0,
    stops: Sequence[str] = (),
    batch: int = 8,
    on_text: OnText | None = None,
) -> list[Completion]:
    """Continue each prompt by at most `tokens` tokens; the same seed gives the same texts.

    `on_text` is called with each new piece of text while sampling; a beam search calls it once, at the end.
    Raises UsageError for a tokenizer with more entries than the model.
    """
    gpt = decoder(model)
    largest = max(tokenizer.get_vocab().values())
    if largest >= gpt.config.vocabulary:
        raise UsageError(
            f"the tokenizer has {largest + 1} entries, the model only {gpt.config.vocabulary}: not its own"
        )
    completions = []
    for first in range(0, len(prompts), batch):
        rows = range(first, min(first + batch, len(prompts)))
        ids = [encode_prompt(tokenizer, prompts[row]) for row in rows]
        streamers = [TextStreamer(tokenizer, prompt, stops) for prompt in ids]
        if isinstance(decoding, BeamSearch):
            ends = _beam_search(gpt, end_of_text(tokenizer), ids, rows, tokens, decoding, streamers, on_text)
        else:
            steps = sample(gpt, ids, tokens, jax.random.key(seed), decoding, rows)
            ends = _stream(steps, end_of_text(tokenizer), rows, streamers, on_text)
        for row, streamer, (count, ended) in zip(rows, streamers, ends, strict=True):
            completions.append(Completion(prompts[row], streamer.text, count, ended))
    return completions


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids of a prompt; an empty prompt becomes the start of a document."""
    return encode(tokenizer, prompt).ids or document_start(tokenizer)


End = tuple[int, Literal["length", "end", "stop"]]  # number of new tokens, reason


def _stream(
    steps: Iterator, end: int | None, rows: range, streamers: list[TextStreamer], on_text: OnText | None
) -> list[End]:
    """Feed sampled tokens to the streamers until every row has ended."""
    counts: list[int] = [0] * len(rows)
    ended: dict[int, Literal["length", "end", "stop"]] = {}

    def emit(n: int, text: str) -> None:
        if on_text and text:
            on_text(rows[n], text)

    for next_B in steps:
        for n, token in enumerate(next_B.tolist()):
            if n in ended:
                continue
            counts[n] += 1
            if token == end:
                ended[n] = "end"
                emit(n, streamers[n].flush())
                continue
            emit(n, streamers[n].push(token))
            if streamers[n].stopped:
                ended[n] = "stop"
        if len(ended) == len(rows):
            break
    for n, streamer in enumerate(streamers):
        if n not in ended:
            emit(n, streamer.flush())
            ended[n] = "stop" if streamer.stopped else "length"
    return [(count, ended[n]) for n, count in enumerate(counts)]


def _beam_search(
    gpt: GPT,
    end: int | None,
    ids: list[list[int]],
    rows: range,
    tokens: int,
    settings: BeamSearch,
    streamers: list[TextStreamer],
    on_text: OnText | None,
) -> list[End]:
    """Decode the best beam of each prompt."""
    beams = beam_search(
        gpt, ids, tokens, settings.beams, end, settings.length_penalty, settings.early_stopping
    )
    ends = []
    for row, streamer, (best, *_) in zip(rows, streamers, beams, strict=True):
        at_end = best.tokens[-1] == end
        for token in best.tokens[:-1] if at_end else best.tokens:
            streamer.push(token)
        streamer.flush()
        if on_text and streamer.text:
            on_text(row, streamer.text)
        ended = "stop" if streamer.stopped else "end" if at_end else "length"
        ends.append((len(best.tokens), ended))
    return ends
