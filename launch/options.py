"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="An experiment; `lineage list` shows them.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[a.b=v]…", help="Settings to change.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")]

Distributed = Annotated[
    bool, typer.Option("--distributed", help="Join the processes that Slurm, Open MPI, a TPU … started.")
]
Coordinator = Annotated[str | None, typer.Option(help="HOST:PORT of process 0, to join by hand.")]
Processes = Annotated[int | None, typer.Option(help="How many there are.")]
Process = Annotated[int | None, typer.Option(help="Which one this is, from 0.")]
