"""How initialization, multipliers and rates follow the width: `model.scaling`.

`standard` is as published. `mup` is the maximal update parametrization (Yang et al., 2021, Tensor Programs
V): activations and their updates keep their sizes as the width grows, so the best rate stays where it is. The
rules are those of table 8, whose input and output tables are initialised alike and so may be one. All follow
m = `model.width` / `model.base_width`:

    role        example                      initial deviation   multiplier   rate: Adam, Lion   SGD
    input       embeddings, positions        1                   1            1                  m
    hidden      kernels of blocks            m^-1/2              1            1/m                1
    transform   BERT's pooler, masked head   m^-1/2              1            1/m                1
    output      output table, task head      1                   1/m          1                  m
    vector      biases, scales of norms      -                   1            1                  m

Attention divides scores by a head's size, not by its root. Muon's updates of blocks have the root mean square
of Adam's here: m^-1/2 keeps their spectral norm (Yang, Simon & Bernstein, 2023); all else follows Adam's
column. Weight decay takes rate × decay of a parameter, as at the base width, whatever its role. Clipping and
Adam's ε are not scaled: keep ε far below the root of the mean square gradient, which falls with the width.
An MLP's width counts as growing with the model's.
"""

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal

from research.errors import UsageError

if TYPE_CHECKING:
    from research.config.sections.model import Model

Role = Literal["input", "hidden", "transform", "output", "vector"]
Powers = Mapping[Role, float]  # of m, by which the rate of a role's parameters is multiplied

ENTRYWISE: Powers = {"input": 0, "hidden": -1, "transform": -1, "output": 0, "vector": 0}
GRADIENT: Powers = {"input": 1, "hidden": 0, "transform": 0, "output": 1, "vector": 1}
SPECTRAL: Powers = {**ENTRYWISE, "hidden": -0.5}

# By optimizer. Add your own with RATES["its name"] = ENTRYWISE, or with its own powers.
RATES: dict[str, Powers] = {
    "adamw": ENTRYWISE,
    "gpt1_adam": ENTRYWISE,
    "bert_adam": ENTRYWISE,
    "lion": ENTRYWISE,
    "muon": SPECTRAL,
    "normuon": SPECTRAL,
    "sgd": GRADIENT,
}


def relative_width(model: "Model") -> float:
    """m; 1 with `scaling=standard`."""
    if model.scaling == "standard" or model.base_width is None:
        return 1.0
    return model.width / model.base_width


def kernel_deviation(model: "Model") -> float:
    """Factor of the initial deviation of hidden kernels."""
    return relative_width(model) ** -0.5


def output_multiplier(model: "Model") -> float:
    """Factor of logits and of the outputs of heads."""
    return 1 / relative_width(model)


def query_multiplier(model: "Model") -> float:
    """Factor of queries: √(size of a head at the base width / size of a head).

    Attention divides scores by the root of the head size; together they divide by the head size, up to a
    constant that is 1 at the base width.
    """
    if model.scaling == "standard" or model.base_width is None:
        return 1.0
    at_base = model.base_width // (model.base_heads or model.heads)
    return math.sqrt(at_base / (model.width // model.heads))


def role(names: Collection[str]) -> Role:
    """The role of a parameter with the path `names`."""
    if "kernel" in names:
        if "task_head" in names or "next_sentence" in names:
            return "output"
        return "hidden" if "blocks" in names else "transform"
    if "bias" in names or "scale" in names:
        return "vector"
    return "output" if "output" in names else "input"


def rate_multiplier(names: Collection[str], optimizer: str, model: "Model") -> float:
    """Factor of a parameter's rate."""
    return relative_width(model) ** RATES[optimizer][role(names)] if relative_width(model) != 1 else 1.0


def check(model: "Model", optimizer: str) -> None:
    """Raises UsageError for an optimizer without rules."""
    if model.scaling == "mup" and optimizer not in RATES:
        raise UsageError(
            f"optimizer.name={optimizer}: its rates under model.scaling=mup are not known; expected one of "
            + ", ".join(sorted(RATES))
        )
