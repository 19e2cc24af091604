"""A folder behind a URL, such as gs://BUCKET/RUN, through fsspec; or at a path of this machine."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import EnvironmentFault, LineageError, UsageError

EXPECTED = "expected a URL such as gs://BUCKET/RUN or s3://BUCKET/RUN, or an absolute path"


class Remote(NamedTuple):
    """A folder; names in it are relative, with / between their parts."""

    url: str
    system: Any  # fsspec.AbstractFileSystem
    root: str


def is_place(url: str) -> bool:
    """Whether this is a URL or an absolute path."""
    return "://" in url or os.path.isabs(url)


def connect(url: str) -> Remote:
    """The folder, which need not exist.

    Raises UsageError for a scheme that fsspec does not know or a URL without a folder, EnvironmentFault if
    its package is missing or its settings are wrong.
    """
    if not is_place(url):
        example = f" such as {os.path.abspath(os.path.expanduser(url))}" if url else ""
        raise UsageError(f"{url}: {EXPECTED}{example}")
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.registry import known_implementations

    if "://" not in url:  # to url_to_fs, :: in a path is the start of another URL
        return Remote(url, LocalFileSystem(), os.path.normpath(url))
    scheme, _, rest = url.partition("://")
    if scheme not in known_implementations:
        raise UsageError(f"{url}: {scheme}: no such kind of storage; {EXPECTED}")
    if not rest.strip("/"):
        raise UsageError(f"{url}: {EXPECTED}")
    if "::" in rest:
        raise UsageError(f"{url}: expected a URL without ::, by which fsspec joins URLs")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises, with a traceback
    with faults(url):
        system, root = url_to_fs(url)
    return Remote(url, system, root.rstrip("/"))


def local_path(remote: Remote) -> Path | None:
    """The folder's path, if it is on a file system of this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return Path(remote.root) if isinstance(remote.system, LocalFileSystem) else None


def sizes(remote: Remote) -> dict[str, int]:
    """{name: bytes} of all files in the folder; none if there is no such folder."""
    with faults(remote.url):
        remote.system.invalidate_cache()
        found = remote.system.find(remote.root, detail=True)
    start = len(remote.root) + 1
    return {path[start:]: int(about["size"]) for path, about in found.items() if len(path) > start}


def read(remote: Remote, name: str) -> bytes:
    with faults(remote.url):
        return remote.system.cat_file(_inside(remote, name))


def write(remote: Remote, name: str, content: bytes) -> None:
    """Writes a file that readers see whole or not at all."""
    path = _inside(remote, name)
    with faults(remote.url):
        remote.system.makedirs(remote.system._parent(path), exist_ok=True)
        if local_path(remote):  # an object store replaces an object at once
            part = f"{path}.part"
            remote.system.pipe_file(part, content)
            os.replace(part, path)
        else:
            remote.system.pipe_file(path, content)


def upload(remote: Remote, files: Mapping[str, Path]) -> None:
    """Copies files to these names, several at a time where the storage can."""
    with faults(remote.url):
        for folder in {remote.system._parent(_inside(remote, name)) for name in files}:
            remote.system.makedirs(folder, exist_ok=True)
        remote.system.put(
            [os.fspath(path) for path in files.values()], [_inside(remote, name) for name in files]
        )


def download(remote: Remote, names: Sequence[str], folder: Path) -> None:
    """Copies files into a folder, under their names."""
    targets = [folder / name for name in names]
    for parent in {target.parent for target in targets}:
        parent.mkdir(parents=True, exist_ok=True)
    with faults(remote.url):
        remote.system.get([_inside(remote, name) for name in names], [os.fspath(path) for path in targets])


def remove(remote: Remote, name: str) -> None:
    """Removes a file, or a folder with what is in it."""
    path = _inside(remote, name)
    with faults(remote.url):
        if local_path(remote) or not has_magic(path):
            remote.system.rm(path, recursive=True)
            return
        for inside in remote.system.find(path):  # rm takes the path as a pattern, which may match other runs
            remote.system.rm_file(inside)


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Turns what a storage's package raises, which is of many types, into an EnvironmentFault."""
    try:
        yield
    except LineageError:
        raise
    except ImportError as error:  # fsspec's own text names the package to install
        raise EnvironmentFault(f"{url}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        fault = f"cannot be reached ({type(error).__name__}: {reason})"
        if isinstance(error, OSError) and os.path.isabs(url):
            fault = f"cannot be read or written: {error.strerror or reason}"
        raise EnvironmentFault(f"{url}: {fault}") from error


def _inside(remote: Remote, name: str) -> str:
    return f"{remote.root}/{name}"
