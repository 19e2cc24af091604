"""Predictions of fine-tuned Transformers models equal those that it makes itself. Extra `parity`."""

import pytest

from research import predict
from tests.mostly_slow import mostly_slow
from tests.weights.tuned import named, saved

torch = pytest.importorskip("torch", reason="needs the extra parity")
transformers = pytest.importorskip("transformers", reason="needs the extra parity")

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("compiled_in_haste")]

TEXTS = ["a b c.", "d", "e f' xyz", "g h i j a b c d e f g h i j", "b"]
PAIRS = [
    ("a b", "c d e"),
    ("d", "e"),
    ("xyz", "f"),
    ("a b c d e f g h i j a b c d e", "j i h g f e d c b a d"),
    ("c", "a"),
]
WORDS = [["a", "xyz", "."], ["b", "c", "'", "d"], ["e"]]
LABELS = {0: "NEGATIVE", 1: "POSITIVE", 2: "neither"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}


def logits(folder, name, *texts, **options):
    """Their logits of an example, tokenized by them."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = getattr(transformers, name).from_pretrained(folder).eval()
    bert = name.startswith("Bert")  # the test's tokenizer has special tokens, a GPT's has none
    options |= {"add_special_tokens": bert, "return_token_type_ids": bert}
    found = tokenizer(*texts, return_tensors="pt", truncation=True, max_length=24, **options)
    words = found.word_ids() if "is_split_into_words" in options else None
    with torch.no_grad():
        return model(**found).logits[0].numpy(), words


@pytest.mark.parametrize(
    "name, examples",
    mostly_slow(
        [
            ("BertForSequenceClassification", PAIRS),
            ("GPT2ForSequenceClassification", TEXTS),
            ("BertForSequenceClassification", TEXTS),
            ("GPT2ForSequenceClassification", PAIRS),
            ("OpenAIGPTForSequenceClassification", TEXTS),
        ],
        2,
    ),
)
def test_labels_are_those_of_transformers(name, examples, tmp_path):
    seed = {"Bert": 0, "GPT2": 7, "OpenAIGPT": 3}[name.partition("For")[0]]  # that give several labels
    saved(name, tmp_path, 3, seed, **named(LABELS))
    expected = []
    for one in examples:
        found, _ = logits(tmp_path, name, *([one] if isinstance(one, str) else one))
        expected.append(LABELS[int(found.argmax())])
    assert len(set(expected)) > 1
    assert predict(tmp_path, examples) == expected


@pytest.mark.slow
def test_scores_are_those_of_transformers(tmp_path):
    name = "BertForSequenceClassification"
    saved(name, tmp_path, 1)
    expected = [float(logits(tmp_path, name, *pair)[0][0]) for pair in PAIRS]
    assert predict(tmp_path, PAIRS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", mostly_slow(["BertForTokenClassification", "GPT2ForTokenClassification"]))
def test_tags_are_those_of_transformers(name, tmp_path):
    saved(name, tmp_path, 4, seed=3 if name.startswith("Bert") else 7, **named(TAGS))
    expected = []
    for words in WORDS:
        found, places = logits(tmp_path, name, words, is_split_into_words=True)
        firsts = [places.index(n) for n in range(len(words))]
        expected.append([TAGS[tag] for tag in found.argmax(-1)[firsts].tolist()])
    assert len({tag for tags in expected for tag in tags}) > 1
    assert predict(tmp_path, WORDS) == expected


@pytest.mark.slow
def test_choices_are_those_of_transformers(tmp_path):
    saved("BertForMultipleChoice", tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.BertForMultipleChoice.from_pretrained(tmp_path).eval()
    examples = [{"context": text, "options": ["a", "c d", "x e"]} for text in TEXTS]
    expected = []
    for one in examples:
        found = tokenizer([one["context"]] * 3, one["options"], return_tensors="pt", padding=True)
        with torch.no_grad():
            expected.append(str(int(model(**{n: x[None] for n, x in found.items()}).logits[0].argmax())))
    assert predict(tmp_path, examples) == expected
