"""Data ahead of time, and the exact batch of a step."""

import json as json_
from pathlib import Path

from launch.inspect import resolve
from research.config import Experiment
from research.config.settings import override, parse_assignments
from research.errors import UsageError


def prepare_data(name: str, overrides: list[str] | None, json: bool) -> None:
    from research.data.batches import train_batches, validation_batches
    from research.data.store.token_store import prepare

    experiment = resolve(name, overrides)
    if experiment.labelled:
        return _prepare_labelled(experiment, json)
    corpus = prepare(experiment.data, experiment.model.vocabulary, report=_silent if json else print)
    train_batches(experiment, corpus.train)  # which index their examples, where they have an index
    for first in {0, experiment.data.later.step}:
        validation_batches(experiment.at_step(first), corpus.validation)
    facts = {
        split: {
            "documents": store.documents,
            "tokens": len(store.tokens),
            "bytes": store.bytes,
            "bytes_per_token": store.bytes / len(store.tokens),
            "unigram_entropy": store.unigram_entropy,
            "sha256": store.sha256,
        }
        for split, store in (("train", corpus.train), ("validation", corpus.validation))
    }
    if json:
        print(json_.dumps(facts, indent=2))
        return
    for split, fact in facts.items():
        print(
            f"{split:<10}  {fact['documents']:>10,} documents  {fact['tokens']:>14,} tokens"
            f"  {fact['bytes_per_token']:.3f} bytes per token"
        )


def _prepare_labelled(experiment: Experiment, json: bool) -> None:
    """Labelled examples are kept nowhere: this fetches data sets, and tells that all can be read."""
    from research.data.batches import corpus_of, train_batches

    corpus = corpus_of(experiment, report=_silent if json else print)
    train_batches(experiment, corpus.train)
    if json:
        splits = ("train", corpus.train), ("validation", corpus.validation)
        facts = {split: {"examples": len(store), "sha256": store.sha256} for split, store in splits}
        print(json_.dumps(facts, indent=2))


def show_batch(name: str, step: int, overrides: list[str] | None, json: bool) -> None:
    from research.data.batches import corpus_of, train_batches
    from research.data.decode import answers, readable

    experiment = _declared(name, overrides)
    if not 0 <= step < experiment.run.steps:
        raise UsageError(f"--step {step}: expected from 0 to run.steps - 1 = {experiment.run.steps - 1}")
    corpus = corpus_of(experiment, report=_silent)
    batch = train_batches(experiment, corpus.train)[step]
    if json:
        print(json_.dumps({"step": step} | {name: array.tolist() for name, array in batch.items()}))
        return
    rows = answers(batch, corpus, experiment) if experiment.labelled else readable(batch, corpus.tokenizer)
    for row, (what, text) in enumerate(rows):
        print(f"── step {step}, sequence {row}, {what}\n{text}")


def _declared(name: str, overrides: list[str] | None) -> Experiment:
    """Of an experiment's name, or of a run's directory."""
    if (Path(name) / "experiment.json").exists():
        from research.runs.record import experiment_of

        return override(experiment_of(Path(name)), parse_assignments(overrides or []))
    return resolve(name, overrides)


def _silent(line: str) -> None:
    pass
