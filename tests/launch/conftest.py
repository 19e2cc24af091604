"""Commands are run in the test's own process."""

import pytest

from launch.__main__ import run


@pytest.fixture
def lineage(capsys):
    """Runs a command; (status, standard output, standard error)."""

    def call(*arguments):
        status = run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call
