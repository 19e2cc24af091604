"""Published numbers stand only beside results on the paper's own data."""

import hashlib

import pytest

from research.config import Model
from research.evaluation import perplexity
from research.evaluation.eval_model import EvalModel, Result, Settings
from research.evaluation.published import LARGEST, MEASURED, RESULTS, SIZES, published
from research.evaluation.tasks import BUILTIN, evaluate
from tests.drawn import drawn
from tests.evaluation.test_scoring import byte_tokenizer

SMALL = Model(family="gpt2", vocabulary=50_257, context=1_024, width=768, depth=12, heads=12)
LARGE = Model(family="gpt2", vocabulary=50_257, context=1_024, width=1_600, depth=48, heads=25)


def numbers(task, config=SMALL, examples=None, settings=Settings(), **facts):  # noqa: B008
    measured = MEASURED[task]
    facts = {"data": "folder/file"} | measured.facts | facts
    return published(task, config, Result({}, examples or measured.examples, facts), settings)


def test_numbers_go_by_size():
    assert numbers("wikitext2") == {"perplexity": 29.41} and numbers("en_fr") == {}
    assert (
        numbers("wikitext2", Model(family="gpt2", vocabulary=257, context=9, width=8, depth=2, heads=2)) == {}
    )
    assert numbers("lambada", LARGE) == {"perplexity": 8.63, "accuracy_filtered": 63.24, "accuracy": 52.66}
    assert numbers("winograd", LARGE) == {"accuracy": 70.70} and numbers("winograd") == {}


@pytest.mark.parametrize("task", MEASURED)
def test_only_a_complete_result_has_them(task):
    assert numbers(task, LARGE)
    for settings in (Settings(limit=10**9), Settings(raw=True)):
        assert not numbers(task, LARGE, settings=settings)
    for examples in (MEASURED[task].examples - 10, MEASURED[task].examples + 1):
        assert not numbers(task, LARGE, examples)


@pytest.mark.parametrize(
    "task, facts",
    [
        ("lambada", {"file": "the original"}),
        ("cbt_cn", {"data": "cbtest_CN_test_2500ex.txt"}),
        ("cbt_cn", {"data": "cbtest_NE_valid_2000ex.txt"}),
        ("wikitext2", {"unknown": 2_492}),
        ("wikitext103", {"unknown": 0}),
        ("enwik8", {"file": "a text"}),
    ],
)
def test_another_file_has_none(task, facts):
    assert numbers(task) and not numbers(task, **facts)


def test_accuracies_are_whole_questions_of_the_validation_files():
    """A multiple of 1/2,000, as no multiple of 1/2,500 would be throughout; 193 of 273 schemas."""
    for task in ("cbt_cn", "cbt_ne"):
        for value in RESULTS[task]["accuracy"]:
            assert value * 20 == pytest.approx(round(value * 20), abs=1e-9)
    assert any(value * 25 != pytest.approx(round(value * 25)) for value in RESULTS["cbt_cn"]["accuracy"])
    assert round(100 * 193 / 273, 1) == LARGEST["winograd"]["accuracy"]


def test_the_tables_name_tasks_and_metrics_that_exist():
    assert RESULTS.keys() | LARGEST.keys() == MEASURED.keys() <= BUILTIN.keys()
    assert all(len(values) == len(SIZES) for metrics in RESULTS.values() for values in metrics.values())


def test_files_are_known_by_their_content(tmp_path, monkeypatch):
    config = Model(family="gpt2", vocabulary=257, context=64, width=8, depth=1, heads=1)
    eval_model = EvalModel(drawn(config), byte_tokenizer())
    (tmp_path / "text").write_text("a <unk> of <unk> .\n" * 3)
    assert evaluate(eval_model, "wikitext2", tmp_path / "text").settings["unknown"] == 6
    assert evaluate(eval_model, "enwik8", tmp_path / "text").settings["file"] == "a text"
    (tmp_path / "other").write_text("enwik\n")
    monkeypatch.setitem(perplexity.COMPLETE, hashlib.md5(b"enwik\n").hexdigest(), "enwik8")
    assert evaluate(eval_model, "enwik8", tmp_path / "other").settings["file"] == "enwik8"
