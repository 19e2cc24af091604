"""F1 of tagged entities, as CoNLL's conlleval counts them (Tjong Kim Sang & De Meulder, 2003)."""

from collections.abc import Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    kind: str
    begin: int
    end: int  # one after its last word


def entities(tags: Sequence[str]) -> list[Entity]:
    """Of O, B-KIND, I-KIND: an entity goes on while its kind does, up to the next B-."""
    found: list[Entity] = []
    goes_on = False
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if goes_on and mark == "I" and kind == found[-1].kind:
            found[-1] = found[-1]._replace(end=place + 1)
        elif mark != "O":
            found.append(Entity(kind, place, place + 1))
        goes_on = mark != "O"
    return found


def f1(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> float:
    """Of all sentences' entities together; one is right where kind, begin and end are. 0 without any."""
    right = wanted = given = 0
    for true, predicted in zip(labels, predictions, strict=True):
        here, there = set(entities(true)), set(entities(predicted))
        right, wanted, given = right + len(here & there), wanted + len(here), given + len(there)
    return 2 * right / (wanted + given) if right else 0.0
