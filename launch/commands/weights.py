"""Weights, in and out."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    format: Annotated[str, typer.Argument(help="huggingface, openai (GPT-1) or tensorflow (GPT-2, BERT).")],
    source: Annotated[Path, typer.Argument(help="What was published.")],
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
