"""Help is complete, and fits a terminal of 80 columns."""

import re

import pytest

from launch.__main__ import run
from launch.app import COMMANDS


@pytest.fixture
def help_of(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def call(*command: str) -> str:
        assert run([*command, "--help"]) == 0
        return capsys.readouterr().out

    return call


def paragraphs(text: str) -> list[str]:
    """The entries below 'Arguments:', 'Options:' and 'Commands:', each in one line."""
    entries: list[str] = []
    for line in text.partition(":\n")[2].splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            entries.append(line.strip())
        elif line.strip() and not line.endswith(":"):
            entries[-1] += f" {line.strip()}"
    return entries


def test_commands_are_listed_whole(help_of):
    out = help_of()
    for name in COMMANDS:
        (line,) = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(".") and "..." not in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described_in_a_sentence(help_of, name):
    out = help_of(name)
    assert all(len(line) <= 80 for line in out.splitlines())
    for entry in paragraphs(out):
        assert re.sub(r"\s+\[(default: .*|required)\]$", "", entry).endswith("."), entry
