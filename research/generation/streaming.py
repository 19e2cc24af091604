"""Incremental detokenization: only complete characters, and no text that may begin a stop string."""

import codecs
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders


def _byte_of() -> dict[str, int]:
    """GPT-2's byte alphabet: a character for each byte; a printable byte stands for itself."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTES = _byte_of()


class TextStreamer:
    """Turns the tokens of one continuation into text, token by token.

    The returned strings add up to the text of the continuation, up to the first stop string. A character's
    bytes may be spread over several tokens, and so may a stop string: the streamer holds both back until they
    are complete.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str] = ()):
        self._tokenizer, self._stops = tokenizer, stops
        self._bytes = None
        if isinstance(tokenizer.decoder, decoders.ByteLevel):
            self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._previous = list(prompt[-1:])  # the tokens before decide whether a space comes first
        self._held = ""
        self.text = ""  # all text returned so far
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; return the text that is now certain."""
        return self._release(self._decode(token))

    def flush(self) -> str:
        """Return the text held back; call it after the last token."""
        last = self._bytes.decode(b"", final=True) if self._bytes else ""
        return "" if self.stopped else self._release(last) + self._emit(self._held)

    def _decode(self, token: int) -> str:
        if self._bytes:
            piece = self._tokenizer.id_to_token(token)
            return "" if piece is None else self._bytes.decode(bytes(BYTES[char] for char in piece))
        old = self._tokenizer.decode(self._previous, skip_special_tokens=False)
        new = self._tokenizer.decode([*self._previous, token], skip_special_tokens=False)
        self._previous = [*self._previous[-8:], token]
        return new[len(old) :]

    def _release(self, new: str) -> str:
        """Append `new` to the held text; emit the part that cannot belong to a stop string."""
        if self.stopped:
            return ""
        self._held += new
        positions = [self._held.find(stop) for stop in self._stops]
        if matches := [position for position in positions if position >= 0]:
            self.stopped = True
            return self._emit(self._held[: min(matches)])
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        return self._emit(self._held[: len(self._held) - keep])

    def _emit(self, text: str) -> str:
        self._held = self._held[len(text) :]
        self.text += text
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
