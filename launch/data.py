"""`lineage prepare` and `lineage batch`: data ahead of time, and the exact batch of a step."""

import json as json_
from pathlib import Path
from typing import Annotated, Any

import typer

import experiments
from launch.declarations import resolve
from launch.options import Json, Name, Overrides
from launch.shell import completion
from launch.shell.starting import starting
from research.config import Experiment
from research.config.settings import override, parse_assignments
from research.errors import UsageError
from research.io.activity import activity, say


def prepare(name: Name, overrides: Overrides = None, json: Json = False) -> None:
    """Read, tokenize and store an experiment's data."""
    with starting():
        from research.data.batches import train_batches, validation_batches
        from research.objectives import check, objective_of

    experiment = resolve(name, overrides)
    check(experiment)
    objective = objective_of(experiment.objective)
    examples = objective.examples(experiment)
    with activity("reading the data"):
        corpus = examples.prepare(_ignore if json else say)
    with activity("indexing the examples"):
        train_batches(examples, experiment.data, experiment.run.seed, corpus.train)
        for first in {0, experiment.data.later.step}:
            validation_batches(examples, experiment.data.at_step(first), corpus.validation)
    describe = _describe_labelled if objective.supervised else _describe_text
    facts = {"train": describe(corpus.train), "validation": describe(corpus.validation)}
    if json:
        print(json_.dumps(facts, indent=2))
    elif not objective.supervised:
        for split, fact in facts.items():
            print(
                f"{split:<10}  {fact['documents']:>10,} documents  {fact['tokens']:>14,} tokens"
                f"  {fact['bytes_per_token']:.3f} bytes per token"
            )


def _describe_text(store: Any) -> dict[str, Any]:
    return {
        "documents": store.documents,
        "tokens": len(store.tokens),
        "bytes": store.bytes,
        "bytes_per_token": store.bytes / len(store.tokens),
        "unigram_entropy": store.unigram_entropy,
        "sha256": store.sha256,
    }


def _describe_labelled(store: Any) -> dict[str, Any]:
    """Labelled examples are read at every start and not stored: preparing them downloads and checks them."""
    return {"examples": len(store.labels), "sha256": store.sha256}


def batch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|DIR",
            help="An experiment, or a run's directory.",
            autocompletion=completion.runs_and_experiments,
        ),
    ],
    step: Annotated[
        int, typer.Option(metavar="N", help="Step, from 0: the batch of the update from step N to N + 1.")
    ],
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Decode the exact batch of any step, past or future."""
    with starting():
        from research.data.batches import train_batches
        from research.objectives import objective_of

    experiment = _resolve_run_or_name(name, overrides)
    if not 0 <= step < experiment.run.steps:
        raise UsageError(f"--step {step}: expected from 0 to run.steps - 1 = {experiment.run.steps - 1}")
    examples = objective_of(experiment.objective).examples(experiment)
    with activity("reading the data"):
        corpus = examples.prepare(_ignore)
    batch = train_batches(examples, experiment.data, experiment.run.seed, corpus.train)[step]
    if json:
        print(json_.dumps({"step": step} | {name: array.tolist() for name, array in batch.items()}))
        return
    for row, (title, text) in enumerate(examples.describe(batch, corpus)):
        print(f"── step {step}, sequence {row}, {title}\n{text}")


def _resolve_run_or_name(name: str, overrides: list[str] | None) -> Experiment:
    if (Path(name) / "experiment.json").exists():
        from research.objectives import check
        from research.runs.record import experiment_of

        experiment = override(experiment_of(Path(name)), parse_assignments(overrides or []))
        check(experiment)
        return experiment
    if Path(name).is_dir() and name not in experiments.names():
        raise UsageError(
            f"{name}: not a run, it has no experiment.json; expected a run or an experiment's name"
        )
    return resolve(name, overrides)


def _ignore(line: str) -> None:
    pass
