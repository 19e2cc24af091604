"""Tokens to text as they come: whole characters only, and nothing that may turn out to be a stop."""

import codecs
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders


def _byte_of() -> dict[str, int]:
    """GPT-2's alphabet: a character for each byte, printable ones for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTES = _byte_of()


class Writer:
    """The text of a continuation, token by token.

    What is returned adds up to the continuation's text; after a stop nothing more is. A character's bytes
    may come in several tokens, and a stop string in several pieces: both are held back until they are told.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str] = ()):
        self._tokenizer, self._stops = tokenizer, stops
        self._bytes = None
        if isinstance(tokenizer.decoder, decoders.ByteLevel):
            self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._before = list(prompt[-1:])  # what decides whether a space comes first
        self._held = ""
        self.text = ""  # all that was returned
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now."""
        return self._told(self._new(token))

    def flush(self) -> str:
        """What was held back, when no more tokens come."""
        last = self._bytes.decode(b"", final=True) if self._bytes else ""
        return "" if self.stopped else self._out(self._told(last), self._held)

    def _new(self, token: int) -> str:
        if self._bytes:
            piece = self._tokenizer.id_to_token(token)
            return "" if piece is None else self._bytes.decode(bytes(BYTES[char] for char in piece))
        old = self._tokenizer.decode(self._before, skip_special_tokens=False)
        new = self._tokenizer.decode([*self._before, token], skip_special_tokens=False)
        self._before = [*self._before[-8:], token]
        return new[len(old) :]

    def _told(self, new: str) -> str:
        if self.stopped:
            return ""
        self._held += new
        places = [self._held.find(stop) for stop in self._stops]
        if found := [place for place in places if place >= 0]:
            self.stopped = True
            return self._out("", self._held[: min(found)])
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        certain = self._held[: len(self._held) - keep]
        return self._out("", certain)

    def _out(self, already: str, text: str) -> str:
        self._held = self._held[len(text) :]
        self.text += text
        return already + text


def _overlap(text: str, stop: str) -> int:
    """How long a beginning of `stop` ends `text`."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
