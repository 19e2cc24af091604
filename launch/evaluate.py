"""Judging, and the table of it."""

import json as json_
import sys
from pathlib import Path
from typing import Any

from launch.loading import load
from research.errors import EnvironmentFault, UsageError

HARNESS = "harness:"


def evaluate(
    target: str | None,
    task: str,
    data: Path | None,
    predictions: Path | None,
    limit: int | None,
    stride: int | None,
    batch: int,
    raw: bool,
    tokenizer: str | None,
    json: bool,
) -> None:
    for name, value in (("limit", limit), ("stride", stride), ("batch", batch)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: expected 1 or more")
    names = [name.strip() for name in task.split(",") if name.strip()]
    if names == ["list"]:
        _list(json)
    elif predictions is not None:
        _predictions(names, data, predictions, json)
    elif "answers" in names:
        _answers(names, target, data, json)
    else:
        _check(names, target, data)
        _judge(target, names, data, limit, stride, batch, raw, tokenizer, json)


def _list(json: bool) -> None:
    from research.evaluation.tasks import tasks

    lines = {name: task.line for name, task in tasks().items()}
    lines |= {
        "validation": "a run's own validation split again",
        "answers": "what a fine-tuned run answers to the examples of --data, labelled or not",
        "squad": "answers to SQuAD's questions, of --predictions",
        "harness:NAME": "any task of EleutherAI's lm-evaluation-harness (extra harness)",
    }
    if json:
        print(json_.dumps(lines, indent=2, ensure_ascii=False))
        return
    width = max(map(len, lines))
    for name, line in lines.items():
        print(f"{name:<{width}}  {line}")


def _check(names: list[str], target: str | None, data: Path | None) -> None:
    """Before a model is loaded."""
    from research.evaluation.tasks import task

    if not names:
        raise UsageError("--task: expected the name of a task; `lineage evaluate` lists them")
    for name in names:
        if name == "squad":
            raise UsageError("--task squad: expected --predictions FILE and --data FILE")
        if name != "validation" and not name.startswith(HARNESS):
            task(name)
    if target is None:
        raise UsageError(f"--task {','.join(names)}: expected a run or weights to judge")
    if data is not None and data.is_file() and len(names) > 1:
        raise UsageError(f"--data {data}: one file, {len(names)} tasks; expected a folder")


def _predictions(names: list[str], data: Path | None, predictions: Path, json: bool) -> None:
    from research.metrics.squad import read_answers, read_predictions, score

    if names != ["squad"]:
        raise UsageError(f"--task {','.join(names)}: predictions are scored for squad alone")
    if data is None:
        raise UsageError("--task squad: expected --data FILE, SQuAD's questions and answers")
    found = score(read_answers(data), read_predictions(predictions))
    if found.missing:
        print(
            f"lineage: {found.missing} of {found.questions} questions have no prediction: wrong",
            file=sys.stderr,
        )
    result = {"exact_match": found.exact_match, "f1": found.f1}
    facts = {"squad": result | {"examples": found.questions, "missing": found.missing}}
    if json:
        print(json_.dumps(facts, indent=2))
        return
    for metric, value in result.items():
        print(f"{metric:<12} {value:8.3f}")
    print(f"{'questions':<12} {found.questions:8,}")


def _answers(names: list[str], target: str | None, data: Path | None, json: bool) -> None:
    """A table as GLUE's server takes it goes to the output, metrics beside it."""
    if names != ["answers"] or target is None or data is None:
        raise UsageError(f"--task {','.join(names)}: expected a fine-tuned run, answers alone, and --data")
    from research.training.evaluate_run import answers

    source = str(data) if str(data).startswith(("tfds:", "files:")) else f"files:{data}"
    directory, step = _run(target)
    given, metrics = answers(directory, step, source, lambda line: None)
    if json:
        print(json_.dumps({"answers": given, "metrics": metrics}, indent=2, ensure_ascii=False))
        return
    print("index\tprediction")
    for name, answer in given.items() if isinstance(given, dict) else enumerate(given):
        print(name, " ".join(answer) if isinstance(answer, list) else answer, sep="\t")
    for metric, value in metrics.items():
        print(f"{metric} {value:.4f}", file=sys.stderr)


def _run(target: str) -> tuple[Path, int | None]:
    """DIR or DIR:STEP."""
    directory, _, step = target.rpartition(":")
    named = step.isdecimal() and not Path(target).exists()
    return Path(directory if named else target), int(step) if named else None


def _judge(target, names, data, limit, stride, batch, raw, tokenizer, json) -> None:
    from research.evaluation.eval_model import EvalModel, Settings
    from research.evaluation.published import published
    from research.evaluation.tasks import evaluate as run_task

    facts: dict[str, Any] = {}
    eval_model = config = None
    for name in names:
        if name == "validation":
            facts[name] = _validation(target)
            continue
        if eval_model is None:
            judged = load(target, tokenizer)
            if judged.config.family == "bert":
                raise UsageError(f"{target}: a BERT gives no likelihoods; these tasks judge GPTs")
            eval_model, config = EvalModel(judged.model, judged.tokenizer), judged.config
        if name.startswith(HARNESS):
            facts[name] = _harness(eval_model, name.removeprefix(HARNESS), batch, limit, data)
            continue
        result = run_task(eval_model, name, data, Settings(limit, stride, batch, raw))
        facts[name] = {
            "metrics": result.metrics,
            "published": published(name, config),
            "examples": result.examples,
            "settings": result.settings,
        }
    if json:
        print(json_.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _show(target, facts)


def _harness(eval_model, name: str, batch: int, limit: int | None, data: Path | None) -> dict[str, Any]:
    try:
        from research.evaluation.harness import run
    except ImportError as fault:
        raise EnvironmentFault(f"harness:{name}: pip install 'lineage-lm[harness]'") from fault
    metrics = run(eval_model, name, batch, limit, None if data is None else str(data))
    return {"metrics": metrics, "published": {}, "examples": limit, "settings": {"harness": name}}


def _validation(target: str) -> dict[str, Any]:
    from research.training.evaluate_run import revalidate

    row = revalidate(*_run(target), lambda line: None)
    metrics = {name: value for name, value in row.items() if isinstance(value, float)}
    return {"metrics": metrics, "published": {}, "examples": None, "settings": {"step": row["step"]}}


def _show(target: str, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=target, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("task", "metric", "value", "published", "examples"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right", no_wrap=True)
    for name, fact in facts.items():
        for n, (metric, value) in enumerate(fact["metrics"].items()):
            paper, count = fact["published"].get(metric), fact["examples"]
            table.add_row(
                name if n == 0 else "",
                metric,
                f"{value:,.4f}" if abs(value) < 10 else f"{value:,.2f}",
                "–" if paper is None else f"{paper:g}",
                f"{count:,}" if n == 0 and count else "",
            )
    console = Console(highlight=False)
    console.print(table)
    for name, fact in facts.items():
        settings = ", ".join(f"{key} {value}" for key, value in fact["settings"].items())
        console.print(f"{name}: {settings}", markup=False, soft_wrap=True)
