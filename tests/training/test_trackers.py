"""Those who follow a run: TensorBoard's files and Weights & Biases' hold what metrics.jsonl holds."""

import json
import shutil
import struct
import subprocess
import sys
import time

import pytest

from research.config.settings import flatten
from research.errors import EnvironmentFault
from research.runs.metrics_log import Metrics
from research.training.logging import trackers
from research.training.logging.tracker import names_of
from research.training.logging.weights_and_biases import _identity
from tests.training.tiny import quickstart


@pytest.fixture
def experiment(tmp_path):
    return quickstart(tmp_path / "text.txt")


def row(step, split="train", **more):
    return {"step": step, "split": split, "loss": step / 2} | more


def follow(experiment, directory, start, *rows):
    opened = trackers.open_trackers(experiment.run, flatten(experiment), directory, start)
    with Metrics(directory, start, trackers=opened) as metrics:
        for one in rows:
            metrics.write(one)


def events(directory):
    """What TensorBoard would read: length, checksum, event, checksum, and so on to the end."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((directory / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def scalars(directory, tag):
    return {
        event.step: value.simple_value
        for event in events(directory)
        for value in event.summary.value
        if value.tag == tag
    }


def plugin(directory, tag):
    """The HPARAMS tab's own message under `tag`; None where there is none."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    found = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in events(directory)
        for value in event.summary.value
        if value.tag == f"_hparams_/{tag}"
    ]
    return found[-1] if found else None


def test_tensorboard_holds_the_same_numbers(tmp_path, experiment):
    follow(experiment, tmp_path, 0, row(1), row(2), row(2, "validation", sample="once upon a time"))
    assert scalars(tmp_path, "train/loss") == {1: 0.5, 2: 1.0}
    assert scalars(tmp_path, "validation/loss") == {2: 1.0}
    assert any(b"once upon a time" in event.SerializeToString() for event in events(tmp_path))


def test_tensorboard_has_the_settings_beside_the_curves(tmp_path, experiment):
    follow(experiment, tmp_path, 0, row(1), row(12, "validation"))
    assert [path.is_file() for path in (tmp_path / "tensorboard").iterdir()] == [True]  # no second run
    begun = plugin(tmp_path, "session_start_info").session_start_info.hparams
    settings = flatten(experiment)
    assert set(begun) == set(settings)
    assert begun["model.width"].number_value == 16 and begun["optimizer.name"].string_value == "adamw"
    assert begun["start.weights"].string_value == "none" and begun["model.bias"].bool_value is True
    columns = plugin(tmp_path, "experiment").experiment
    assert {metric.name.tag for metric in columns.metric_infos} == {"train/loss", "validation/loss"}
    assert {column.name for column in columns.hparam_infos} == set(settings)


def test_a_finished_run_is_marked_as_a_success(tmp_path, experiment):
    follow(experiment, tmp_path, 0, row(1))
    assert plugin(tmp_path, "session_end_info") is None
    follow(experiment, tmp_path, 1, row(experiment.run.steps))
    assert plugin(tmp_path, "session_end_info").session_end_info.status == 1  # success


def test_a_missing_package_is_named(monkeypatch, experiment, tmp_path):
    followed = quickstart(tmp_path / "text.txt", run__wandb=True)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'lineage-lm\[wandb\]'"):
        trackers.check(followed.run)
    trackers.check(experiment.run)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-home"))


def records(path):
    """The messages of a .wandb file, a LevelDB log: blocks of 32 KiB, records in one piece or more."""
    data, at, pieces = path.read_bytes(), 7, b""  # after the file's own header
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:  # what is too short for a record's header is filled with zeros
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        pieces += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield pieces
            pieces = b""


def output(path):
    """(run id, {step: {name: value}}, settings) in what `wandb sync` would send."""
    from wandb.proto.wandb_internal_pb2 import Record

    identity, rows, settings = None, {}, {}
    until = time.monotonic() + 60
    # A process of its own writes the file, and ends it some time after the run has finished.
    while not any(Record.FromString(one).HasField("exit") for one in records(path)):
        assert time.monotonic() < until, f"{path}: never ended"
        time.sleep(0.1)
    for record in map(Record.FromString, records(path)):
        if record.HasField("run"):
            identity = record.run.run_id
            settings |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
        if record.HasField("history"):
            pairs = (
                (one.key or one.nested_key[0], json.loads(one.value_json)) for one in record.history.item
            )
            values = dict(pairs)
            rows[values.pop("_step")] = values
    return identity, rows, settings


@pytest.mark.slow
def test_wandb_goes_on_in_the_same_run(tmp_path, offline):
    directory = tmp_path / "run"
    directory.mkdir()
    experiment = quickstart(tmp_path / "text.txt", run__wandb=True)
    follow(experiment, directory, 0, row(1), row(2), row(2, "validation", sample="<b>once"), row(3))
    follow(experiment, directory, 2, row(3), row(4))  # killed after step 3, resumed from its checkpoint at 2
    files = sorted(directory.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    (first, before, settings), (second, after, _) = map(output, files)
    assert first == second == (directory / "wandb" / "id").read_text().strip()
    assert {step: values["train/loss"] for step, values in before.items()} == {1: 0.5, 2: 1.0, 3: 1.5}
    assert before[2]["validation/loss"] == 1.0
    assert {step: values["train/loss"] for step, values in after.items()} == {3: 1.5, 4: 2.0}
    assert settings["model.width"] == 16 and settings["data.batch"] == 8


def test_a_copy_of_a_run_is_another_run_of_wandb(tmp_path):
    """A run that was moved stays the one that it was."""
    (tmp_path / "run").mkdir()
    first = _identity(tmp_path / "run")
    assert _identity(tmp_path / "run") == first
    shutil.copytree(tmp_path / "run", tmp_path / "branch")
    second = _identity(tmp_path / "branch")
    assert second != first and _identity(tmp_path / "branch") == second
    assert _identity(tmp_path / "run") == first
    (tmp_path / "run").rename(tmp_path / "moved")
    assert _identity(tmp_path / "moved") == first
    (tmp_path / "moved" / "wandb" / "directory").unlink()  # as older versions left it
    assert _identity(tmp_path / "moved") == first


def test_trials_have_the_sweep_s_name_in_wandb(tmp_path):
    trial = tmp_path / "rates" / "trials" / "0003"
    trial.mkdir(parents=True)
    assert names_of(trial) == ("0003", None)
    (tmp_path / "rates" / "sweep.json").write_text("{}")
    assert names_of(trial) == ("rates/0003", "rates") and names_of(tmp_path) == (tmp_path.name, None)


def test_event_files_need_no_pytorch(tmp_path):
    """It would take a second of every start, and the memory of a small model."""
    pytest.importorskip("torch")
    script = (
        "import sys; from pathlib import Path\n"
        "from research.training.logging.tensorboard import TensorBoard\n"
        "from research.training.logging.tracker import TrackedRun\n"
        f"run = TrackedRun(Path({str(tmp_path)!r}), 'run', None, {{}}, 0, 1)\n"
        "TensorBoard(run).close(failed=False)\n"
        "assert 'torch' not in sys.modules; import torch"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert any((tmp_path / "tensorboard").iterdir())


def test_a_full_disk_ends_a_run_in_one_line_and_never_blocks_it(tmp_path):
    """No file may grow beyond 3,000 bytes, which TensorBoard's reaches first."""
    script = (
        "import resource; from pathlib import Path\n"
        "from research.errors import EnvironmentFault\n"
        "from research.training.logging import tensorboard\n"
        "from research.training.logging.tracker import TrackedRun\n"
        "tensorboard.FLUSH = 0\n"
        f"followed = tensorboard.TensorBoard(TrackedRun(Path({str(tmp_path)!r}), 'r', None, {{}}, 0, 1000))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n"
        "    for step in range(1, 1000): followed.write({'step': step, 'split': 'train', 'loss': 1.0})\n"
        "except EnvironmentFault as fault: print(fault)\n"
        "try: followed.close(True)\n"
        "except EnvironmentFault: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{tmp_path}: cannot be written: File too large\n", done.stderr
    assert done.returncode == 0 and not done.stderr


def test_a_tracker_that_cannot_close_leaves_no_other_open(tmp_path):
    class Full:
        def close(self, failed):
            raise EnvironmentFault("full")

    class Other:
        def close(self, failed):
            self.failed = failed

    first, last = Other(), Other()
    with pytest.raises(EnvironmentFault, match="full"), Metrics(tmp_path, 0, trackers=[first, Full(), last]):
        pass
    assert first.failed and not last.failed
