"""What notebooks do: cells that run again, files edited between them, threads, event loops, 64 bits."""

import asyncio
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest

import research
from research import models
from research.config.names import ACTIVATIONS
from research.errors import LineageWarning, UsageError
from research.weights import Report
from tests.training.tiny import assignments, quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A short experiment, and its run."""
    folder = tmp_path_factory.mktemp("notebook")
    experiment = quickstart(folder / "text.txt", run__sample=0, run__steps=4, run__evaluate_every=2)
    research.train(experiment, folder / "run", silent)
    return experiment, folder / "run"


def test_a_thread_trains(plain, tmp_path):
    """Signals are the main thread's; nothing else differs."""
    experiment, run = plain
    found = []

    def cell():
        with jax.numpy_dtype_promotion("standard"):  # as in the test's own thread
            found.append(research.train(experiment, tmp_path / "run", silent))

    work = threading.Thread(target=cell)
    work.start()
    work.join()
    assert found[0].finished and timeless(tmp_path / "run") == timeless(run)


def test_a_running_event_loop_is_no_hindrance(plain, tmp_path):
    experiment, run = plain

    async def cell():
        research.train(experiment, tmp_path / "run", silent)
        return research.load(tmp_path / "run").logits([1, 2, 3])

    logits = asyncio.run(cell())
    assert timeless(tmp_path / "run") == timeless(run)
    np.testing.assert_array_equal(logits, research.load(run).logits([1, 2, 3]))


def test_64_bits_for_something_else_change_no_number(plain, tmp_path):
    experiment, run = plain
    with jax.enable_x64(True):
        research.train(experiment, tmp_path / "run", silent)
        state, _ = research.compile_step(experiment)(
            research.first_state(experiment), research.batches(experiment)[0]
        )
        model = research.load(run)
    assert timeless(tmp_path / "run") == timeless(run)
    assert {x.dtype for x in jax.tree.leaves((state.model, model.module))} == {np.dtype("float32")}


PART = """
from research.config.names import ACTIVATIONS

@ACTIVATIONS.register("edited")
def edited(x):
    return {scale} * x
"""


@pytest.mark.slow
@pytest.mark.parametrize("hyperparameters", ["constants", "inputs"])
def test_an_edited_file_is_used_by_the_next_cell(tmp_path, hyperparameters):
    """Neither its former functions nor what was compiled with them."""
    plugin, source = tmp_path / "part.py", tmp_path / "text.txt"
    settings = {"run__steps": 1, "run__sample": 0, "run__hyperparameters": hyperparameters}
    changes = [*assignments(quickstart(source, **settings)), "model.activation=edited"]

    def cell(scale, name):
        plugin.write_text(PART.format(scale=scale))
        experiment = research.resolve("quickstart", changes, imports=[str(plugin)])
        research.train(experiment, tmp_path / name, silent)
        loss = research.read_metrics(tmp_path / name)["train"]["loss"][0]
        return loss, research.load(tmp_path / name).loss("7 green bottles")

    first, edited = cell(1.0, "first"), cell(-3.0, "edited")
    assert all(one != other for one, other in zip(first, edited, strict=True))
    with pytest.raises(UsageError, match=r"imports: .*part\.py: unmatched"):
        cell(")", "broken")
    assert cell(1.0, "again") == first


def test_a_loaded_model_has_the_part_of_the_last_cell(plain, registries):
    """With equal parameters and shapes: compiled functions are found by a part's name alone."""
    _, run = plain
    module = research.load(run).module

    def cell(scale):
        @ACTIVATIONS.register("typed")
        def typed(x):
            return scale * x

        changed = replace(module.config, activation="typed")
        model = models.build(changed, key=jax.random.key(0))
        model = research.LanguageModel(model, changed, None, Report({}, {}, {}))
        return model.loss([1, 2, 3, 4]), float(model.logits([1, 2, 3])[0, -1, 0])

    first = cell(1.0)
    assert not set(first) & set(cell(-3.0))
    assert cell(1.0) == first


def test_edited_modules_that_python_keeps_are_named(tmp_path, monkeypatch):
    folder = tmp_path / f"lab_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    for name in ("__init__", "parts"):
        (folder / f"{name}.py").write_text("")
    (folder / "__init__.py").write_text(f"from {folder.name} import parts\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    research.resolve("quickstart", imports=[folder.name])
    (folder / "parts.py").write_text("SCALE = 2\n")
    with pytest.warns(LineageWarning, match=r"parts\.py: edited since it was imported; restart Python"):
        research.resolve("quickstart", imports=[folder.name])
