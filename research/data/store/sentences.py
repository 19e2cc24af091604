"""Where sentences end: what BERT's segments are made of."""

import re
from itertools import pairwise

ABBREVIATIONS = (
    "Mr", "Mrs", "Ms", "Dr", "St", "Mt", "Ft", "Jr", "Sr", "vs", "Prof", "Rev", "Hon", "Gen", "Col", "Capt",
    "Cpt", "Lt", "Sgt", "Maj", "Sen", "Rep", "Gov", "Pres", "No", "Vol", "Fig",
)  # fmt: skip

# A newline ends a sentence; so does a stop, closed or not, before what can begin another. An initial's
# or an abbreviation's stop does not. Google published no splitter: its input has a sentence a line.
# It begins with one class of characters, which `re` looks for four times as fast as for alternatives.
_END = r"[\"')\]’”]*\s+(?=[\"'(\[‘“]?[A-Z0-9])"
_ABBREVIATED = "".join(rf"(?<!\b{word}\.)" for word in ABBREVIATIONS)
BOUNDARY = re.compile(rf"[.!?\n](?:(?<=\n)\s*|(?={_END})(?<!\b[A-Z]\.){_ABBREVIATED}{_END})")


def sentences(text: str, by: str) -> list[str]:
    """The sentences of a text in order; joined they are the text. `by` is "punctuation" or "lines"."""
    if by == "lines":
        return text.splitlines(keepends=True)
    ends = [0, *(boundary.end() for boundary in BOUNDARY.finditer(text))]
    if ends[-1] < len(text):
        ends.append(len(text))
    return [text[begin:end] for begin, end in pairwise(ends)]
