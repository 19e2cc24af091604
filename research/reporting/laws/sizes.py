"""Sizes of a run for a law, only from its settings and rows, without arrays or JAX."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from research.config import Model
from research.errors import UsageError
from research.reporting.runs import Run

BUILT_IN = {
    "family": ("gpt1", "gpt2", "bert"),
    "block": ("transformer",),
    "positions": ("learned", "rotary", "alibi", "none"),
    "normalization": ("layer", "rms"),
    "activation": ("gelu_tanh", "gelu_erf", "relu_squared", "swiglu"),
}


def width(run: Run) -> float:
    return run.settings["model.width"]


def tokens(run: Run) -> float:
    """Tokens of all batches so far, padding included."""
    rows = [row["tokens"] for row in run.split("train") if "tokens" in row]
    return rows[-1] if rows else run.step * run.settings["data.batch"] * run.settings["data.length"]


def parameters(run: Run) -> float:
    """All parameters, embeddings included."""
    return sum(parts(model_of(run)).values())


def flops(run: Run) -> float:
    """Forward and backward: 6N + 12 · depth · length · width per token (Chowdhery et al., 2022, appendix B).

    N counts the parameters applied to a token: the output table at predicted tokens, no embeddings.
    """
    model, length = model_of(run), run.settings["data.length"]
    if model.head != "pretraining":
        raise UsageError(f"{run.directory}: --over flops counts pre-training; this run has a task's head")
    bert, once = model.family == "bert", 1 / length
    predicted = run.settings["data.masking.predictions"] / length if bert else 1
    shares = {"tokens": predicted if model.tied else 0, "output": predicted, "masked": predicted}
    shares |= {"positions": 0, "segments": 0, "pooler": once, "next_sentence": once}
    multiplied = sum(count * shares.get(part, 1) for part, count in parts(model).items())
    return (6 * multiplied + 12 * model.depth * length * model.width) * tokens(run)


SIZES: dict[str, Callable[[Run], float]] = {
    "parameters": parameters,
    "tokens": tokens,
    "flops": flops,
    "width": width,
}


def model_of(run: Run) -> Model:
    known = {field.name for field in fields(Model)}
    settings: Mapping[str, Any] = {
        name.removeprefix("model."): value
        for name, value in run.settings.items()
        if name.startswith("model.") and name.removeprefix("model.") in known
    }
    return Model(**settings)


def parts(model: Model) -> dict[str, int]:
    """{"tokens": parameters of the embeddings of tokens, "blocks": …}, by a parameter's first name."""
    if any(getattr(model, name) not in known for name, known in BUILT_IN.items()):
        return _by_shapes(model)
    D, V, K, F, b = model.width, model.vocabulary, model.outputs, model.mlp_width, model.bias
    bert, tuned, layer = model.family == "bert", model.head != "pretraining", model.normalization == "layer"
    matrices = 2 if model.activation == "swiglu" else 1  # into an MLP
    norm = D * (2 if b and layer else 1)
    block = 4 * D * D + 4 * D * b + 2 * norm + matrices * (D * F + F * b) + F * D + D * b
    block += 2 * (D // model.heads) if model.qk_norm else 0
    found = {"tokens": V * D, "blocks": model.depth * block}
    found["positions"] = model.context * D if model.positions == "learned" else 0
    found["norm"] = norm if bert or model.norm == "pre" else 0
    found["output"] = 0 if model.tied else V * D
    if not bert:
        found["special_embeddings"] = 3 * D if tuned and model.special_tokens else 0
        found["task_head"] = K * (D + model.head_bias) if tuned else 0
        return found
    found["segments"] = 2 * D
    found["pooler"] = D * D + D if model.head != "tokens" else 0
    found["masked"] = 0 if tuned else matrices * (D * D + D) + D * (2 if layer else 1) + V
    found["next_sentence"] = 0 if tuned else 2 * D + 2
    found["task_head"] = K * (D + 1) if tuned else 0
    return found


def _by_shapes(model: Model) -> dict[str, int]:
    """Counts from arrays, for a model with parts of another package."""
    from research.models.parameters import components  # imports JAX

    found: dict[str, int] = {}
    for part in components(model):
        first = part.name.split("/")[0]
        found[first] = found.get(first, 0) + part.count
    return found
