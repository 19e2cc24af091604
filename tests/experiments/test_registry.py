"""Every registered experiment is whole, and its name leads to it."""

import subprocess
import sys

import jax
import pytest

import experiments
from experiments.registry import experiment, sweep
from research.config.settings import override
from research.data.tokenizers.published import ON_HUB
from research.data.tokenizers.spacy_words import split_name
from research.errors import UsageError
from research.models.parameters import by_path, components
from research.runs.state import initial_state


@pytest.mark.parametrize("name", experiments.names())
def test_builds_abstractly(name):
    declared = experiments.get(name)
    state = jax.eval_shape(lambda: initial_state(declared))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.model))
    opt_state = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state))
    arrays = by_path(state.model).items()
    matrices = sum(leaf.size for path, leaf in arrays if path.startswith("blocks/") and "kernel" in path)
    once = matrices if declared.optimizer.name == "muon" else 0  # it has no second moment of these
    assert 0 <= opt_state - (2 * parameters - once) < 0.01 * parameters
    assert experiments.describe(name)
    assert declared.name == name


@pytest.mark.parametrize("name", experiments.names())
def test_declares_a_tokenizer_that_can_be_had(name):
    """A published one by the name it is fetched under, one trained on the source, that of start.weights."""
    _, tokenizer = split_name(experiments.get(name).data.tokenizer)
    assert tokenizer in ON_HUB or tokenizer.partition(":")[0] in ("char", "bpe", "wordpiece", "start")


def test_a_name_is_taken_once():
    def quickstart():
        raise AssertionError("never called")

    with pytest.raises(UsageError, match=r"quickstart: already registered by experiments\.quickstart"):
        experiment(quickstart)
    with pytest.raises(UsageError, match="quickstart: already registered as experiment"):
        sweep(quickstart)
    assert experiment(experiments.quickstart.quickstart) is experiments.quickstart.quickstart  # as a reload


def test_unknown_name_suggests():
    with pytest.raises(UsageError, match=r"gpt2_smal: .*gpt2_small"):
        experiments.get("gpt2_smal")


def test_declaring_needs_no_jax():
    code = "import experiments, launch.app, sys; assert not {'jax', 'numpy', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "name, total",
    [
        ("gpt2_small", 124_439_808),
        ("gpt2_medium", 354_823_168),
        ("gpt2_large", 774_030_080),
        ("gpt2_xl", 1_557_611_200),
    ],
)
def test_published_sizes(name, total):
    assert sum(component.count for component in components(experiments.get(name).model)) == total


def test_sizes_without_biases():
    """nanoGPT prints 10.65M for its Shakespeare model, the position table not counted."""
    config = experiments.get("gpt2_shakespeare_char").model
    counts = {component.name: component.count for component in components(config)}
    width, depth = 384, 6
    assert sum(counts.values()) - counts["positions"] == (
        65 * width + depth * (12 * width * width + 2 * width) + width
    )
    deeper = override(experiments.get("gpt2_shakespeare_char"), {"model.depth": 7}).model
    assert sum(c.count for c in components(deeper)) - sum(counts.values()) == 12 * width**2 + 2 * width
