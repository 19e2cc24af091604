"""Times the step of an experiment as training compiles it."""

import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from queue import Queue
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from research.bench.cost import flops_a_token, peak
from research.bench.synthetic import Batch, batches
from research.config import Experiment
from research.devices.compilers import Compiled, compile_ahead
from research.devices.malloc import release_free_memory
from research.devices.memory import usable_memory
from research.io.activity import activity
from research.training.first_state import drawn
from research.training.placement import compile_for, settled
from research.training.stopping.interrupts import on_leave
from research.training.teacher import load_teacher, with_teacher

AHEAD = 4  # batches prepared while the device works
WARM_UP = 3  # calls that are not counted


class Measured(NamedTuple):
    """Seconds are of wall time, spreads from the first to the third quartile."""

    device: str
    devices: int
    tokens_a_step: int
    compile_cold: float  # including tracing
    compile_warm: float  # the same, from the persistent cache
    step: float  # median
    step_spread: tuple[float, float]
    tokens_a_second: float
    flops_a_token: float  # by cost.FORMULA
    flops: float  # a second
    peak_flops: float | None
    peak_source: str
    mfu: float | None
    memory: int  # peak bytes: of the first device, or on a CPU of the process
    waiting: float  # share of the time in which the device had no batch


def measure(experiment: Experiment, steps: int, tokens: np.ndarray | None = None) -> Measured:
    """Runs `steps` steps after a warm-up, and compiles twice."""
    count = experiment.run.steps_per_call
    experiment = settled(experiment, jax.devices(), usable_memory(jax.devices()))
    with _own_cache():
        with activity("initialising the model"):
            program, state = start(experiment)
            jax.block_until_ready(state)  # so that nothing else runs while the step is compiled
        with _made(experiment, tokens) as made:
            batches = _prefetched(program, made, count)
            with activity("compiling the step"):
                cold = _to_compile(program, state, next(batches))
            with activity("warming up"):
                for call in range(WARM_UP):
                    state, sums = program.step(state, next(batches))
                    jax.block_until_ready(sums)
                    if call == 0:
                        release_free_memory()
            calls, took, waited = max(1, steps // count), [], []
            with activity("timing steps") as show:
                for call in range(calls):
                    show(f"{call * count} of {calls * count}")
                    began = time.perf_counter()
                    batch = next(batches)
                    waited.append(time.perf_counter() - began)
                    state, sums = program.step(state, batch)
                    jax.block_until_ready((state, sums))
                    took.append(time.perf_counter() - began)
            memory = _memory()
            jax.clear_caches()
            with activity("compiling the step again, from the cache"):
                warm = _to_compile(compile_for(experiment)[1], state, next(batches))
    return _measured(experiment, cold, warm, [t / count for t in took], sum(waited) / sum(took), memory)


def start(experiment: Experiment) -> tuple[Compiled, Any]:
    """The program, compiled at its first call, and a first state in its layout."""
    program = compile_for(experiment)[1]
    state = drawn(experiment, program.layout)
    return program, with_teacher(state, program.layout, load_teacher(experiment)[0])


def _to_compile(program: Compiled, state: Any, batch: Any) -> float:
    """Seconds to trace the step, and to compile it or load it from the cache."""
    began = time.perf_counter()
    compile_ahead(program, state, batch)
    return time.perf_counter() - began


def _prefetched(program: Compiled, made: Iterator[Batch], count: int) -> Iterator[Any]:
    while True:
        batch = [program.feed(next(made)) for _ in range(count)]
        yield batch[0] if count == 1 else batch


@contextmanager
def _made(experiment: Experiment, tokens: np.ndarray | None) -> Iterator[Iterator[Batch]]:
    """Yields batches that a thread prepares ahead, like a run's reader."""
    queue, over = Queue(AHEAD), threading.Event()

    def fill():
        for batch in batches(experiment, tokens):
            queue.put(batch)
            if over.is_set():
                return

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield iter(queue.get, None)
    finally:
        over.set()
        queue.get()  # makes room for the blocked thread
        thread.join()


@contextmanager
def _own_cache() -> Iterator[None]:
    """Uses an empty persistent cache, then restores the old one."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="lineage-bench-") as folder,
        on_leave(partial(shutil.rmtree, folder, ignore_errors=True)),
    ):
        try:
            _cache_in({names[0]: folder, names[1]: 0.0})
            yield
        finally:
            _cache_in(before)


def _cache_in(settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it reads its settings once


def _memory() -> int:
    statistics_ = jax.local_devices()[0].memory_stats()
    if statistics_ is not None:
        return statistics_["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _measured(experiment, cold, warm, seconds, waiting, memory) -> Measured:
    devices = 1 if experiment.parallel.compile == "jit" else jax.device_count()
    tokens, flops_each = experiment.tokens(1), flops_a_token(experiment)
    median = statistics.median(seconds)
    first, _, third = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else (median,) * 3
    best, flops = peak(experiment.model.precision, devices), tokens * flops_each / median
    return Measured(
        device=jax.devices()[0].device_kind,
        devices=devices,
        tokens_a_step=tokens,
        compile_cold=cold,
        compile_warm=warm,
        step=median,
        step_spread=(first, third),
        tokens_a_second=tokens / median,
        flops_a_token=flops_each,
        flops=flops,
        peak_flops=best.flops,
        peak_source=best.source,
        mfu=flops / best.flops if best.flops else None,
        memory=memory,
        waiting=waiting,
    )
