"""Heads for tasks against Transformers': from files (tests/golden/heads.py), and live: extra `parity`."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from research.config import Model, Objective
from research.models.parameters import by_path, components, refill
from research.objectives import objective_of
from research.weights.formats import huggingface
from research.weights.layout import TaskHead
from tests.agreement import shared
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

GOLDEN = Path(__file__).parents[1] / "golden" / "heads"
FILES = sorted(path.stem for path in GOLDEN.glob("*.safetensors"))
SIZES = {"vocabulary": 23, "context": 14, "width": 12, "depth": 2, "heads": 3, "norm": "post"}


def assert_agrees(name: str, kept: dict[str, np.ndarray]) -> None:
    """Logits and losses to 1e-5."""
    family, _, kind = name.partition("_")
    parameters = {
        path.removeprefix("parameter."): x for path, x in kept.items() if path.startswith("parameter.")
    }
    batch = {path.removeprefix("batch."): x for path, x in kept.items() if path.startswith("batch.")}
    config = Model(
        family=family,
        head="tokens" if kind in ("spans", "tags") else "sequence",
        outputs=parameters["task_head/kernel"].shape[1],
        norm_epsilon=1e-12 if family == "bert" else 1e-5,
        **SIZES,
    )
    assert {c.name: c.shape for c in components(config)} == {path: x.shape for path, x in parameters.items()}
    model = refill(drawn(config), {path: jnp.asarray(x) for path, x in parameters.items()})
    assert by_path(model).keys() == parameters.keys()
    auxiliary = 0.5 if "auxiliary_loss" in kept else 0.0
    settings = Objective(name=kind, auxiliary=auxiliary)
    evaluate = objective_of(settings).evaluate
    sums, outputs = jax.jit(lambda model, batch: evaluate(model, batch, None, settings))(
        model, {path: jnp.asarray(x) for path, x in shared(batch).items()}
    )
    outputs = np.asarray(outputs).reshape(kept["logits"].shape)
    scale = abs(kept["logits"]).max()
    np.testing.assert_allclose(outputs, kept["logits"], rtol=0, atol=1e-5 * max(scale, 1))
    np.testing.assert_allclose(sums.get("task_loss", sums["loss"]), kept["loss"], rtol=1e-5)
    if auxiliary:
        np.testing.assert_allclose(sums["auxiliary_loss"], kept["auxiliary_loss"], rtol=1e-5)
        np.testing.assert_allclose(sums["loss"], kept["loss"] + 0.5 * kept["auxiliary_loss"], rtol=1e-5)


@pytest.mark.parametrize("name", mostly_slow(FILES, 2))
def test_as_kept(name):
    assert_agrees(name, load_file(GOLDEN / f"{name}.safetensors"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("default")  # theirs are not ours to mend
def test_as_it_is_live(name):
    pytest.importorskip("transformers", reason="needs the extra parity")
    heads = pytest.importorskip("tests.golden.heads", reason="needs the extra parity")
    assert_agrees(name, heads.reference(name, seed=7))


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("bert")])
@pytest.mark.filterwarnings("default")
def test_exported_they_answer_as_before(name, tmp_path):
    """Written with its head, a fine-tuned BERT is one of Transformers' classes."""
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    heads = pytest.importorskip("tests.golden.heads", reason="needs the extra parity")
    case, kept = heads.CASES[name], load_file(GOLDEN / f"{name}.safetensors")
    parameters, batch = (
        {path.removeprefix(kind): x for path, x in kept.items() if path.startswith(kind)}
        for kind in ("parameter.", "batch.")
    )
    task_head = TaskHead(case.kind, tuple(f"label {n}" for n in range(case.model.outputs)))
    huggingface.write(tmp_path / "out", case.model, parameters, None, task_head)
    described = json.loads((tmp_path / "out/config.json").read_text())
    theirs, loading = getattr(transformers, described["architectures"][0]).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert theirs.config.num_labels == case.model.outputs or case.kind == "choice"
    found = heads.forward(case, theirs.eval(), batch)
    np.testing.assert_allclose(found["logits"], kept["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["loss"], kept["loss"], rtol=1e-5)


def test_all_are_there():
    kinds = ("choice", "classification", "regression", "spans", "tags")
    assert [*(f"bert_{kind}" for kind in kinds), "gpt1_choice"] == FILES


def test_a_wrong_padding_is_detected():
    """The tolerance is not so wide that padding could be looked at."""
    kept = load_file(GOLDEN / "bert_classification.safetensors")
    longer = kept["batch.lengths"].copy()
    longer[:] = 14
    with pytest.raises(AssertionError):
        assert_agrees("bert_classification", kept | {"batch.lengths": longer})
