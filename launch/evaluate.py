"""`lineage evaluate`: tasks of the papers, a run's validation split, predictions of a fine-tuned run."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

from launch.options import MODEL, Json, Tokenizer, argument, at_least_one, flag, option
from launch.shell import completion
from launch.shell.as_json import print_json, print_lines
from launch.shell.starting import starting
from research.config.names import SCHEMES
from research.errors import UsageError
from research.io.activity import activity


def evaluate(
    target: Annotated[str | None, argument("DIR", MODEL, completion.directories)] = None,
    task: Annotated[
        str,
        option(
            "NAMES", "Tasks, separated by commas; harness:NAME; list shows all of them.", completion.tasks
        ),
    ] = "list",
    data: Annotated[Path | None, option("PATH", "A task's file, or a folder with files of tasks.")] = None,
    predictions: Annotated[
        Path | None, option("FILE", "Score a file of SQuAD predictions, without a model.")
    ] = None,
    null_odds: Annotated[
        Path | None, option("FILE", "No-answer odds for --predictions, to find SQuAD 2.0's best threshold.")
    ] = None,
    limit: Annotated[int | None, option("N", "Evaluate the first N examples only.")] = None,
    stride: Annotated[
        int | None, option("N", "Tokens between sliding windows. Default: half of the context.")
    ] = None,
    batch: Annotated[int, option("N", "Number of sequences processed together.")] = 8,
    raw: Annotated[bool, flag("--raw", "Evaluate the raw text, without detokenizers.")] = False,
    field: Annotated[
        str, option("NAMES", "answers of weights: column of the text, or two of a pair: a,b.")
    ] = "",
    label: Annotated[str, option("NAME", "answers of weights: column of the label.")] = "",
    labels: Annotated[
        str, option("NAMES", "answers of weights: names of their classes, in order: a,b,c.")
    ] = "",
    out: Annotated[
        Path | None,
        option(
            "FILE",
            "answers: file to create, .tsv, .csv or .jsonl, with all columns of --data, the predictions and "
            "the probability of each class.",
        ),
    ] = None,
    tokenizer: Tokenizer = None,
    json: Json = False,
) -> None:
    """Evaluate a model on the papers' tasks, or list the tasks."""
    at_least_one(limit=limit, stride=stride, batch=batch)
    names = [name.strip() for name in task.split(",") if name.strip()]
    for named, given in (
        ("--field", field),
        ("--label", label),
        ("--labels", labels),
        ("--out", out),
    ):
        if given and "answers" not in names:
            raise UsageError(f"{named} {given}: only with --task answers")
    if names == ["list"]:
        _list_tasks(target, json)
    elif predictions is not None:
        _score_predictions(names, data, predictions, null_odds, json)
    elif "answers" in names:
        _predict(names, target, data, (field, label, labels), tokenizer, out, json)
    else:
        _evaluate(names, target, data, (limit, stride, batch, raw), tokenizer, json)


def _list_tasks(target: str | None, json: bool) -> None:
    with starting():
        from research.api.evaluating import import_with
        from research.evaluation.tasks import tasks

    if target is not None:
        import_with(target)

    lines = {name: task.description for name, task in tasks().items()}
    lines |= {
        "validation": "the run's own validation split",
        "answers": "predictions of a fine-tuned run or weights for the examples of --data, labelled or not",
        "squad": "exact match and F1 of --predictions for the questions of --data",
        "harness:NAME": "any task of EleutherAI's lm-evaluation-harness (extra harness)",
    }
    print_lines(lines, json)


def _evaluate(
    names: list[str],
    target: str | None,
    data: Path | None,
    settings: tuple[Any, ...],
    tokenizer: str | None,
    json: bool,
) -> None:
    with starting():
        from research.api.evaluating import check, evaluations
        from research.evaluation.eval_model import Settings

    if target is None:
        check(names, data)
        raise UsageError(f"--task {','.join(names)}: expected a run or weights to evaluate")
    facts: dict[str, Any] = {}
    try:
        for name, found in evaluations(target, names, data, Settings(*settings), tokenizer):
            facts[name] = found._asdict()
    finally:  # keep the others' results if a task fails
        if json and facts:
            print_json(facts, ensure_ascii=False)
        elif facts:
            _print_table(target, facts)


def _score_predictions(
    names: list[str], data: Path | None, predictions: Path, null_odds: Path | None, json: bool
) -> None:
    from research.metrics.squad import read_answers, read_predictions, score
    from research.metrics.squad2 import Prediction, measure, read_odds

    if names != ["squad"]:
        raise UsageError(f"--task {','.join(names)}: --predictions needs --task squad alone")
    if data is None:
        raise UsageError("--task squad: expected --data FILE, SQuAD's questions and answers")
    answers, given = read_answers(data), read_predictions(predictions)
    if all(answers.values()):
        if null_odds is not None:
            raise UsageError(f"--null-odds {null_odds}: every question of {data} has an answer")
        result = score(answers, given)
    else:
        odds = {} if null_odds is None else read_odds(null_odds)
        if null_odds is not None and (without := [name for name in answers if name not in odds]):
            raise UsageError(f"{null_odds}: has no odds for {len(without):,} questions, such as {without[0]}")
        spans = {name: Prediction(text, odds.get(name, 0.0)) for name, text in given.items()}
        measured = measure(answers, spans, threshold=math.inf)
        result = {
            name: value
            for name, value in measured.items()
            if null_odds is not None or not name.startswith("best_")
        }
    missing = len(answers.keys() - given.keys())
    if missing:
        print(
            f"lineage: {missing} of {len(answers)} questions lack a prediction and are wrong", file=sys.stderr
        )
    facts = {"squad": result | {"examples": len(answers), "missing": missing}}
    if json:
        print_json(facts)
        return
    width = max(map(len, result))
    for metric, value in result.items():
        print(f"{metric:<{width}} {value:8.3f}")
    print(f"{'questions':<{width}} {len(answers):8,}")


def _predict(
    names: list[str],
    target: str | None,
    data: Path | None,
    given: tuple[str, str, str],
    tokenizer: str | None,
    out: Path | None,
    json: bool,
) -> None:
    """Prints predictions as GLUE's server takes them, or writes `out`; prints metrics to standard error."""
    from research.data import tables

    if names != ["answers"] or target is None or data is None:
        raise UsageError(f"--task {','.join(names)}: expected a fine-tuned model, no other task, --data")
    if out is not None:
        tables.check_new(out)
    with starting():
        from research.api.answers import answers
        from research.data.finetuning.found_task import Named
        from research.training.evaluating.evaluate_run import answer_lines

    source = str(data) if str(data).partition(":")[0] in SCHEMES else f"files:{data}"
    field, label, labels = given
    named = Named(tuple(field.split(",")) if field else (), label, tuple(labels.split(",")) if labels else ())
    notes: list[str] = []
    with activity(f"loading {target}"):
        found = answers(target, source, notes.append, named, tokenizer, with_rows=out is not None)
    for note in notes:
        print(f"lineage: {note}", file=sys.stderr)
    if out is not None:
        tables.write(out, found.columns, found.rows)
        facts = {"file": str(out), "examples": len(found.rows)}
        lines = [f"answers  {len(found.rows):,} examples", f"file     {out}"]
    else:
        facts = {"answers": found.predictions}
        lines = answer_lines(found.task, found.predictions)
    if json:
        print_json(facts | {"metrics": found.metrics}, ensure_ascii=False)
        return
    for line in lines:
        print(line)
    for metric, value in found.metrics.items():
        print(f"{metric} {value:.4f}", file=sys.stderr)


def _print_table(target: str, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=target, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    between = any(fact["intervals"] for fact in facts.values())
    papers = not between or any(fact["published"] for fact in facts.values())
    more = [*(["interval"] if between else []), *(["published"] if papers else [])]
    for column in ("task", "metric", "value", *more, "examples"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for name, fact in facts.items():
        for n, (metric, value) in enumerate(fact["metrics"].items()):
            paper, count = fact["published"].get(metric), fact["examples"]
            low, high = fact["intervals"].get(metric, (math.nan, math.nan))
            cells = {
                "interval": "" if math.isnan(low) else f"{low:.1f} to {high:.1f}",
                "published": "–" if paper is None else f"{paper:g}",
            }
            table.add_row(
                name if n == 0 else "",
                metric,
                f"{value:,.4f}" if abs(value) < 10 else f"{value:,.2f}",
                *(cells[column] for column in more),
                f"{count:,}" if n == 0 and count else "",
            )
    console = Console(highlight=False)
    console.print(table)
    for name, fact in facts.items():
        settings = ", ".join(f"{key} {value}" for key, value in fact["settings"].items())
        console.print(f"{name}: {settings}", markup=False, soft_wrap=True)
