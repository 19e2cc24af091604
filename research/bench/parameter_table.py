"""A table that derives the number of a model's parameters, line by line, as papers do."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from research.config import Model
from research.config.names import FAMILIES
from research.models.parameters import Component, Shape, components


class Line(NamedTuple):
    """A line of the table; sums have no shapes of their own."""

    title: str
    shapes: tuple[Shape, ...]
    formula: str
    count: int
    letter: str = ""  # in the usual derivation for BERT-base, or a sum of letters


# Titles and the paths they count; a model has some of them.
EMBEDDINGS = (("embeddings", ("tokens", "special_embeddings", "positions", "segments")),)
LAYER = (
    ("query, key, value", ("blocks/attention/qkv",)),
    ("query norm", ("blocks/attention/query_norm",)),
    ("key norm", ("blocks/attention/key_norm",)),
    ("attention output", ("blocks/attention/output",)),
    ("attention norm", ("blocks/attention_norm",)),
    ("MLP in", ("blocks/mlp/expand",)),
    ("MLP gate", ("blocks/mlp/gate",)),
    ("MLP out", ("blocks/mlp/output",)),
    ("MLP norm", ("blocks/mlp_norm",)),
)
HEADS = (
    ("output table", ("output",)),
    ("pooler", ("pooler",)),
    ("MLM transform", ("masked/transform",)),
    ("MLM gate", ("masked/gate",)),
    ("MLM transform norm", ("masked/norm",)),
    ("MLM bias", ("masked/bias",)),
    ("next sentence", ("next_sentence",)),
    ("task head", ("task_head",)),
)


# The letters A to K of the usual derivation for BERT-base, by our titles.
LETTERS = {
    "embeddings": "A",
    "embedding norm": "B",
    "query, key, value": "C",
    "attention output": "D",
    "attention norm": "E",
    "MLP in": "F",
    "MLP out": "G",
    "MLP norm": "H",
    "pooler": "I",
    "MLM transform": "J",
    "MLM transform norm": "K",
}
ACCOUNT = (
    "A to K are the letters of the usual derivation for BERT-base, which omits lines C and J and calls "
    "the activation between F and G a ReLU; BERT's is a GELU."
)


def parameter_table(config: Model) -> list[Line]:
    """Lines with formulas: embeddings, one layer, all layers, heads, the total.

    A parameter without a title above, for example of another package, is listed by its path.
    """
    found, encoder = components(config), FAMILIES[config.family].norm_of == "embeddings"
    left = {component.name: component.shape for component in found}
    norm = ("norm",)
    if encoder:
        embeddings, last = _lines((*EMBEDDINGS, ("embedding norm", norm)), left), ()
    else:
        embeddings, last = _lines(EMBEDDINGS, left), (("final norm", norm),)
    layer = _lines(LAYER, left)
    layer += _lines(tuple((path, (path,)) for path in left if path.startswith("blocks/")), left)
    heads = _lines(last + HEADS, left)
    heads += _lines(tuple((path, (path,)) for path in left), left)
    one = _sum(layer)
    layers = Line(f"{config.depth} layers", (), f"{config.depth} × {one:,}", config.depth * one)
    subtotal = Line("embeddings and layers", (), "", _sum([*embeddings, layers]))
    table = [
        *embeddings,
        *(line._replace(title=f"  {line.title}") for line in layer),
        Line("a layer", (), "", one),
        layers,
        subtotal,
        *heads,
        Line("total", (), "", _sum(found)),
    ]
    return _lettered(table, config.depth) if encoder else table


def _lettered(table: list[Line], depth: int) -> list[Line]:
    """The table of a BERT with the derivation's letters, and its sums A + B and with the pooler."""
    lettered, layers = [], table[0]
    for line in table:
        title = line.title.strip()
        lettered.append(line._replace(letter=LETTERS.get(title, "")))
        match title:
            case "embedding norm":
                lettered.append(Line("embeddings with norm", (), "", _sum(lettered), "A + B"))
            case "a layer":
                lettered[-1] = line._replace(letter="C + … + H")
            case "embeddings and layers":
                layers = line._replace(letter=f"A + B + {depth} × (C + … + H)")
                lettered[-1] = layers
            case "pooler":
                count, letter = layers.count + line.count, f"{layers.letter} + I"
                lettered.append(Line("with the pooler", (), "", count, letter))
    return lettered


def _lines(rows: tuple[tuple[str, tuple[str, ...]], ...], left: dict[str, Shape]) -> list[Line]:
    """Lines for `rows`, whose parameters it removes from `left`; stacked blocks count as one block."""

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
    """A module's count as a formula: 3 × (768² + 768), (30522 + 512 + 2) × 768, 2 × 768."""
    leaves = {path.rpartition("/")[2]: shape for path, shape in shapes.items()}
    if "kernel" in leaves and leaves.keys() <= {"kernel", "bias"} and len(leaves["kernel"]) in (2, 3):
        inputs, *times, outputs = leaves["kernel"]
        weights = f"{inputs}²" if inputs == outputs else f"{inputs} × {outputs}"
        one = f"{weights} + {outputs}" if "bias" in leaves else weights
        if not times:
            return one
        return f"{times[0]} × ({one})" if "bias" in leaves else f"{times[0]} × {one}"
    widths = {shape[-1:] for shape in leaves.values()}
    if len(leaves) > 1 and len(widths) == 1 and {len(shape) for shape in leaves.values()} == {2}:
        rows = " + ".join(str(shape[0]) for shape in leaves.values())
        return f"({rows}) × {next(iter(leaves.values()))[1]}"
    if leaves.keys() == {"scale", "bias"} and leaves["scale"] == leaves["bias"]:
        return "2 × " + " × ".join(map(str, leaves["scale"]))
    return " + ".join(" × ".join(map(str, shape)) or "1" for shape in shapes.values())
