"""Our models against what Transformers gave, kept in files (tests/golden/make.py): no PyTorch needed."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from research import weights
from research.models.parameters import by_path
from tests.agreement import LOGITS, assert_close, differences
from tests.drawn import drawn

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/config.json"))


def kept(name: str) -> tuple[dict, dict]:
    return load_file(GOLDEN / name / "batch.safetensors"), load_file(GOLDEN / name / "reference.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_logits_states_losses_gradients(name):
    assert_close(differences(weights.load(GOLDEN / name).model, *kept(name)))


@pytest.mark.parametrize(
    "name, change",
    [
        ("bert", {"activation": "gelu_erf"}),
        ("bert_erf", {"activation": "gelu_tanh"}),
        ("gpt2", {"norm_epsilon": 1e-4}),
        ("gpt1", {"heads": 4}),
    ],
)
def test_another_function_is_detected(name, change):
    """The tolerance is not so wide that a wrong GELU, epsilon or number of heads would pass."""
    loaded = weights.load(GOLDEN / name)
    changed = drawn(replace(loaded.config, **change))
    changed, _ = weights.fill(changed, by_path(loaded.model))
    batch, reference = kept(name)
    inputs = [batch[key] for key in ("tokens", "segments", "lengths") if key in batch]
    logits = np.asarray(jax.tree.leaves(jax.jit(type(changed).__call__)(changed, *inputs))[0])
    scale = abs(reference["logits"]).max()
    assert abs(logits - reference["logits"]).max() > 2 * LOGITS * scale


def test_all_are_there_and_small():
    assert CASES == ["bert", "bert_erf", "gpt1", "gpt2"]
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 1_500_000
