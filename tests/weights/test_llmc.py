"""llm.c's model files, built here from Transformers' GPT-2 by struct, and read by it again."""

import struct

import numpy as np
import pytest

from launch.__main__ import run
from research import weights
from research.config import Model
from research.errors import UsageError
from research.models.parameters import by_path
from tests.drawn import drawn

CONTEXT, VOCABULARY, DEPTH, HEADS, WIDTH, ROWS = 12, 50, 2, 2, 8, 128
CONFIG = Model(family="gpt2", vocabulary=50, context=12, width=8, depth=2, heads=2)
IDS = np.array([[3, 1, 49, 7, 7, 20, 0, 11]])
# In the order of the file; Conv1D's matrices are (in, out), llm.c's (out, in).
BLOCK = (
    *("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight"),
    *("attn.c_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias"),
    *("mlp.c_proj.weight", "mlp.c_proj.bias"),
)


def bfloat16(numbers: np.ndarray) -> bytes:
    """The upper halves of float32 numbers that are exactly bfloat16."""
    return (np.ascontiguousarray(numbers, "<f4").view("<u4") >> 16).astype("<u2").tobytes()


def file_of(tensors, version: int) -> bytes:
    """The bytes of llm.c's file, from tensors by Transformers' names."""
    write = bfloat16 if version == 5 else lambda x: np.ascontiguousarray(x, "<f4").tobytes()
    sizes = CONTEXT, VOCABULARY, DEPTH, HEADS, WIDTH, 0 if version == 1 else ROWS
    content = struct.pack("<8i", 20240326, version, *sizes) + bytes(1024 - 32)
    content += write(tensors["wte.weight"])
    if version != 1:
        content += write(np.zeros((ROWS - VOCABULARY, WIDTH)))
    content += write(tensors["wpe.weight"])
    for name in BLOCK:
        for n in range(DEPTH):
            tensor = tensors[f"h.{n}.{name}"]
            content += write(tensor.T if tensor.ndim == 2 else tensor)
    return content + write(tensors["ln_f.weight"]) + write(tensors["ln_f.bias"])


@pytest.fixture(scope="module")
def theirs():
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    torch.manual_seed(0)
    sizes = {"n_positions": 12, "vocab_size": 50, "n_layer": 2, "n_head": 2, "n_embd": 8}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
            parameter.copy_(parameter.bfloat16().float())  # so that both types hold the same numbers
        logits = model(torch.from_numpy(IDS)).logits.numpy()
    return {n: x.numpy() for n, x in model.transformer.state_dict().items()}, logits


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("version", [1, 3, 5])
def test_logits_are_those_of_transformers(version, theirs, tmp_path):
    tensors, logits = theirs
    (tmp_path / "gpt2_124M.bin").write_bytes(file_of(tensors, version))
    assert run(["import", "llmc", str(tmp_path / "gpt2_124M.bin"), str(tmp_path / "out")]) == 0
    loaded = weights.load(tmp_path / "out")
    assert loaded.config == CONFIG and not loaded.report.missing and not loaded.report.unused
    np.testing.assert_allclose(loaded.model(IDS), logits, atol=1e-5 * abs(logits).max())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("format, version", [("llmc", 3), ("llmc_bf16", 5)])
def test_an_exported_file_is_that_of_llm_c(format, version, theirs, tmp_path):
    """Byte for byte the file that its own script would write."""
    expected = file_of(theirs[0], version)
    (tmp_path / "a.bin").write_bytes(expected)
    weights.import_("llmc", tmp_path / "a.bin", tmp_path / "out")
    command = ["export", str(tmp_path / "out"), str(tmp_path / "b.bin"), "--format", format]
    assert run(command) == 0
    assert (tmp_path / "b.bin").read_bytes() == expected
    assert run(command) == 2  # nothing is written over
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin", "out"]


def _file(**changes) -> bytes:
    header = [20240326, 3, CONTEXT, VOCABULARY, DEPTH, HEADS, WIDTH, ROWS]
    for place, value in changes.items():
        header[int(place[1:])] = value
    numbers = ROWS * WIDTH + CONTEXT * WIDTH + DEPTH * (12 * WIDTH**2 + 13 * WIDTH) + 2 * WIDTH
    return struct.pack("<8i", *header) + bytes(1024 - 32) + bytes(4 * numbers)


@pytest.mark.parametrize(
    "content, message",
    [
        (_file()[:-4], r"bytes, expected [\d,]+; it may be cut off"),
        (_file() + b"more", r"bytes, expected [\d,]+; it may be cut off"),
        (_file()[:100], "not a model file of llm.c"),
        (b"", "not a model file of llm.c"),
        (_file(h0=20240327), "not a model file of llm.c"),
        (_file(h1=2), "version 2 of llm.c's model files: expected 1, 3 or 5"),
        (_file(h7=0), "version 3 of llm.c's model files: expected 1, 3 or 5"),
        (_file(h7=49), "its table has 49 rows for 50 tokens"),
        (_file(h5=3), "its header has sizes 12, 50, 2, 3, 8; it may be damaged"),
        (_file(h4=-1), "its header has sizes 12, 50, -1, 2, 8"),
    ],
)
def test_damaged_files(content, message, tmp_path):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        weights.import_("llmc", tmp_path / "a.bin", tmp_path / "out")
    assert "\n" not in str(raised.value) and str(tmp_path / "a.bin") in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_other_commands_name_the_import(tmp_path):
    (tmp_path / "a.bin").write_bytes(_file())
    with pytest.raises(UsageError, match=r"a model file of llm\.c; lineage import llmc .*a\.bin DIR"):
        weights.load(tmp_path / "a.bin")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        weights.import_("llmc", tmp_path / "none.bin", tmp_path / "out")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"activation": "gelu_erf"}, "model.activation=gelu_erf: llm.c has only gelu_tanh"),
        ({"tied": False}, "model.tied=False: llm.c has only True"),
        ({"hidden": 20}, "model.hidden=20: llm.c has only 32"),
        ({"family": "bert", "norm": "post"}, "model.family=bert: llm.c has only gpt2"),
        ({"positions": "rotary"}, "model.positions=rotary: llm.c has only learned"),
    ],
)
def test_models_that_llm_c_does_not_have(change, message, tmp_path):
    sizes = {"vocabulary": 50, "context": 12, "width": 8, "depth": 2, "heads": 2}
    config = Model(**{"family": "gpt2"} | sizes | change)
    weights.save(tmp_path / "saved", weights.Weights(config, by_path(drawn(config)), {}, None))
    with pytest.raises(UsageError, match=message):
        weights.export(tmp_path / "saved", tmp_path / "a.bin", "llmc")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_model_without_biases_is_exported_with_zeros(tmp_path):
    config = Model(family="gpt2", vocabulary=50, context=12, width=8, depth=2, heads=2, bias=False)
    model = drawn(config)
    weights.save(tmp_path / "saved", weights.Weights(config, by_path(model), {}, None))
    weights.export(tmp_path / "saved", tmp_path / "a.bin", "llmc")
    weights.import_("llmc", tmp_path / "a.bin", tmp_path / "out")
    np.testing.assert_allclose(weights.load(tmp_path / "out").model(IDS), model(IDS), atol=1e-6)
