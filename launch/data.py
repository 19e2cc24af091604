"""`lineage prepare`, `batch` and `cache`: prepared data, the batch of a step, caches on disk."""

from pathlib import Path
from typing import Annotated, Any

import experiments
from launch.declarations import resolve
from launch.options import Json, Name, Settings, argument, flag, option
from launch.shell import completion
from launch.shell.as_json import print_json
from launch.shell.starting import starting
from research.config import Experiment
from research.config.settings import override, parse_assignments
from research.errors import UsageError
from research.io import cache as kept
from research.io.activity import activity, say
from research.io.cache import KEPT, KINDS
from research.io.home import home

LISTED_TOGETHER = ("compiled", "contents", "parameters")  # kinds with hundreds of entries


def prepare(name: Name, settings: Settings, *, json: Json = False) -> None:
    """Read, tokenize and store an experiment's data."""
    with starting():
        from research.data.batches import train_batches, validation_batches
        from research.objectives import check, objective_of

    experiment = resolve(name, settings.typed())
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
        print_json(facts)
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
    """Labelled examples are read at every start, not stored; preparing them downloads and checks them."""
    return {"examples": len(store.labels), "sha256": store.sha256}


def batch(
    name: Annotated[
        str, argument("NAME|DIR", "An experiment, or a run's directory.", completion.runs_and_experiments)
    ],
    step: Annotated[int, option("N", "Step, from 0: the batch of the update from step N to N + 1.")],
    settings: Settings,
    *,
    json: Json = False,
) -> None:
    """Decode the exact batch of any step, past or future."""
    with starting():
        from research.data.batches import train_batches
        from research.objectives import objective_of

    experiment = _resolve_run_or_name(name, settings.typed())
    if not 0 <= step < experiment.run.steps:
        raise UsageError(f"--step {step}: expected from 0 to run.steps - 1 = {experiment.run.steps - 1}")
    examples = objective_of(experiment.objective).examples(experiment)
    with activity("reading the data"):
        corpus = examples.prepare(_ignore)
    batch = train_batches(examples, experiment.data, experiment.run.seed, corpus.train)[step]
    assert batch is not None  # as Grain returns for filtered ones
    if json:
        print_json({"step": step} | {name: array.tolist() for name, array in batch.items()}, indent=None)
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


def cache(
    kinds: Annotated[
        list[str] | None,
        argument(
            "KIND", "Kinds to list or clear, such as stores. Default: all.", completion.one_of(*KINDS, *KEPT)
        ),
    ] = None,
    clear: Annotated[
        bool, flag("--clear", "Remove the entries that KIND, --name and --older select.")
    ] = False,
    name: Annotated[
        str | None, option("TEXT", "Only entries with TEXT in their name, source or tokenizer.")
    ] = None,
    older: Annotated[float | None, option("DAYS", "Only entries unused for DAYS days.")] = None,
    dry_run: Annotated[
        bool, flag("--dry-run", "With --clear: print what would be removed; remove nothing.")
    ] = False,
    json: Json = False,
) -> int:
    """List or clear the tokens, tokenizers and programs kept on disk."""
    if clear and not kinds and name is None and older is None:
        raise UsageError(f"--clear: expected kinds ({', '.join(KINDS)}), --name or --older")
    if older is not None and older < 0:
        raise UsageError(f"--older {older:g}: expected a number of days from 0")
    found = [
        entry
        for entry in kept.entries(tuple(kinds or ()))
        if (name is None or name in " ".join([entry.name, *entry.made.values()]))
        and (older is None or kept.days_since(entry) >= older)
    ]
    if clear:
        return _clear(found, dry_run, json)
    if json:
        print_json([entry._asdict() for entry in found], ensure_ascii=False)
        return 0
    _print_kept(found)
    return 0


def _clear(found: list[kept.Entry], dry_run: bool, json: bool) -> int:
    """Removes unused entries; returns 1 if a process still uses some."""
    ours = [entry for entry in found if entry.kind in KINDS]
    used = [entry for entry in ours if entry.user]
    removed = [entry for entry in ours if not entry.user and (dry_run or kept.clear(entry))]
    size = sum(entry.size for entry in removed)
    if json:
        names = {
            "removed": [f"{entry.kind}/{entry.name}" for entry in removed],
            "in_use": [f"{entry.kind}/{entry.name}" for entry in used],
            "bytes": size,
        }
        print_json(names, ensure_ascii=False)
        return int(bool(used))
    for entry in removed:
        if entry.kind not in LISTED_TOGETHER:
            print(f"{entry.kind}/{entry.name}  {_size(entry.size)}")
    print(f"{'would remove' if dry_run else 'removed'} {len(removed)} of {len(found)}, {_size(size)}")
    for entry in used:
        print(f"{entry.kind}/{entry.name}: in use by {entry.user}")
    return int(bool(used))


def _print_kept(found: list[kept.Entry]) -> None:
    print(f"{home()}\n")
    for kind, meaning in (KINDS | KEPT).items():
        entries = [entry for entry in found if entry.kind == kind]
        if not entries:
            continue
        last = min(map(kept.days_since, entries))
        total = _size(sum(entry.size for entry in entries))
        print(f"{kind}: {meaning}, {len(entries)}, {total}, last used {_days(last)}")
        for entry in () if kind in LISTED_TOGETHER else entries:
            made = "".join(f"  {value}" for value in entry.made.values())
            user = f"  in use by {entry.user}" if entry.user else ""
            print(f"  {_size(entry.size):>9}  {_days(kept.days_since(entry)):<12}  {entry.name}{made}{user}")
    if not found:
        print("nothing is kept")


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def _days(days: float) -> str:
    return "today" if days < 1 else f"{days:.0f} day{'s' if days >= 1.5 else ''} ago"
