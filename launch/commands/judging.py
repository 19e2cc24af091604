"""What a model writes, and how good it is."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import Json

TARGET = "A run (DIR or DIR:STEP) or weights (a directory, or hub:OWNER/NAME)."
Target = Annotated[str, typer.Argument(metavar="DIR", help=TARGET)]
Tokenizer = Annotated[str | None, typer.Option(help="A name or path, where none lies beside the weights.")]


def generate(
    target: Target,
    prompt: Annotated[
        list[str] | None, typer.Option(help="May be repeated; none: a document's start.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Prompts, one a line.")] = None,
    tokens: Annotated[int, typer.Option(help="At most so many.")] = 200,
    temperature: Annotated[float | None, typer.Option(help="0: the likeliest token. Default 1.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among so many.")] = None,
    top_p: Annotated[float | None, typer.Option(help="… among those that make up this probability.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: repeat less.")] = None,
    beams: Annotated[int | None, typer.Option(help="Search with so many beams, and draw nothing.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="Power of the length, of beams. Default 1.")
    ] = None,
    early_stopping: Annotated[bool, typer.Option("--early-stopping", help="Stop at that many ends.")] = False,
    stop: Annotated[list[str] | None, typer.Option(help="Text that ends it; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same text.")] = 0,
    batch: Annotated[int, typer.Option(help="Prompts at once.")] = 8,
    top: Annotated[int, typer.Option(help="Candidates shown for each [MASK].")] = 5,
    tokenizer: Tokenizer = None,
    json: Json = False,
):
    """Continue a prompt; with a BERT, fill in its [MASK]s."""
    from launch.generate import generate as write

    sampling = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
    }
    search = {"count": beams, "length_penalty": length_penalty, "early_stopping": early_stopping}
    write(target, prompt, file, tokenizer, tokens, sampling, search, stop, seed, batch, top, json)


def evaluate(
    target: Annotated[str | None, typer.Argument(metavar="[DIR]", help=TARGET)] = None,
    task: Annotated[str, typer.Option(help="NAME[,NAME…]; harness:NAME; `list` shows them.")] = "list",
    data: Annotated[Path | None, typer.Option(help="A task's file, or the folder of several tasks'.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these instead of a model's (squad).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="The first so many examples alone.")] = None,
    stride: Annotated[
        int | None, typer.Option(help="Tokens a window moves on by. Default: half of it.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Sequences at once.")] = 8,
    raw: Annotated[bool, typer.Option("--raw", help="Without de-tokenizers.")] = False,
    tokenizer: Tokenizer = None,
    json: Json = False,
):
    """Judge a model as the papers do: perplexity, LAMBADA, cloze, SQuAD …"""
    from launch.evaluate import evaluate as judge

    judge(target, task, data, predictions, limit, stride, batch, raw, tokenizer, json)
