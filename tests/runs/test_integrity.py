"""A checkpoint's manifest: what is damaged is recognised, and the one before it used."""

import json
import re
import shutil

import jax.numpy as jnp
import pytest

from research.errors import UsageError
from research.runs.checkpoints import integrity
from research.runs.checkpoints.store import Checkpoints


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(folder, 3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, {"weights": jnp.arange(9_999.0) * step, "step": jnp.int32(step)})
    return folder


@pytest.fixture
def checkpoints(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def largest(checkpoint):
    return max(
        (path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def truncate(checkpoint):
    path = largest(checkpoint)
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(checkpoint):
    path = largest(checkpoint)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove_a_file(checkpoint):
    largest(checkpoint).unlink()


def remove_the_manifest(checkpoint):
    (checkpoint / integrity.FILE).unlink()


def cut_the_manifest(checkpoint):
    (checkpoint / integrity.FILE).write_text('{"format": 1, "fil')


def empty_all(checkpoint):
    """As a power loss may leave files that were not flushed."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def fill_with_zeros(checkpoint):
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(bytes(path.stat().st_size))


def continued(checkpoints, report):
    """The step from which a run goes on, as in research/training/preparation.py."""
    step = integrity.latest_intact_step(checkpoints)
    integrity.move_damaged(checkpoints, step, report)
    return step


DAMAGE = {
    truncate: "bytes, not",
    flip_a_bit: "has other bytes than were written",
    remove_a_file: "is missing",
    remove_the_manifest: r"manifest\.json is missing",
    cut_the_manifest: r"manifest\.json cannot be read",
    empty_all: r"manifest\.json cannot be read",
    fill_with_zeros: r"manifest\.json cannot be read",
}


def test_what_is_saved_is_whole(checkpoints):
    assert [integrity.find_corruption(checkpoints / str(step)) for step in (1, 2, 3)] == [None] * 3
    assert continued(checkpoints, pytest.fail) == 3


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_damage_is_reported_and_put_aside(checkpoints, damage, capsys):
    damage(checkpoints / "3")
    before = sorted(path.relative_to(checkpoints) for path in checkpoints.glob("[12]/**/*"))
    assert continued(checkpoints, print) == 2
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.startswith("checkpoint 3 is damaged: ")
    assert re.search(DAMAGE[damage], out)
    assert integrity.steps(checkpoints) == [1, 2]
    assert (checkpoints.parent / "damaged/3").is_dir()
    assert sorted(path.relative_to(checkpoints) for path in checkpoints.glob("[12]/**/*")) == before
    with Checkpoints(checkpoints, 3) as again:
        again.save(3, {"weights": jnp.arange(9_999.0), "step": jnp.int32(3)})
    assert integrity.find_corruption(checkpoints / "3") is None


def test_with_all_damaged_there_is_none(checkpoints):
    for step in (1, 2, 3):
        truncate(checkpoints / str(step))
    reports = []
    assert continued(checkpoints, reports.append) == 0
    assert len(reports) == 3 and integrity.steps(checkpoints) == []


def test_one_from_a_later_version_is_not_damaged(checkpoints):
    path = checkpoints / "3" / integrity.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3, "lineage": "9.0"}))
    with pytest.raises(UsageError, match=r"has format 3, written by lineage 9\.0; .* reads formats 1 to 2"):
        continued(checkpoints, pytest.fail)
    assert integrity.steps(checkpoints) == [1, 2, 3]


def test_what_a_kill_left_of_a_save_is_removed(checkpoints):
    (checkpoints / "3").rename(checkpoints / "3.orbax-checkpoint-tmp")
    assert continued(checkpoints, pytest.fail) == 2
    assert not (checkpoints / "3.orbax-checkpoint-tmp").exists()
