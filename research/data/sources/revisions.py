"""Revisions of sources: a declared source with the commit of each data set that has one, and without."""

import re

from research.config.names import SCHEMES
from research.data.sources.schemes import parse


def has_revisions(text: str) -> bool:
    """Whether a declared source has a term whose content has revisions."""
    return any(SCHEMES[name].pinned and f"{name}:" in text for name in SCHEMES.names())


def unpinned(text: str) -> str:
    """A declared source, which may have several terms, without the revisions that `pinned` adds."""
    for name in SCHEMES.names():
        text = SCHEMES[name].unpinned(text)
    return text


def pinned(text: str, setting: str, known: str = "") -> str:
    """A declared source with the revision of each term that has one: from the sources `known` of a run to
    continue, else the current one. Raises UsageError as the schemes do.
    """
    schemes = "|".join(re.escape(name) for name in SCHEMES.names() if SCHEMES[name].pinned)
    one = re.compile(rf"(?<![\w./])({schemes}):([^+\s]+)")

    def pin(match: re.Match[str]) -> str:
        content = "records" if SCHEMES[match[1]].records else "documents"
        source = parse(match[0], setting, content)
        rest = match[2][len(source.name) :]
        return f"{source.scheme}:{SCHEMES[source.scheme].pinned(source.name, known)}{rest}"

    return one.sub(pin, text) if schemes else text
