"""Curves of runs as a picture (needs matplotlib).

python -m tests.benchmarks.curves PICTURE.svg RUN… [--show loss next_accuracy …]
"""

import argparse
from pathlib import Path

import matplotlib

from research.runs.metrics_log import read

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "lineage"  # the same runs, the same bytes
from matplotlib import pyplot as plt  # noqa: E402, after its back end is chosen

LABELS = {
    "loss": "loss, nats per target",
    "masked_loss": "loss of masked tokens, nats",
    "masked_accuracy": "accuracy of masked tokens",
    "next_accuracy": "accuracy of next sentence",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--show", nargs="+", default=["loss"], help="numbers of the rows, a panel each")
    arguments = parser.parse_args()
    count = len(arguments.show)
    size = (7 if count == 1 else 4 * count, 3.2)
    figure, panels = plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)
    for name, axes in zip(arguments.show, panels[0], strict=True):
        for index, run in enumerate(arguments.runs):
            rows = [row for row in read(run) if name in row]
            for split, style in (
                ("train", {"alpha": 0.35, "linewidth": 1}),
                ("validation", {"marker": "o", "markersize": 3, "label": run.name}),
            ):
                points = [(row["step"], row[name]) for row in rows if row["split"] == split]
                axes.plot(*zip(*points, strict=True), color=f"C{index}", **style)
        axes.set(xlabel="step", ylabel=LABELS.get(name, name))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].legend(frameon=False, title="validation (lines: training)")
    figure.savefig(arguments.picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
