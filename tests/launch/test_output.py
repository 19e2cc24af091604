"""What is printed is UTF-8 in a file or a pipe, in any locale; with --json it is JSON."""

import ast
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import launch
from launch.shell.as_json import print_json

PRINT = "from launch.__main__ import _write_utf8; _write_utf8(); print('\\u65e5 caf\\xe9 \\udcff')"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_pipes_get_utf_8(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True)
    assert done.stdout == b"\xe6\x97\xa5 caf\xc3\xa9 \xff\n", done.stderr


def refuse(text):
    raise ValueError(f"{text}: not JSON")


def test_a_number_that_is_not_finite_is_null(capsys):
    print_json({"loss": math.nan, "rows": [(1.0, -math.inf)], "text": "NaN", "é": 1})
    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=refuse) == {
        "loss": None,
        "rows": [[1.0, None]],
        "text": "NaN",
        "é": 1,
    }
    print_json({"é": 1}, indent=None, ensure_ascii=False)
    assert capsys.readouterr().out == '{"é": 1}\n'


def test_commands_print_json_in_one_place():
    for path in Path(launch.__file__).parent.glob("*.py"):
        names = {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
        }
        assert "dumps" not in names, path


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_streams_may_be_closed(closed):
    """Their numbers lead nowhere: a file of a run with number 1 would get what native code prints."""
    script = (
        "import os; from launch.__main__ import _open_closed_streams; _open_closed_streams()\n"
        f"nowhere = [os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in {closed}]\n"
        "os._exit(0 if all(nowhere) else 3)"
    )
    close = " ".join(f"{number}>&-" for number in closed)
    for arguments, status in (
        (["-c", script], 0),
        (["-m", "launch", "list"], 0),
        (["-m", "launch", "lst"], 2),
    ):
        done = subprocess.run(["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, *arguments])
        assert done.returncode == status, arguments
