"""What is split over a mesh, by name; and what a compiled step makes of it."""

import json
import re
import subprocess
import sys
from functools import partial

import jax
import pytest

import experiments
from research.config import Parallel
from research.config.settings import override
from research.devices.compilers import mesh_of
from research.devices.sharding import bytes_on_each, shardings
from research.models.parameters import by_path
from research.runs.state import initial_state


@pytest.mark.parametrize("name", ["gpt1", "gpt2_small", "bert_base"])
def test_rules_reach_every_large_array(name):
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=4, tensor=2))
    abstract = jax.eval_shape(partial(initial_state, experiments.get(name)))
    specs = by_path(shardings(abstract, mesh))
    for path, leaf in by_path(abstract).items():
        if leaf.size * leaf.dtype.itemsize > 2**20:
            share = specs[path].shard_shape(leaf.shape)
            assert 8 * jax.numpy.prod(jax.numpy.array(share)) == leaf.size, path
        if path.startswith("model/"):
            parameter = re.escape(path.removeprefix("model/"))
            opt_state = [p for p in specs if re.fullmatch(rf"opt_state/[\d/]*(mu|nu)/{parameter}", p)]
            assert len(opt_state) == 2 and all(specs[p] == specs[path] for p in opt_state)


def test_heads_are_split_and_not_cut():
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=1, tensor=8))
    abstract = jax.eval_shape(partial(initial_state, experiments.get("gpt2_medium")))
    specs = by_path(shardings(abstract.model, mesh))
    assert specs["blocks/attention/qkv/kernel"].shard_shape((24, 1024, 3, 1024)) == (24, 1024, 3, 128)
    assert specs["blocks/attention/output/kernel"].shard_shape((24, 1024, 1024)) == (24, 128, 1024)


def test_what_does_not_divide_stays_whole():
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=8))
    odd = override(experiments.get("gpt2_small"), {"model.width": 12, "model.heads": 2})
    specs = by_path(shardings(jax.eval_shape(partial(initial_state, odd)).model, mesh))
    assert specs["tokens"].is_fully_replicated and specs["blocks/attention/qkv/kernel"].is_fully_replicated
    assert not specs["blocks/mlp/expand/bias"].is_fully_replicated  # 48 does divide


def test_bytes_add_up():
    state = jax.eval_shape(partial(initial_state, experiments.get("gpt2_small")))
    one = mesh_of(Parallel(), jax.devices()[:1])
    assert bytes_on_each(state.model, one) == 4 * 124_439_808
    eight = mesh_of(Parallel(compile="sharded", data=1, fsdp=8))
    assert bytes_on_each(state.model, eight) < 1.001 * 4 * 124_439_808 / 8


@pytest.mark.slow
def test_the_largest_gpt2_on_64_devices():
    """Every large array 64 ways, and never put together but for the token table and one layer's part."""
    command = [sys.executable, "-m", "launch", "plan", "gpt2_xl", "--devices", "64", "--json"]
    declared = ["parallel.compile=sharded", "parallel.data=1", "parallel.fsdp=64", "model.remat=block"]
    out = subprocess.run(
        [*command, *declared, "model.precision=bfloat16"], check=True, capture_output=True, text=True
    ).stdout
    planned = json.loads(out)
    assert planned["large"] == planned["split"] > 20
    assert planned["gathered"] <= 50_257 * 1_600 * 4
    parameters = 1_557_611_200 * 4
    assert planned["parameters"] < 1.01 * parameters / 64
    assert planned["opt_state"] < 1.01 * 2 * parameters / 64
    assert planned["total"] < 14e9
