"""What is declared, and what it costs."""

from typing import Annotated

import typer

from launch.options import Json, Name, Overrides


def list_(json: Json = False):
    """Every experiment and sweep, a line each."""
    from launch.inspect import list_experiments

    list_experiments(json)


def show(name: Name, overrides: Overrides = None, json: Json = False):
    """The resolved declaration."""
    from launch.inspect import show_experiment

    show_experiment(name, overrides, json)


def params(name: Name, overrides: Overrides = None, json: Json = False):
    """Parameters by component, with shapes and totals."""
    from launch.inspect import show_parameters

    show_parameters(name, overrides, json)


def plan(
    name: Name,
    overrides: Overrides = None,
    devices: Annotated[int, typer.Option(help="How many to plan for; none needs to be here.")] = 1,
    json: Json = False,
):
    """Bytes of parameters, moments and activations on each device, before paying for it."""
    from launch.plan import show_plan

    show_plan(name, overrides, devices, json)


def doctor(json: Json = False):
    """Devices, versions, caches; what is missing and how to get it."""
    from launch.doctor import diagnose

    diagnose(json)
