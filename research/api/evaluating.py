"""Evaluation of a run, or of weights, on the papers' tasks, EleutherAI's, and those of other packages."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from research.api.running import in_32_bits, keep_compiled
from research.config import Model
from research.errors import EnvironmentFault, UsageError
from research.evaluation import tasks
from research.evaluation.data_files import check_found
from research.evaluation.eval_model import EvalModel, Settings
from research.evaluation.published import published
from research.io.activity import activity
from research.io.files import expanded
from research.models import GPT, is_gpt
from research.runs import record
from research.runs.status import split_step
from research.training.evaluating.evaluate_run import evaluate_run
from research.weights.with_tokenizer import load_with_tokenizer

HARNESS = "harness:"
VALIDATION = "validation"  # the run's own split


class Evaluation(NamedTuple):
    metrics: dict[str, float]
    published: dict[str, float]  # the paper's numbers for a model of this size on the same data
    examples: int | None
    settings: dict[str, Any]  # that change the numbers
    intervals: dict[str, tuple[float, float]] = {}  # of some metrics, by their names  # noqa: RUF012


@in_32_bits
def evaluate(
    target: str | Path,
    task: str | Sequence[str],
    data: str | Path | None = None,
    *,
    limit: int | None = None,
    stride: int | None = None,
    batch: int = 8,
    raw: bool = False,
    tokenizer: str | None = None,
) -> dict[str, Evaluation]:
    """Evaluate a run ("runs/muon", "runs/muon:300") or weights on one task or several: {task: result}.

    A task is a name of `lineage evaluate --task list`, "validation" or "harness:NAME"; `data` is its file, or
    a folder with the files of all. `limit` counts examples, `stride` tokens between windows of a long text;
    `raw` leaves out detokenizers. Raises UsageError for an unknown task and for data that are missing.
    """
    names = [task] if isinstance(task, str) else list(task)
    settings = Settings(limit, stride, batch, raw)
    folder = None if data is None else expanded(data)
    return dict(evaluations(str(target), names, folder, settings, tokenizer))


def evaluations(
    target: str, names: Sequence[str], data: Path | None, settings: Settings, tokenizer: str | None = None
) -> Iterator[tuple[str, Evaluation]]:
    """One task after the other, all of which are checked before a model is loaded."""
    import_with(target)
    check(names, data)
    keep_compiled()
    loaded = None
    for name in names:
        if name == VALIDATION:
            yield name, _validation(target)
            continue
        eval_model, config = loaded = loaded or _load(target, tokenizer)
        of_harness = name.startswith(HARNESS)
        if not is_gpt(eval_model.model) and (of_harness or not tasks.task(name).bidirectional):
            raise UsageError(f"{target}: a BERT gives no likelihoods; {name} is for GPTs")
        if of_harness:  # which shows its own progress
            yield name, _harness(eval_model, name.removeprefix(HARNESS), settings, data)
            continue
        with activity(f"evaluating {name}"):
            result = tasks.evaluate(eval_model, name, data, settings)
        paper = published(name, config, result, settings)
        yield name, Evaluation(result.metrics, paper, result.examples, result.settings, result.intervals)


def import_with(target: str) -> None:
    """Imports again the modules and files of a run, which may register tasks."""
    directory, _ = split_step(target)
    if (directory / record.FILE).exists():
        record.read(directory)


def check(names: Sequence[str], data: Path | None) -> None:
    """Raises UsageError for unknown tasks, and for data that are missing."""
    if not names:
        raise UsageError("--task: expected the name of a task; `lineage evaluate` lists them")
    for name in names:
        if name == "squad":
            raise UsageError("--task squad: expected --predictions FILE and --data FILE")
        if name != VALIDATION and not name.startswith(HARNESS):
            task = tasks.task(name)
            check_found(name, task.files, data, task.tfds)
    if data is not None and data.is_file() and len(names) > 1:
        raise UsageError(f"--data {data}: one file, {len(names)} tasks; expected a folder")


def _load(target: str, tokenizer: str | None) -> tuple[EvalModel, Model]:
    with activity(f"loading {target}"):
        loaded = load_with_tokenizer(target, tokenizer)
    if any(path.startswith("masked/") for path in loaded.report.missing):
        raise UsageError(f"{target}: the weights have no masked-token head")
    assert loaded.tokenizer is not None  # it was required
    return EvalModel(cast(GPT, loaded.model), loaded.tokenizer), loaded.config


def _harness(eval_model: EvalModel, name: str, settings: Settings, data: Path | None) -> Evaluation:
    try:
        from research.evaluation.harness import run
    except ImportError as fault:
        raise EnvironmentFault(f"harness:{name}: pip install 'lineage-lm[harness]'") from fault
    folder = None if data is None else str(data)
    metrics = run(eval_model, name, settings.batch, settings.limit, folder)
    return Evaluation(metrics, {}, settings.limit, {"harness": name})


def _validation(target: str) -> Evaluation:
    directory, step = split_step(target)
    with activity(f"loading {target}"):
        row = evaluate_run(directory, step, lambda line: None)
    metrics = {name: value for name, value in row.items() if isinstance(value, float)}
    settings: dict[str, Any] = {"step": row["step"]}
    if (source := record.experiment_of(directory, warn=False).data.validation) is not None:
        settings["data.validation"] = source
    return Evaluation(metrics, {}, None, settings)
