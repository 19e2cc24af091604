"""The end of a finished run: its result, and commands to try next."""

import shlex
from pathlib import Path
from typing import Any

from research.config import Experiment


def print_result(experiment: Experiment, row: dict[str, Any], baseline_loss: float) -> None:
    from research.objectives import objective_of
    from research.training.logging.progress import indented

    objective = objective_of(experiment.objective)
    if row.get("sample"):
        print(f"\nsample\n  {indented(row['sample'])}")
    # That of the labels, without a teacher's part and without an auxiliary loss.
    loss = next(row[name] for name in ("hard_loss", "task_loss", "loss") if name in row)
    if objective.supervised:
        print(f"\nvalidation loss   {loss:.4f} {objective.unit} per example")
        print(f"baseline loss     {baseline_loss:.4f} {objective.unit} per example (constant prediction)")
        for metric in experiment.task.metrics:
            print(f"{metric.replace('_', ' '):<17} {row[metric]:.4f}")
    else:
        where = "" if experiment.data.validation is None else f", on {experiment.data.validation}"
        print(f"\nvalidation loss   {loss:.4f} nats per target{where}")
        print(f"unigram entropy   {baseline_loss:.4f} nats per token")
    if "bits_per_byte" in row:
        print(f"bits per byte     {row['bits_per_byte']:.4f}")


def print_next(experiment: Experiment, directory: Path, third: tuple[list[str], str]) -> None:
    """Prints three commands to try after a finished run."""
    from research.objectives import objective_of

    objective, where = objective_of(experiment.objective), shlex.quote(str(directory))
    if objective.supervised:
        first = f"lineage evaluate {where} --task answers --data FILE", "predict the labels of a file"
    elif objective.generates:
        first = f"lineage generate {where} --top-p 0.9", "sample from it"
    else:
        first = f'lineage generate {where} --prompt "The [MASK] is open."', "fill in masked words"
    others = ((f"lineage report {where}", "write a page with its curves"), (shlex.join(third[0]), third[1]))
    width = min(60, max(len(command) for command, _ in (first, *others)))
    print("\nnext")
    for command, purpose in (first, *others):
        print(f"  {command:<{width}}  {purpose}")
