"""The first failure of one of several processes, shared with all, so that they end with it within seconds.

Without it they would wait for the failed process: in a collective, or for five minutes where JAX's processes
meet at their exit; JAX then aborts them all. The failure goes through the key-value store of JAX's
coordination service, which lives in process 0.
"""

import atexit
import json
import sys
import threading
import time
from contextlib import suppress
from typing import Any, NamedTuple

from research.training.stopping import interrupts

FAILED, LEFT = "lineage/failed/", "lineage/left/"
FIRST = f"{FAILED}first"
LOOK = 1.0  # seconds between looks at the store
GRACE = 3.0  # seconds in which the main thread may end by the same failure, such as a setting all refuse
PATIENCE = 10.0  # seconds that process 0, which has the store, waits for the others to leave


class Peers(NamedTuple):
    """The processes of a run, as one of them sees the others."""

    client: Any  # of JAX's coordination service
    index: int
    count: int


_peers: Peers | None = None
_ends = threading.Event()  # the main thread ends this process


def watch() -> None:
    """Ends this process soon after another has failed. Call it once the processes have joined."""
    from jax._src.distributed import global_state  # JAX offers its store nowhere else

    global _peers
    _peers = Peers(global_state.client, global_state.process_id, global_state.num_processes)
    thread = threading.Thread(target=_watch, args=(_peers,), name="first failure", daemon=True)
    thread.start()
    atexit.register(_meet, thread)


def _meet(thread: threading.Thread) -> None:
    """Waits for the other processes, watching them still, and then for the thread that watches.

    A thread that returns from native code once Python has ended aborts the process.
    """
    import jax

    jax.distributed.shutdown()  # JAX's own handler, which runs later, would meet the others
    thread.join(PATIENCE)


def several() -> bool:
    """Whether this process has joined others."""
    return _peers is not None


def first(message: str, status: int) -> tuple[str, int]:
    """Tells all processes that this one fails; returns what they end with: the first failure among them."""
    _ends.set()
    return (message, status) if _peers is None else publish(_peers, message, status)


def publish(peers: Peers, message: str, status: int) -> tuple[str, int]:
    """`first`, for these processes."""
    mine = json.dumps([peers.index, message, status])
    index, text, known = peers.index, message, status
    with suppress(Exception):  # another was first
        peers.client.key_value_set(FIRST, mine)
    with suppress(Exception):  # process 0 is gone, and the store with it
        index, text, known = published(peers) or (index, text, known)
    return (message, status) if text == message else (f"process {index}: {text}", known)


def published(peers: Peers) -> tuple[int, str, int] | None:
    """(process, message, exit status) of the first failure; None if none has failed."""
    kept = peers.client.key_value_dir_get(FAILED)
    return tuple(json.loads(kept[0][1])) if kept else None


def leave(status: int) -> None:
    """Ends this process without meeting the others; process 0 waits until they have left."""
    if _peers is not None:
        with suppress(Exception):  # process 0 is gone, and the store with it
            depart(_peers)
    interrupts.leave(status)


def depart(peers: Peers) -> None:
    peers.client.key_value_set(f"{LEFT}{peers.index}", "", allow_overwrite=True)
    deadline = time.monotonic() + PATIENCE
    while peers.index == 0 and time.monotonic() < deadline:
        if len(peers.client.key_value_dir_get(LEFT)) == peers.count:
            return
        time.sleep(LOOK / 10)


def _watch(peers: Peers) -> None:
    try:
        while (failure := published(peers)) is None:
            time.sleep(LOOK)
    except Exception:  # JAX has shut the store down: the run has ended
        return
    if _ends.wait(GRACE):
        return
    index, message, status = failure
    print(f"lineage: process {index}: {message}", file=sys.stderr, flush=True)
    leave(status)
