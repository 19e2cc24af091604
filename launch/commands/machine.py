"""The machine at hand, and what it makes of an experiment."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import Json, Name, Overrides


def bench(
    name: Name,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(help="How many are timed.")] = 20,
    data: Annotated[
        Path | None, typer.Option(help="Tokens to train on: .npy or raw uint16. Random ones without.")
    ] = None,
    json: Json = False,
):
    """Tokens per second, FLOP/s, MFU, memory, compile time."""
    from launch.bench import bench

    bench(name, overrides, steps, data, json)
