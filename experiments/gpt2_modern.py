"""GPT-2 with parts and an optimizer from after 2019, each a setting."""

from dataclasses import replace

from experiments.gpt2 import gpt2_small
from experiments.registry import experiment
from experiments.tiny import gpt2_tiny
from research.config import Experiment


@experiment
def gpt2_modern() -> Experiment:
    """GPT-2 small with the parts of nanochat (Karpathy, 2025): 162M parameters, 85M in blocks as gpt2_small.

    Rotary positions (Su et al., 2021), RMSNorm (Zhang & Sennrich, 2019), query and key norms (Henry et al.,
    2020), squared ReLU (So et al., 2021), an untied output table, no biases; Muon (Jordan et al., 2024).
    Steps, data and rate are gpt2_small's. 8.5e18 FLOP. Not yet run at this size.
    """
    return _modern(gpt2_small(), rate=6e-4, momentum=0.95)


@experiment
def gpt2_modern_tiny() -> Experiment:
    """gpt2_tiny with the parts and the optimizer of gpt2_modern, on the same batches.

    Expected after 300 steps: 4.62 validation loss; gpt2_tiny has 5.59, and 5.50 at the best of five rates
    (0.002). With only the parts 5.19, with only Muon 4.84. Rate and momentum are the best of five trials on
    that loss. Rounding alone changes gpt2_tiny's loss: 5.59 on two cores, 5.75 on one.
    """
    return _modern(gpt2_tiny(), rate=1e-2, momentum=0.9)


def _modern(original: Experiment, rate: float, momentum: float) -> Experiment:
    """`original` with all parts. Adam uses the same rate: updates have the same size (Liu et al., 2025)."""
    return replace(
        original,
        model=replace(
            original.model,
            normalization="rms",
            positions="rotary",
            activation="relu_squared",
            qk_norm=True,
            bias=False,
            tied=False,
        ),
        optimizer=replace(
            original.optimizer, name="muon", b1=momentum, rate=replace(original.optimizer.rate, peak=rate)
        ),
    )
