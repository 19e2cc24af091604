"""The command line: its commands, in the order in which they are shown."""

import typer

from launch.commands import data, declared, judging, machine, results, sweeping, training, weights

app = typer.Typer(
    name="lineage",
    help="GPT-1, GPT-2 and BERT in JAX: named experiments, exact resume. "
    "--import MODULE_OR_FILE adds your own; --debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS = {
    "list": declared.list_,
    "show": declared.show,
    "params": declared.params,
    "prepare": data.prepare,
    "batch": data.batch,
    "train": training.train,
    "resume": training.resume,
    "sweep": sweeping.sweep,
    "work": sweeping.work,
    "status": sweeping.status,
    "stop": sweeping.stop,
    "generate": judging.generate,
    "evaluate": judging.evaluate,
    "import": weights.import_,
    "export": weights.export,
    "average": weights.average,
    "plan": declared.plan,
    "bench": machine.bench,
    "report": results.report,
    "table": results.table,
    "doctor": declared.doctor,
}

for name, command in COMMANDS.items():
    app.command(name)(command)
