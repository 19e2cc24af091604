"""One sweep for all who look at one."""

import pytest

from tests.reporting import made


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    return made.sweep(tmp_path_factory.mktemp("swept") / "sweep")
