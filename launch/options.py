"""Arguments and options that several commands share.

A command takes options that belong together as one NamedTuple, whose fields `spread` shows to Typer.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

from launch.shell import completion
from research.errors import UsageError, did_you_mean

Complete = Callable[..., list[tuple[str, str]]]


def argument(metavar: str, help: str, complete: Complete | None = None) -> Any:
    return typer.Argument(metavar=metavar, help=help, autocompletion=complete)


def option(metavar: str, help: str, complete: Complete | None = None) -> Any:
    return typer.Option(metavar=metavar, help=help, autocompletion=complete)


def flag(name: str, help: str) -> Any:
    """An option without a value; named, or Typer would add --no-NAME."""
    return typer.Option(name, help=help)


Name = Annotated[str, argument("NAME", "Name of an experiment; see lineage list.", completion.experiments)]
Overrides = Annotated[
    list[str] | None,
    argument(
        "SETTING=VALUE",
        "Settings to change, such as optimizer.rate.peak=1e-3; see lineage explain.",
        completion.settings,
    ),
]
Json = Annotated[bool, flag("--json", "Print JSON.")]
RunDirectory = Annotated[Path, argument("DIR", "Directory of a run.")]
MODEL = "A run (DIR, or DIR:STEP for one checkpoint) or weights (a directory, or hub:OWNER/NAME)."
Tokenizer = Annotated[str | None, option("NAME|PATH", "Tokenizer for weights that have none beside them.")]
AllowChange = Annotated[
    bool, flag("--allow-change", "Continue even if settings differ from the run's record.")
]
Executor = Annotated[
    str,
    option("local|slurm", "Run on this machine, or submit to Slurm.", completion.one_of("local", "slurm")),
]
DryRun = Annotated[bool, flag("--dry-run", "Print the plan or the job script, and run nothing.")]


class Settings(NamedTuple):
    """Settings to change, as typed."""

    overrides: Overrides = None
    train_file: Annotated[
        str | None, option("FILE", "File or pattern to train on: data.source=files:FILE.")
    ] = None
    validation_file: Annotated[
        str | None, option("FILE", "File or pattern to validate on: data.validation=files:FILE.")
    ] = None

    def typed(self) -> list[str]:
        """The overrides, with the setting for each file. Raises UsageError if that is typed too."""
        from research.data.sources.files import as_source

        found = list(self.overrides or [])
        for name, split in (("source", "train"), ("validation", "validation")):
            file = getattr(self, f"{split}_file")
            if file is None:
                continue
            if also := [text for text in found if text.partition("=")[0].strip() == f"data.{name}"]:
                raise UsageError(f"--{split}-file {file}: {also[0]} is given too; expected one of them")
            found.append(f"data.{name}={as_source(file)}")
        return found


class Processes(NamedTuple):
    """How a process finds the other processes of its run."""

    distributed: Annotated[
        bool, flag("--distributed", "Join the processes started by Slurm, Open MPI, a TPU or Kubernetes.")
    ] = False
    coordinator: Annotated[
        str | None, option("HOST:PORT", "Address of process 0, to join processes without a cluster.")
    ] = None
    processes: Annotated[int | None, option("N", "Number of processes, with --coordinator.")] = None
    process: Annotated[int | None, option("N", "Index of this process, from 0, with --coordinator.")] = None

    @property
    def first(self) -> bool:
        """Whether this process is known to be the first, or the only one."""
        return not self.distributed and not self.process

    def join(self) -> None:
        """Joins the others, if the options ask for it. Call it before JAX initialises a device."""
        by_hand = self[1:]
        if any(value is not None for value in by_hand):
            if any(value is None for value in by_hand):
                raise UsageError("--coordinator, --processes and --process: expected all three or none")
        elif not self.distributed:
            return
        from research.devices.startup import join_processes
        from research.training.stopping import first_failure

        join_processes(*by_hand)
        first_failure.watch()


class SlurmResources(NamedTuple):
    """The resources that a job requests; None leaves the choice to the cluster."""

    partition: Annotated[str | None, option("NAME", "Slurm: partition.")] = None
    time: Annotated[str | None, option("TIME", "Slurm: time limit of a job, such as 8:00:00.")] = None
    gpus: Annotated[int | None, option("N", "Slurm: GPUs per node of a run, or per worker of a sweep.")] = (
        None
    )
    cpus: Annotated[int | None, option("N", "Slurm: CPU cores per process.")] = None
    sbatch: Annotated[
        list[str] | None, option("OPTION", "Slurm: another sbatch option: --sbatch=--account=lm. Repeatable.")
    ] = None

    def directives(self) -> list[str]:
        """The options of sbatch."""
        names = {"partition": "partition", "time": "time", "gpus": "gpus-per-node", "cpus": "cpus-per-task"}
        values = {name: getattr(self, field) for field, name in names.items()}
        more = list(self.sbatch or [])
        for text in more:
            if not text.startswith("-"):
                raise UsageError(f"--sbatch {text}: expected an option of sbatch's, such as --account=lm")
        return [f"--{name}={value}" for name, value in values.items() if value is not None] + more


def on_slurm(executor: str, resources: SlurmResources, **others: Any) -> bool:
    """Whether the executor is Slurm. Raises UsageError for options of Slurm with the local one."""
    if executor == "slurm":
        return True
    if executor != "local":
        raise UsageError(f"--executor {executor}: not known{did_you_mean(executor, ['local', 'slurm'])}")
    for name, value in (resources._asdict() | others).items():
        if value not in (None, False, []) and (name, value) != ("nodes", 1):
            raise UsageError(f"--{name.replace('_', '-')}: needs --executor slurm")
    return False


def at_least_one(**options: int | None) -> None:
    """Raises UsageError for an option that is below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: expected 1 or more")


def spread(command: Callable) -> Callable:
    """`command` with the fields of its NamedTuples as parameters of its own, in their place."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hasattr(hint, "_fields")}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if group := groups.get(name):
            fields = get_type_hints(group, include_extras=True)
            parameters += [
                parameter.replace(name=field, annotation=fields[field], default=default)
                for field, default in group._field_defaults.items()
            ]
        else:
            parameters.append(parameter.replace(annotation=hints[name]))

    @wraps(command)
    def run(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{field: given.pop(field) for field in group._fields})
        return command(**given)

    shown = inspect.Signature([one.replace(kind=one.KEYWORD_ONLY) for one in parameters])
    run.__dict__["__signature__"] = shown
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
