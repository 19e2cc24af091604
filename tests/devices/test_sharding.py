"""How the arrays of a state are split over a mesh, by name; and the memory of the compiled step."""

import json
import math
import re
import subprocess
import sys
from functools import partial

import jax
import pytest
from flax import nnx

import experiments
from research.config import Parallel
from research.config.settings import override
from research.devices.compilers import mesh_of
from research.devices.sharding import bytes_on_each, shardings
from research.errors import UsageError
from research.models.axes import parameter
from research.models.parameters import by_path
from research.runs.state import initial_state

BOTH = ("fsdp", "tensor")
EXPECTED = (  # the first pattern that a path ends in; vectors stay whole
    # 50,257 divides by nothing useful, so tables are split along their width.
    (r"(tokens|special_embeddings|positions|segments|/output|^output)$", (None, BOTH)),
    (r"blocks/attention/qkv/kernel$", (None, "fsdp", None, "tensor")),
    (r"blocks/attention/qkv/bias$", (None, None, BOTH)),
    (r"blocks/mlp/(expand|gate)/kernel$", (None, "fsdp", "tensor")),
    (r"blocks/(attention|mlp)/output/kernel$", (None, "tensor", "fsdp")),
    (r"blocks/mlp/(expand|gate)/bias$", (None, BOTH)),
    (r"blocks/.*(bias|scale)$", (None, "fsdp")),  # of states, which `tensor` does not split
    (r"kernel$", ("fsdp", "tensor")),
)
MESHES = [Parallel(compile="sharded", data=1, fsdp=f, tensor=t) for f, t in ((8, 1), (1, 8), (4, 2))]
MODERN = {  # every part that has parameters of its own
    "model.activation": "swiglu",
    "model.normalization": "rms",
    "model.qk_norm": True,
    "model.tied": False,
    "model.positions": "rotary",
}
OPTIMIZERS = ("muon", "normuon", "soap", "adafactor", "sophia", "schedule_free_adamw", "lamb", "lion")
VARIANTS = [(name, {}) for name in experiments.names()]
VARIANTS += [(name, MODERN) for name in ("gpt1", "gpt2_small", "bert_base")]
VARIANTS += [("gpt2_small", {"optimizer.name": name}) for name in OPTIMIZERS]


@pytest.mark.parametrize("name, changes", VARIANTS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_every_array_is_split_as_it_says(name, changes):
    """Averages and moments as the parameters that their paths end in; factored moments not at all."""
    experiment = override(experiments.get(name), changes)
    abstract = jax.eval_shape(partial(initial_state, experiment))
    for mesh in map(mesh_of, MESHES):
        cut = experiment.model.heads % mesh.shape["tensor"] != 0
        specs = by_path(shardings(abstract, mesh))
        for path, leaf in by_path(abstract).items():
            axes = next((axes for pattern, axes in EXPECTED if re.search(pattern, path)), ())
            if leaf.ndim < 2 or len(axes) != leaf.ndim:
                assert specs[path].is_fully_replicated, path
                assert path.startswith("opt_state/") or leaf.ndim < 2, path
                continue
            for n, (axis, size) in enumerate(zip(axes, leaf.shape, strict=True)):
                names = (axis,) if isinstance(axis, str) else axis or ()
                names = [part for part in names if part != "tensor" or "attention" not in path or not cut]
                parts = math.prod(mesh.shape[part] for part in names)
                share = size // parts if size % parts == 0 else size
                assert specs[path].shard_shape(leaf.shape)[n] == share, path


@pytest.mark.parametrize("name", ["gpt1", "gpt2_small", "bert_base"])
def test_every_large_array_is_split(name):
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=4, tensor=2))
    abstract = jax.eval_shape(partial(initial_state, override(experiments.get(name), MODERN)))
    specs = by_path(shardings(abstract, mesh))
    for path, leaf in by_path(abstract).items():
        if leaf.size >= 2**16:
            assert 8 * math.prod(specs[path].shard_shape(leaf.shape)) == leaf.size, path


def planted(parameter):
    """A model with one parameter that is not of ours."""
    abstract = jax.eval_shape(partial(initial_state, experiments.get("gpt2_tiny"))).model
    abstract.blocks.mlp.expand.kernel = parameter
    return abstract


def test_a_large_array_that_declares_nothing_is_an_error():
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=4, tensor=2))
    large, small = (jax.ShapeDtypeStruct((4, size, size), "float32") for size in (128, 16))
    for nothing in ({}, {"axes": ("fsdp", "tensor")}):  # or too little
        with pytest.raises(UsageError, match=r"blocks/mlp/expand/kernel \(4, 128, 128\): declares no axes"):
            shardings(planted(nnx.Param(large, **nothing)), mesh)
        specs = by_path(shardings(planted(nnx.Param(small, **nothing)), mesh))
        assert specs["blocks/mlp/expand/kernel"].is_fully_replicated
    with pytest.raises(UsageError, match="expand/kernel: declares the axes tensr; expected some of data"):
        shardings(planted(nnx.Param(large, axes=(None, "fsdp", "tensr"))), mesh)
    whole = mesh_of(Parallel(compile="sharded"))  # nothing is split: copies are as declared
    assert by_path(shardings(planted(nnx.Param(large)), whole))["tokens"].is_fully_replicated
    with pytest.raises(UsageError, match=r"^statistics \(256, 256\): declares no axes"):  # not a parameter
        shardings({"statistics": jax.ShapeDtypeStruct((256, 256), "float32")}, mesh)


def test_a_declaration_has_an_axis_for_each_of_the_array():
    with pytest.raises(ValueError, match="expected 2 of them"):
        parameter(jax.numpy.ones((2, 3)), "fsdp")


def test_heads_are_split_and_not_cut():
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=1, tensor=8))
    abstract = jax.eval_shape(partial(initial_state, experiments.get("gpt2_medium")))
    specs = by_path(shardings(abstract.model, mesh))
    assert specs["blocks/attention/qkv/kernel"].shard_shape((24, 1024, 3, 1024)) == (24, 1024, 3, 128)
    assert specs["blocks/attention/output/kernel"].shard_shape((24, 1024, 1024)) == (24, 128, 1024)
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=4, tensor=2))
    abstract = jax.eval_shape(partial(initial_state, experiments.get("gpt2_xl")))  # of 25 heads
    specs = by_path(shardings(abstract, mesh))
    for prefix in ("model", "opt_state/1/0/mu"):
        assert specs[f"{prefix}/blocks/attention/qkv/kernel"].shard_shape((48, 1600, 3, 1600))[1:] == (
            400,
            3,
            1600,
        )
        assert specs[f"{prefix}/blocks/attention/qkv/bias"].shard_shape((48, 3, 1600)) == (48, 3, 400)
        assert specs[f"{prefix}/blocks/mlp/expand/kernel"].shard_shape((48, 1600, 6400)) == (48, 400, 3200)


def test_what_does_not_divide_stays_whole():
    mesh = mesh_of(Parallel(compile="sharded", data=1, fsdp=8))
    odd = override(experiments.get("gpt2_small"), {"model.width": 12, "model.heads": 2})
    specs = by_path(shardings(jax.eval_shape(partial(initial_state, odd)).model, mesh))
    assert specs["tokens"].is_fully_replicated and specs["blocks/attention/qkv/kernel"].is_fully_replicated
    assert not specs["blocks/mlp/expand/bias"].is_fully_replicated  # 48 does divide


def test_bytes_add_up():
    state = jax.eval_shape(partial(initial_state, experiments.get("gpt2_small")))
    one = mesh_of(Parallel(), jax.devices()[:1])
    assert bytes_on_each(state.model, shardings(state.model, one)) == 4 * 124_439_808
    eight = mesh_of(Parallel(compile="sharded", data=1, fsdp=8))
    assert bytes_on_each(state.model, shardings(state.model, eight)) < 1.001 * 4 * 124_439_808 / 8


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
    assert planned["peak"] < 14e9
