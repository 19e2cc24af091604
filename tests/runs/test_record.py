"""A run's record: what may differ when it goes on, what is refused, what is written down."""

import json
import warnings

import pytest

import experiments
from research.config.imports import loading
from research.config.settings import differences, flatten, override
from research.errors import LineageWarning, UsageError
from research.runs import changes, record

FIRST = override(experiments.get("quickstart"), {"run.steps": 100})
FACTS = {"data": ["a", "b"]}


@pytest.fixture
def run(tmp_path):
    """One that has made a step."""
    record.claim(tmp_path / "run", FIRST, FACTS)
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n')
    return tmp_path / "run"


@pytest.mark.parametrize(
    "settings",
    [
        {"run.steps": 200},
        {"parallel.compile": "sharded", "parallel.fsdp": 2},
        {"run.log_every": 3, "run.keep": 9, "run.checkpoint_minutes": 5.0, "run.watchdog": 0.0},
    ],
)
def test_goes_on_with_what_leaves_it_the_same_run(run, settings):
    assert record.examine(run, override(FIRST, settings), FACTS)


@pytest.mark.parametrize(
    "settings",
    [
        {"run.steps": 50},
        {"run.seed": 1},
        {"optimizer.rate.peak": 0.5},
        {"data.batch": 4},
        {"model.width": 64},
    ],
)
def test_refuses_another_run_without_allow_change(run, settings):
    other = override(FIRST, settings)
    ((name, (old, new)),) = differences(FIRST, other).items()
    with pytest.raises(UsageError) as fault:
        record.examine(run, other, FACTS)
    assert f"{name} was {old}, now {new}" in str(fault.value) and "--allow-change" in str(fault.value)
    assert ("more steps need no flag" in str(fault.value)) == (name == "run.steps")
    assert record.examine(run, other, FACTS, allow_change=True)


def test_other_data_are_another_run(run):
    with pytest.raises(UsageError, match=r"data was \['a', 'b'\], now \['a', 'c'\]"):
        record.examine(run, FIRST, {"data": ["a", "c"]})


def test_data_that_have_moved_are_the_same_data(run):
    moved = override(FIRST, {"data.source": "files:new/train.txt"})
    assert record.examine(run, moved)  # before they are read
    assert record.examine(run, moved, FACTS)
    with pytest.raises(UsageError, match=r"data\.source was"):
        record.examine(run, moved, {"data": ["a", "c"]})
    with pytest.raises(UsageError, match=r"data\.split was"):
        record.examine(run, override(moved, {"data.split": "tail"}), FACTS)


def test_a_run_without_a_step_begins_anew(run):
    """A part of another package may have failed in the first one."""
    (run / "metrics.jsonl").write_text('{"step": 0, "split": "validation"}\n')
    other = override(FIRST, {"optimizer.name": "lion"})
    record.claim(run, other, FACTS, 0, pytest.fail)
    assert record.experiment_of(run) == other and "changes" not in record.read(run)
    (run / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"optimizer\.name was lion, now muon"):
        record.claim(run, FIRST, FACTS, 10, pytest.fail)


def test_what_changed_when_is_kept(run):
    message = []
    longer = override(FIRST, {"run.steps": 200})
    record.claim(run, longer, FACTS, 70, message.append)
    record.claim(run, longer, FACTS, 80, message.append)  # nothing new
    record.claim(run, override(longer, {"run.seed": 3}), FACTS, 90, message.append, allow_change=True)
    listed = record.read(run)["changes"]
    assert [(change["step"], change["from"], change["to"]) for change in listed] == [
        (70, {"run.steps": 100}, {"run.steps": 200}),
        (90, {"run.seed": 0}, {"run.seed": 3}),
    ]
    assert record.experiment_of(run) == override(longer, {"run.seed": 3})
    assert len(message) == 2 and "run.steps was 100, now 200; the learning rate now follows" in message[0]


def test_another_version_is_noted(run):
    path = run / record.FILE
    written = json.loads(path.read_text())
    written["versions"]["jax"] = "0.9"
    path.write_text(json.dumps(written))
    record.claim(run, FIRST, FACTS, 10, pytest.fail)
    (change,) = record.read(run)["changes"]
    assert change["step"] == 10 and change["from"] == {"versions.jax": "0.9"}


def test_cannot_end_before_where_it_is(run):
    before = (run / record.FILE).read_text()
    with pytest.raises(UsageError, match=r"run\.steps=50: the run is already at step 70"):
        record.claim(run, override(FIRST, {"run.steps": 50}), FACTS, 70, pytest.fail, allow_change=True)
    assert (run / record.FILE).read_text() == before


def test_what_may_change_is_there():
    assert flatten(FIRST).keys() >= changes.FREE


def test_a_record_from_a_later_version_is_refused(run):
    path = run / record.FILE
    written = json.loads(path.read_text())
    written["experiment"]["format"] = 7
    path.write_text(json.dumps(written))
    with pytest.raises(UsageError, match="the record has format 7; this version reads format 1"):
        record.examine(run, FIRST, FACTS)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A file that this process has imported."""
    monkeypatch.setattr(loading, "IMPORTED", {})
    path = tmp_path / "ideas.py"
    path.write_text("")
    loading.import_plugin(str(path))
    return path


def restart():
    """As in another process, where nothing is imported yet."""
    loading.IMPORTED.clear()


def test_a_record_keeps_its_imports_and_imports_them_again(plugin, run):
    (kept,) = record.read(run)["imports"].items()
    restart()
    assert record.experiment_of(run) == FIRST and list(loading.imported()) == [kept[0]]
    restart()
    assert record.examine(run, FIRST, FACTS)


def test_without_imports_a_record_is_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "IMPORTED", {})
    record.claim(tmp_path / "run", FIRST, FACTS)
    assert "imports" not in record.read(tmp_path / "run")


@pytest.mark.parametrize("befall, message", [("print()\n", "now [0-9a-f]{12}"), (None, "now no such file")])
def test_other_imported_code_warns_who_reads_and_refuses_who_continues(plugin, run, befall, message):
    plugin.unlink() if befall is None else plugin.write_text(befall)
    restart()
    expected = rf"{run}: .*--import {plugin} was [0-9a-f]{{12}}, {message}"
    with pytest.warns(LineageWarning, match=expected):
        assert record.experiment_of(run) == FIRST
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record.experiment_of(run, warn=False)
    with pytest.raises(UsageError, match=rf"{expected}; choose another --dir, or --allow-change"):
        record.examine(run, FIRST, FACTS)
    lines = []
    record.claim(run, FIRST, FACTS, 10, lines.append, allow_change=True)
    assert len(lines) == 1 and str(plugin) in lines[0]
    (change,) = record.read(run)["changes"]
    assert (change["step"], list(change["from"])) == (10, [f"--import {plugin}"])
    restart()
    assert record.examine(run, FIRST, FACTS), "what was allowed once is the run's own"


def test_a_lost_name_is_reported_with_the_run_and_the_import(plugin, run):
    path = run / record.FILE
    written = json.loads(path.read_text())
    written["experiment"]["optimizer"]["name"] = "of_ideas"
    path.write_text(json.dumps(written))
    message = rf"^{run}: optimizer.name=of_ideas: not known.*; pass the module or file"
    with pytest.raises(UsageError, match=message):
        record.experiment_of(run)
    plugin.unlink()
    restart()
    message = rf"^{run}: optimizer.name=of_ideas: not known.*made with {plugin} \(no such file\); pass"
    with pytest.raises(UsageError, match=message):
        record.experiment_of(run)
