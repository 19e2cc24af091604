"""`lineage import`, `export` and `average`: weights in and out."""

import json as json_
from pathlib import Path
from typing import Annotated

import typer

from launch.options import Json, RunDirectory
from launch.shell import completion
from launch.shell.starting import starting
from research.io.activity import activity


def import_(
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="huggingface, openai (GPT-1) or tensorflow (GPT-2, BERT).",
            autocompletion=completion.one_of("huggingface", "openai", "tensorflow"),
        ),
    ],
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Directory of published weights, or hub:OWNER/NAME."),
    ],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to create.")],
) -> None:
    """Convert published weights to the format used here."""
    with starting():
        from research.weights import import_

    with activity(f"converting {source}"):
        report = import_(format, source, directory)
    print(report)
    print(f"weights   {directory}")


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run or of weights.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Directory to create.")],
) -> None:
    """Write weights as a Hugging Face directory for Transformers."""
    with starting():
        from research.weights import export

    with activity(f"writing {target}"):
        report = export(directory, target)
    print(report)
    print(f"weights   {target}")


def average(
    directory: RunDirectory,
    last: Annotated[
        int | None, typer.Option(metavar="N", help="Average the last N checkpoints. Default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory to create. Default: DIR/average.")
    ] = None,
    json: Json = False,
) -> None:
    """Average the weights of a run's last checkpoints."""
    with starting():
        from research.weights import average

    out = out or directory / "average"
    with activity(f"averaging the checkpoints of {directory}"):
        steps = average(directory, out, last)
    if json:
        print(json_.dumps({"weights": str(out), "steps": steps}))
        return
    print(f"mean of   steps {', '.join(map(str, steps))}")
    print(f"weights   {out}")
