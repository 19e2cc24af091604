"""Detokenizers: they restore natural text from the tokenized text of a corpus.

They remove spaces around punctuation, marks for hyphens in numbers, and quotes written as `` and ''. They
follow the description in Radford et al. (2019, section 3.1); the paper's own detokenizers are not published.
`research.evaluation.perplexity` counts the words of a corpus before it is detokenized, so that perplexities
stay comparable.
"""

import re
from collections.abc import Callable

CLOSING = re.compile(r" ([.,;:!?%)\]}]|\.\.\.|'(?:s|m|d|t|re|ve|ll)\b|n't\b)", re.IGNORECASE)
QUOTE = '"'
OPENING = re.compile(r"([(\[{$£]) ")


def wikitext(text: str) -> str:
    """WikiText: ` @-@ ` in compounds and numbers, spaced quotes and punctuation, headings between `=`."""
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = _pair_quotes(text)
    text = OPENING.sub(r"\1", CLOSING.sub(r"\1", text))
    text = re.sub(r" ' (\w)", r" '\1", text)  # an opening quote
    text = re.sub(r" '(?=[ .,;:!?)\n]|$)", "'", text)  # a closing quote, or an apostrophe
    text = re.sub(r"(\d) ([°′″])", r"\1\2", text)
    return re.sub(r"(?m)^ (.*?) ?$", r"\1", text)  # each line begins and ends with a space


def treebank(text: str) -> str:
    """Penn Treebank: joins contractions and clitics. `N` and `<unk>` stay, since their words are unknown."""
    text = re.sub(r" (n't|'(?:s|m|d|re|ve|ll))\b", r"\1", text)
    text = re.sub(r"\$ (?=N)", "$", text)
    text = re.sub(r" (?=%)", "", text)
    text = re.sub(r"(\b\w+) 's?(?=[ \n]|$)", lambda match: match[0].replace(" '", "'"), text)
    return re.sub(r"(?m)^ (.*?) ?$", r"\1", text)


def news(text: str) -> str:
    """The One Billion Word Benchmark: spaced quotes and punctuation; ` -- ` for dashes stays.

    Single apostrophes are joined at line ends and before punctuation; elsewhere they may be an opening quote
    or a plural's genitive.
    """
    text = _pair_quotes(text)
    text = OPENING.sub(r"\1", CLOSING.sub(r"\1", text))
    text = re.sub(r"(?m)^' (?=\w)", "'", text)
    return re.sub(r"(?m) '(?=[.,;:!?)\"]|$)", "'", text)


def books(text: str) -> str:
    """LAMBADA's original file and the Children's Book Test: `` and '' as quotes, spaced punctuation."""
    text = re.sub(r"-LRB- ?", "(", re.sub(r" ?-RRB-", ")", text))
    text = re.sub(r"`` ?", '"', re.sub(r" ?''", '"', text))
    text = re.sub(r"` (?=\w)", "'", text)
    text = OPENING.sub(r"\1", CLOSING.sub(r"\1", text))
    return re.sub(r" '(?=[ .,;:!?)\n\"]|$)", "'", text)


def plain(text: str) -> str:
    return text


def _pair_quotes(text: str) -> str:
    """Attach separate quotes: the first of a line opens, the second closes, and so on.

    If their number is odd and the line ends with one, the quotation began on an earlier line, and the first
    closes.
    """
    return "\n".join(_pair_quotes_in_line(line) for line in text.split("\n"))


def _pair_quotes_in_line(line: str) -> str:
    words = line.split(" ")
    began_before = words.count(QUOTE) % 2 == 1 and line.rstrip(" ").endswith(f" {QUOTE}")
    opens, joins, out = not began_before, False, []
    for word in words:
        if joins or (word == QUOTE and not opens and out):
            out[-1] += word
        else:
            out.append(word)
        joins = word == QUOTE and opens
        opens ^= word == QUOTE
    return " ".join(out)


DETOKENIZERS: dict[str, Callable[[str], str]] = {
    "wikitext": wikitext,
    "treebank": treebank,
    "news": news,
    "books": books,
    "none": plain,
}
