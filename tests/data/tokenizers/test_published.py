"""The original tokenizers against tiktoken and Transformers, built from the same files."""

import gzip
import json
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from research.config import Data
from research.data.tokenizers.fast_bert import encoder
from research.data.tokenizers.published import ON_HUB, SPECIAL, load, read, spaced
from research.data.tokenizers.tokenizer import special_tokens
from research.data.tokenizers.trained import load as load_declared
from research.data.tokenizers.trained import word_pieces
from research.errors import EnvironmentFault, UsageError

NAMES = ("gpt2", "gpt1", "bert-base-uncased", "bert-base-cased")
MARKUP = ["<|endoftext|>", "[MASK]", "[CLS]", "[UNK]", "<unk>", "</w>", "##ing", "\n</w>"]
TORTURE = [
    "", " ", "\n", "\t\r\n", " " * 1000, "\n" * 300, "a" * 5000, "é" * 150, "!?" * 400, "don't I'LL we’ve",
    "👩‍👩‍👧‍👦 🇩🇪 🏳️‍🌈 👍🏽 ✈︎", "力加勝北区ᴵᴺᵀᵃছজটডণত", "日本語のテキスト 한국어 𠀀𪛖",
    "e\u0301 n\u0303 Z\u0351\u036b\u0343 İstanbul ŞĞ ΣΑΣ ß ﬁ", "مرحبا שלום नमस्ते ไทย",
    "\x00\x01\x1f\x7f\x85\xa0\xad\u200b\u200d\u2028\u2029\ufeff\ufffd", "a\x0bb\x0cc\x1cd",
    "https://example.org/a_b?q=1&r=%20#x user@host.tld C:\\path\\x $1,234.56 1e-9 ½ ² Ⅷ",
    "\u3000 \u2003x\u2009y", "\U0010ffff \ue000 \U000e0041", *MARKUP, " ".join(MARKUP),
]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from([*MARKUP, " ", "  ", "\n", "'s", "ing", "é", "力", "🌹"])).map("".join),
)


@pytest.fixture(scope="module")
def real(shared_data):
    """5 MB each of Wikipedia and novels."""
    texts = []
    for name in ("wiki", "books"):
        size = 0
        with gzip.open(shared_data / "corpora" / f"{name}.jsonl.gz", "rt") as file:
            for line in file:
                for paragraph in json.loads(line)["text"].splitlines(keepends=True):
                    texts.append(paragraph)
                    size += len(paragraph.encode())
                if size > 5e6:
                    break
    return texts


def sample(texts, count=4000):
    return random.Random(0).sample(texts, count)


@pytest.fixture(scope="module")
def tokenizers(shared_data):
    ours = {name: load(str(shared_data / "tokenizers" / name)) for name in NAMES}
    for tokenizer in ours.values():
        tokenizer.encode_special_tokens = True  # as the token store encodes
    return ours


@pytest.fixture(scope="module")
def references(shared_data):
    """name → the reference's ids of a text, without special tokens."""
    tiktoken = pytest.importorskip("tiktoken")
    transformers = pytest.importorskip("transformers")
    openai_public = pytest.importorskip("tiktoken.load")
    folder = shared_data / "tokenizers"
    ranks = openai_public.data_gym_to_mergeable_bpe_ranks(
        str(folder / "gpt2" / "vocab.bpe"), str(folder / "gpt2" / "encoder.json")
    )
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    gpt2 = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50_256}
    )
    vocabulary = json.loads((folder / "gpt1" / "encoder_bpe_40000.json").read_text())
    merges = [
        tuple(line.split())
        for line in (folder / "gpt1" / "vocab_40000.bpe").read_text().split("\n")[1:]
        if line
    ]
    gpt1 = transformers.OpenAIGPTTokenizer(vocab=vocabulary, merges=merges)._tokenizer
    both = {"gpt2": gpt2.encode_ordinary}
    backends = {"gpt1": gpt1}
    for cased in (False, True):
        name = f"bert-base-{'cased' if cased else 'uncased'}"
        vocabulary = {
            piece: n for n, piece in enumerate((folder / name / "vocab.txt").read_text().splitlines())
        }
        backends[name] = transformers.BertTokenizer(vocab=vocabulary, do_lower_case=not cased)._tokenizer
        backends[name].model.max_input_chars_per_word = 200  # Google's; Transformers has 100
    for name, backend in backends.items():
        backend.encode_special_tokens = True
        both[name] = lambda text, backend=backend: backend.encode(text, add_special_tokens=False).ids
    return both


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", NAMES)
def test_torture_gives_the_references_ids(name, tokenizers, references):
    prepared = encoder(tokenizers[name])(TORTURE)
    for text, found in zip(TORTURE, prepared, strict=True):
        assert ids(tokenizers[name], text) == found == references[name](text), repr(text)


@pytest.mark.parametrize("name", NAMES)
def test_real_text_gives_the_references_ids(name, tokenizers, references, real):
    for text in sample(real, 1000):
        assert ids(tokenizers[name], text) == references[name](text)


def test_words_of_up_to_200_characters_are_split(tmp_path):
    """max_input_chars_per_word of WordpieceTokenizer, in tokenization.py of google-research/bert."""
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL, "a", "##a"]))
    tokenizer = read(tmp_path)
    assert tokenizer.encode("a" * 200, add_special_tokens=False).tokens == ["a", *["##a"] * 199]
    assert tokenizer.encode("a" * 201, add_special_tokens=False).tokens == ["[UNK]"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_of_ten_megabytes_gives_the_references_ids(name, tokenizers, references, real):
    prepared = encoder(tokenizers[name])(real)
    wrong = [text for text, found in zip(real, prepared, strict=True) if found != references[name](text)]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[2:])
def test_googles_own_algorithm_gives_the_same(name, tokenizers, real, shared_data):
    """Google's Python code. Rust lowercases a final Σ to σ, Python to ς, so texts with Σ are left out."""
    legacy = pytest.importorskip("transformers.models.bert.tokenization_bert_legacy")
    lines = (shared_data / "tokenizers" / name / "vocab.txt").read_text().splitlines()
    vocabulary = {piece: n for n, piece in enumerate(lines)}
    words = legacy.BasicTokenizer(do_lower_case=name.endswith("uncased"))
    pieces = legacy.WordpieceTokenizer(vocabulary, "[UNK]", max_input_chars_per_word=200)
    for text in sample(real):
        if "Σ" in text:
            continue
        expected = [vocabulary[piece] for word in words.tokenize(text) for piece in pieces.tokenize(word)]
        assert ids(tokenizers[name], text) == expected


@given(TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_gives_the_references_ids(tokenizers, references, text):
    for name in NAMES:
        assert ids(tokenizers[name], text) == references[name](text)


@given(TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_gpt2_loses_nothing(tokenizers, text):
    assert tokenizers["gpt2"].decode(ids(tokenizers["gpt2"], text), skip_special_tokens=False) == text


def test_gpt2_loses_nothing_of_real_text(tokenizers, real):
    for text in [*TORTURE, *sample(real)]:
        assert tokenizers["gpt2"].decode(ids(tokenizers["gpt2"], text), skip_special_tokens=False) == text


def test_bert_adds_its_special_tokens_and_knows_its_case(tokenizers, shared_data):
    golden = json.loads((shared_data / "tokenizers" / "golden_ids.json").read_text())
    for name in NAMES[2:]:
        for text, expected in golden.get(name, []):
            assert tokenizers[name].encode(text).ids == expected
    assert ids(tokenizers["bert-base-uncased"], "NAÏVE") == ids(tokenizers["bert-base-uncased"], "naive")
    assert ids(tokenizers["bert-base-cased"], "NAÏVE") != ids(tokenizers["bert-base-cased"], "naive")
    known = special_tokens(tokenizers["bert-base-uncased"])
    assert known[:5] == (30_522, 0, 101, 102, 103)
    assert known.continues.sum() == 5828
    pair = tokenizers["bert-base-uncased"].encode("a", "b")
    assert (pair.ids, pair.type_ids) == ([101, 1037, 102, 1038, 102], [0, 0, 0, 1, 1])
    assert special_tokens(tokenizers["gpt2"]) is None and special_tokens(tokenizers["gpt1"]) is None


def test_a_vocabulary_by_its_own_path_or_in_its_folder(shared_data, tokenizers):
    folder = shared_data / "tokenizers" / "bert-base-cased"
    assert load(str(folder / "vocab.txt")).to_str() == read(folder).to_str()


def test_hugging_faces_names_of_gpt1s_files(tmp_path, shared_data):
    folder = shared_data / "tokenizers" / "gpt1"
    (tmp_path / "vocab.json").symlink_to(folder / "encoder_bpe_40000.json")
    (tmp_path / "merges.txt").symlink_to(folder / "vocab_40000.bpe")
    assert read(tmp_path).to_str() == read(folder).to_str()


def test_published_names_and_repositories_come_from_the_hub(shared_data, tmp_path, hub):
    gpt1, bert = tmp_path / "gpt1", tmp_path / "bert"
    gpt1.mkdir()
    expected = read(shared_data / "tokenizers" / "gpt1").to_str()
    (gpt1 / "tokenizer.json").write_text(expected)
    (gpt1 / "model.safetensors").write_bytes(b"large")
    bert.mkdir()
    (bert / "vocab.txt").write_bytes((shared_data / "tokenizers/bert-base-cased/vocab.txt").read_bytes())
    hub.repositories.update({ON_HUB["gpt1"]: gpt1, "a/b": bert})
    assert load("gpt1").to_str() == load(f"hub:{ON_HUB['gpt1']}").to_str() == expected
    assert load("hub:a/b").to_str() == read(bert).to_str()
    assert sorted(hub.asked) == ["tokenizer.json", "vocab.txt"]

    # Hugging Face's tokenizer.json splits words of up to 100 characters; by the original's name it is 200.
    huggingface = read(bert)
    huggingface.model.max_input_chars_per_word = 100
    huggingface.save(str(bert / "tokenizer.json"))
    hub.repositories.update({ON_HUB["bert-base-cased"]: bert, "a/c": bert})
    long = "ab" * 75
    assert load("bert-base-cased").encode(long).tokens == load("hub:a/b").encode(long).tokens
    assert load("hub:a/c").encode(long).tokens == ["[CLS]", "[UNK]", "[SEP]"]
    hub.shut()
    assert load("gpt1").to_str() == expected


def test_no_network_is_one_line(hub, lineage_home):
    hub.shut()
    with pytest.raises(
        EnvironmentFault, match=r"openai-community/gpt2: cannot be fetched .*; put tokenizer\.json, .*/gpt2$"
    ) as e:
        load("gpt2")
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_wordpiece_training_is_deterministic():
    declared = Data(
        source="tfds:python_docs", split="published", tokenizer="wordpiece:2000", batch=2, length=8
    )
    tokenizer = word_pieces(declared, 2000)
    assert tokenizer.to_str() == word_pieces(declared, 2000).to_str()
    known = special_tokens(tokenizer)
    assert known[:5] == (2000, 0, 2, 3, 4)
    assert 0 < known.continues.sum() < 1000
    encoding = tokenizer.encode("The Iterator returns naïve")
    assert encoding.tokens[0] == "[CLS]" and encoding.tokens[-1] == "[SEP]"
    assert "[UNK]" not in encoding.tokens
    with pytest.raises(UsageError, match=r"gives at most \d+ entries"):
        load_declared(replace(declared, tokenizer="wordpiece:200000"))


def test_separate_words_of_gpt2_have_a_space_before_them(tokenizers):
    plain = tokenizers["gpt2"]
    words = ["The", "file", "isn't", "here", "."]
    ids = [index for word in words for index in plain.encode(f" {word}").ids]
    assert spaced(plain).encode(words, is_pretokenized=True).ids == ids
    assert plain.encode("file").ids != plain.encode(" file").ids  # and the given one stays as it was
