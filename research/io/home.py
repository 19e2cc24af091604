"""The directory of caches (token stores, tokenizers, compiled programs), and which process uses what."""

import os
import socket
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from research.errors import EnvironmentFault
from research.io.files import expanded
from research.io.locks import Holder, Lock, acquire, holder

_locks: dict[Path, Lock] = {}  # of this process, one for each home
_used: dict[Path, dict[str, None]] = defaultdict(dict)  # by home: an ordered set of what this process uses


def home() -> Path:
    """`$LINEAGE_HOME`, or `lineage` in the platform's user cache directory."""
    if path := os.environ.get("LINEAGE_HOME"):
        return expanded(path).absolute()
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("lineage"))
    except RuntimeError:  # of a user whom the system does not know, as in some containers
        raise EnvironmentFault("this user has no home directory for caches; set LINEAGE_HOME") from None


def use(target: Path) -> None:
    """Marks a directory of `home` as used now, and by this process until it ends.

    The marks of a process are in a file that it has locked, so they end with the process in any case. A home
    that is not writable, and so cannot be cleared either, has no marks.
    """
    top = home()
    if not target.is_relative_to(top):
        return
    with suppress(OSError):
        os.utime(target)
    name = str(target.relative_to(top))
    if name in _used[top]:
        return
    _used[top][name] = None
    with suppress(OSError):
        if (lock := _locks.pop(top, None)) is not None:
            lock.release()
        file = top / "users" / f"{socket.gethostname()}-{os.getpid()}"
        lock = acquire(file, {"uses": list(_used[top])})
        if lock is not None:
            _locks[top] = lock


def users() -> dict[str, Holder]:
    """{what is used, relative to `home`: a process that uses it}; forgets processes that have ended."""
    found = {}
    for file in (home() / "users").glob("*"):
        who = holder(file)
        if who is None:
            with suppress(OSError):
                file.unlink()
            continue
        found |= dict.fromkeys(who.get("uses", ()), who)
    return found
