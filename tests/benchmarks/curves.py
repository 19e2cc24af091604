"""Loss curves of runs as a picture (needs matplotlib): python tests/benchmarks/curves.py PICTURE.svg RUN…"""

import sys
from pathlib import Path

import matplotlib

from research.training.metrics import read

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "lineage"  # the same runs, the same bytes
from matplotlib import pyplot as plt  # noqa: E402, after its back end is chosen


def main(picture: Path, runs: list[Path]) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for index, run in enumerate(runs):
        rows = read(run)
        colour = f"C{index}"
        train = [(row["step"], row["loss"]) for row in rows if row["split"] == "train"]
        validation = [(row["step"], row["loss"]) for row in rows if row["split"] == "validation"]
        axes.plot(*zip(*train, strict=True), color=colour, alpha=0.35, linewidth=1)
        axes.plot(*zip(*validation, strict=True), color=colour, marker="o", markersize=3, label=run.name)
    axes.set(xlabel="step", ylabel="loss, nats per target")
    axes.legend(frameon=False, title="validation (lines: training)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
