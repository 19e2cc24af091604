"""GPT-1's release, as openai/finetune-transformer-lm reads its own: train.py, lines 393 and on."""

import json

import numpy as np
import pytest

from research import weights
from research.errors import UsageError

V, D, N, CONTEXT = 37, 24, 2, 512
BLOCK = [  # in the order in which train.py makes its variables
    [1, D, 3 * D], [3 * D], [1, D, D], [D],  # attn/c_attn and attn/c_proj: w, b
    [D], [D],  # ln_1: g, b
    [1, D, 4 * D], [4 * D], [1, 4 * D, D], [D],  # mlp/c_fc and mlp/c_proj
    [D], [D],  # ln_2
]  # fmt: skip
SHAPES = [[CONTEXT, D], [V, D], *BLOCK * N]


def publish(directory, shapes=SHAPES):
    """Ten pieces of one vector; a number's value is its place in it."""
    directory.mkdir(exist_ok=True)
    numbers = np.arange(sum(int(np.prod(shape)) for shape in shapes), dtype=np.float32)
    (directory / "params_shapes.json").write_text(json.dumps(shapes))
    for n, piece in enumerate(np.array_split(numbers, 10)):
        np.save(directory / f"params_{n}.npy", piece)
    return directory, numbers


def refused(directory) -> str:
    with pytest.raises(UsageError) as raised:
        weights.load(directory)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_every_number_is_where_train_py_has_it(tmp_path):
    directory, numbers = publish(tmp_path / "model")
    loaded = weights.load(directory)
    model, config = loaded.model, loaded.config
    assert (config.family, config.norm, config.activation, config.dropout) == (
        "gpt1",
        "post",
        "gelu_tanh",
        0.1,
    )
    assert (config.vocabulary, config.context, config.width, config.depth) == (V, CONTEXT, D, N)
    assert config.heads == 12 and config.norm_epsilon == 1e-5

    start = 0

    def following(*shape):
        nonlocal start
        start += int(np.prod(shape))
        return numbers[start - int(np.prod(shape)) : start].reshape(shape)

    np.testing.assert_array_equal(model.positions[...], following(CONTEXT, D))
    np.testing.assert_array_equal(model.tokens[...], following(V, D))
    blocks = model.blocks
    for n in range(N):
        qkv = np.asarray(blocks.attention.qkv.kernel[...])[n]
        c_attn = following(D, 3 * D)
        for part in range(3):  # tf.split(c, 3, 2) gives query, key, value
            np.testing.assert_array_equal(qkv[:, part], c_attn[:, part * D : (part + 1) * D])
        np.testing.assert_array_equal(blocks.attention.qkv.bias[...][n].ravel(), following(3 * D))
        np.testing.assert_array_equal(blocks.attention.output.kernel[...][n], following(D, D))
        np.testing.assert_array_equal(blocks.attention.output.bias[...][n], following(D))
        np.testing.assert_array_equal(blocks.attention_norm.scale[...][n], following(D))
        np.testing.assert_array_equal(blocks.attention_norm.bias[...][n], following(D))
        np.testing.assert_array_equal(blocks.mlp.expand.kernel[...][n], following(D, 4 * D))
        np.testing.assert_array_equal(blocks.mlp.expand.bias[...][n], following(4 * D))
        np.testing.assert_array_equal(blocks.mlp.output.kernel[...][n], following(4 * D, D))
        np.testing.assert_array_equal(blocks.mlp.output.bias[...][n], following(D))
        np.testing.assert_array_equal(blocks.mlp_norm.scale[...][n], following(D))
        np.testing.assert_array_equal(blocks.mlp_norm.bias[...][n], following(D))
    assert start == len(numbers) and not loaded.report.missing and not loaded.report.unused


def test_one_table_of_tokens_then_positions(tmp_path):
    """As train.py holds it while it trains."""
    directory, numbers = publish(tmp_path / "joint", [[V + CONTEXT, D], *BLOCK * N])
    model = weights.load(directory).model
    table = numbers[: (V + CONTEXT) * D].reshape(-1, D)
    np.testing.assert_array_equal(model.tokens[...], table[:V])
    np.testing.assert_array_equal(model.positions[...], table[V:])


def test_import_gives_a_directory_that_load_reads(tmp_path):
    directory, _ = publish(tmp_path / "model")
    weights.import_("openai", directory, tmp_path / "out")
    one, two = weights.load(directory), weights.load(tmp_path / "out")
    assert one.config == two.config
    np.testing.assert_array_equal(
        one.model.blocks.mlp.output.kernel[...], two.model.blocks.mlp.output.kernel[...]
    )


def test_damage_is_named(tmp_path):
    directory, _ = publish(tmp_path / "model")
    piece = directory / "params_3.npy"
    whole = piece.read_bytes()
    piece.write_bytes(whole[: len(whole) // 2])
    assert "params_3.npy: cannot be read, it may be cut off or damaged" in refused(directory)
    np.save(piece, np.zeros(7, np.float32))
    assert "numbers, params_shapes.json needs" in refused(directory)
    np.save(piece, np.array([{}], dtype=object), allow_pickle=True)
    assert "params_3.npy: cannot be read" in refused(directory)
    piece.unlink()
    assert "params_3.npy: no such file" in refused(directory)
    for n in range(10):
        (directory / f"params_{n}.npy").unlink(missing_ok=True)
    assert "params_0.npy: no such file" in refused(directory)
    publish(directory, SHAPES[:-1])
    assert "expected two tables and 12 shapes a block" in refused(directory)
    (directory / "params_shapes.json").write_text("[1, 2]")
    assert "expected a list of shapes" in refused(directory)
