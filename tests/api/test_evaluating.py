"""`research.evaluate` has the numbers of `lineage evaluate`."""

import json

import pytest

import research
from launch.__main__ import run as typed
from research.api.evaluating import Evaluation
from research.errors import UsageError
from tests.training.tiny import quickstart

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        research.train(quickstart(folder / "text.txt", run__steps=4), folder / "run")
        lines = [{"text": f"{n} green bottles hanging on the {n}"} for n in range(6)]
        (folder / "lambada_test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "ptb.test.txt").write_text("seven green bottles\nhanging on the wall\n")
        yield folder


def test_it_has_the_numbers_of_the_command(trained, capsys):
    run = trained / "run"
    found = research.evaluate(run, ["lambada", "ptb", "validation"], trained)
    assert list(found) == ["lambada", "ptb", "validation"]
    assert all(isinstance(each, Evaluation) for each in found.values())
    assert found["lambada"].examples == 6 and found["validation"].settings == {"step": 4}
    assert found["validation"].metrics["loss"] == research.read_metrics(run)["validation"]["loss"][-1]
    names = "lambada,ptb,validation"
    assert typed(["evaluate", str(run), "--task", names, "--data", str(trained), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {name: each._asdict() for name, each in found.items()}


def test_one_task_with_options(trained):
    few = research.evaluate(f"{trained}/run:4", "lambada", trained / "lambada_test.jsonl", limit=2)
    assert few["lambada"].examples == 2


@pytest.mark.parametrize(
    ("task", "data", "message"),
    [
        ("lambda", ".", "--task lambda: no such task; did you mean lambada?"),
        ("cbt_cn", ".", "cbtest_CN_valid_2000ex.txt"),
        ([], ".", "--task: expected the name of a task"),
        (["lambada", "ptb"], "lambada_test.jsonl", "one file, 2 tasks; expected a folder"),
        ("squad", ".", "--task squad: expected --predictions FILE"),
    ],
)
def test_mistakes_are_named_before_a_model_is_loaded(trained, task, data, message, monkeypatch):
    monkeypatch.setattr("research.api.evaluating.load_with_tokenizer", lambda *_: pytest.fail("loaded"))
    with pytest.raises(UsageError) as raised:
        research.evaluate(trained / "run", task, trained / data)
    assert message in str(raised.value) and "\n" not in str(raised.value)
