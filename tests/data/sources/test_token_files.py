"""Files of tokens: nanoGPT's, llm.c's and NumPy's."""

import numpy as np
import pytest

from research.data.sources import token_files
from research.errors import UsageError

TOKENS = np.arange(1_000) % 300


def llm_c(tokens, dtype="<u2", magic=20_240_520, version=1, count=None) -> bytes:
    """As written by llm.c's dev/data/data_common.py."""
    header = np.zeros(256, "<i4")
    header[:3] = magic, version, len(tokens) if count is None else count
    return header.tobytes() + tokens.astype(dtype).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        TOKENS.astype("<u2").tobytes(),
        llm_c(TOKENS),
        llm_c(TOKENS, "<u4", 20_240_801, 7),
    ],
    ids=["nanoGPT", "llm.c, GPT-2", "llm.c, Llama 3"],
)
def test_tokens_of_bin_files(content, tmp_path):
    (tmp_path / "a.bin").write_bytes(content)
    assert token_files.read(tmp_path / "a.bin").tolist() == TOKENS.tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_tokens_of_numpy_files(dtype, tmp_path):
    np.save(tmp_path / "a.npy", TOKENS.astype(dtype))
    assert token_files.read(tmp_path / "a.npy").tolist() == TOKENS.tolist()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has no tokens"),
        (b"abc", "3 bytes; expected two for each token, or llm.c's header"),
        (llm_c(TOKENS)[:100], "100 bytes; expected 1,024 or more, llm.c's header"),
        (llm_c(TOKENS)[:-1], "3,023 bytes; expected 3,024, by its header"),
        (llm_c(TOKENS) + b"\0\0", "3,026 bytes; expected 3,024, by its header"),
        (llm_c(TOKENS, version=2), "version 2 of llm.c's tokens is not known"),
    ],
)
def test_what_is_no_file_of_tokens_is_refused(content, message, tmp_path):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(UsageError, match=rf"a\.bin: {message}"):
        token_files.read(tmp_path / "a.bin")


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((2, 3), np.uint16), r"holds uint16 \(2, 3\); expected one row of integers"),
        (np.zeros(3), r"holds float64 \(3,\)"),
        (np.zeros(0, np.uint16), "has no tokens"),
        (np.array([{}]), "no NumPy file that can be read"),
    ],
)
def test_what_is_no_row_of_tokens_is_refused(array, message, tmp_path):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UsageError, match=message):
        token_files.read(tmp_path / "a.npy")


def test_tokens_of_32_bits_without_a_header_are_refused(tmp_path):
    """Read as 16 bits, every second one would be 0 or 1."""
    large = np.arange(1_000) * 137 % 100_277
    (tmp_path / "a.bin").write_bytes(large.astype("<u4").tobytes())
    with pytest.raises(UsageError, match=r"a\.bin: tokens of 32 bits; expected 16, or a \.npy file"):
        token_files.read(tmp_path / "a.bin")
    for tokens in (np.zeros(1_000), np.arange(1_000) % 2, np.arange(4) * np.array([9, 0, 2, 0])):
        (tmp_path / "b.bin").write_bytes(tokens.astype("<u2").tobytes())
        assert token_files.read(tmp_path / "b.bin").tolist() == tokens.tolist()
