"""Text, ahead of time and step by step."""

from typing import Annotated

import typer

from launch.options import Json, Name, Overrides


def prepare(name: Name, overrides: Overrides = None, json: Json = False):
    """Build and tokenize the data ahead of time."""
    from launch.data import prepare_data

    prepare_data(name, overrides, json)


def batch(
    name: Name,
    step: Annotated[int, typer.Option(help="Counted from 0: the batch of the update that ends step + 1.")],
    overrides: Overrides = None,
    json: Json = False,
):
    """Decode the exact batch of a step, past or future."""
    from launch.data import show_batch

    show_batch(name, step, overrides, json)
