"""Surprisals against PyTorch, one token at a time; words that sum to one; places in the text."""

import math

import jax
import numpy as np
import pytest
from tokenizers import Tokenizer, models, trainers

from research import weights
from research.config import Model
from research.data.tokenizers.published import SPECIAL, byte_level, character_level, word_level
from research.data.tokenizers.spacy_words import MARK, without_spacy
from research.errors import UsageError
from research.evaluation.surprisal.surprisals import Options, Surprisals, surprisals
from research.evaluation.surprisal.words import kinds, spans, word_of_each_token
from research.generation.streaming import BYTES
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

TEXTS = [
    "The horse raced past the barn fell.",
    "",
    "A  naïve 👩‍🚀 sat,\r\n\tthen (s)he ran.\n",
    "   ",
    "the barn the barn the horse the barn fell then the horse sat then the barn ran past the naïve horse.",
    "barn",
]
CONTEXT = 24  # the fifth text is longer, in tokens
EMOJI = "👩‍🚀"
UNCASED = "  NAÏVE Horse\u200b. \u200b \n"


def byte_pairs() -> Tokenizer:
    """A small one of GPT-2's kind: words of several tokens, characters that are split, <|endoftext|>."""
    tokenizer = byte_level(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    trainer.initial_alphabet = sorted(byte_level(models.BPE()).pre_tokenizer.alphabet())
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def gpt1_pairs() -> Tokenizer:
    letters = sorted(set("".join(TEXTS).lower()) - {" "})
    pieces = ["<unk>", *letters, *(f"{letter}</w>" for letter in letters), "th", "the</w>"]
    model = models.BPE(
        {piece: n for n, piece in enumerate(pieces)},
        [("t", "h"), ("th", "e</w>")],
        unk_token="<unk>",
        end_of_word_suffix="</w>",
    )
    return without_spacy(Tokenizer(model))


def word_pieces() -> Tokenizer:
    pieces = [*SPECIAL, "the", "barn", "ho", "##rse", "ra", "##c", "##ed", "na", "##ive", ".", "fell", "sat"]
    return word_level(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"), cased=False)


TOKENIZERS = {"gpt2": byte_pairs, "gpt1": gpt1_pairs, "bert": word_pieces}


def of(model, tokenizer, texts, **options) -> list[Surprisals]:
    return list(surprisals(model, tokenizer, texts, Options(**options)))


@pytest.fixture(scope="module", params=mostly_slow(["gpt2", "bert", "gpt1"], 2))
def both(request, tmp_path_factory):
    """A model of random weights, here and in Transformers, whose function of ids gives (L, V)."""
    reference = pytest.importorskip("tests.golden.reference", reason="needs the extra parity")
    torch = pytest.importorskip("torch")
    family = request.param
    tokenizer = TOKENIZERS[family]()
    if family == "bert":
        names = "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"
        sizes = dict(zip(names, (24, 2, 3, CONTEXT), strict=True)) | {"intermediate_size": 48}
    else:
        sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": CONTEXT}
    theirs = reference.make(family, 4, vocab_size=tokenizer.get_vocab_size(), **sizes)
    path = tmp_path_factory.mktemp("weights") / family
    theirs.save_pretrained(path)

    @torch.no_grad()
    def log_softmax(ids: list[int]) -> np.ndarray:
        outputs = theirs(torch.tensor([ids]))
        logits = outputs.prediction_logits if family == "bert" else outputs.logits
        return logits[0].double().log_softmax(-1).numpy()

    return family, weights.load(path).model, tokenizer, log_softmax


def left_to_right(log_softmax, ids: list[int]) -> list[np.ndarray]:
    """The distribution that predicts each token after the first: in the first window that reaches it."""
    found, end = [], CONTEXT
    for place in range(1, len(ids)):
        end = end if place <= end else min(end + CONTEXT // 2, len(ids) - 1)
        begin = max(end - CONTEXT, 0)
        found.append(log_softmax(ids[begin:place])[-1])
    return found


def masked(log_softmax, tokenizer, encoding, within_word: bool) -> list[np.ndarray]:
    """The distribution of each token, masked in as many tokens around it as fit."""
    cls, sep, mask = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]", "[MASK]"))
    ids, words, found = encoding.ids, encoding.word_ids, []
    for place in range(len(ids)):
        hidden = {place} | {n for n in range(place, len(ids)) if within_word and words[n] == words[place]}
        row = [mask if n in hidden else token for n, token in enumerate(ids)]
        begin = max(min(place - (CONTEXT - 2) // 2, len(ids) - (CONTEXT - 2)), 0)
        found.append(log_softmax([cls, *row[begin : begin + CONTEXT - 2], sep])[place - begin + 1])
    return found


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("variant", [False, True])
def test_tokens_are_those_of_transformers(both, variant):
    """With and without a token before the text, or with one or all later pieces of a word masked."""
    family, model, tokenizer, log_softmax = both
    texts = [*TEXTS, UNCASED, "the barn. " * 9] if family == "bert" else TEXTS
    found = of(model, tokenizer, texts, **{"within_word" if family == "bert" else "start": variant})
    start = tokenizer.token_to_id("<|endoftext|>") if variant else None
    for text, one in zip(texts, found, strict=True):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        if family == "bert":
            expected = masked(log_softmax, tokenizer, encoding, variant)
        else:
            expected = left_to_right(log_softmax, [*([] if start is None else [start]), *encoding.ids])
        assert [token.token for token in one.tokens] == encoding.tokens
        unpredicted = len(encoding.ids) - len(expected)
        assert unpredicted == (family != "bert" and start is None and bool(encoding.ids))
        for token in one.tokens[:unpredicted]:
            assert math.isnan(token.surprisal) and token.rank is None
        for token, index, log_V in zip(
            one.tokens[unpredicted:], encoding.ids[unpredicted:], expected, strict=True
        ):
            np.testing.assert_allclose(token.surprisal, -log_V[index], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(token.entropy, -(np.exp(log_V) * log_V).sum(), rtol=1e-4)
            close = abs(log_V - log_V[index]) < 1e-4  # may change places by rounding
            assert abs(token.rank - 1 - (log_V > log_V[index]).sum()) < close.sum()
        sums = [sum(t.surprisal for t in one.tokens if t.word == n) for n in range(len(one.words))]
        counted = [sum(token.word == n for token in one.tokens) for n in range(len(one.words))]
        assert counted == [word.tokens for word in one.words]
        np.testing.assert_allclose(
            [word.surprisal for word in one.words if word.tokens], [x for x in sums if x]
        )
        assert [text[word.start : word.end] for word in one.words] == [word.word for word in one.words]
    if family == "bert":  # offsets are of the text as it was given, and a word may have no tokens
        words = found[texts.index(UNCASED)].words
        assert [(word.word, word.tokens) for word in words] == [
            ("NAÏVE", 2),
            ("Horse\u200b.", 3),
            ("\u200b", 0),
        ]
        assert math.isnan(words[-1].surprisal)


@pytest.mark.filterwarnings("default")
def test_corrected_words_are_those_of_pimentel_and_meister(both):
    """From PyTorch's whole distributions, in bits; words of GPT-1 end in a token, and stay as they are."""
    family, model, tokenizer, log_softmax = both
    if family == "bert":
        with pytest.raises(UsageError, match="corrected: for words of a GPT"):
            of(model, tokenizer, ["the barn"], corrected=True)
        return
    texts = ["the barn fell then ran", "A naïve horse", " sat  past\nhe", "fell. "]
    found = of(model, tokenizer, texts, corrected=True, unit="bits")
    if family == "gpt1":
        np.testing.assert_allclose(
            [word.surprisal for one in found for word in one.words],
            [w.surprisal / math.log(2) for one in of(model, tokenizer, texts) for w in one.words],
        )
        return
    end = tokenizer.token_to_id("<|endoftext|>")
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    begins = np.asarray([chr(BYTES[piece[0]]).isspace() and BYTES[piece[0]] < 128 for piece in pieces])
    ends = np.arange(len(pieces)) == end
    for text, one in zip(texts, found, strict=True):
        ids = [end, *tokenizer.encode(text).ids]
        log_ = log_softmax(ids)
        for word in one.words:
            its = [
                n
                for n, token in enumerate(one.tokens, 1)
                if one.words[token.word] == word and token.word >= 0
            ]
            spaced = begins if word.start > 0 else ~begins
            before = np.exp(log_[its[0] - 1])[spaced | ends].sum()
            after = np.exp(log_[its[-1]])[begins | ends].sum()
            plain = sum(log_[n - 1, ids[n]] for n in its)
            np.testing.assert_allclose(word.surprisal, -np.log2(np.exp(plain) * after / before), rtol=1e-4)


@pytest.mark.parametrize("before", mostly_slow(["ab", ""]))
def test_all_words_at_a_boundary_sum_to_one(before):
    """With what longer words have left. Plain sums do not."""
    tokenizer = character_level({"a": 0, "b": 1, " ": 2, "<|endoftext|>": 3})
    tokenizer.add_special_tokens(["<|endoftext|>"])
    config = Model(family="gpt2", vocabulary=4, context=8, width=12, depth=2, heads=2)
    model = drawn(config, deviation=0.5)
    logits_of = jax.jit(model)
    words = []

    def after(text: str) -> np.ndarray:
        """Probabilities of a, b, a space and the end after a text."""
        ids = [3, *tokenizer.encode(before + text).ids]
        logits = np.asarray(logits_of(np.asarray([ids + [0] * (8 - len(ids))])), np.float64)[0, len(ids) - 1]
        return np.exp(logits) / np.exp(logits).sum()

    def rest(text: str) -> float:
        """The probability of all that is not the end of a word of up to five characters."""
        a, b, space, end = after(text)
        if text.strip():
            words.append(text)
            outcome, goes_on = 0.0, {"a": a, "b": b}
        else:
            outcome, goes_on = end, {"a": a, "b": b, " ": space}
        if len(text) == 5 - len(before) // 2:
            return outcome + sum(goes_on.values())
        return outcome + sum(p * rest(text + character) for character, p in goes_on.items())

    a, b, space, end = after("")
    left = end + (space * rest(" ") if before else a * rest("a") + b * rest("b"))
    given = end + (space if before else a + b)  # a text's first word has no space before it
    corrected, plain = (
        np.exp(
            [
                -one.words[-1].surprisal
                for one in of(model, tokenizer, [before + w for w in words], corrected=c)
            ]
        )
        for c in (True, False)
    )
    np.testing.assert_allclose(corrected.sum() + left / given, 1, rtol=1e-5)
    assert abs(plain.sum() + left / given - 1) > 0.05


def test_only_tokens_that_begin_with_white_space_begin_words():
    """GPT-1's tokenizer has a token for a line end, but its tokens mark the ends of words."""
    assert gpt1_pairs().token_to_id("\n") is not None
    assert kinds(gpt1_pairs(), 100) is None and kinds(word_pieces(), 100) is None
    tokenizer = byte_pairs()
    found = kinds(tokenizer, 310)  # of a model with more entries
    assert [found[tokenizer.token_to_id(piece)] for piece in ("a", "Ġthe", "Ġ", "Ċ")] == [0, 1, 1, 1]
    assert found[tokenizer.token_to_id("<|endoftext|>")] == 2 and not found[300:].any()


def test_every_character_of_a_word_is_in_its_tokens():
    """Offsets count characters of the text, whatever a token has of a character's bytes."""
    text = f"A  naïve {EMOJI} sat,\r\n\tthen\u00a0ran. \n"
    words = spans(text)
    assert [text[slice(*span)] for span in words] == text.split()
    encoding = byte_pairs().encode(text)
    of_tokens = word_of_each_token(encoding.offsets, words)
    assert of_tokens[-1] == -1 and of_tokens[:-2] == sorted(of_tokens[:-2])
    for number, (start, end) in enumerate(words):
        its = [encoding.offsets[n] for n, word in enumerate(of_tokens) if word == number]
        assert set(range(start, end)) <= {place for span in its for place in range(*span)}
    assert any(encoding.offsets[n] == encoding.offsets[n + 1] for n in range(len(of_tokens) - 1))  # split


@pytest.mark.parametrize(
    "family, options, message",
    [
        ("gpt2", {"within_word": True}, "a GPT reads from left to right"),
        ("gpt2", {"unit": "bit"}, "unit bit: not known; expected nats or bits"),
        ("bert", {"model__left_only": True}, "reads from left to right"),
        ("bert", {"model__head": "tokens", "model__outputs": 2}, "fine-tuned"),
    ],
)
def test_what_has_no_surprisal_is_refused(family, options, message):
    tokenizer = TOKENIZERS[family]()
    changes = {name.removeprefix("model__"): options.pop(name) for name in list(options) if "__" in name}
    sizes = {"vocabulary": tokenizer.get_vocab_size(), "context": 16, "width": 12, "depth": 1, "heads": 2}
    with pytest.raises(UsageError, match=message):
        of(drawn(Model(family=family, **sizes, **changes)), tokenizer, ["the barn"], **options)


def test_words_of_another_text_are_refused():
    tokenizer = gpt1_pairs()
    tokenizer.pre_tokenizer = MARK
    config = Model(family="gpt1", vocabulary=100, context=16, width=12, depth=1, heads=2)
    with pytest.raises(UsageError, match="its words have no place in them"):
        of(drawn(config), tokenizer, ["the barn"])
