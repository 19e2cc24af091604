"""`lineage import`, `export`, `average`, `features`, `surprisals`: weights in and out, numbers of texts."""

import re
import sys
from pathlib import Path
from typing import Annotated

from launch.options import MODEL, Json, RunDirectory, Tokenizer, argument, at_least_one, flag, option
from launch.shell import completion
from launch.shell.as_json import print_json
from launch.shell.starting import starting
from research.errors import UsageError, did_you_mean
from research.io.activity import activity

WORDS = ("none", "first", "mean")


def import_(
    format: Annotated[
        str,
        argument(
            "FORMAT",
            "huggingface, openai (GPT-1), nanogpt, llmc, tensorflow (GPT-2, BERT) or peft (merged).",
            completion.one_of("huggingface", "openai", "nanogpt", "llmc", "tensorflow", "peft"),
        ),
    ],
    source: Annotated[
        Path, argument("SOURCE", "Directory of published weights, hub:OWNER/NAME, or llm.c's file.")
    ],
    directory: Annotated[Path, argument("DIR", "Directory to create.")],
) -> None:
    """Convert published weights to the format used here."""
    with starting():
        from research.weights import import_

    with activity(f"converting {source}"):
        report = import_(format, source, directory)
    print(report)
    print(f"weights   {directory}")


def export(
    directory: Annotated[Path, argument("DIR", "Directory of a run or of weights.")],
    target: Annotated[Path, argument("TARGET", "Directory to create, or llm.c's file.")],
    format: Annotated[
        str,
        option(
            "FORMAT",
            "huggingface; peft: the factors of model.block=lora; or llm.c's model file: llmc (float32), "
            "llmc_bf16 (bfloat16).",
            completion.one_of("huggingface", "peft", "llmc", "llmc_bf16"),
        ),
    ] = "huggingface",
    base: Annotated[
        str | None,
        option("DIR", "With --format peft: the model of the factors. Default: that of start.weights."),
    ] = None,
) -> None:
    """Write weights for Transformers, PEFT or llm.c."""
    with starting():
        from research.weights import export

    with activity(f"writing {target}"):
        report = export(directory, target, format, base)
    print(report)
    print(f"weights   {target}")


def average(
    directory: RunDirectory,
    last: Annotated[int | None, option("N", "Average the last N checkpoints. Default: all.")] = None,
    out: Annotated[Path | None, option("DIR", "Directory to create. Default: DIR/average.")] = None,
    json: Json = False,
) -> None:
    """Average the weights of a run's last checkpoints.

    For Transformers, or in Lineage's own form if Transformers has no class for the model.
    """
    with starting():
        from research.weights import average

    out = out or directory / "average"
    with activity(f"averaging the checkpoints of {directory}"):
        steps = average(directory, out, last)
    if json:
        print_json({"weights": str(out), "steps": steps}, indent=None)
        return
    print(f"mean of   steps {', '.join(map(str, steps))}")
    print(f"weights   {out}")


def features(
    target: Annotated[str, argument("DIR", MODEL)],
    data: Annotated[
        Path, option("FILE", "Texts, one per line of .txt, or one per row of .jsonl, .tsv or .parquet.")
    ],
    layers: Annotated[
        str,
        option(
            "LIST", "Layers: 0 is the embeddings, -1 the last block, -2 the one before; or names of sites."
        ),
    ] = "-1",
    out: Annotated[
        Path | None, option("FILE", "File to create, .npz or .jsonl. Default: JSON lines on the terminal.")
    ] = None,
    words: Annotated[
        str, option("none|first|mean", "One row per word: its first piece, or the mean of its pieces.")
    ] = "none",
    field: Annotated[str, option("NAMES", "Field of the text, or two fields of a pair: a,b.")] = "text",
    length: Annotated[int | None, option("N", "Maximum number of tokens. Default: the context.")] = None,
    batch: Annotated[int, option("N", "Number of texts processed together.")] = 8,
    tokenizer: Tokenizer = None,
) -> None:
    """Write hidden states of texts, for every token or word."""
    at_least_one(length=length, batch=batch)
    listed = [layer.strip() for layer in layers.split(",")]
    chosen = [int(layer) if re.fullmatch(r"-?\d+", layer) else layer for layer in listed]
    if words not in WORDS:
        raise UsageError(f"--words {words}: not known{did_you_mean(words, WORDS)}")
    fields = field.split(",")
    if len(fields) > 2:
        raise UsageError(f"--field {field}: expected one field, or two of a pair")
    from research.data.sources.files import texts as read

    texts = list(read(data, fields))  # refuses a file before a model is loaded
    from research.api.feature_files import check_new, json_line, write

    if out is not None:
        check_new(out)
    from research.api import load
    from research.api.features import encode, features, layers_of

    model = load(target, tokenizer)
    numbered, width = layers_of(model, chosen)
    context = model.config.context
    if length is not None and length > context:
        raise UsageError(f"--length {length}: expected at most {context}, the context")
    rows = [encode(model, text, length or context) for text in texts]
    if cut := sum(row.cut for row in rows):
        print(f"lineage: {cut:,} of {len(rows):,} texts cut to {length or context} tokens", file=sys.stderr)
    stream = features(model, rows, numbered, words, batch)
    if out is None:
        for index, found in enumerate(stream):
            print(json_line(index, found, numbered), flush=True)
        return
    count, found = write(out, stream, numbered, width)
    unit = "tokens" if words == "none" else "words"
    print(f"features  {count:,} texts, {found:,} {unit}, {len(numbered)} × {width} numbers each")
    print(f"file      {out}")


def surprisals(
    target: Annotated[str, argument("DIR", MODEL)],
    data: Annotated[
        Path,
        option(
            "FILE",
            "Texts, one per line of .txt, or one per row of .jsonl, .tsv, .csv or .parquet, whose other "
            "columns are kept.",
        ),
    ],
    out: Annotated[
        Path | None, option("FILE", "File to create, .tsv, .csv or .jsonl. Default: the terminal.")
    ] = None,
    tokens: Annotated[bool, flag("--tokens", "One row per token, not per word.")] = False,
    unit: Annotated[str, option("nats|bits", "Unit of surprisals and entropies.")] = "nats",
    no_start: Annotated[
        bool, flag("--no-start", "GPT: no end-of-text token before texts; their first token has no value.")
    ] = False,
    corrected: Annotated[
        bool, flag("--corrected", "GPT: count a space with the word before it, so that words sum to one.")
    ] = False,
    within_word: Annotated[
        bool, flag("--within-word", "BERT: mask the later tokens of a word, too.")
    ] = False,
    field: Annotated[str, option("NAME", "Column of the text.")] = "text",
    tokenizer: Tokenizer = None,
    json: Json = False,
) -> None:
    """Write surprisals of texts, for every word or token."""
    from research.data import tables
    from research.data.sources.files import with_columns

    texts = list(with_columns(data, field))  # refuses a file before a model is loaded
    with starting():
        from research.api import load
        from research.api import surprisals as made
        from research.evaluation.surprisal.surprisals import Options

    items = [made.Item(*one) for one in texts]
    names = made.columns({name: None for item in items for name in item.columns}, tokens)
    if out is not None:
        tables.check_new(out)
    options = Options(not no_start, corrected, within_word, unit)
    with activity(f"loading {target}"):
        model = load(target, tokenizer)
    if options.start and made.lacks_start(model):
        print(
            "lineage: the tokenizer has no <|endoftext|>, so a text's first word has no value",
            file=sys.stderr,
        )
    rows = made.rows(items, made.stream(model, (item.text for item in items), options), tokens)
    if out is None:
        for line in tables.lines(names, rows, ".jsonl" if json else ".tsv"):
            print(line, end="")
        return
    count, mean = made.write(out, names, rows)
    kind = "tokens" if tokens else "words"
    if json:
        print_json({"file": str(out), "texts": len(items), kind: count, "mean": mean, "unit": unit})
        return
    shown = "" if mean is None else f", mean {mean:.4f} {unit}"
    print(f"surprisals  {len(items):,} texts, {count:,} {kind}{shown}")
    print(f"file        {out}")
