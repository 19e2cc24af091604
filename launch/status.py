"""`lineage status`, of a run or a sweep."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from launch.executors import slurm
from launch.options import Json, argument
from launch.shell.as_json import print_json
from launch.shell.tables import print_failures, print_groups
from research.errors import UsageError

if TYPE_CHECKING:
    from research.runs.status import RunStatus
    from research.runs.target import Reached
    from research.sweeping.status import SweepStatus, Trial

DEPTH = 3  # levels of folders in which status looks for runs


def status(
    directory: Annotated[
        Path, argument("DIR", "Directory of a run or a sweep, or a folder of these. Default: runs.")
    ] = Path("runs"),
    json: Json = False,
) -> None:
    """Show the progress of a run or a sweep, or of all in a folder."""
    from research.runs.record import FILE
    from research.sweeping.directory import is_sweep

    jobs = slurm.jobs(directory)
    single = (directory / FILE).exists() or is_sweep(directory) or bool(jobs)
    if not single and directory.is_dir():
        _show_folder(directory, json)
        return
    if is_sweep(directory):
        from research.sweeping.status import sweep_status

        sweep = sweep_status(directory)
        groups = _groups(sweep)
        facts = _sweep_facts(sweep) | {"groups": groups}
    else:
        run = _run_status(directory, jobs)
        facts = {"run": str(directory), "state": "queued"} if run is None else _run_facts(run)
    if json:
        print_json(facts | {"jobs": jobs})
        return
    if is_sweep(directory):
        _print_trials(sweep)
        print_best(directory, sweep)
        _print_failures(sweep)
        if groups:
            print("\nover seeds")
            print_groups(groups)
    else:
        _print_run(directory, run)
    for job, state in jobs.items():
        print(f"job {job}  {state.lower()}")


def _inside(folder: Path, depth: int) -> list[Path]:
    """The runs and sweeps in a folder and in its folders, `depth` levels down, by name."""
    from research.runs.record import FILE
    from research.sweeping.directory import is_sweep

    found = []
    for path in sorted(folder.iterdir()) if depth and folder.is_dir() else ():
        if path.is_dir() and ((path / FILE).exists() or is_sweep(path)):
            found.append(path)
        elif path.is_dir() and not path.name.startswith("."):
            found += _inside(path, depth - 1)
    return found


def _show_folder(folder: Path, json: bool) -> None:
    """Prints one line per run and sweep; for an unreadable one, the reason."""
    from research.sweeping.directory import is_sweep

    directories = _inside(folder, DEPTH)
    if not directories:
        raise UsageError(f"{folder}: no run or sweep in it; expected experiment.json or sweep.json below")
    facts, lines, jobs = [], [], slurm.jobs_in(directories)
    for directory in directories:
        try:
            if is_sweep(directory):
                from research.sweeping.status import sweep_status

                sweep = sweep_status(directory)
                facts.append({"directory": str(directory)} | _sweep_facts(sweep))
                lines.append(f"sweep     {_counts(sweep)}")
            else:
                run = _run_status(directory, jobs[directory])
                assert run is not None  # its record exists
                facts.append({"directory": str(directory)} | _run_facts(run))
                lines.append(_run_line(run))
        except UsageError as error:
            facts.append({"directory": str(directory), "error": str(error)})
            lines.append(f"unreadable  {error}")
    if json:
        print_json(facts)
        return
    width = max(len(str(directory)) for directory in directories)
    for directory, line in zip(directories, lines, strict=True):
        print(f"{directory!s:<{width}}  {line}")


def _run_status(directory: Path, jobs: dict[str, str]) -> "RunStatus | None":
    """The status of a run; None if its job is queued and its directory does not exist yet."""
    from research.runs.record import FILE, experiment_of
    from research.runs.status import run_status

    if not (directory / FILE).exists() and jobs:
        return None
    run = experiment_of(directory).run
    return run_status(directory, run.steps, "PENDING" in jobs.values(), run.target)


def _run_facts(run: "RunStatus") -> dict:
    return run._asdict() | {"reached": run.reached and run.reached._asdict()}


def _print_run(directory: Path, run: "RunStatus | None") -> None:
    if run is None:
        print(f"{directory}  queued")
        return
    print(f"{directory}  {_run_line(run)}")


def _run_line(run: "RunStatus") -> str:
    line = f"{run.state:<8}  step {run.step}/{run.steps}"
    if run.loss is not None:
        line += f"  loss {run.loss:.4f}  {run.tokens_per_second:,.0f} tokens/s"
    if run.seconds_left is not None:
        line += f"  {format_duration(run.seconds_left)} left"
    if run.reached is not None:
        line += f"  {format_reached(run.reached)}"
    return line


def format_reached(reached: "Reached") -> str:
    """loss<3.28 reached at step 3,000: 3.2791, after 1,572,864,000 tokens, 0:45:12"""
    line = f"{reached.target} reached at step {reached.step:,}: {reached.value:.4f}"
    tokens = "" if reached.tokens is None else f", after {reached.tokens:,} tokens"
    return line + tokens + ("" if reached.seconds is None else f", {format_duration(reached.seconds)}")


def _sweep_facts(sweep: "SweepStatus") -> dict:
    return {
        "sweep": sweep.record.sweep.name,
        "budget": sweep.record.sweep.budget,
        "counts": sweep.counts,
        "best": sweep.best,
        "trials": [trial._asdict() for trial in sweep.trials],
    }


def _groups(sweep: "SweepStatus") -> dict | None:
    """Means over seeds, of a sweep with several."""
    from research.reporting.groups.summary import has_seeds, summary
    from research.reporting.trials import metric_of, seeds_of_trials

    groups = seeds_of_trials(sweep)
    return summary(groups, metric_of(sweep)) if has_seeds(groups) else None


def _print_trials(sweep: "SweepStatus") -> None:
    for trial in sweep.trials:
        if trial.state != "queued":
            _print_trial(sweep.record.sweep.metric, trial)
    print()


def _print_trial(metric: str, trial: "Trial") -> None:
    from research.sweeping.notation import format_settings

    line = f"{trial.number:>4}  {trial.state:<8}  step {trial.step:>{len(str(trial.steps))}}/{trial.steps}"
    if trial.value is not None:
        line += f"  {metric} {trial.value:.4f}"
    elif trial.loss is not None:
        line += f"  training loss {trial.loss:.4f}"
    if trial.state == "running" and trial.tokens_per_second:
        left = format_duration(trial.seconds_left)
        line += f"  {trial.tokens_per_second:,.0f} tokens/s  {left} left  {trial.worker}"
    print(f"{line}  {format_settings(trial.settings)}")


def _print_failures(sweep: "SweepStatus") -> None:
    """The reasons of failures. The log of a LineageError, whose class its reason lacks, adds nothing."""
    failed = [trial for trial in sweep.trials if trial.state == "failed"]
    logs = {
        trial.name: trial.log[-3:]
        for trial in failed
        if trial.log and not trial.log[-1].endswith(f": {trial.reason}")
    }
    print_failures([(trial.name, trial.reason) for trial in failed], logs)


def print_best(directory: Path, sweep: "SweepStatus") -> None:
    """The number of trials in each state, and the best trial."""
    from research.sweeping.directory import run_directory
    from research.sweeping.notation import format_settings

    declared = sweep.record.sweep
    print(f"{declared.name}: {_counts(sweep)}")
    if sweep.best is not None:
        best = sweep.trials[sweep.best]
        settings = format_settings(best.settings)
        print(f"best       {declared.metric} {_best_value(sweep, best)}, trial {best.number}: {settings}")
        print(f"its run    {run_directory(directory, best.number)}")
    if sweep.hours_used_up and sweep.counts["queued"]:
        print(f"hours      {declared.hours:g} are used up; more of them, by --hours, begin further trials")


def _best_value(sweep: "SweepStatus", best: "Trial") -> str:
    """The best trial's value; with several seeds, the mean ± standard error of its point's finished seeds."""
    if sweep.record.sweep.seeds == 1:
        return f"{best.value:.4f}"
    from research.reporting.groups.statistics import mean
    from research.reporting.groups.table import plus_minus

    of_point = [trial for trial in sweep.trials if trial.point == best.point and trial.state == "finished"]
    middle = mean([trial.value for trial in of_point if trial.value is not None])
    return f"{plus_minus(middle.mean, middle.error)} of {middle.n} seeds"


def _counts(sweep: "SweepStatus") -> str:
    """3 finished, 1 running, 6 queued of 10"""
    counts = ", ".join(f"{count} {state}" for state, count in sweep.counts.items() if count)
    return f"{counts} of {sweep.total}"


def format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds >= 86_400:
        return f"{seconds / 86_400:.1f} days"
    return time.strftime("%-H:%M:%S", time.gmtime(seconds))
