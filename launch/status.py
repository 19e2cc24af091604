"""How a run or a sweep stands, and how to stop it."""

import json as json_
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from launch.executors import slurm


def show_status(directory: Path, json: bool) -> None:
    from research.sweeping.record import is_sweep
    from research.sweeping.status import sweep_status

    queue = slurm.jobs(directory)
    if is_sweep(directory):
        stands = sweep_status(directory)
        if json:
            print(json_.dumps(sweep_facts(stands) | {"jobs": queue}, indent=2))
            return
        tell_sweep(directory, stands, trials=True)
    else:
        facts = run_facts(directory, queue)
        if json:
            print(json_.dumps(facts | {"jobs": queue}, indent=2))
            return
        tell_run(facts)
    for job, state in queue.items():
        print(f"job {job}  {state.lower()}")


def sweep_facts(stands) -> dict[str, Any]:
    return {
        "sweep": stands.record.sweep.name,
        "budget": stands.record.sweep.budget,
        "counts": stands.counts,
        "best": stands.best,
        "trials": [trial._asdict() for trial in stands.trials],
    }


def tell_sweep(directory: Path, stands, trials: bool) -> None:
    sweep = stands.record.sweep
    if trials:
        for trial in stands.trials:
            if trial.state != "queued":
                _tell_trial(sweep.metric, trial)
        print()
    counts = ", ".join(f"{count} {state}" for state, count in stands.counts.items() if count)
    print(f"{sweep.name}: {counts} of {sweep.budget}")
    if stands.best is not None:
        best = stands.trials[stands.best]
        print(f"best       {sweep.metric} {best.value:.4f}, trial {best.number}: {settings(best.settings)}")
        print(f"its run    {directory / 'trials' / f'{best.number:04d}'}")


def _tell_trial(metric: str, trial) -> None:
    line = f"{trial.number:>4}  {trial.state:<8}  step {trial.step:>{len(str(trial.steps))}}/{trial.steps}"
    if trial.value is not None:
        line += f"  {metric} {trial.value:.4f}"
    elif trial.loss is not None:
        line += f"  training loss {trial.loss:.4f}"
    if trial.state == "running" and trial.tokens_per_second:
        line += (
            f"  {trial.tokens_per_second:,.0f} tokens/s  {duration(trial.seconds_left)} left  {trial.worker}"
        )
    print(f"{line}  {settings(trial.settings)}")
    if trial.reason:
        print(f"      {trial.reason}")
        for text in trial.log[-3:]:
            print(f"      | {text}")


def run_facts(directory: Path, queue: dict[str, str]) -> dict[str, Any]:
    """Of a single run; one that waits in a queue need not have a directory yet."""
    from research.runs.record import FILE, experiment_of
    from research.sweeping.status import progress_of

    if not (directory / FILE).exists() and queue:
        return {"run": str(directory), "state": "queued"}
    experiment = experiment_of(directory)
    facts = progress_of(directory, experiment.run.steps)
    who = trainer(directory)
    if facts["step"] == experiment.run.steps and not who:
        state = "finished"
    else:
        state = "running" if who else "queued" if "PENDING" in queue.values() else "stopped"
    if state != "running":
        facts["seconds_left"] = None
    worker = f"{who['host']}:{who['pid']}" if who else None
    return {"run": str(directory), "state": state, "steps": experiment.run.steps, "worker": worker} | facts


def tell_run(facts: dict[str, Any]) -> None:
    line = f"{facts['run']}  {facts['state']}"
    if "step" in facts:
        line += f"  step {facts['step']}/{facts['steps']}"
        if facts["loss"] is not None:
            line += f"  loss {facts['loss']:.4f}  {facts['tokens_per_second']:,.0f} tokens/s"
        if facts["seconds_left"] is not None:
            line += f"  {duration(facts['seconds_left'])} left"
    print(line)


def trainer(directory: Path) -> dict[str, Any] | None:
    """The process that trains in a run's directory, by its lock; None if there is none."""
    from research.io.leases import holder
    from research.io.run_lock import FILE

    return holder(directory / FILE)


def stop_all(directory: Path) -> int:
    """Asks whoever works in `directory` to save and end. Jobs are Slurm's to ask, processes ours."""
    from research.sweeping.record import is_sweep

    workers = _sweepers(directory) if is_sweep(directory) else [trainer(directory)]
    workers = [who for who in workers if who]
    asked = slurm.stop(directory)
    if not is_sweep(directory) and not workers and not asked:
        from research.runs.record import read

        read(directory)  # says so where it is not a run at all
    for job in asked:
        print(f"job {job}: asked to stop")
    if asked:  # a job passes it on, and a second signal would kill
        workers = [who for who in workers if is_sweep(directory) and not who.get("job")]
    elsewhere = 0
    for who in workers:
        if who["host"] != socket.gethostname():
            elsewhere += 1
            print(f"process {who['pid']}: on {who['host']}; lineage stop {directory} there reaches it")
            continue
        os.kill(who["pid"], signal.SIGTERM)
        print(f"process {who['pid']}: asked to stop")
    if not workers and not asked:
        print(f"{directory}: nobody is at work")
    return 1 if elsewhere else 0


def _sweepers(directory: Path) -> list[dict[str, Any]]:
    """The one who keeps the workers, if there is one, as it would replace them; else the workers."""
    from research.io.leases import holder

    leases = sorted((directory / "leases").glob("*"))
    keepers = [holder(path) for path in leases if path.name.startswith("keeper-")]
    keepers = [who for who in keepers if who]
    hosts = {who["host"] for who in keepers}
    workers = {
        (who["host"], who["pid"]): who
        for path in leases
        if path.name.isdigit() and (who := holder(path)) and who["host"] not in hosts
    }
    return keepers + list(workers.values())


def settings(values: dict[str, Any]) -> str:
    return "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items())


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return (
        time.strftime("%-H:%M:%S", time.gmtime(seconds))
        if seconds < 86_400
        else f"{seconds / 86_400:.1f} days"
    )
