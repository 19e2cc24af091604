"""A path that libraries cannot misread, for a directory of any name.

Orbax finds its own files by glob patterns that begin with the directory's name: `[x]` matches the directory
x, and a checkpoint is left without its arrays. TensorStore reads a backslash as a slash and writes to another
place, and refuses `..`. Orbax reads `gs:/` as a bucket.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from research.errors import EnvironmentFault
from research.io.files import catch_write_errors

PLAIN = re.compile(r"[\w./ +,=@-]*")  # letters of all scripts; other characters may have a meaning


@contextmanager
def plain_path(directory: Path) -> Iterator[Path]:
    """An absolute path to an existing directory: its own, or a symbolic link if its name is not plain.

    The link belongs to this process; other processes, also on other machines, make their own.
    """
    path = directory.absolute()
    if ".." in path.parts:
        path = path.resolve()
    if PLAIN.fullmatch(str(path)):
        yield path
        return
    with ExitStack() as stack:
        with catch_write_errors(parent := _temporary_folder()):
            own = tempfile.TemporaryDirectory(prefix="lineage-", dir=parent)
            folder = Path(stack.enter_context(own))
            lock = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_SH)  # systemd clears old files from /tmp, unless they are locked
            (link := folder / "directory").symlink_to(path, target_is_directory=True)
        yield link


def _temporary_folder() -> Path:
    """A writable folder for temporary files whose name is plain."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if PLAIN.fullmatch(folder) and os.access(folder, os.W_OK):
            return Path(folder)
    raise EnvironmentFault("no writable folder for temporary files; set TMPDIR to one")
