"""`lineage bench`: complete, consistent, and nothing left behind."""

import json

import jax
import pytest

from launch.__main__ import run

TINY = (
    "model.depth=1",
    "model.width=16",
    "model.heads=2",
    "data.batch=8",
    "data.length=16",
    "model.vocabulary=128",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, more",
    [
        ("gpt2_tiny", ()),
        ("bert_tiny", ("data.masking.predictions=4", "parallel.compile=pmap")),
        ("gpt1_tiny", ("run.steps_per_call=2", "parallel.compile=sharded")),
        ("bert_tiny_sst2", ()),
        ("gpt1_tiny_stsb", ("data.batch=4",)),  # every pair in both orders
    ],
)
@jax.numpy_dtype_promotion("standard")  # Optax's Adam raises a float to an integer
def test_what_is_measured_hangs_together(name, more, capsys):
    cache = jax.config.jax_compilation_cache_dir
    assert run(["bench", name, *TINY, *more, "--steps", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens_a_step"] == 8 * 16
    assert found["tokens_a_second"] == pytest.approx(found["tokens_a_step"] / found["step"])
    assert found["flops"] == pytest.approx(found["tokens_a_second"] * found["flops_a_token"])
    assert found["mfu"] == pytest.approx(found["flops"] / found["peak_flops"])
    assert found["step_spread"][0] <= found["step"] <= found["step_spread"][1]
    assert found["devices"] == (8 if "parallel.compile" in " ".join(more) else 1)
    assert found["compile_cold"] > 0 and found["compile_warm"] > 0
    assert 0 <= found["waiting"] < 1 and found["memory"] > 1e7
    assert jax.config.jax_compilation_cache_dir == cache


def test_what_cannot_be_measured_is_refused(capsys):
    assert run(["bench", "gpt2_tiny", "--steps", "0"]) == 2
    assert "--steps 0: expected 1 or more" in capsys.readouterr().err
    assert run(["bench", "gpt2_tiny", "--data", "nowhere.npy"]) == 2
    assert "nowhere.npy: cannot be read: No such file" in capsys.readouterr().err
