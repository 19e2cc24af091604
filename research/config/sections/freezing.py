"""Which parameters `optimizer.freeze` freezes, by name. Standard library only.

    embeddings+blocks/0-5     the embeddings and the first six blocks
    !task_head                all but the task head
    !*/bias+!task_head        all but biases and the task head

Patterns are joined by +. A pattern is the path of a parameter or of a module; * stands for any characters.
The blocks of a model are stacked, so `blocks/mlp` is a module of all blocks; `blocks/0-5/mlp` is that of the
first six. `embeddings` are the input tables and, in a BERT, their norm. The last pattern that matches a
parameter decides: it freezes it or, with a !, lets it train. If the first pattern has a !, all others are
frozen.
"""

import re
import sys
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from research.config.names import FAMILIES
from research.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from research.config.sections.model import Model

SETTING = "optimizer.freeze"
BLOCKS, EMBEDDINGS = "blocks/", "embeddings"
TABLES = ("tokens", "positions", "segments")  # a GPT's special embeddings are new, like its task head
NUMBERED = re.compile(r"blocks/(\d+)(-(\d*))?(?=/|$)")


class Pattern(NamedTuple):
    text: str  # as typed, without the !
    trains: bool  # whether it lets parameters train
    path: str  # without numbers of blocks
    blocks: range | None  # whose parameters match; None: no matter which


def parse(freeze: str) -> list[Pattern]:
    """The patterns of `freeze`. Raises UsageError for a malformed one."""
    return [_pattern(text.strip()) for text in freeze.split("+")]


def _pattern(typed: str) -> Pattern:
    text = typed.removeprefix("!").strip("/")
    if not text:
        raise UsageError(f"{SETTING}: an empty pattern; expected paths joined by +, such as embeddings")
    if (match := NUMBERED.match(text)) is None:
        return Pattern(text, typed.startswith("!"), text, None)
    first, several, last = int(match[1]), match[2], match[3]
    end = first if several is None else int(last) if last else sys.maxsize - 1
    if end < first:
        raise UsageError(f"{SETTING}={text}: expected the lower block first: blocks/{end}-{first}")
    return Pattern(text, typed.startswith("!"), "blocks" + text[match.end() :], range(first, end + 1))


def is_embedding(name: str, model: "Model") -> bool:
    """Whether `name` is of an input table or, in a BERT, of their norm."""
    top = name.partition("/")[0]
    return top in TABLES or (top == "norm" and FAMILIES[model.family].norm_of == EMBEDDINGS)


def trained_blocks(freeze: str | None, name: str, model: "Model") -> list[range]:
    """The blocks in which the block parameter `name` trains, as runs of adjacent ones."""
    patterns, runs = [] if freeze is None else parse(freeze), []
    for block in range(model.depth):
        if not _trains(patterns, name, model, block):
            continue
        if runs and runs[-1].stop == block:
            runs[-1] = range(runs[-1].start, block + 1)
        else:
            runs.append(range(block, block + 1))
    return runs


def trains(freeze: str | None, name: str, model: "Model") -> bool:
    """Whether the parameter `name` trains, a block parameter in any block."""
    if name.startswith(BLOCKS):
        return bool(trained_blocks(freeze, name, model))
    return _trains([] if freeze is None else parse(freeze), name, model)


def share_trained(freeze: str | None, name: str, model: "Model") -> Fraction:
    """The share of the parameter's numbers that train."""
    if name.startswith(BLOCKS):
        return Fraction(sum(map(len, trained_blocks(freeze, name, model))), model.depth)
    return Fraction(int(trains(freeze, name, model)))


def _trains(patterns: Collection[Pattern], name: str, model: "Model", block: int | None = None) -> bool:
    decision = True
    for number, pattern in enumerate(patterns):
        if number == 0:
            decision = not pattern.trains
        blocks = pattern.blocks
        here = blocks is None or (block is not None and block in blocks)  # None in range(…) is a long search
        if here and _matches(pattern, name, model):
            decision = pattern.trains
    return decision


def _matches(pattern: Pattern, name: str, model: "Model") -> bool:
    if pattern.path == EMBEDDINGS:
        return is_embedding(name, model)
    return fnmatchcase(name, pattern.path) or fnmatchcase(name, f"{pattern.path}/*")


def check(freeze: str, shapes: Mapping[str, tuple[int, ...]], model: "Model") -> None:
    """Raises UsageError for patterns that match none of the parameters, and if none of them trains."""
    for pattern in parse(freeze):
        if not any(_matches(pattern, name, model) for name in shapes):
            slashed = _pattern(pattern.text.replace(".", "/"))
            known = any(_matches(slashed, name, model) for name in shapes)
            hint = f"; did you mean {slashed.text}?" if known else _nearest(slashed.path, shapes)
            raise UsageError(f"{SETTING}={pattern.text}: no such parameter{hint}")
        if pattern.blocks is not None and not _exist(pattern.blocks, model):
            raise UsageError(f"{SETTING}={pattern.text}: expected blocks from 0 to {model.depth - 1}")
        if pattern.blocks is not None:
            matched = {name: shape for name, shape in shapes.items() if _matches(pattern, name, model)}
            check_stacked(f"{SETTING}={pattern.text}", matched, model)
    if not any(trains(freeze, name, model) for name in shapes):
        raise UsageError(f"{SETTING}={freeze}: freezes all parameters; expected some to train: !task_head")


def check_stacked(setting: str, shapes: Mapping[str, tuple[int, ...]], model: "Model") -> None:
    """Raises UsageError for block parameters that are not stacked, which have no rows to tell blocks by."""
    for name, shape in shapes.items():
        if name.startswith(BLOCKS) and shape[:1] != (model.depth,):
            raise UsageError(
                f"{setting}: {name} has the shape {shape}; expected a leading axis of "
                f"model.depth={model.depth}, one row for each block"
            )


def _exist(blocks: range, model: "Model") -> bool:
    return blocks.start < model.depth and (blocks.stop <= model.depth or blocks.stop == sys.maxsize)


def _nearest(path: str, names: Collection[str]) -> str:
    """The nearest modules and parameters with as many parts as `path`; of an unknown module, modules."""
    parts = [name.split("/") for name in names]
    first, *rest = path.split("/")
    length = len(rest) + 1 if first in {part[0] for part in parts} else 1
    known = {"/".join(part[:length]) for part in parts} | ({EMBEDDINGS} if length == 1 else set())
    return did_you_mean(path, known)
