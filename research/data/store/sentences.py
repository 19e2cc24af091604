"""Sentence splitting, for BERT's segments."""

import re
from itertools import pairwise

from research.io.text import split_lines

ABBREVIATIONS = (
    "Mr", "Mrs", "Ms", "Dr", "St", "Mt", "Ft", "Jr", "Sr", "vs", "Prof", "Rev", "Hon", "Gen", "Col", "Capt",
    "Cpt", "Lt", "Sgt", "Maj", "Sen", "Rep", "Gov", "Pres", "No", "Vol", "Fig",
)  # fmt: skip

# A newline ends a sentence. So does a full stop, question or exclamation mark, with closing quotes or
# brackets, before text that can start a sentence. The stop of an initial or an abbreviation does not. Google
# published no splitter: its input has one sentence per line. The pattern starts with one character class,
# which `re` finds four times as fast as alternatives.
_END = r"[\"')\]’”]*\s+(?=[\"'(\[‘“]?[A-Z0-9])"
_ABBREVIATED = "".join(rf"(?<!\b{word}\.)" for word in ABBREVIATIONS)
BOUNDARY = re.compile(rf"[.!?\n](?:(?<=\n)\s*|(?={_END})(?<!\b[A-Z]\.){_ABBREVIATED}{_END})")


def sentences(text: str, rule: str) -> list[str]:
    """Split a text into sentences, which add up to the text. `rule` is "punctuation" or "lines"."""
    if rule == "lines":
        return split_lines(text, keep_ends=True)
    ends = [0, *(boundary.end() for boundary in BOUNDARY.finditer(text))]
    if ends[-1] < len(text):
        ends.append(len(text))
    return [text[begin:end] for begin, end in pairwise(ends)]
