"""A training that takes no time: a loss by arithmetic, checkpoints that are empty, deaths on demand."""

import json
import math
import random
from collections.abc import Callable
from inspect import GEN_CREATED, getgeneratorstate
from pathlib import Path

import optuna

from research.config import Experiment, Sweep, space
from research.sweeping.record import read
from research.sweeping.study.storage import load_study
from research.sweeping.worker import work
from research.training.driving import Running
from research.training.loop import Result
from tests.training.tiny import quickstart

EVERY = 2
FACTS = {"devices": ["core 0"], "host": "here", "job": None}


class Killed(BaseException):
    """What no one catches."""


def declared(folder: Path, swept: space.Space | None = None, **settings) -> Sweep:
    """Nine steps, looked at every two; by default the rate is searched."""
    base = quickstart(folder / "corpus.txt", run__steps=9, run__evaluate_every=EVERY)
    swept = swept or space.log_uniform("optimizer.rate.peak", 1e-4, 1.0)
    if "trials" not in settings and any(isinstance(axis, space.Range) for axis in space.axes(swept)):
        settings["trials"] = 8
    return Sweep(name="pretended", base=base, space=swept, **settings)


def loss(experiment: Experiment, step: int) -> float:
    """Falls with the steps, and is least where the rate is 0.1."""
    return abs(math.log10(experiment.optimizer.rate.peak) + 1) + 1 / (step + 1)


def training(interfere: Callable[[Experiment, int], None] = lambda experiment, step: None) -> Callable:
    """`turns` without requests of steps."""
    return at_once(lambda *arguments, **named: drained(turns(interfere)(*arguments, **named)))


def at_once(train: Callable) -> Callable:
    """A substitute for `research.training.loop.train`, as a run that requests no steps."""

    def running(*arguments, **named) -> Running:
        return train(*arguments, **named)
        yield

    return running


def drained(run: Running[Result]) -> Result:
    """Its result, once it has asked for all of its steps; for `research.training.driving.alone`."""
    while True:
        try:
            next(run)
        except StopIteration as ended:
            return ended.value


def turns(interfere: Callable[[Experiment, int], None] = lambda experiment, step: None) -> Callable:
    """As `research.training.loop.running`; `interfere` sees each step before it is made, and may raise.

    Every step made is a line of `steps.txt`, every checkpoint a directory, so a test can count them.
    """

    def running(experiment: Experiment, directory: Path, report, should_stop, outer=None) -> Running[Result]:
        checkpoints = directory / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        start = max((int(path.name) for path in checkpoints.iterdir()), default=0)
        row = {"step": start, "split": "validation", "loss": loss(experiment, start)}
        for step in range(start + 1, experiment.run.steps + 1):
            yield step
            interfere(experiment, step)
            with (directory / "steps.txt").open("a") as steps:
                steps.write(json.dumps({"step": step, "rate": experiment.optimizer.rate.peak}) + "\n")
            if step % EVERY == 0 or step == experiment.run.steps:
                row = {"step": step, "split": "validation", "loss": loss(experiment, step)}
                stop = should_stop(row)
                (checkpoints / str(step)).mkdir()
                target = experiment.run.target
                met = target is not None and target.met(row["loss"])
                if stop or met:
                    return Result(step, met or step == experiment.run.steps, None, row, 1.0)
        return Result(experiment.run.steps, True, None, row, 1.0)

    return running


def taking_turns(chance: random.Random) -> Callable:
    """A driver of runs that begins each at once, then makes a step of one at a time, by chance."""

    def together(begin: Callable, lanes: int, rest: Callable) -> None:
        runs, more = [], True
        try:
            while True:
                while more and len(runs) < lanes:
                    run = begin()
                    more = run is not None
                    runs += [run] if more else []
                if not runs:
                    return
                run = next((run for run in runs if getgeneratorstate(run) == GEN_CREATED), None)
                run = run or chance.choice(runs)
                try:
                    next(run)
                except StopIteration:
                    runs.remove(run)
        finally:
            for run in runs:
                run.close()

    return together


def steps(directory: Path, number: int) -> list[int]:
    path = directory / "trials" / f"{number:04d}" / "steps.txt"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def run(directory: Path, running: Callable) -> bool:
    """Whether a worker came to the end, rather than being killed."""
    try:
        assert work(directory, FACTS, lambda line: None, running) is None
    except Killed:
        return False
    return True


def trials(directory: Path) -> list[optuna.trial.FrozenTrial]:
    return load_study(read(directory), directory).get_trials()
