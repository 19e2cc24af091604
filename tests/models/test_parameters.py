"""The account of parameters against sums done by hand."""

import json
import re

import pytest

import experiments
from launch.declarations import params
from research.bench.parameter_table import parameter_table
from research.config import Model
from research.config.settings import override
from research.models.parameters import components

SIZES = {
    "gpt1": 116_534_784,
    "gpt2_small": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
    "bert_base": 110_106_428,
    "bert_base_cased": 108_932_934,
    "bert_large": 336_226_108,
}
BERT_BASE = [  # shared/RECIPES.md's account, as derived from the paper
    ("embeddings", "(30522 + 512 + 2) × 768", 23_835_648, "A"),
    ("embedding norm", "2 × 768", 1_536, "B"),
    ("embeddings with norm", "", 23_837_184, "A + B"),
    ("query, key, value", "3 × (768² + 768)", 1_771_776, "C"),
    ("attention output", "768² + 768", 590_592, "D"),
    ("attention norm", "2 × 768", 1_536, "E"),
    ("MLP in", "768 × 3072 + 3072", 2_362_368, "F"),
    ("MLP out", "3072 × 768 + 768", 2_360_064, "G"),
    ("MLP norm", "2 × 768", 1_536, "H"),
    ("a layer", "", 7_087_872, "C + … + H"),
    ("12 layers", "12 × 7,087,872", 85_054_464, ""),
    ("embeddings and layers", "", 108_891_648, "A + B + 12 × (C + … + H)"),
    ("pooler", "768² + 768", 590_592, "I"),
    ("with the pooler", "", 109_482_240, "A + B + 12 × (C + … + H) + I"),
    ("MLM transform", "768² + 768", 590_592, "J"),
    ("MLM transform norm", "2 × 768", 1_536, "K"),
    ("MLM bias", "30522", 30_522, ""),
    ("next sentence", "768 × 2 + 2", 1_538, ""),
    ("total", "", 110_106_428, ""),
]


@pytest.mark.parametrize("name, total", SIZES.items())
def test_published_sizes(name, total):
    config = experiments.get(name).model
    assert sum(component.count for component in components(config)) == total == by_hand(config)


def by_hand(c: Model) -> int:
    """What the papers describe, written down again."""
    V, C, D, N = c.vocabulary, c.context, c.width, c.depth
    layer = 4 * (D * D + D) + (D * 4 * D + 4 * D) + (4 * D * D + D) + 2 * 2 * D
    embeddings = (V + C) * D
    return {
        "gpt1": embeddings + N * layer,
        "gpt2": embeddings + N * layer + 2 * D,
        "bert": embeddings + 2 * D + 2 * D + N * layer + 2 * (D * D + D) + 2 * D + V + 2 * D + 2,
    }[c.family]


def test_bert_base_line_by_line():
    lines = parameter_table(experiments.get("bert_base").model)
    assert [(line.title.strip(), line.formula, line.count, line.letter) for line in lines] == BERT_BASE


PARTS = {
    "model.hidden": 1_000,
    "model.activation": "swiglu",
    "model.normalization": "rms",
    "model.qk_norm": True,
    "model.tied": False,
    "model.positions": "none",
}
VARIANTS = [(name, {}) for name in experiments.names()]
VARIANTS += [(name, PARTS) for name in ("gpt2_small", "bert_base")]
VARIANTS += [(name, {"model.bias": False}) for name in ("gpt2_small", "bert_base")]


@pytest.mark.parametrize("name, changes", VARIANTS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_lines_add_up_and_formulas_hold(name, changes):
    """A parameter without a line would leave the sum short."""
    *lines, total = parameter_table(override(experiments.get(name), changes).model)
    after = [line.title for line in lines].index("embeddings and layers")
    assert lines[after].count + sum(line.count for line in lines[after + 1 :] if line.shapes) == total.count
    for line in lines:
        if line.formula:
            assert evaluate(line.formula) == line.count


def test_parts_by_hand():
    """A layer: attention, its two head norms, a MLP of three matrices, two norms; all without positions."""
    c = override(experiments.get("gpt2_small"), PARTS | {"model.bias": False}).model
    D, F = c.width, c.hidden
    layer = 4 * D * D + 2 * D // c.heads + 3 * D * F + 2 * D
    assert sum(part.count for part in components(c)) == 2 * c.vocabulary * D + c.depth * layer + D
    titles = [line.title.strip() for line in parameter_table(c)]
    assert {"query norm", "key norm", "MLP gate", "final norm", "output table"} <= set(titles)


def evaluate(formula: str) -> int:
    plain = re.sub(r"(\d+)²", r"\1 * \1", formula.replace(",", "")).replace("×", "*")
    assert re.fullmatch(r"[\d\s*+()]+", plain)
    return eval(plain)


def test_printed_and_as_json(capsys):
    params("bert_base", None, json=False)
    printed = capsys.readouterr().out
    assert "(30522 + 512 + 2) × 768     23,835,648" in printed
    *table, empty, note = printed.splitlines()
    assert table[-1].split() == ["total", "110,106,428"] and empty == ""
    assert "omits lines C and J" in note and "BERT's is a GELU" in note
    assert any(line.endswith("109,482,240  A + B + 12 × (C + … + H) + I") for line in table)
    params("gpt2_small", None, json=False)
    assert "account" not in capsys.readouterr().out
    params("bert_base", ["model.depth=2"], json=True)
    listed = json.loads(capsys.readouterr().out)
    assert listed["total"] == 110_106_428 - 10 * 7_087_872
    assert {
        "name": "tokens",
        "shape": [30_522, 768],
        "count": 30_522 * 768,
        "trained": 30_522 * 768,
    } in listed["components"]
    assert sum(component["count"] for component in listed["components"]) == listed["total"]
