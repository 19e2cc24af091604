"""Runs that an older version began, before the arrays of checkpoints had today's names, go on here.

tests/golden/make_runs.py made them. What lies at step 8 is compared bit for bit; what training makes of it,
which differs between processors, to 1e-5. tests/benchmarks/old_bits.py compares that bit for bit as well,
on one machine.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from launch.__main__ import run
from research.config.settings import override
from research.runs.record import experiment_of
from research.training.loop import train
from tests.golden.old_runs import digest, renamed, rows
from tests.mostly_slow import mostly_slow
from tests.training.tiny import final_arrays

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "runs.json").read_text())
HALF, WHOLE = 8, 12
CLOSE = 1e-5


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The runs and their data, in the folder that a test works in: their paths are relative."""
    with tarfile.open(GOLDEN / "runs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def validation(capsys):
    """The numbers that `lineage evaluate` tells of a run."""

    def evaluate(target: str) -> dict[str, float]:
        capsys.readouterr()
        assert run(["evaluate", target, "--task", "validation", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["validation"]["metrics"]

    return evaluate


def newest(name: str) -> dict[str, np.ndarray]:
    """The last checkpoint's arrays by their names of today."""
    restored = final_arrays(experiment_of(Path(name)), Path(name))
    return {renamed(path): array for path, array in restored.items()}


@pytest.mark.parametrize("name", FACTS)
def test_every_array_is_restored_to_its_bits(name):
    digests = {path: digest(array) for path, array in newest(name).items()}
    assert digests == {renamed(path): fact["sha256"] for path, fact in FACTS[name]["arrays"].items()}


@pytest.mark.parametrize("name", mostly_slow(sorted(FACTS), 0))
def test_training_goes_on_to_the_numbers_of_then(name, validation):
    before = rows(Path(name))
    assert run(["resume", name, f"run.steps={WHOLE}"]) == 0
    after = rows(Path(name))
    assert after[: len(before)] == before
    same_rows(after[len(before) :], FACTS[name]["rows"])
    same_sums(newest(name), {renamed(path): fact for path, fact in FACTS[name]["arrays"].items()})
    assert validation(name) == pytest.approx(FACTS[name]["validation"], rel=CLOSE)


@pytest.mark.parametrize("name", mostly_slow(["gpt2", "gpt1"]))
def test_it_writes(name, capsys):
    assert run(["generate", name, "--prompt", "the river ", "--tokens", "5", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("the river ")


@pytest.mark.parametrize("weights, step, missing", mostly_slow([("gpt1", 0, 2), ("sst2", HALF, 0)], 0))
def test_a_new_run_starts_from_its_weights(weights, step, missing):
    """As sst2 did from gpt1, with a head and special tokens drawn; or where sst2 is, with those too."""
    changes = {"start.weights": weights, "run.steps": 1}
    reports = []
    train(override(experiment_of(Path("sst2")), changes), Path("again"), reports.append)
    assert any(f" {missing} missing" in line and " 0 not used" in line for line in reports)
    then = next(row for row in rows(Path("sst2")) if (row["step"], row["split"]) == (step, "validation"))
    assert numbers(rows(Path("again"))[0]) == pytest.approx(numbers(then), rel=CLOSE)


def numbers(row: dict) -> dict[str, float]:
    """What `evaluate` tells of a validation row."""
    return {name: value for name, value in row.items() if isinstance(value, float)}


def same_rows(found: list[dict], wanted: list[dict]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.keys() == theirs.keys()
        assert (ours["step"], ours["split"]) == (theirs["step"], theirs["split"])
        assert numbers(ours) == pytest.approx(numbers(theirs), rel=CLOSE)


def same_sums(found: dict[str, np.ndarray], wanted: dict[str, dict]) -> None:
    """Norms are as close as the rest, and sums beside the largest that the norm allows."""
    assert found.keys() == wanted.keys()
    for path, array in found.items():
        wide, norm = array.astype(np.float64), wanted[path]["norm"]
        assert np.linalg.norm(wide) == pytest.approx(norm, rel=CLOSE), path
        assert wide.sum() == pytest.approx(wanted[path]["sum"], abs=CLOSE * norm * array.size**0.5), path
