"""Help of the command line: groups of commands, whole sentences, no Python types."""

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from research.errors import UsageError
from research.io.files import expanded

NAMES = {"help_option_names": ["-h", "--help"]}  # settings of every command


class Command(TyperCommand):
    """A command whose help shows arguments as they are typed, and whose paths may begin with ~.

    Raises UsageError for an option with one value that is given twice; Typer would keep the last one.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # as it is while a shell completes the line
            self._refuse_repeated(ctx, args)
        return super().parse_args(ctx, args)

    def _refuse_repeated(self, ctx: typer.Context, args: list[str]) -> None:
        parser = self.make_parser(ctx)
        single = [one for one in parser._long_opt.values() if one.action == "store"]
        for one in single:
            one.action = "append"
        given, _, _ = parser.parse_args(args=list(args))
        for one in single:
            if len(values := given.get(str(one.dest), [])) > 1:
                typed = " and ".join(f"{one.obj.opts[0]} {value}" for value in values)
                raise UsageError(f"{typed}: expected this option once")

    def invoke(self, ctx: typer.Context) -> Any:
        ctx.params.update({name: _expanded(value) for name, value in ctx.params.items()})
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        return [
            "[OPTIONS]",
            *(_typed(param) for param in self.get_params(ctx) if isinstance(param, TyperArgument)),
        ]

    def format_options(self, ctx: typer.Context, formatter) -> None:
        params = self.get_params(ctx)
        arguments = [
            (param.metavar or "", param.help or "") for param in params if isinstance(param, TyperArgument)
        ]
        options = [
            record
            for param in params
            if not isinstance(param, TyperArgument) and (record := param.get_help_record(ctx))
        ]
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """The commands, under the titles that their `rich_help_panel` gives."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:
        return ["COMMAND [OPTIONS] …"]

    def format_commands(self, ctx: typer.Context, formatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if isinstance(command, Command):
                groups.setdefault(str(command.rich_help_panel), []).append((name, command.help or ""))
        width = max(len(name) for rows in groups.values() for name, _ in rows)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", help) for name, help in rows])

    def format_options(self, ctx: typer.Context, formatter) -> None:
        self.format_commands(ctx, formatter)
        options = (param.get_help_record(ctx) for param in self.get_params(ctx))
        with formatter.section("Options"):
            formatter.write_dl([option for option in options if option])


def _typed(argument) -> str:
    """An argument in the usage line: NAME, [NAME], [NAME]…"""
    name = argument.metavar if argument.required else f"[{argument.metavar}]"
    return name + ("" if argument.nargs == 1 else "…")


def _expanded(value: Any) -> Any:
    """Paths with the home directory for ~, which a shell leaves in `--dir=~/runs`."""
    if isinstance(value, list | tuple):
        return type(value)(map(_expanded, value))
    return expanded(value) if isinstance(value, Path) else value
