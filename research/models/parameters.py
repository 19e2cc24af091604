"""The parameter account, read off the model's own shapes."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path

from research import models
from research.config import Model

Shape = tuple[int, ...]


class Component(NamedTuple):
    name: str  # the parameter's path
    shape: Shape  # of stacked blocks: depth first
    count: int


class Line(NamedTuple):
    """A line of the account as one derives it by hand; sums have no shapes of their own."""

    title: str
    shapes: tuple[Shape, ...]
    formula: str
    count: int


# Titles, and the paths of what they stand for; a model has some of them.
EMBEDDINGS = (("embeddings", ("tokens", "special_embeddings", "positions", "segments")),)
LAYER = (
    ("query, key, value", ("blocks/attention/qkv",)),
    ("attention output", ("blocks/attention/output",)),
    ("attention norm", ("blocks/attention_norm",)),
    ("MLP in", ("blocks/mlp/expand",)),
    ("MLP out", ("blocks/mlp/output",)),
    ("MLP norm", ("blocks/mlp_norm",)),
)
NORM = {"bert": "embedding norm", "gpt2": "final norm", "gpt1": "final norm"}
HEADS = (
    ("pooler", ("pooler",)),
    ("MLM transform", ("masked/transform",)),
    ("MLM transform norm", ("masked/norm",)),
    ("MLM bias (its table is the tokens')", ("masked/bias",)),
    ("next sentence", ("next_sentence",)),
    ("task head", ("task_head",)),
)


def components(config: Model) -> list[Component]:
    """Every parameter of a model, without making any."""
    abstract = jax.eval_shape(lambda key: models.build(config, key=key), jax.random.key(0))
    return [
        Component(name(path), leaf.shape, math.prod(leaf.shape))
        for path, leaf in tree_leaves_with_path(abstract)
    ]


def name(path) -> str:
    """blocks/mlp/expand/kernel: how a parameter is called in accounts and on disk."""
    return keystr(path, simple=True, separator="/").removesuffix("/value")


def by_path(tree: Any) -> dict[str, Any]:
    """{'model/blocks/mlp/expand/kernel': array, …}: readable, and blind to the library that made the tree."""
    return {name(path): leaf for path, leaf in tree_leaves_with_path(tree)}


def refill(tree: Any, leaves: dict[str, Any]) -> Any:
    """`tree` with its leaves taken from `leaves` by path."""
    return tree_map_with_path(lambda path, _: leaves[name(path)], tree)


def parameter_table(config: Model) -> list[Line]:
    """The account with its formulas: embeddings, a layer and all of them, heads, the total."""
    listed = components(config)
    left = {component.name: component.shape for component in listed}
    norm = ((NORM[config.family], ("norm",)),)
    before, after = (norm, ()) if config.family == "bert" else ((), norm)
    embeddings = _lines(EMBEDDINGS + before, left)
    layer = _lines(LAYER, left)
    heads = _lines(after + HEADS, left)
    one = _sum(layer)
    layers = Line(f"{config.depth} layers", (), f"{config.depth} × {one:,}", config.depth * one)
    subtotal = Line("embeddings and layers", (), "", _sum([*embeddings, layers]))
    return [
        *embeddings,
        *(line._replace(title=f"  {line.title}") for line in layer),
        Line("a layer", (), "", one),
        layers,
        subtotal,
        *heads,
        Line("total", (), "", _sum(listed)),
    ]


def _lines(rows: tuple[tuple[str, tuple[str, ...]], ...], left: dict[str, Shape]) -> list[Line]:
    """Takes what `rows` name out of `left`; of stacked blocks, one block's share."""

    def biases_last(path: str) -> bool:
        return path.endswith("bias")

    lines = []
    for title, prefixes in rows:
        paths = [
            path for prefix in prefixes for path in left if path == prefix or path.startswith(prefix + "/")
        ]
        shapes = {path: left.pop(path) for path in sorted(paths, key=biases_last)}
        shapes = {path: s[1:] if path.startswith("blocks/") else s for path, s in shapes.items()}
        if shapes:
            count = sum(map(math.prod, shapes.values()))
            lines.append(Line(title, tuple(shapes.values()), _formula(shapes), count))
    return lines


def _sum(lines: Iterable[Line | Component]) -> int:
    return sum(line.count for line in lines)


def _formula(shapes: dict[str, Shape]) -> str:
    """A module's count as one writes it: 3 × (768² + 768), (30522 + 512 + 2) × 768, 2 × 768."""
    leaves = {path.rpartition("/")[2]: shape for path, shape in shapes.items()}
    if "kernel" in leaves:
        inputs, *times, outputs = leaves["kernel"]
        weights = f"{inputs}²" if inputs == outputs else f"{inputs} × {outputs}"
        one = f"{weights} + {outputs}" if "bias" in leaves else weights
        if not times:
            return one
        return f"{times[0]} × ({one})" if "bias" in leaves else f"{times[0]} × {one}"
    if "scale" in leaves:
        (width,) = leaves["scale"]
        return f"2 × {width}" if "bias" in leaves else str(width)
    if len(leaves) > 1:
        rows = " + ".join(str(shape[0]) for shape in leaves.values())
        return f"({rows}) × {next(iter(leaves.values()))[1]}"
    (shape,) = leaves.values()
    return " × ".join(map(str, shape))
