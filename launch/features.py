"""`lineage features`: hidden states of texts, as features for other programs."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from launch.options import MODEL, Tokenizer, at_least_one
from research.config.settings import convert
from research.errors import UsageError, did_you_mean

WORDS = ("none", "first", "mean")
PAIR = re.compile(r"(.*) \|\|\| (.*)")  # of a line of text, as in extract_features.py


def features(
    target: Annotated[str, typer.Argument(metavar="DIR", help=MODEL)],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Texts, one a line of a .txt file, or one a row of .jsonl, .tsv or .parquet."
        ),
    ],
    layers: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="Layers: 0 is the embeddings, -1 the last block, -2 the one before."
        ),
    ] = "-1",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to create, .npz or .jsonl. Default: JSON lines on the terminal."
        ),
    ] = None,
    words: Annotated[
        str,
        typer.Option(
            metavar="none|first|mean", help="A row for each word: its first piece, or the mean of its pieces."
        ),
    ] = "none",
    field: Annotated[
        str, typer.Option(metavar="NAMES", help="Field of the text, or two fields of a pair: a,b.")
    ] = "text",
    length: Annotated[
        int | None, typer.Option(metavar="N", help="Maximum number of tokens. Default: the context.")
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Number of texts processed together.")] = 8,
    tokenizer: Tokenizer = None,
) -> None:
    """Write hidden states of texts, for every token or word."""
    at_least_one(length=length, batch=batch)
    chosen = [convert(layer.strip(), int, "--layers") for layer in layers.split(",")]
    if words not in WORDS:
        raise UsageError(f"--words {words}: not known{did_you_mean(words, WORDS)}")
    texts = list(_texts(data, field.split(",")))  # which refuses a file before a model is loaded
    if out is not None:
        from research.api.feature_files import check_suffix
        from research.io.directories import check_absent

        check_suffix(out)
        check_absent(out)
    _write(target, tokenizer, texts, chosen, words, length, batch, out)


def _write(target, tokenizer, texts, layers, words, length, batch, out: Path | None) -> None:
    from research.api import load
    from research.api.feature_files import json_line, write
    from research.api.features import check_layers, encode, features

    model = load(target, tokenizer)
    check_layers(layers, model.config.depth)
    context = model.config.context
    if length is not None and length > context:
        raise UsageError(f"--length {length}: expected at most {context}, the context")
    rows = [encode(model, text, length or context) for text in texts]
    if cut := sum(row.cut for row in rows):
        print(f"lineage: {cut:,} of {len(rows):,} texts cut to {length or context} tokens", file=sys.stderr)
    stream = features(model, rows, layers, words, batch)
    if out is None:
        for index, found in enumerate(stream):
            print(json_line(index, found, layers), flush=True)
        return
    count, found = write(out, stream, layers, model.config.width)
    unit = "tokens" if words == "none" else "words"
    print(
        f"features  {count:,} texts, {found:,} {unit}, {len(layers)} × {model.config.width} numbers of each"
    )
    print(f"file      {out}")


def _texts(path: Path, fields: list[str]) -> Iterator[tuple[str, ...]]:
    """The text or the pair of each line, also of empty lines, so that features keep the lines' numbers."""
    from research.data.sources import files, tables
    from research.io import text

    if len(fields) > 2:
        raise UsageError(f"--field {','.join(fields)}: expected one field, or two of a pair")
    if not path.is_file():
        raise UsageError(f"--data {path}: no such file")
    if path.suffix in tables.READERS:
        yield from zip(*(tables.READERS[path.suffix](path, field) for field in fields), strict=True)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        for where, record in text.json_lines(path):
            yield tuple(files.field_text(record, field, where, "--field") for field in fields)
    elif path.suffix == ".txt":
        for _, line in text.lines(path):
            match = PAIR.fullmatch(line.strip())
            yield match.groups() if match else (line.strip(),)
    else:
        raise UsageError(f"--data {path}: expected a file that ends in {', '.join(files.SUFFIXES)}")
