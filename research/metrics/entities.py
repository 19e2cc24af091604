"""F1 of tagged entities, as in CoNLL's conlleval (Tjong Kim Sang & De Meulder, 2003).

Tags are O or MARK-KIND, in one of the schemes IOB1, IOB2 (marks I, B), IOBES (also E, S), BILOU (also L, U).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from research.errors import UsageError

TAG = re.compile(r"O|[BIESLU]-.+")
BEGINS, ENDS = "BSU", "ESLU"  # marks of an entity's first word, and of its last


class Entity(NamedTuple):
    kind: str
    begin: int
    end: int  # one after its last word


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence: runs of one kind, up to a mark that ends one or begins another."""
    found: list[Entity] = []
    continues = False
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if continues and mark not in BEGINS and kind == found[-1].kind:
            found[-1] = found[-1]._replace(end=place + 1)
        elif mark != "O":
            found.append(Entity(kind, place, place + 1))
        continues = mark != "O" and mark not in ENDS
    return found


def check_tags(tags: Iterable[str]) -> None:
    """Raises UsageError for a tag of no known scheme."""
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise UsageError(
                f"task.labels={tag}: no tag of an entity, which f1 counts; expected O or MARK-KIND with the "
                "marks of IOB, IOBES or BILOU, or task.metrics=accuracy"
            )


def f1(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> float:
    """F1 over the entities of all sentences; kind, begin and end must match. 0 without entities."""
    right = wanted = given = 0
    for true, predicted in zip(labels, predictions, strict=True):
        here, there = set(entities(true)), set(entities(predicted))
        right, wanted, given = right + len(here & there), wanted + len(here), given + len(there)
    return 2 * right / (wanted + given) if right else 0.0
