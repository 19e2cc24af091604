"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from research.errors import UsageError, did_you_mean

Name = Annotated[str, typer.Argument(help="An experiment; `lineage list` shows them.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[a.b=v]…", help="Settings to change.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")]
AllowChange = Annotated[
    bool, typer.Option("--allow-change", help="Go on though the declaration differs from the run's record.")
]

Distributed = Annotated[
    bool, typer.Option("--distributed", help="Join the processes that Slurm, Open MPI, a TPU … started.")
]
Coordinator = Annotated[str | None, typer.Option(help="HOST:PORT of process 0, to join by hand.")]
Processes = Annotated[int | None, typer.Option(help="How many there are.")]
Process = Annotated[int | None, typer.Option(help="Which one this is, from 0.")]

Executor = Annotated[str, typer.Option(metavar="local|slurm", help="Where it runs.")]
Partition = Annotated[str | None, typer.Option(help="Slurm's.")]
Time = Annotated[str | None, typer.Option(help="Of a job, as Slurm writes it: 8:00:00.")]
Gpus = Annotated[int | None, typer.Option(help="Under Slurm: of a worker, or of a node of a run.")]
Cpus = Annotated[int | None, typer.Option(help="Under Slurm: cores of a process.")]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(metavar="OPTION", help="Any other option of sbatch: --sbatch=--account=lm."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]


def slurm_resources(executor: str, partition, time, gpus, cpus, sbatch, **others):
    """What is asked of Slurm; None for the local executor, with which none of it goes."""
    from launch.executors.slurm import SlurmResources

    if executor == "slurm":
        return SlurmResources(partition, time, gpus, cpus, tuple(sbatch or ()))
    if executor != "local":
        raise UsageError(f"--executor {executor}: not known{did_you_mean(executor, ['local', 'slurm'])}")
    given = {"partition": partition, "time": time, "gpus": gpus, "cpus": cpus, "sbatch": sbatch} | others
    for name, value in given.items():
        if value not in (None, False) and (name, value) != ("nodes", 1):
            raise UsageError(f"--{name.replace('_', '-')}: goes with --executor slurm")
    return None
