"""Optimizers whose state is not like the parameters: resumed, and split over devices in parts of a batch."""

import shutil

import numpy as np
import pytest

from research.optimizers import soap
from research.training.loop import train
from tests.training.ten_steps import assert_agree, ten_steps
from tests.training.test_loop import assert_same_run
from tests.training.tiny import quickstart

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

SPLIT = {"compile": "sharded", "data": 1, "fsdp": 4, "tensor": 2, "accumulate": 2}


@pytest.mark.slow
def test_soap_resumes_to_the_bit(tmp_path):
    """The bases are renewed in the eleventh update, after the resumption at step 8."""
    settings = {"optimizer__name": "soap", "optimizer__cautious": True, "run__sample": 0}
    experiment = quickstart(tmp_path / "corpus.txt", **settings)
    train(experiment, tmp_path / "whole", print)
    killed = shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(killed / "checkpoints" / "12")
    train(experiment, killed, print)
    assert_same_run(experiment, tmp_path / "whole", killed)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [SPLIT, {"compile": "pmap", "accumulate": 2}], ids=["sharded", "pmap"])
def test_soap_agrees_when_split(mesh, monkeypatch):
    """Losses do; where gradients had no part in a direction, its basis is a matter of rounding."""
    monkeypatch.setattr(soap, "EVERY", 3)
    split, whole = ten_steps("gpt2_tiny", "soap", **mesh), ten_steps("gpt2_tiny", "soap")
    np.testing.assert_allclose(split["losses"], whole["losses"], rtol=1e-4)


@pytest.mark.slow
def test_normuon_agrees_when_split():
    assert_agree(ten_steps("gpt2_tiny", "normuon", **SPLIT), ten_steps("gpt2_tiny", "normuon"))
