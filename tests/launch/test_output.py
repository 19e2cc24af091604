"""What is printed is UTF-8 in a file or a pipe, in any locale."""

import os
import subprocess
import sys

import pytest

PRINT = "from launch.__main__ import _write_utf8; _write_utf8(); print('\\u65e5 caf\\xe9 \\udcff')"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_pipes_get_utf_8(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True)
    assert done.stdout == b"\xe6\x97\xa5 caf\xc3\xa9 \xff\n", done.stderr
