"""A run of SOAP, whose state is not like the parameters: resumed, split over devices, in parts of a batch."""

import shutil

import numpy as np
import pytest

from research.training.loop import train
from tests.training.test_loop import assert_same_run
from tests.training.tiny import quickstart, timeless

SPLIT = {"compile": "sharded", "data": 1, "fsdp": 4, "tensor": 2, "accumulate": 2}


@pytest.mark.slow
def test_resumes_to_the_bit_and_splits_to_rounding(tmp_path):
    """The bases are renewed in the eleventh update, after the resumption at step 8."""
    settings = {"optimizer__name": "soap", "optimizer__cautious": True, "optimizer__decay": 0.1}
    experiment = quickstart(tmp_path / "corpus.txt", model__dropout=0.0, run__sample=0, **settings)
    train(experiment, tmp_path / "whole", print)
    killed = shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(killed / "checkpoints" / "12")
    train(experiment, killed, print)
    assert_same_run(experiment, tmp_path / "whole", killed)

    parallel = {f"parallel__{axis}": value for axis, value in SPLIT.items()}
    split = quickstart(tmp_path / "corpus.txt", model__dropout=0.0, run__sample=0, **settings, **parallel)
    train(split, tmp_path / "split", print)
    losses = [[row["loss"] for row in timeless(tmp_path / run)] for run in ("whole", "split")]
    np.testing.assert_allclose(*losses, atol=2e-3)
