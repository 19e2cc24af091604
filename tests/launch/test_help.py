"""Help is complete, and fits a terminal of 80 columns."""

import re

import pytest

import research
from launch.__main__ import run
from launch.app import COMMANDS, GROUPS


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


def test_commands_are_listed_whole_in_groups(help_of):
    out = help_of()
    titles = [
        line.removesuffix(":") for line in out.splitlines() if line[:1].isupper() and line.endswith(":")
    ]
    assert titles == [*GROUPS, "Options"]
    for name in COMMANDS:
        (line,) = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(".") and "..." not in line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described_in_a_sentence(help_of, name):
    out = help_of(name)
    assert all(len(line) <= 80 for line in out.splitlines())
    for entry in paragraphs(out):
        assert re.sub(r"\s+\[(default: .*|required)\]$", "", entry).endswith("."), entry


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_are_named_as_they_are_typed(help_of, name):
    out = help_of(name)
    assert not re.search(r"[{<>}]", out), "a type of Python"
    assert out.startswith(f"Usage: lineage {name} [OPTIONS]")


def test_lineage_alone_greets(lineage):
    status, out, err = lineage()
    assert status == 0 and err == "" and "lineage train quickstart" in out
    assert all(f"\n{title}:" in out for title in GROUPS) and all(f"\n  {name} " in out for name in COMMANDS)


def test_version_and_short_help(lineage, help_of):
    assert lineage("--version") == (0, f"lineage {research.__version__}\n", "")
    assert lineage("train", "-h")[1] == help_of("train")
    assert lineage("-h")[1] == help_of()
