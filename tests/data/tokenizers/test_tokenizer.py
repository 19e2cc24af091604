import hashlib
import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import documents
from research.data.tokenizers.tokenizer import end_of_text, entries, load
from research.data.tokenizers.trained import byte_pairs
from research.errors import UsageError

PYTHON_DOCS = Data(source="tfds:python_docs", split="published", tokenizer="bpe:1024", batch=2, length=4)


def data(source, tokenizer, **changes):
    return Data(source=str(source), tokenizer=str(tokenizer), batch=2, length=4, **changes)


@pytest.fixture
def poem(tmp_path):
    (tmp_path / "poem.txt").write_bytes("Ä rose\r\nis  a rose\n\tis a\u2028rose 🌹".encode() * 50)
    return f"files:{tmp_path}/poem.txt"


@pytest.fixture
def gpt2(shared_data):
    return load(data("files:none", shared_data / "tokenizers" / "gpt2"))


def test_characters_of_shakespeare_are_those_of_nanogpt(shared_data):
    path = shared_data / "lm" / "tinyshakespeare" / "input.txt"
    tokenizer = load(data(f"files:{path}", "char", split="tail"))
    text = path.read_text()
    vocabulary = sorted(set(text))
    assert entries(tokenizer) == tokenizer.get_vocab_size() == len(vocabulary) == 65
    assert tokenizer.encode(text[:5000]).ids == [vocabulary.index(character) for character in text[:5000]]
    assert tokenizer.encode("hii there").ids == [46, 47, 47, 1, 58, 46, 43, 56, 43]  # its notebook's example
    assert end_of_text(tokenizer) is None


def test_characters_lose_nothing(poem):
    source = data(poem, "char", split="tail")
    (text,) = documents(source, "all")
    tokenizer = load(source)
    ids = tokenizer.encode(text).ids
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_byte_pairs_fill_their_size_and_end_documents():
    tokenizer = load(PYTHON_DOCS)
    assert entries(tokenizer) == tokenizer.get_vocab_size() == 1024
    assert tokenizer.id_to_token(end_of_text(tokenizer)) == "<|endoftext|>"
    assert load(PYTHON_DOCS).to_str() == tokenizer.to_str()


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_byte_pairs_lose_nothing(text):
    tokenizer = load(PYTHON_DOCS)
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_training_does_not_depend_on_the_process():
    script = (
        "import hashlib\nfrom research.config import Data, Later, Masking\n"
        "from research.data.tokenizers.trained import byte_pairs\n"
        f"print(hashlib.sha256(byte_pairs({PYTHON_DOCS!r}, 1024).to_str().encode()).hexdigest())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = hashlib.sha256(byte_pairs(PYTHON_DOCS, 1024).to_str().encode()).hexdigest()
    assert run.stdout.strip() == here


def test_training_sees_no_validation_text(tmp_path):
    lines = [json.dumps({"text": f"document {n} " + "common " * 40}) for n in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = data(f"files:{tmp_path}/a.jsonl", "bpe:280", holdout=0.3)
    before = byte_pairs(source, 280).to_str()
    held_out = set(documents(source, "validation"))
    kept = [line for line in lines if json.loads(line)["text"] not in held_out]
    assert 0 < len(kept) < 300
    (tmp_path / "a.jsonl").write_text("\n".join(kept))
    assert byte_pairs(source, 280).to_str() == before


def test_gpt2_gives_the_published_ids(gpt2, shared_data):
    golden = json.loads((shared_data / "tokenizers" / "golden_ids.json").read_text())["gpt2"]
    for text, ids in golden:
        assert gpt2.encode(text).ids == ids
        assert gpt2.decode(ids) == text
    assert entries(gpt2) == 50_257
    assert end_of_text(gpt2) == 50_256


def test_every_form_of_files_is_the_same_tokenizer(gpt2, shared_data, tmp_path, lineage_home):
    folder = shared_data / "tokenizers" / "gpt2"
    hugging = tmp_path / "hugging"
    hugging.mkdir()
    (hugging / "vocab.json").symlink_to(folder / "encoder.json")
    (hugging / "merges.txt").symlink_to(folder / "vocab.bpe")
    single = tmp_path / "tokenizer.json"
    gpt2.save(str(single))
    folder_by_name = lineage_home / "tokenizers"
    folder_by_name.mkdir(parents=True, exist_ok=True)
    (folder_by_name / "my-gpt2").symlink_to(folder)
    for name in (hugging, single, tmp_path, "my-gpt2"):
        assert load(data("files:none", name)).to_str() == gpt2.to_str()
    with pytest.raises(
        UsageError, match=r"data\.tokenizer=my-gpt: not found; .*my-gpt; did you mean my-gpt2 or gpt2\?"
    ):
        load(data("files:none", "my-gpt"))


def test_a_published_file_neither_truncates_nor_pads(tmp_path):
    tokenizer = Tokenizer.from_str(load(PYTHON_DOCS).to_str())
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load(data("files:none", tmp_path))
    text = "the quick brown fox jumps over it"
    assert loaded.encode(text).ids == load(PYTHON_DOCS).encode(text).ids


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bpe:100000", r"data\.tokenizer=bpe:100000: files:.* gives at most \d+ entries"),
        ("bpe:256", r"data\.tokenizer=bpe:256: expected bpe:SIZE with SIZE from 257"),
        ("bpe", r"data\.tokenizer=bpe: expected bpe:SIZE"),
        ("gpt9", r"data\.tokenizer=gpt9: not found; put tokenizer\.json, or .* in .*/tokenizers/gpt9; did"),
        ("chars", r"data\.tokenizer=chars: not found; .*did you mean char\?"),
        ("./none", r"data\.tokenizer=\./none: no such file or folder"),
        ("{}/poem.txt", r"poem\.txt: no tokenizer that can be read: no \[PAD\] among its \d+ lines"),
        ("wordpiece:20", r"data\.tokenizer=wordpiece:20: expected wordpiece:SIZE with SIZE from 32"),
        ("{}/", r"expected tokenizer\.json, or vocab\.json and merges\.txt, or encoder\.json and vocab\.bpe"),
    ],
)
def test_mistakes_are_one_line(poem, tmp_path, name, message, lineage_home):
    with pytest.raises(UsageError, match=message) as raised:
        load(data(poem, name.format(tmp_path), split="tail"))
    assert "\n" not in str(raised.value)
    trained = lineage_home / "tokenizers-trained"
    assert not [path for path in trained.glob(".*") if "partial" in path.name]


def test_the_size_that_an_error_recommends_is_not_refused_in_turn(tmp_path):
    """WordPiece's alphabet is a share of the size: with a smaller one, fewer entries follow."""
    path = tmp_path / "letters.txt"
    words = [f"{a}{b}{c}" for a in "bcdfgh" for b in "aeiou" for c in "lmnrst"]
    path.write_text(" ".join([chr(0x4E00 + n) for n in range(99)] + 9 * words))
    with pytest.raises(UsageError, match=r"gives at most \d+ entries; set data\.tokenizer=") as raised:
        load(data(f"files:{path}", "wordpiece:4096", split="tail"))
    recommended = str(raised.value).rpartition("data.tokenizer=")[2]
    size = int(recommended.partition(":")[2])
    assert load(data(f"files:{path}", recommended, split="tail")).get_vocab_size() == size
    path.write_text(" ".join(chr(97 + n) for n in range(26)))
    with pytest.raises(UsageError, match=r"gives at most \d+ entries; expected a longer text$"):
        load(data(f"files:{path}", "wordpiece:4096", split="tail"))


CHARACTERS = {"\n": 0, " ": 1, "a": 2, "é": 3, "Z": 4}  # not by code point


@pytest.fixture
def nanogpt(tmp_path):
    """What its data/shakespeare_char/prepare.py writes."""
    meta = {"vocab_size": 5, "stoi": CHARACTERS, "itos": {index: key for key, index in CHARACTERS.items()}}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    (tmp_path / "train.bin").write_bytes(bytes([2, 0] * 500))
    return tmp_path


def test_characters_of_nanogpts_tokens_are_those_of_the_table_beside_them(nanogpt):
    for found in (
        load(data(f"tokens:{nanogpt}/train.bin", "char")),
        load(data("files:of-no-importance.txt", f"{nanogpt}/meta.pkl")),
        load(data("files:of-no-importance.txt", f"{nanogpt}/")),
    ):
        assert found.get_vocab() == CHARACTERS
        assert found.encode("Zaé a\n").ids == [4, 2, 3, 1, 2, 0]
        assert found.decode([4, 2, 3, 1, 2, 0]) == "Zaé a\n"


def test_a_pickle_runs_nothing(nanogpt):
    class Harmful:
        def __reduce__(self):
            return open, (str(nanogpt / "written"), "w")

    for content, message in (
        (pickle.dumps({"stoi": CHARACTERS, "more": Harmful()}), "it names .*open"),
        (pickle.dumps({"vocab_size": 50304}), "no ids of characters"),
        (pickle.dumps({"stoi": {"ab": 0}}), "no ids of characters"),
        (pickle.dumps([1]), "no ids of characters"),
        (b"nothing", "no tokenizer that can be read"),
    ):
        (nanogpt / "meta.pkl").write_bytes(content)
        with pytest.raises(UsageError, match=rf"meta\.pkl: .*{message}|{message}"):
            load(data("files:of-no-importance.txt", f"{nanogpt}/meta.pkl"))
    assert not (nanogpt / "written").exists()


def test_characters_of_tokens_need_their_table(nanogpt):
    (nanogpt / "meta.pkl").unlink()
    with pytest.raises(UsageError, match=r"nanoGPT's meta\.pkl beside them"):
        load(data(f"tokens:{nanogpt}/train.bin", "char", split="tail"))
