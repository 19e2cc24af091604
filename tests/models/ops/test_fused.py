"""Kernels of fused attention, interpreted on a CPU, against the plain form with the same masks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from research.models.attention import AttentionMask, attend_by
from research.models.axes import over_shards
from research.models.ops.dropout import Seed
from research.models.platform import platform, tracing_for
from tests.models.derivatives import arrays, assert_same
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

B, L, H, K = 2, 128, 2, 16
MESH = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
SEED = Seed(jnp.array([5, 6], jnp.uint32), jnp.float32(0.3))


def mask_of(seen, length):
    halves = (jnp.arange(length) >= jnp.array([[50], [100]])).astype(jnp.int32)
    return {
        "padding": AttentionMask(False, jnp.array([60, length])),
        "documents": AttentionMask(True, jnp.array([90, length]), documents_BL=halves),
        "causal": AttentionMask(True),
        "all": AttentionMask(False),
    }[seen]


def fused(kernels, mask, length):
    """Attention by `flash` of a GPU or a TPU, or by `splash`."""
    name, _, device = kernels.partition(" ")
    with tracing_for(device or platform()):
        return attend_by(name, mask, length, length, interpret=True)


@pytest.mark.parametrize(
    ("kernels", "drops", "seen", "length"),
    mostly_slow(
        [("flash gpu", True, seen, L) for seen in ("padding", "documents")]
        + [("flash gpu", False, seen, L) for seen in ("causal", "all")]
        + [("flash tpu", True, "padding", L), ("flash tpu", True, "documents", 384)]
        + [("flash tpu", True, "causal", 1_024), ("flash tpu", True, "all", 640)]
        + [("flash tpu", False, seen, L) for seen in ("documents", "causal")]
        + [("splash", False, seen, L) for seen in ("padding", "documents", "causal", "all")],
        fast=0,
    ),
)
def test_kernels_equal_the_plain_form(kernels, drops, seen, length):
    """Output and gradients; flash draws the dropout mask that the plain form is given by its seed."""
    mask, seed = mask_of(seen, length), SEED if drops else None
    attend, plain = fused(kernels, mask, length), attend_by("xla", mask, length, length)
    assert_same(
        lambda *qkv: attend(*qkv, seed), lambda *qkv: plain(*qkv, seed), *arrays(*[(B, length, H, K)] * 3)
    )


@pytest.mark.slow
def test_large_heads_take_smaller_blocks():
    """As on a GPU with little shared memory, which is what a CPU counts as."""
    attend, plain = (
        lambda q, k, v, name=name: attend_by(name, AttentionMask(True), L, L, interpret=True)(q, k, v, SEED)
        for name in ("flash", "xla")
    )
    assert_same(attend, plain, *arrays(*[(1, L, 1, 128)] * 3))


def on_the_mesh(function, *arrays):
    """Compiled for all devices, as `sharded` does."""
    everywhere = NamedSharding(MESH, PartitionSpec())
    with jax.sharding.use_abstract_mesh(MESH.abstract_mesh):
        return jax.jit(function)(*jax.device_put(arrays, everywhere))


@pytest.mark.parametrize("kernels", mostly_slow(["flash gpu", "flash tpu", "splash"]))
def test_devices_compute_rows_and_heads_of_their_own(kernels):
    """The plain form's, with the masks that one device would draw, for rows and heads that a mesh splits."""
    length, seed = 64 if kernels == "flash gpu" else L, None if kernels == "splash" else SEED
    mask = AttentionMask(True, jnp.array([40, 64, 50, 60]))
    attend = fused(kernels, mask, length)
    qkv = arrays(*[(4, length, H, K)] * 3)
    split = on_the_mesh(lambda *qkv: attend(*qkv, seed), *qkv)
    plain = attend_by("xla", mask, length, length)(*qkv, seed)
    np.testing.assert_allclose(split, plain, atol=2e-6)


@pytest.mark.slow
def test_shards_of_a_batch_are_computed_where_they_are():
    """As `over_shards` has each computed, so that nothing of it is sent; with the masks of the whole."""
    attend = attend_by("flash", AttentionMask(True), 64, 64, interpret=True)
    qkv = arrays(*[(2, 4, 64, H, K)] * 3)

    def of_shard(shard, *qkv):
        return attend(*qkv, SEED._replace(shard=shard))

    split = on_the_mesh(partial(over_shards, of_shard), jnp.arange(2, dtype=jnp.uint32), *qkv)
    whole = attend(*(x.reshape(8, 64, H, K) for x in qkv), SEED)
    np.testing.assert_allclose(split.reshape(whole.shape), whole, atol=1e-6)
