"""The learning rate of a task, chosen on its development set (Devlin et al., 2018, section 4.1).

    lineage sweep bert_rte_rates start.weights=DIR --dir runs/rte_rates

Four runs per task; the best has the highest first metric of the task after the last step. Appendix A.3 also
varies the batch (16, 32) and the epochs (2, 3, 4); add these with --over.
"""

from experiments.registry import get, sweep
from research.config import Sweep, space

RATES = 5e-5, 4e-5, 3e-5, 2e-5


def _rates(name: str) -> Sweep:
    base = get(name)
    peaks = space.grid("optimizer.rate.peak", *RATES)
    return Sweep(base=base, space=peaks, metric=base.task.metrics[0], direction="maximize")


@sweep
def bert_cola_rates() -> Sweep:
    """Which of the paper's four rates is best for CoLA, on its development set?"""
    return _rates("bert_cola")


@sweep
def bert_sst2_rates() -> Sweep:
    """Which of the paper's four rates is best for SST-2, on its development set?"""
    return _rates("bert_sst2")


@sweep
def bert_mrpc_rates() -> Sweep:
    """Which of the paper's four rates is best for MRPC, on its development set?"""
    return _rates("bert_mrpc")


@sweep
def bert_stsb_rates() -> Sweep:
    """Which of the paper's four rates is best for STS-B, on its development set?"""
    return _rates("bert_stsb")


@sweep
def bert_qqp_rates() -> Sweep:
    """Which of the paper's four rates is best for QQP, on its development set?"""
    return _rates("bert_qqp")


@sweep
def bert_mnli_rates() -> Sweep:
    """Which of the paper's four rates is best for MNLI, on its development set?"""
    return _rates("bert_mnli")


@sweep
def bert_qnli_rates() -> Sweep:
    """Which of the paper's four rates is best for QNLI, on its development set?"""
    return _rates("bert_qnli")


@sweep
def bert_rte_rates() -> Sweep:
    """Which of the paper's four rates is best for RTE, on its development set?"""
    return _rates("bert_rte")
