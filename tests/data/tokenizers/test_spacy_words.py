"""GPT-1's words, against ids of TextEncoder itself, text_utils.py of openai/finetune-transformer-lm.

It was run beside ours with spaCy 3.8.18, whose English() stands for the model that it loads, and ftfy 6.3.1.
"""

import gzip
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import experiments
from research.config import Data
from research.config.settings import override
from research.data.sources.standardize import gpt1
from research.data.store import encoding
from research.data.store.token_store import prepare
from research.data.tokenizers import published, spacy_words
from research.data.tokenizers.fast_bert import encoder
from research.data.tokenizers.for_task import tokenizer_of
from research.data.tokenizers.tokenizer import document_start, encode
from research.errors import EnvironmentFault, LineageWarning, UsageError
from research.generation.text import encode_prompt
from research.runs import paths
from research.weights import tokenizer_files

INSTALLED = find_spec("spacy") and find_spec("ftfy")
needs_spacy = pytest.mark.skipif(not INSTALLED, reason="needs the extra gpt1")

GOLDEN = {
    "I can't go; she'd said: “Dr. Brown's at 3.5 km—no!”": (
        "249 993 538 799 270 520 656 603 271 244 2863 2507 535 491 19243 284 35677 260 664 267 244"
    ),
    "One.\r\n\r\n  Two…\ttwo\n \nthree\n": "566 239 40477 867 749 867 40477 1203",
    "naïve CAFÉ İstanbul ΣΑΣ ÿ 日本 🌹 ﬁsh": "24213 13550 11 0 1135 24866 201 179 458 0 0 0 0 3316",
    "Fish &amp; chips, schÃ¶n ``quoted'' [1] a\\b": (
        "3316 296 9079 240 6250 133 247 299 299 22315 6725 293 277 294 8 127 259"
    ),
    "e.g. the U.S.A. at 10a.m., we'd've paid $1,234.56 o'clock gonna 'em": (
        "23612 20572 481 25896 14 10311 491 5895 8096 240 606 656 880 3392 289 277 240 38907 26124 "
        "26836 5403 2113 1599 5961"
    ),
    "\u2028a\u00a0b\u3000c\u200bd\fe": "246 259 25 172 248 243",
    "  \n ": "",
    "-----": "3700 11395",
    "<unk> </w> the</w> \n</w>": ("295 2530 290 295 278 251 290 481 295 278 251 290 40477 295 278 251 290"),
}
# Of the ids, as JSON, of 20,000 characters from the middle of each novel: the first digits of their SHA-256.
EXCERPTS = """
edf7b1 f64408 574d70 fc42cb 08929c f65eb4 e2de94 75a8b3 49f3a3 500141 b5b2d3 589fec efd4b9 9f375a 55607c
9ec01f 5e7ac6 841f4f 3b5535 0ee4a0 1dfd31 5ef965 645615 17be72 dfce0c dafbef 47dadd 780d9f 6c17f1 347466
4b0141 f071ea 832bb8 31e3b2 1837df 1d1161 96fca2 41ee2a 81ea8b 80f66a ca7e41 944b9c c4c321 9741a8 677010
972bb4 e50a59 e8c434 fcc244 8e49ad bd3d94 52519a 6f7bbe df1773 070bec 02aead 143c85 021548 683701 ab4f34
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """The files of a tokenizer of GPT-1's kind, with letters and two merges."""
    letters = "abcdefghijklmnopqrstuvwxyz'.,"
    pieces = [
        "<unk>",
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "do</w>",
        "n'",
        "n't</w>",
        "\n</w>",
    ]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (tmp_path / "gpt1").mkdir()
    (tmp_path / "gpt1" / "encoder_bpe_40000.json").write_text(json.dumps(vocabulary))
    (tmp_path / "gpt1" / "vocab_40000.bpe").write_text("#version: 0.2\nd o</w>\nn '\nn' t</w>\n")
    return tmp_path / "gpt1"


@pytest.fixture
def no_spacy(monkeypatch):
    """As where the extra is not installed."""
    monkeypatch.setattr(spacy_words, "_versions", lambda: (None, "6.3.1"))
    spacy_words._english.cache_clear()


@needs_spacy
def test_ids_of_the_original(shared_data):
    tokenizer = published.load(f"spacy:{shared_data / 'tokenizers' / 'gpt1'}")
    expected = {text: [int(index) for index in ids.split()] for text, ids in GOLDEN.items()}
    assert dict(zip(GOLDEN, encoder(tokenizer)(list(GOLDEN)), strict=True)) == expected
    assert {text: encode(tokenizer, text).ids for text in GOLDEN} == expected


@pytest.mark.slow
@needs_spacy
def test_ids_of_the_original_on_novels(shared_data):
    """Other versions of spaCy have a few other rules: that of 2018 gives all excerpts but one alike."""
    with gzip.open(shared_data / "corpora" / "books.jsonl.gz", "rt", encoding="utf-8") as file:
        novels = [json.loads(line)["text"] for line in file]
    excerpts = [novel[len(novel) // 2 :][:20_000] for novel in novels]
    found = encoder(published.load(f"spacy:{shared_data / 'tokenizers' / 'gpt1'}"))(excerpts)
    hashes = [hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:6] for ids in found]
    assert sum(one == other for one, other in zip(hashes, EXCERPTS.split(), strict=True)) >= 59


@needs_spacy
def test_a_store_of_one_way_never_answers_for_the_other(folder, tmp_path):
    """Nor does one of another spaCy. Each is said, with what the other has."""
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": "I don't.\n\nDo I?"}) for _ in range(90)))
    sizes, said = {}, {}
    for name in (str(folder), f"spacy:{folder}"):
        declared = Data(source=f"files:{tmp_path}/a.jsonl", tokenizer=name, split="tail", batch=1, length=4)
        said[name] = []
        store = prepare(declared, 1000, said[name].append).train
        sizes[name] = store.folder.parent
        ends = store.tokens.tolist().count(published.load(name).token_to_id("\n</w>"))
        assert ends == (store.documents if name.startswith("spacy:") else 0)
    assert len(set(sizes.values())) == 2
    line = said[str(folder)][0]
    assert f"data.tokenizer=spacy:{folder} has the published words" in line and "BERT's rules" in line
    assert not any("BERT's rules" in line for line in said[f"spacy:{folder}"])
    before = spacy_words.rules(published.load(f"spacy:{folder}"))
    assert before.startswith(" spaCy 3") and spacy_words.rules(published.load(str(folder))) == ""


@needs_spacy
@pytest.mark.parametrize("standardize", ["gpt1", "none"])
def test_a_long_document_is_cut_between_words_and_cleaned_once(standardize, folder, tmp_path, monkeypatch):
    """Cleaned twice, some texts would be others than the original reads."""
    monkeypatch.setattr(encoding, "CHUNK_SIZE", 50)
    text = "I don't know Ã*\tb_b, nor do they.\n" * 40
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}) + "\n")
    declared = Data(
        source=f"files:{tmp_path}/a.jsonl",
        tokenizer=f"spacy:{folder}",
        standardize=standardize,
        split="tail",
        holdout=0.1,
        batch=1,
        length=4,
    )
    corpus = prepare(declared, 1000, lambda line: None)
    tokens = [*corpus.train.tokens.tolist(), *corpus.validation.tokens.tolist()]
    once = gpt1(text)
    assert gpt1(once) != once and tokens == encode(corpus.tokenizer, text).ids


@needs_spacy
def test_a_written_tokenizer_reads_words_again(folder, tmp_path):
    """As the one in a run's directory, which resume, evaluate and generate read."""
    tokenizer = published.load(f"spacy:{folder}")
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    again = published.beside(tmp_path)
    prompt = "I don't\n\ndo."
    expected = ["i</w>", "do</w>", "n't</w>", "\n</w>", "do</w>", ".</w>"]
    assert encode(again, prompt).tokens == expected
    assert encode_prompt(again, prompt) == encode(tokenizer, prompt).ids
    assert encode_prompt(again, "") == document_start(again) == [again.token_to_id("\n</w>")]
    assert published.load(f"spacy:{tmp_path}").to_str() == tokenizer.to_str()


@needs_spacy
def test_weights_tokenizer_with_words(folder):
    """OpenAI's release has its vocabulary beside the weights."""
    tuned = override(
        experiments.get("gpt1_sst2"), {"start.weights": str(folder), "data.tokenizer": "spacy:start"}
    )
    assert spacy_words.reads_words(tokenizer_of(tuned.data, tuned.task, tuned.start, tuned.model.vocabulary))
    plain = override(tuned, {"data.tokenizer": "start"})
    assert spacy_words.ends_words(tokenizer_of(plain.data, plain.task, plain.start, plain.model.vocabulary))


@needs_spacy
def test_exported_with_the_words_of_transformers(folder, tmp_path):
    with pytest.warns(LineageWarning, match="Transformers has no spaCy tokenizer"):
        tokenizer_files.write(tmp_path, published.load(f"spacy:{folder}"), 8, ["input_ids"])
    assert (tmp_path / "tokenizer.json").read_text() == published.load(str(folder)).to_str()


def test_without_spacy_one_line_says_what_to_do(folder, no_spacy):
    with pytest.raises(
        EnvironmentFault,
        match=rf"^data\.tokenizer=spacy:{folder}: it needs spaCy and ftfy: pip install "
        rf"'lineage-lm\[gpt1\]'; data\.tokenizer={folder} needs neither$",
    ):
        published.load(f"spacy:{folder}")
    written = spacy_words._with(published.load(str(folder)), None, spacy_words.MARK)
    with pytest.raises(EnvironmentFault, match="the tokenizer reads words of spaCy: it needs spaCy and"):
        encode_prompt(Tokenizer.from_str(written.to_str()), "a")
    assert encode(published.load(str(folder)), "a").tokens == ["a</w>"]


def test_another_kind_of_tokenizer_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(published.SPECIAL))
    with pytest.raises(
        UsageError, match=r"spacy:.*vocab\.txt: expected GPT-1's tokenizer, whose words end in </w>"
    ):
        published.load(f"spacy:{tmp_path}/vocab.txt")


def test_a_path_after_spacy_is_a_path(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = override(experiments.get("gpt1"), {"data.tokenizer": "spacy:gpt1/"})
    assert paths.absolute(typed)["data.tokenizer"] == f"spacy:{folder}"
    monkeypatch.chdir("/")
    assert paths.located(typed, {"data.tokenizer": f"spacy:{folder}"}).data.tokenizer == f"spacy:{folder}"
    plain = experiments.get("gpt1")
    assert "data.tokenizer" not in paths.absolute(plain)
