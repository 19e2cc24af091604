"""Weights, in and out."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import Json, RunDirectory


def import_(
    format: Annotated[str, typer.Argument(help="huggingface, openai (GPT-1) or tensorflow (GPT-2, BERT).")],
    source: Annotated[Path, typer.Argument(help="What was published: a directory, or hub:OWNER/NAME.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="To be made.")],
):
    """Bring weights in, as a directory that start.weights and export take."""
    from launch.weights import import_weights

    import_weights(format, source, directory)


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run or weights.")],
    target: Annotated[Path, typer.Argument(help="To be made: a Hugging Face directory.")],
):
    """Write a run's newest weights for Transformers and others."""
    from launch.weights import export_weights

    export_weights(directory, target)


def average(
    directory: RunDirectory,
    last: Annotated[int | None, typer.Option(help="How many checkpoints; all if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="To be made; DIR/average if not given.")] = None,
    json: Json = False,
):
    """Write the mean of a run's last checkpoints, as weights that start.weights and export take."""
    from launch.weights import average_checkpoints

    average_checkpoints(directory, last, out, json)
