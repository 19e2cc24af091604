"""How closely a model of ours agrees with a reference's logits, states, losses and gradients."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from research.models.parameters import by_path
from research.objectives import masked_token, next_token, weights_in
from research.weights.formats import huggingface
from research.weights.formats.huggingface_config import DIALECTS
from research.weights.formats.names import HUGGING_FACE
from research.weights.layout import to_ours

LOSSES = {"gpt1": next_token.loss, "gpt2": next_token.loss, "bert": masked_token.loss}
# Largest differences: of logits and states over the largest magnitude, of losses, of gradients in norm.
LOGITS, LOSS, GRADIENT = 2e-5, 1e-5, 1e-4


def differences(model, batch: dict, reference: dict) -> dict[str, float]:
    """{'logits': …, 'state.0': …, 'loss': …, 'gradient.tokens': …}: each as it is bounded."""
    family = model.config.family
    ours = {name: np.asarray(value) for name, value in _run(model, batch, family).items()}
    theirs = {name: value for name, value in reference.items() if not name.startswith("gradient.")}
    gradients = {
        name.removeprefix("gradient.").removeprefix(DIALECTS[family].prefix): value
        for name, value in reference.items()
        if name.startswith("gradient.")
    }
    if model.config.tied:
        gradients = {n: g for n, g in gradients.items() if n not in huggingface.TIED[family]}
    gradients = to_ours(HUGGING_FACE[family], gradients, model.config, Path())
    theirs |= {f"gradient.{path}": gradient for path, gradient in gradients.items()}
    assert ours.keys() == theirs.keys()
    return {name: _difference(name, ours[name], theirs[name]) for name in theirs}


def worst(differences: dict[str, float]) -> dict[str, float]:
    """The largest of each kind."""
    kinds = {"logits": 0.0, "loss": 0.0, "gradient": 0.0}
    for name, value in differences.items():
        kind = name.split(".")[0]
        kind = kind if kind in kinds else "logits"
        kinds[kind] = max(kinds[kind], value)
    return kinds


def assert_close(differences: dict[str, float]) -> None:
    found = worst(differences)
    assert found["logits"] <= LOGITS and found["loss"] <= LOSS and found["gradient"] <= GRADIENT, found


def shared(batch: dict) -> dict:
    """`batch` with each kind of weights adding up to one."""
    return batch | {name: batch[name] / batch[name].sum() for name in weights_in(batch)}


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape, name
    if name.startswith("gradient.blocks/"):
        blocks = zip(ours, theirs, strict=True)
        return max(_difference("gradient.", *block) for block in blocks)
    if name.startswith("gradient."):
        return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    scale = 1.0 if name == "loss" else abs(theirs).max()
    return float(abs(ours - theirs).max() / scale)


def _run(model, batch, family: str) -> dict[str, jax.Array]:
    inputs = [
        batch[name] for name in (("tokens", "segments", "lengths") if family == "bert" else ("tokens",))
    ]
    batch = shared(batch)

    @jax.jit
    def everything(model):
        outputs = model(*map(jnp.asarray, inputs))
        logits = (
            dict(zip(("logits", "next"), outputs, strict=True)) if family == "bert" else {"logits": outputs}
        )
        states = {f"state.{n}": state for n, state in enumerate(model.states(*map(jnp.asarray, inputs)))}
        loss, gradients = jax.value_and_grad(lambda m: LOSSES[family](m, batch)["loss"])(model)
        return logits | states | {"loss": loss}, gradients

    outputs, gradients = everything(model)
    return outputs | {f"gradient.{path}": gradient for path, gradient in by_path(gradients).items()}
