"""A study in the database of a server, such as PostgreSQL, which may go away and come back."""

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Dialect, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from research.errors import EnvironmentFault, LineageWarning

WAIT = 60.0  # seconds to retry a server that answered before
# For libpq, so that it detects an unplugged server within half a minute instead of hours.
LIBPQ = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
POSTGRES = re.compile(r"postgres(ql)?(?=://)")


def open_database(name: str) -> RDBStorage:
    """Connects to the database of the URL `name`, and creates Optuna's tables if it is empty.

    It raises at once if the server cannot be reached. Later, it retries a connection that is lost between two
    transactions for `WAIT` seconds; a connection lost within a transaction raises.
    """
    url = make_url(POSTGRES.sub("postgresql+psycopg", name))
    if url.drivername == "postgresql+psycopg":
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise EnvironmentFault("it needs psycopg: pip install 'lineage-lm[postgres]'") from None
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if "+psycopg" in url.drivername:
        arguments["connect_args"] = LIBPQ | dict(url.query)
    storage = _with_tables(url.render_as_string(hide_password=False), arguments)

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Dialect, record: Any, given: Any, named: Any) -> Any:
        return _connect_again(dialect, given, named, hide_password(name))

    return storage


def _with_tables(url: str, arguments: dict[str, Any]) -> RDBStorage:
    """Tries three times: if two sweeps create the tables at once, one fails."""
    for _ in range(2):
        try:
            return RDBStorage(url, engine_kwargs=arguments)
        except (IntegrityError, ProgrammingError):
            time.sleep(1)
    return RDBStorage(url, engine_kwargs=arguments)


def _connect_again(dialect: Dialect, given: Any, named: Any, name: str) -> Any:
    deadline, warned = time.monotonic() + WAIT, False
    while True:
        try:
            return dialect.connect(*given, **named)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() >= deadline:
                raise
            if not warned:
                warnings.warn(
                    f"--storage {name}: does not answer; asked again for {WAIT:.0f} s",
                    LineageWarning,
                    stacklevel=2,
                )
                warned = True
            time.sleep(min(1.0, WAIT / 10))


@contextmanager
def storage_faults(what: str) -> Iterator[None]:
    """Turns storage errors in the block into EnvironmentFault."""
    try:
        yield
    except StorageInternalError as error:
        reason = first_line(error.__cause__ or error)
        raise EnvironmentFault(f"{what}: the storage fails: {reason}") from error


def first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[0].split())


def hide_password(name: str) -> str:
    """A storage's URL for messages, without its password."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", re.sub(r"(password=)[^&]*", r"\1***", name))
