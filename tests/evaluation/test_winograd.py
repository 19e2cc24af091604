"""Winograd schemas: sentences worked by hand, and scores computed a second way."""

import json

import jax
import numpy as np
import pytest

from research.config import Model
from research.errors import UsageError
from research.evaluation.eval_model import EvalModel, Settings
from research.evaluation.tasks import evaluate
from research.evaluation.winograd import SCHEMAS, common_ending, read_schemas
from tests.drawn import drawn
from tests.evaluation.test_scoring import byte_tokenizer

SCHEMA = """<schema><text><txt1>
{0} </txt1><pron> {1} </pron><txt2> {2}\n</txt2></text>
<quote><quote1></quote1><pron>{1}</pron></quote>
<answers><answer> {3} </answer><answer>{4}</answer></answers>
<correctAnswer> {5}. </correctAnswer><source>(1)</source></schema>"""
ROWS = [
    ("The trophy does not fit into the case because", "it", "is too\nsmall.", "The trophy", "the case", "B"),
    ("We looked after the dogs, so we fed", "them", ".", "The dogs", "the cats", "A"),
    ("The man lifted the boy onto", "his", "bed.", "The man", "Emma's", "B"),
    ("The fish ate the worm.", "It", "was tasty.", "The fish", "the worm", "B"),
]
EXPECTED = [
    "The trophy does not fit into the case because the trophy is too small.",
    "The trophy does not fit into the case because the case is too small.",
    "We looked after the dogs, so we fed the dogs.",
    "We looked after the dogs, so we fed the cats.",
    "The man lifted the boy onto the man's bed.",
    "The man lifted the boy onto Emma's bed.",
    "The fish ate the worm. The fish was tasty.",
    "The fish ate the worm. The worm was tasty.",
]


def collection(rows) -> str:
    return "\n".join(
        [
            '<?xml version="1.0" encoding="ISO-8859-1"?>',
            '<?xml-stylesheet type="text/xsl" href="x.xsl"?>',
            "<collection>",
            *(SCHEMA.format(*row) for row in rows),
            "</collection>",
        ]
    )


def test_candidates_take_the_pronouns_place():
    schemas = read_schemas(collection(ROWS))
    assert [sentence for schema in schemas for sentence in schema.sentences] == EXPECTED
    assert [schema.correct for schema in schemas] == [1, 0, 1, 1]


def test_only_the_first_schemas_count():
    assert len(read_schemas(collection(ROWS * 72))) == SCHEMAS == 273 < 72 * len(ROWS)


@pytest.mark.parametrize(
    "one, other, ending",
    [
        ("I like the cat's color", "I like the yellow dog's color", "'s color"),
        ("so the older boys ran", "so the younger boys ran", " boys ran"),
        ("We punished him.", "We punished her.", "."),
    ],
)
def test_what_follows_the_candidates(one, other, ending):
    assert common_ending(one, other) == ending


@pytest.fixture(scope="module")
def eval_model():
    return EvalModel(
        drawn(Model(family="gpt2", vocabulary=257, context=192, width=16, depth=2, heads=2)), byte_tokenizer()
    )


def log_probability(eval_model, context, continuation) -> float:
    """Of one text alone; what comes after it cannot change it."""
    ids = eval_model.encode(context + continuation)
    padded = np.asarray([ids + [0] * (128 - len(ids))])
    log_LV = jax.nn.log_softmax(jax.jit(lambda model, ids: model(ids))(eval_model.model, padded)[0])
    first = len(eval_model.encode(context))
    return float(sum(log_LV[place - 1, ids[place]] for place in range(first, len(ids))))


@pytest.mark.slow
def test_scores(eval_model, tmp_path):
    """Partial and full scores, one sentence at a time."""
    right = {"accuracy": 0, "accuracy_full": 0}
    for schema in read_schemas(collection(ROWS)):
        ending = common_ending(*schema.sentences)
        partial, full = [], []
        for sentence in schema.sentences:
            partial.append(log_probability(eval_model, sentence.removesuffix(ending), ending))
            full.append(log_probability(eval_model, "<|endoftext|>", sentence))
        for name, scores in {"accuracy": partial, "accuracy_full": full}.items():
            right[name] += scores.index(max(scores)) == schema.correct
    file = tmp_path / "WSCollection.xml"
    file.write_text(collection(ROWS), encoding="latin-1")
    result = evaluate(eval_model, "winograd", tmp_path, Settings(batch=3))
    assert result.examples == 4
    assert result.metrics == {name: 25.0 * count for name, count in right.items()}
    file.write_text(collection([("Caf\xe9 \xa0 it", "it", "is.", "a", "b", "A")]), encoding="latin-1")
    assert evaluate(eval_model, "winograd", file).examples == 1


def test_substitutions_are_read_in_pairs(eval_model, tmp_path):
    rows = [
        {"question_id": n // 2, "substitution": sentence, "correctness": n % 2 == 1}
        for n, sentence in enumerate(EXPECTED[:4])
    ]
    file = tmp_path / "wsc273.json"
    file.write_text(json.dumps(rows))
    result = evaluate(eval_model, "winograd", file)
    assert result.examples == 2
    one_question = [row | {"question_id": 0} for row in rows]
    file.write_text(json.dumps(one_question))
    both = evaluate(eval_model, "winograd", file)
    assert both.examples == 1 and both.metrics["accuracy"] == (
        100 if result.metrics["accuracy"] == 100 else 0
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<collection><schema/></collection>",
        "<collection>",
        '[{"question_id": 1}]',
        '{"data": []}',
        "[]",
        collection([("a", "it", "is.", "b", "c", "D")]),
        collection([("a", "it", "", "b", "c", "A")]),
    ],
)
def test_other_files_are_one_line(eval_model, tmp_path, text):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match=r"file\.json: ") as raised:
        evaluate(eval_model, "winograd", tmp_path / "file.json")
    assert "\n" not in str(raised.value)
