"""Weights in and out, and what was found."""

from pathlib import Path


def import_weights(format: str, source: Path, directory: Path) -> None:
    from research.weights import import_

    print(import_(format, source, directory))
    print(f"weights   {directory}")


def export_weights(directory: Path, target: Path) -> None:
    from research.weights import export

    print(export(directory, target))
    print(f"weights   {target}")
