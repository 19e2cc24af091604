"""Data ahead of time, and the exact batch of a step."""

import json as json_

from launch.inspect import resolve
from research.errors import UsageError


def prepare_data(name: str, overrides: list[str] | None, json: bool) -> None:
    from research.data.batches import train_batches, validation_batches
    from research.data.store import prepare

    experiment = resolve(name, overrides)
    corpus = prepare(experiment.data, experiment.model.vocabulary, report=_silent if json else print)
    train_batches(experiment, corpus.train)  # which index their examples, where they have an index
    validation_batches(experiment, corpus.validation)
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


def show_batch(name: str, step: int, overrides: list[str] | None, json: bool) -> None:
    from research.data.batches import train_batches
    from research.data.readable import readable
    from research.data.store import prepare

    experiment = resolve(name, overrides)
    if not 0 <= step < experiment.run.steps:
        raise UsageError(f"--step {step}: expected from 0 to run.steps - 1 = {experiment.run.steps - 1}")
    corpus = prepare(experiment.data, experiment.model.vocabulary, report=_silent)
    batch = train_batches(experiment, corpus.train)[step]
    if json:
        print(json_.dumps({"step": step} | {name: array.tolist() for name, array in batch.items()}))
        return
    for row, (what, text) in enumerate(readable(batch, corpus.tokenizer)):
        print(f"── step {step}, sequence {row}, {what}\n{text}")


def _silent(line: str) -> None:
    pass
