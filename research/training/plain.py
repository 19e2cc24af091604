"""A plain name for a directory of any name, for libraries that read more into a path than a path.

Orbax looks for what it wrote by patterns that begin with the directory's name, so `[x]` is to it the
directory x, and a checkpoint it cannot find again is left without its arrays. TensorStore takes a backslash
for a slash, and writes to another place. Orbax takes `gs:/` for a bucket.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from research.errors import EnvironmentFault
from research.files import writing

PLAIN = re.compile(r"[\w./ +,=@-]*")  # letters of all scripts; whatever else may mean something to somebody


@contextmanager
def plain(directory: Path) -> Iterator[Path]:
    """An absolute path to `directory`, which exists: its own, or a link's where its name is not plain.

    The link is this process's alone: others, on other machines too, reach the same directory by their own.
    """
    path = directory.absolute()
    if PLAIN.fullmatch(str(path)):
        yield path
        return
    with ExitStack() as stack:
        with writing(room := _room()):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lineage-", dir=room)))
            lock = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_SH)  # systemd clears old files from /tmp, but none so held
            (link := folder / "directory").symlink_to(path, target_is_directory=True)
        yield link


def _room() -> Path:
    """Where a temporary link's own name is plain."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if PLAIN.fullmatch(folder) and os.access(folder, os.W_OK):
            return Path(folder)
    raise EnvironmentFault("no folder for temporary files that can be written; TMPDIR names one")
