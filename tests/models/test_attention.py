"""Who sees whom, and which implementation is chosen, for what reason."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model
from research.errors import UsageError
from research.models.attention import AttentionMask, attend_by, by_library
from research.models.attention_choice import choose
from research.models.platform import differentiated_again, tracing_for
from research.models.precision import compute_dtype

HOPPER = 9, 0
LENGTHS = jnp.array([3, 7], jnp.int32)


def model(**changes):
    return Model(
        **{"family": "gpt2", "vocabulary": 8, "context": 8, "width": 64, "depth": 1, "heads": 2} | changes
    )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_ours_equals_the_librarys(causal, padded):
    """The call that cuDNN gets, here with JAX's other implementation; of padded queries nothing is asked."""
    q, k, v = (jax.random.normal(jax.random.key(n), (2, 7, 2, 8)) for n in range(3))
    attention_mask = AttentionMask(causal, LENGTHS if padded else None)
    ours = attend_by("xla", attention_mask, 7, 7)(q, k, v, None)
    theirs = by_library(attention_mask, "xla")(q, k, v, None)
    real = np.arange(7) < (np.asarray(LENGTHS) if padded else np.array([7, 7]))[:, None]
    np.testing.assert_allclose(ours[real], theirs[real], atol=2e-6)


def test_masks():
    assert AttentionMask(False).mask(3, 3) is None
    np.testing.assert_array_equal(AttentionMask(True).mask(3, 3)[0, 0], np.tri(3, dtype=bool))
    later = AttentionMask(True, start=jnp.int32(2)).mask(2, 5)[0, 0]
    np.testing.assert_array_equal(later, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    both = AttentionMask(True, LENGTHS).mask(7, 7)
    np.testing.assert_array_equal(both[0, 0], np.tri(7, dtype=bool) & (np.arange(7) < 3))


@pytest.mark.parametrize(
    "backend, changes, trains, used, why",
    [
        ("cpu", {}, True, "xla", "the device is a cpu"),
        ("gpu", {}, True, "cudnn", "preferred"),
        ("gpu", {"precision": "float32"}, True, "xla", "activations are float32"),
        ("gpu", {"heads": 16}, True, "xla", "head size 4"),
        ("gpu", {"width": 272, "heads": 2}, True, "xla", "head size 136"),
        ("gpu", {"dropout": 0.1}, True, "xla", "no dropout"),
        ("gpu", {"dropout": 0.1}, False, "cudnn", "preferred"),
        ("gpu", {"attention": "xla"}, True, "xla", "as set"),
        ("gpu", {"dropout": 0.1, "context": 128}, True, "flash", "no dropout"),
        ("gpu", {"dropout": 0.1, "context": 128}, False, "cudnn", "preferred"),
        ("gpu", {"dropout": 0.1, "context": 100}, True, "xla", "not a multiple of 64"),
        ("gpu", {"dropout": 0.1, "context": 128, "heads": 8}, True, "xla", "head size 8"),
        ("gpu", {"dropout": 0.1, "context": 128, "dropout_generator": "threefry"}, True, "xla", "threefry"),
        ("gpu", {"attention": "flash", "context": 128}, True, "flash", "as set"),
        ("tpu", {"context": 256}, True, "splash", "preferred"),
        ("tpu", {"context": 200}, True, "xla", "not a multiple of 128"),
        (
            "tpu",
            {"context": 256, "dropout": 0.1},
            True,
            "flash",
            "splash: it has no dropout",
        ),
        ("tpu", {"context": 16_384, "dropout": 0.1}, True, "xla", "exceeds 8,192"),
        ("tpu", {"context": 256, "dropout": 0.1}, False, "splash", "preferred"),
        ("tpu", {"context": 256, "precision": "float32"}, True, "xla", "activations are float32"),
    ],
)
def test_choice(backend, changes, trains, used, why):
    with tracing_for(backend, HOPPER if backend == "gpu" else None):
        choice = choose(model(**changes), trains)
    assert choice.used == used and why in choice.why


def test_without_pallas_for_triton_attention_is_xlas(monkeypatch):
    """JAX 0.12 announces that it will go."""
    monkeypatch.setitem(sys.modules, "jax.experimental.pallas.triton", None)
    dropping = model(dropout=0.1, context=256)
    with tracing_for("gpu", HOPPER):
        assert choose(dropping, trains=True).used == "xla"
        assert "no Pallas for Triton" in choose(dropping, trains=True).why
        with pytest.raises(UsageError, match="no Pallas for Triton"):
            choose(model(attention="flash", context=256), trains=True)
    with tracing_for("tpu"):
        assert choose(dropping, trains=True).used == "flash"


def test_documents_are_for_flash_and_splash():
    for backend, used in (("gpu", "flash"), ("tpu", "splash")):
        with tracing_for(backend, HOPPER):
            assert choose(model(context=256), trains=True, documents=True).used == used
            assert choose(model(context=256), trains=True, documents=True, length=200).used == "xla"


@pytest.mark.parametrize(
    ("capability", "dtype", "why"),
    [
        ((7, 5), "float32", "the GPU's compute capability is 7.5, below 8.0"),  # a T4
        ((8, 0), "bfloat16", "preferred"),
        (None, "bfloat16", "the GPU is not made by NVIDIA"),
    ],
)
def test_a_gpu_without_bfloat16_or_kernels_does_without(capability, dtype, why):
    with tracing_for("gpu", capability):
        assert compute_dtype("auto") == dtype
        assert why in choose(model(context=256), trains=True).why
        rounded = model(context=256, precision="bfloat16")
        assert choose(rounded, trains=True).used == ("cudnn" if why == "preferred" else "xla")
        if why != "preferred":
            with pytest.raises(UsageError, match=f"model.attention=flash: {why}"):
                choose(model(context=256, attention="flash"), trains=True)


def test_a_gradient_that_is_differentiated_takes_no_kernel():
    with tracing_for("gpu", HOPPER), differentiated_again.being(True):
        assert choose(model(context=256), trains=True) == ("xla", "the gradient is differentiated")


def test_segments_are_equal_where_the_mask_is():
    numbers = jnp.array([[0, 0, 1, 1, 1, 2, 2], [0] * 7], jnp.int32)
    for mask in (
        AttentionMask(True, LENGTHS),
        AttentionMask(False, LENGTHS, padding_B=jnp.array([1, 0], jnp.int32)),
        AttentionMask(True, LENGTHS, documents_BL=numbers),
    ):
        queries, keys = mask.segments(7, 7)
        seen = mask._replace(causal=False).mask(7, 7)
        np.testing.assert_array_equal(
            (queries[:, :, None] == keys[:, None]), np.broadcast_to(seen[:, 0], (2, 7, 7))
        )
    assert AttentionMask(True).segments(7, 7) is None


def test_cudnn_where_it_cannot_serve_is_refused():
    with pytest.raises(UsageError, match=r"model\.attention=cudnn: the device is a cpu"):
        choose(model(attention="cudnn"), trains=True)
