"""Arguments and options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launch.shell import completion
from research.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from launch.executors.slurm import SlurmResources

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of an experiment; see lineage list.",
        autocompletion=completion.experiments,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SETTING=VALUE",
        help="Settings to change, such as optimizer.rate.peak=1e-3; see lineage explain.",
        autocompletion=completion.settings,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a run.")]
MODEL = "A run (DIR, or DIR:STEP for one checkpoint) or weights (a directory, or hub:OWNER/NAME)."
Tokenizer = Annotated[
    str | None,
    typer.Option(metavar="NAME|PATH", help="Tokenizer for weights that have none beside them."),
]
TrainFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="File or pattern to train on: data.source=files:FILE.")
]
ValidationFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="File or pattern to validate on: data.validation=files:FILE."),
]
AllowChange = Annotated[
    bool, typer.Option("--allow-change", help="Continue even if settings differ from the run's record.")
]

Distributed = Annotated[
    bool,
    typer.Option("--distributed", help="Join the processes started by Slurm, Open MPI, a TPU or Kubernetes."),
]
Coordinator = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Address of process 0, to join processes without a cluster."),
]
Processes = Annotated[int | None, typer.Option(metavar="N", help="Number of processes, with --coordinator.")]
Process = Annotated[
    int | None, typer.Option(metavar="N", help="Index of this process, from 0, with --coordinator.")
]

Executor = Annotated[
    str,
    typer.Option(
        metavar="local|slurm",
        help="Run on this machine, or submit to Slurm.",
        autocompletion=completion.one_of("local", "slurm"),
    ),
]
Partition = Annotated[str | None, typer.Option(metavar="NAME", help="Slurm: partition.")]
Time = Annotated[
    str | None, typer.Option(metavar="TIME", help="Slurm: time limit of a job, such as 8:00:00.")
]
Gpus = Annotated[
    int | None, typer.Option(metavar="N", help="Slurm: GPUs per node of a run, or per worker of a sweep.")
]
Cpus = Annotated[int | None, typer.Option(metavar="N", help="Slurm: CPU cores per process.")]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(metavar="OPTION", help="Slurm: another sbatch option: --sbatch=--account=lm. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan or the job script, and run nothing.")]


def with_files(overrides: list[str] | None, **files: str | None) -> list[str]:
    """`overrides`, plus the setting for each of `files` (`source`, `validation`).

    Raises UsageError if that setting is typed too.
    """
    from research.data.sources.files import as_source

    options = {"source": "--train-file", "validation": "--validation-file"}
    found = list(overrides or [])
    for name, file in files.items():
        if file is None:
            continue
        typed = [text for text in found if text.partition("=")[0].strip() == f"data.{name}"]
        if typed:
            raise UsageError(f"{options[name]} {file}: {typed[0]} is given too; expected one of them")
        found.append(f"data.{name}={as_source(file)}")
    return found


def slurm_resources(executor: str, partition, time, gpus, cpus, sbatch, **others) -> "SlurmResources | None":
    """The resources of a Slurm job; None for the local executor, which refuses these options."""
    from launch.executors.slurm import SlurmResources

    if executor == "slurm":
        return SlurmResources(partition, time, gpus, cpus, tuple(sbatch or ()))
    if executor != "local":
        raise UsageError(f"--executor {executor}: not known{did_you_mean(executor, ['local', 'slurm'])}")
    options = {"partition": partition, "time": time, "gpus": gpus, "cpus": cpus, "sbatch": sbatch} | others
    for name, value in options.items():
        if value not in (None, False) and (name, value) != ("nodes", 1):
            raise UsageError(f"--{name.replace('_', '-')}: needs --executor slurm")
    return None


def at_least_one(**options: int | None) -> None:
    """Raises UsageError for an option that is below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: expected 1 or more")
