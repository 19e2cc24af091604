"""How a run is compiled where its declaration leaves that open, and what a device without memory says."""

from types import SimpleNamespace

import jax
import pytest

import experiments
from launch.__main__ import run
from research.config import Parallel
from research.config.settings import override
from research.devices.compilers import with_compiler
from research.devices.memory import Need, fewest_parts
from research.errors import UsageError
from research.training import loop, placement, preparation
from research.training.placement import DoesNotFit, settled
from tests.training.tiny import quickstart


def devices(count: int, platform: str) -> list:
    return [SimpleNamespace(platform=platform, process_index=0) for _ in range(count)]


@pytest.mark.parametrize(
    ("declared", "there", "compile"),
    [
        (Parallel(), devices(1, "gpu"), "jit"),
        (Parallel(), devices(8, "gpu"), "sharded"),
        (Parallel(), devices(8, "cpu"), "jit"),  # which share the cores of one
        (Parallel(fsdp=8, data=1), devices(8, "cpu"), "sharded"),
        (Parallel(data=8), devices(8, "cpu"), "sharded"),
        (Parallel(data=3), devices(1, "gpu"), "sharded"),  # which is refused
        (Parallel(compile="pmap"), devices(8, "gpu"), "pmap"),
        (Parallel(compile="jit"), devices(8, "gpu"), "jit"),
    ],
)
def test_the_compiler_of_auto(declared, there, compile):
    assert with_compiler(declared, there).compile == compile


def linear(rows: int, state: int, each: int):
    """The memory of a step that works on `rows` in parts, and the parts that were compiled."""
    tried = []

    def need(parts: int) -> Need:
        tried.append(parts)
        return Need(state, rows // parts * each, state + rows // parts * each, state)

    return need, tried


@pytest.mark.parametrize(
    ("usable", "parts", "tried"),
    [(420, 1, [1]), (419, 2, [1, 2]), (259, 4, [1, 4]), (110, 32, [1, 32]), (109, None, [1, 32])],
)
def test_as_few_parts_as_fit_are_found_in_two_compilations(usable, parts, tried):
    need, compiled = linear(rows=32, state=100, each=10)
    assert fewest_parts(32, need, usable) == parts
    assert compiled == tried


def test_what_is_declared_stays():
    experiment = override(experiments.get("gpt2_tiny"), {"parallel.accumulate": 3})
    assert settled(experiment, devices(1, "gpu"), usable=1).parallel == Parallel(compile="jit", accumulate=3)


def test_a_model_that_does_not_fit_is_refused_with_what_is_missing():
    need, _ = linear(rows=8, state=3_000_000_000, each=10**9)
    experiment = override(experiments.get("gpt2_tiny"), {"data.batch": 8})
    with pytest.raises(DoesNotFit, match=r"needs 4\.00 GB on a device, 1\.50 GB more than it has; .* --fit"):
        settled(experiment, devices(1, "gpu"), 2_500_000_000, lambda tried: need(tried.parallel.accumulate))


def test_a_batch_that_devices_cannot_share_is_refused_before_anything_is_compiled():
    experiment = override(experiments.get("gpt2_tiny"), {"data.batch": 12, "parallel.compile": "sharded"})
    with pytest.raises(UsageError, match=r"data\.batch=12: expected a multiple of 8"):
        settled(experiment, jax.devices(), 10**9, lambda tried: pytest.fail("compiled"))


def test_a_device_without_memory_says_which_overrides_to_try(tmp_path, monkeypatch):
    experiment = quickstart(tmp_path / "corpus.txt")

    def exhausted(*_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory\n while trying to allocate 12 bytes"
        )

    compile_for = placement.compile_for

    def without_memory(*arguments):
        abstract, program = compile_for(*arguments)
        return abstract, program._replace(step=exhausted)

    monkeypatch.setattr(preparation, "compile_for", without_memory)
    with pytest.raises(UsageError, match=r"expected parallel\.accumulate=2, or model\.remat=block") as caught:
        loop.train(experiment, tmp_path / "run", print)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_record_keeps_the_choice(tmp_path):
    import json

    source = tmp_path / "a.txt"
    source.write_text("a line of text\n" * 500)
    tiny = ["model.width=16", "model.depth=1", "model.heads=2", "data.tokenizer=char", "run.steps=1"]
    arguments = ["train", "quickstart", f"data.source=files:{source}", "data.split=tail", *tiny]
    assert run([*arguments, "model.vocabulary=64", "--dir", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert record["chosen"] == {
        "parallel.compile": "jit",
        "parallel.accumulate": 1,
        "model.unroll": 1,
        "model.dropout_generator": "threefry",
    }
    assert record["experiment"]["parallel"]["compile"] == "auto"
