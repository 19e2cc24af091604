"""The commands of `lineage`, in the order in which help lists them. Each imports JAX only when it runs."""

from typing import Annotated

import typer

from launch import data, declarations, evaluate, generate, machine, results, status, sweep, train, weights
from launch.executors import stopping, worker
from launch.options import flag, spread
from launch.shell.help import NAMES, Command, Group

GROUPS = {
    "Train": {"train": train.train, "resume": train.resume, "stop": stopping.stop},
    "Look": {
        "list": declarations.list_,
        "show": declarations.show,
        "explain": declarations.explain,
        "params": declarations.params,
        "status": status.status,
        "table": results.table,
        "compare": results.compare,
        "report": results.report,
        "fit": results.fit,
        "figure": results.figure,
        "generate": generate.generate,
        "evaluate": evaluate.evaluate,
        "features": weights.features,
        "surprisals": weights.surprisals,
    },
    "Sweep": {"sweep": sweep.sweep, "work": worker.work},
    "Data": {"prepare": data.prepare, "batch": data.batch, "cache": data.cache},
    "Weights": {"import": weights.import_, "export": weights.export, "average": weights.average},
    "Machine": {"plan": machine.plan, "bench": machine.bench, "doctor": machine.doctor},
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
GREETING = """\
Lineage {version}: GPT-1, GPT-2 and BERT in JAX, from named experiments to exact resume.

  lineage train quickstart    train a small GPT-2 in a few minutes, on this machine
  lineage list                name every experiment and sweep
  lineage COMMAND -h          show the options of a command
"""

app = typer.Typer(
    name="lineage",
    cls=Group,
    context_settings=NAMES,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def lineage(
    ctx: typer.Context,
    version: Annotated[bool, flag("--version", "Show the version and exit.")] = False,
) -> None:
    """GPT-1, GPT-2 and BERT in JAX: train, resume, sweep, fine-tune and evaluate.

    With any command, --import MODULE_OR_FILE adds experiments, optimizers and other parts of your own, and
    --debug shows tracebacks.
    """
    import research

    if version:
        print(f"lineage {research.__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(GREETING.format(version=research.__version__))
        formatter = ctx.make_formatter()
        app_group = ctx.command
        assert isinstance(app_group, Group)
        app_group.format_commands(ctx, formatter)
        print(formatter.getvalue().strip("\n"))


for title, commands in GROUPS.items():
    for name, command in commands.items():
        app.command(name, cls=Command, rich_help_panel=title)(spread(command))
