"""Weights in and out, and what was found."""

import json as json_
from pathlib import Path


def import_weights(format: str, source: Path, directory: Path) -> None:
    from research.weights import import_

    print(import_(format, source, directory))
    print(f"weights   {directory}")


def export_weights(directory: Path, target: Path) -> None:
    from research.weights import export

    print(export(directory, target))
    print(f"weights   {target}")


def average_checkpoints(directory: Path, last: int | None, out: Path | None, json: bool) -> None:
    from research.weights import average

    out = out or directory / "average"
    steps = average(directory, out, last)
    if json:
        print(json_.dumps({"weights": str(out), "steps": steps}))
        return
    print(f"mean of   steps {', '.join(map(str, steps))}")
    print(f"weights   {out}")
