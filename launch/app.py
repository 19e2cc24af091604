"""The commands of `lineage`, in the order in which help lists them. Each imports JAX only when it runs."""

import typer

from launch import data, declarations, evaluate, generate, machine, results, status, sweep, train, weights

app = typer.Typer(
    name="lineage",
    help="GPT-1, GPT-2 and BERT in JAX: train, resume, sweep, fine-tune and evaluate.\n\n"
    "With any command, --import MODULE_OR_FILE adds experiments, optimizers and other parts of your own, "
    "and --debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS = {
    "list": declarations.list_,
    "show": declarations.show,
    "params": declarations.params,
    "prepare": data.prepare,
    "batch": data.batch,
    "train": train.train,
    "resume": train.resume,
    "sweep": sweep.sweep,
    "work": sweep.work,
    "status": status.status,
    "stop": status.stop,
    "generate": generate.generate,
    "evaluate": evaluate.evaluate,
    "features": weights.features,
    "import": weights.import_,
    "export": weights.export,
    "average": weights.average,
    "plan": machine.plan,
    "bench": machine.bench,
    "report": results.report,
    "table": results.table,
    "doctor": machine.doctor,
}

for name, command in COMMANDS.items():
    app.command(name)(command)
