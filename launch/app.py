"""The commands. What a command needs is imported when it runs, so that `lineage list` is instant."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="lineage",
    help="GPT-1, GPT-2 and BERT in JAX: named experiments, exact resume. --debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="An experiment; `lineage list` shows them.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[a.b=v]…", help="Settings to change.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory.")]


@app.command("list")
def list_(json: Json = False):
    """Every experiment, a line each."""
    from launch.inspect import list_experiments

    list_experiments(json)


@app.command()
def show(name: Name, overrides: Overrides = None, json: Json = False):
    """The resolved declaration."""
    from launch.inspect import show_experiment

    show_experiment(name, overrides, json)


@app.command()
def params(name: Name, overrides: Overrides = None, json: Json = False):
    """Parameters by component, with shapes and totals."""
    from launch.inspect import show_parameters

    show_parameters(name, overrides, json)


@app.command()
def prepare(name: Name, overrides: Overrides = None, json: Json = False):
    """Build and tokenize the data ahead of time."""
    from launch.data import prepare_data

    prepare_data(name, overrides, json)


@app.command()
def batch(
    name: Name,
    step: Annotated[int, typer.Option(help="Counted from 0: the batch of the update that ends step + 1.")],
    overrides: Overrides = None,
    json: Json = False,
):
    """Decode the exact batch of a step, past or future."""
    from launch.data import show_batch

    show_batch(name, step, overrides, json)


Distributed = Annotated[
    bool, typer.Option("--distributed", help="Join the processes that Slurm, Open MPI, a TPU … started.")
]
Coordinator = Annotated[str | None, typer.Option(help="HOST:PORT of process 0, to join by hand.")]
Processes = Annotated[int | None, typer.Option(help="How many there are.")]
Process = Annotated[int | None, typer.Option(help="Which one this is, from 0.")]


@app.command()
def train(
    name: Name,
    dir: Annotated[Path, typer.Option(help="Where the run lives; one that is there is continued.")],
    overrides: Overrides = None,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Start, or continue, the run in DIR."""
    from launch.train import join, train_experiment

    join(distributed, coordinator, processes, process)
    return train_experiment(name, overrides, dir)


@app.command()
def resume(
    directory: RunDirectory,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Continue a run from its own record."""
    from launch.train import join, resume_run

    join(distributed, coordinator, processes, process)
    return resume_run(directory)


@app.command("import")
def import_(
    format: Annotated[str, typer.Argument(help="huggingface, openai (GPT-1) or tensorflow (GPT-2, BERT).")],
    source: Annotated[Path, typer.Argument(help="What was published.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="To be made.")],
):
    """Bring weights in, as a directory that start.weights and export take."""
    from launch.weights import import_weights

    import_weights(format, source, directory)


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run or weights.")],
    target: Annotated[Path, typer.Argument(help="To be made: a Hugging Face directory.")],
):
    """Write a run's newest weights for Transformers and others."""
    from launch.weights import export_weights

    export_weights(directory, target)


@app.command()
def plan(
    name: Name,
    devices: Annotated[int, typer.Option(help="How many to plan for; none needs to be here.")],
    overrides: Overrides = None,
    json: Json = False,
):
    """Bytes of parameters, moments and activations on each device, before paying for it."""
    from launch.plan import show_plan

    show_plan(name, overrides, devices, json)


@app.command()
def doctor(json: Json = False):
    """Devices, versions, caches; what is missing and how to get it."""
    from launch.doctor import diagnose

    diagnose(json)
