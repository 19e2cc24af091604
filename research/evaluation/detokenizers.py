"""Undoing what corpora's tokenizers left in them: GPT-2 reads text as people write it.

Spaces around punctuation, marks for hyphens in numbers, quotes as `` and ''. Written after the description in
Radford et al. (2019, section 3.1); the paper's own are not published. What a corpus counts as a token is
counted before (`research.evaluation.perplexity`), so that perplexities stay comparable.
"""

import re
from collections.abc import Callable

CLOSING = re.compile(r" ([.,;:!?%)\]}]|\.\.\.|'(?:s|m|d|t|re|ve|ll)\b|n't\b)", re.IGNORECASE)
OPENING = re.compile(r"([(\[{$£]) ")


def wikitext(text: str) -> str:
    """WikiText: ` @-@ ` in compounds and numbers, spaced quotes and punctuation, headings between `=`."""
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = _quotes_in_turns(text, '"')
    text = OPENING.sub(r"\1", CLOSING.sub(r"\1", text))
    text = re.sub(r" ' (\w)", r" '\1", text)  # a quote that opens
    text = re.sub(r" '(?=[ .,;:!?)\n]|$)", "'", text)  # … and closes, or an apostrophe
    text = re.sub(r"(\d) ([°′″])", r"\1\2", text)
    return re.sub(r"(?m)^ (.*?) ?$", r"\1", text)  # lines begin and end with a space


def treebank(text: str) -> str:
    """Penn Treebank: `N` and `<unk>` stay, since what they were is lost; contractions and clitics join."""
    text = re.sub(r" (n't|'(?:s|m|d|re|ve|ll))\b", r"\1", text)
    text = re.sub(r"\$ (?=N)", "$", text)
    text = re.sub(r" (?=%)", "", text)
    text = re.sub(r"(\b\w+) 's?(?=[ \n]|$)", lambda match: match[0].replace(" '", "'"), text)
    return re.sub(r"(?m)^ (.*?) ?$", r"\1", text)


def news(text: str) -> str:
    """The One Billion Word Benchmark: quotes apart, punctuation apart, ` -- ` for dashes."""
    text = _quotes_in_turns(text, '"')
    return OPENING.sub(r"\1", CLOSING.sub(r"\1", text))


def books(text: str) -> str:
    """LAMBADA's original file and the Children's Book Test: `` and '' for quotes, words and marks apart."""
    text = re.sub(r"-LRB- ?", "(", re.sub(r" ?-RRB-", ")", text))
    text = re.sub(r"`` ?", '"', re.sub(r" ?''", '"', text))
    text = re.sub(r"` (?=\w)", "'", text)
    text = OPENING.sub(r"\1", CLOSING.sub(r"\1", text))
    return re.sub(r" '(?=[ .,;:!?)\n\"]|$)", "'", text)


def plain(text: str) -> str:
    return text


def _quotes_in_turns(text: str, mark: str) -> str:
    """Quotes that stand alone open and close in turns, anew on each line."""
    lines = text.split("\n")
    for n, line in enumerate(lines):
        parts = line.split(f" {mark} ")
        if len(parts) > 1:
            joined = parts[0]
            for turn, part in enumerate(parts[1:]):
                joined += (f" {mark}" if turn % 2 == 0 else f"{mark} ") + part
            lines[n] = joined
    return "\n".join(lines)


DETOKENIZERS: dict[str, Callable[[str], str]] = {
    "wikitext": wikitext,
    "treebank": treebank,
    "news": news,
    "books": books,
    "none": plain,
}
