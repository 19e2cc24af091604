"""A store of tokens that were made elsewhere is the store of their text."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from research.config import Data
from research.data.batches import validation_batches
from research.data.pretraining.causal_lm import examples
from research.data.store.token_store import prepare
from research.data.tokenizers.tokenizer import end_of_text, entry_bytes, load
from research.errors import UsageError
from tests.data.sources.test_token_files import llm_c

TEXTS = [f"Verse {n}: roses are 🌹, violets naïve.\n" * (n % 5 + 1) for n in range(60)]


def quietly(data: Data, vocabulary: int = 1 << 20):
    return prepare(data, vocabulary, lambda line: None)


@pytest.fixture
def tokenizer(tmp_path) -> Tokenizer:
    """Byte-pair encoding of the texts, saved in `tmp_path`/tokenizer.json."""
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    trained = load(
        Data(source=f"files:{tmp_path}/a.txt", tokenizer="bpe:300", batch=2, length=8, split="tail")
    )
    trained.save(str(tmp_path / "tokenizer.json"))
    return trained


@pytest.fixture
def documents(tokenizer) -> list[list[int]]:
    """The tokens of each text."""
    return [tokenizer.encode(text).ids for text in TEXTS]


def tokens_of(tmp_path, pattern: str, **changes) -> Data:
    names = {"source": f"tokens:{tmp_path}/{pattern}", "tokenizer": str(tmp_path / "tokenizer.json")}
    return Data(**{"batch": 2, "length": 8, "split": "tail"} | names | changes)


def test_tokens_with_an_end_after_each_document_are_the_store_of_its_text(tmp_path, tokenizer, documents):
    """As nanoGPT writes them."""
    ending = end_of_text(tokenizer)
    for name, part in (("train", documents[:50]), ("val", documents[50:])):
        np.array([*chain(*([*ids, ending] for ids in part))], "<u2").tofile(tmp_path / f"{name}.bin")
    for name, part in (("train", TEXTS[:50]), ("val", TEXTS[50:])):
        (tmp_path / name).mkdir()
        for n, text in enumerate(part):
            (tmp_path / name / f"{n:02}.txt").write_text(text)
    copied = quietly(tokens_of(tmp_path, "train.bin", validation=f"tokens:{tmp_path}/val.bin"))
    texts = {"source": f"files:{tmp_path}/train/*.txt", "validation": f"files:{tmp_path}/val/*.txt"}
    tokenized = quietly(replace(tokens_of(tmp_path, ""), **texts))
    for ours, theirs in ((copied.train, tokenized.train), (copied.validation, tokenized.validation)):
        assert ours.starts.tolist() == theirs.starts.tolist() and len(ours.starts) > 9
        arrays = ("folder", "tokens", "starts")
        assert ours._replace(**dict.fromkeys(arrays)) == theirs._replace(**dict.fromkeys(arrays))


def test_shards_that_begin_with_an_end_are_one_row_of_tokens(tmp_path, tokenizer, documents):
    """As llm.c writes them: a shard may end within a document."""
    ending = end_of_text(tokenizer)
    whole = np.array([*chain(*([ending, *ids] for ids in documents))])
    for n, part in enumerate(np.array_split(whole, 3)):
        (tmp_path / f"train_{n:06}.bin").write_bytes(llm_c(part))
    (tmp_path / "val.bin").write_bytes(llm_c(whole[:100]))
    store = quietly(tokens_of(tmp_path, "train_*.bin", validation=f"tokens:{tmp_path}/val.bin")).train
    assert store.tokens.tolist() == whole.tolist() and store.ended
    begins = np.cumsum([0, *(1 + len(ids) for ids in documents[:-1])])
    assert store.starts.tolist() == [0, *(begins[1:] + 1)]
    assert store.bytes == sum(len(text.encode()) for text in TEXTS)


@pytest.mark.parametrize("split", [{"split": "tail", "holdout": 0.2}, {"split": "head", "head": 500}])
def test_an_end_of_the_tokens_validates(split, tmp_path, tokenizer, documents):
    whole = np.array([*chain(*([*ids, end_of_text(tokenizer)] for ids in documents))])
    np.save(tmp_path / "a.npy", whole)
    corpus = quietly(tokens_of(tmp_path, "a.npy", **split))
    pair = corpus.train.tokens, corpus.validation.tokens
    joined = np.concatenate(pair if split["split"] == "tail" else pair[::-1])
    assert joined.tolist() == whole.tolist()
    assert len(pair[1]) == (500 if "head" in split else len(whole) - int(len(whole) * 0.8))
    assert corpus.train.bytes + corpus.validation.bytes == sum(len(text.encode()) for text in TEXTS)


def test_several_sources_are_mixed(tmp_path, tokenizer, documents):
    for n in range(2):
        np.save(tmp_path / f"{n}.npy", np.array([*chain(*documents[30 * n : 30 * n + 30])]))
    mixture = f"0.25*tokens:{tmp_path}/0.npy+0.75*tokens:{tmp_path}/1.npy"
    data = tokens_of(tmp_path, "", source=mixture, validation=f"tokens:{tmp_path}/1.npy")
    store = quietly(replace(data, source=mixture)).train
    assert store.parts == (0, len([*chain(*documents[:30])])) and store.shares == (0.25, 0.75)
    assert store.starts.tolist() == list(store.parts)  # no <|endoftext|> is between the documents


def test_each_token_but_the_first_is_a_target_once(tmp_path, tokenizer, documents):
    whole = np.array([*chain(*documents)])
    np.save(tmp_path / "a.npy", whole)
    data = tokens_of(tmp_path, "a.npy", validation=f"tokens:{tmp_path}/a.npy")
    seen = []
    for batch in validation_batches(examples(data, 300), data, quietly(data).validation):
        seen += batch["targets"][batch["weights"] > 0].tolist()
    assert seen == whole[1:].tolist()


def test_what_the_tokenizer_does_not_have_is_named(tmp_path, tokenizer):
    np.save(tmp_path / "a.npy", np.array([1, 2, 300, 4]))
    np.save(tmp_path / "b.npy", np.array([1, -2]))
    where = rf"a\.npy: token 300 at 2; expected all below 300, as data\.tokenizer={tmp_path}"
    with pytest.raises(UsageError, match=where):
        quietly(tokens_of(tmp_path, "a.npy"))
    with pytest.raises(UsageError, match=r"b\.npy: token -2 at 1"):
        quietly(tokens_of(tmp_path, "b.npy"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"split": "documents"}, r"data\.split=documents: .* is not read as documents"),
        ({"tokenizer": "bpe:300"}, r"data\.tokenizer=bpe:300: needs text, .* such as data\.tokenizer=gpt2"),
        ({"validation": "files:/a.txt"}, r"a\.npy holds tokens and files:/a\.txt text"),
        ({"holdout": 0.0}, "fewer than two tokens"),
    ],
)
def test_what_cannot_be_done_with_tokens_is_refused(changes, message, tmp_path, tokenizer):
    np.save(tmp_path / "a.npy", np.arange(100))
    with pytest.raises(UsageError, match=message):
        quietly(tokens_of(tmp_path, "a.npy", **changes))


def test_tokens_for_bert_are_refused(tmp_path):
    vocabulary = {name: n for n, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"))}
    Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    np.save(tmp_path / "a.npy", np.full(100, 5))
    with pytest.raises(UsageError, match="BERT's pairs need sentence ends"):
        quietly(tokens_of(tmp_path, "a.npy"))


@pytest.mark.parametrize("name", ["gpt2", "gpt1"])
def test_bytes_of_entries_add_up_to_those_of_the_text(name, shared_data):
    """Of GPT-1's, which decodes a space after each word, but for the last."""
    data = Data(source="files:-", tokenizer=str(shared_data / "tokenizers" / name), batch=1, length=1)
    tokenizer = load(data)
    ids = tokenizer.encode("The rose’s naïve 🌹 colour, and it was said").ids
    whole = len(tokenizer.decode(ids).encode())
    assert entry_bytes(tokenizer)[ids].sum() == whole + (name == "gpt1")
