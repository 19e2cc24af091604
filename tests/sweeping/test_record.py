"""A sweep's record keeps absolute paths beside those that were typed."""

from dataclasses import replace

import pytest

from research.config.settings import override
from research.errors import LineageWarning, UsageError
from research.sweeping.record import base_of, open_sweep, read
from tests.sweeping.pretended import declared, run, training


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A function that enters a folder, where a corpus of its own lies."""

    def enter(name: str):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "corpus.txt").write_text(f"{name}\n" * 99)
        monkeypatch.chdir(tmp_path / name)

    return enter


@pytest.fixture
def relative(tmp_path):
    sweep = declared(tmp_path, trials=3)
    return replace(sweep, base=replace(sweep.base, data=replace(sweep.base.data, source="files:corpus.txt")))


@pytest.mark.slow
def test_a_worker_in_another_folder_reads_the_files_of_the_first(tmp_path, here, relative):
    here("first")
    open_sweep(tmp_path / "sweep", relative, None)
    here("second")
    sources = set()
    run(tmp_path / "sweep", training(lambda experiment, step: sources.add(experiment.data.source)))
    assert sources == {f"files:{tmp_path}/first/corpus.txt"}
    assert read(tmp_path / "sweep").sweep.base.data.source == "files:corpus.txt"


def test_the_same_words_in_another_folder_are_another_sweep(tmp_path, here, relative):
    here("first")
    kept = open_sweep(tmp_path / "sweep", relative, None)
    assert open_sweep(tmp_path / "sweep", relative, None) == kept
    before = (tmp_path / "sweep" / "sweep.json").read_bytes()
    here("second")
    with pytest.raises(UsageError, match=r"data\.source was files:.*first/corpus\.txt, now files:.*second"):
        open_sweep(tmp_path / "sweep", relative, None)
    assert (tmp_path / "sweep" / "sweep.json").read_bytes() == before


def test_a_moved_project_is_read_from_where_it_is(tmp_path, here, relative):
    here("first")
    open_sweep(tmp_path / "first/sweep", relative, None)
    (tmp_path / "first").rename(tmp_path / "moved")
    here("moved")
    assert base_of(read(tmp_path / "moved/sweep")).data.source == "files:corpus.txt"
    open_sweep(tmp_path / "moved/sweep", relative, None)
    assert read(tmp_path / "moved/sweep").paths["data.source"] == f"files:{tmp_path}/moved/corpus.txt"


def test_a_sweep_begun_with_constants_keeps_them(tmp_path):
    """Those of older versions, which had no other choice; one begun with inputs is another sweep."""
    constants = declared(tmp_path, trials=3)
    inputs = replace(constants, base=override(constants.base, {"run.hyperparameters": "inputs"}))
    open_sweep(tmp_path / "old", constants, None)
    assert open_sweep(tmp_path / "old", inputs, None).sweep.base == constants.base
    open_sweep(tmp_path / "new", inputs, None)
    with pytest.raises(UsageError, match=r"run\.hyperparameters was inputs, now constants"):
        open_sweep(tmp_path / "new", constants, None)


def test_a_metric_says_which_way_it_is_better(tmp_path):
    """A known one by its name; the record keeps the way, and what an older version recorded stays."""
    sweep = replace(declared(tmp_path, trials=3), metric="accuracy")
    assert (sweep.direction, sweep.chosen_direction) == ("auto", "maximize")
    assert replace(sweep, metric="loss").chosen_direction == "minimize"
    assert open_sweep(tmp_path / "new", sweep, None).sweep.direction == "maximize"
    with pytest.raises(UsageError, match="--metric charm: expected --direction minimize or maximize"):
        open_sweep(tmp_path / "unknown", replace(sweep, metric="charm"), None)
    assert not (tmp_path / "unknown").exists()
    open_sweep(tmp_path / "old", replace(sweep, direction="minimize"), None)
    with pytest.warns(LineageWarning, match="begun to minimize it"):
        assert open_sweep(tmp_path / "old", sweep, None).sweep.direction == "minimize"
    with pytest.raises(UsageError, match="direction was minimize, now maximize"):
        open_sweep(tmp_path / "old", replace(sweep, direction="maximize"), None)
    open_sweep(tmp_path / "charm", replace(sweep, metric="charm", direction="maximize"), None)
    assert open_sweep(tmp_path / "charm", replace(sweep, metric="charm"), None).sweep.direction == "maximize"
