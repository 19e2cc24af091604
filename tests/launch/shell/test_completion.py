"""What Tab offers, asked as bash asks: words of the line, split at `=`, and the number of the last one."""

import os
import subprocess
import sys

import pytest

from launch.app import app


@pytest.fixture
def offered(monkeypatch, capsys):
    def call(*words: str) -> list[str]:
        monkeypatch.setenv("_LINEAGE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["lineage", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as end:
            app([], prog_name="lineage", standalone_mode=False)
        assert end.value.code == 0
        return capsys.readouterr().out.split()

    return call


@pytest.mark.parametrize(
    "line, expected",
    [
        ("expl", ["explain"]),
        ("train gpt2_sm", ["gpt2_small", "gpt2_small_openwebtext"]),
        ("train gpt2_tiny optimizer.rate.pe", ["optimizer.rate.peak=", "optimizer.rate.peak=0.003"]),
        ("train gpt2_tiny optimizer.name = mu", ["muon"]),
        ("train gpt2_tiny run.steps = 3 parallel.compile =", ["auto", "jit", "sharded", "pmap"]),
        ("train gpt2_tiny optimizer.name=mu", ["optimizer.name=muon"]),  # as zsh and fish split
        ("train gpt2_tiny run.st", ["run.steps=", "run.stop_at=", "run.steps_per_call=", "run.stop_on_nan="]),
        ("evaluate x --task wiki", ["wikitext2", "wikitext103"]),
        ("evaluate x --task ptb,wikitext2", ["ptb,wikitext2"]),
        ("sweep optimizers --pruner as", ["asha"]),
        ("sweep optimi", ["optimizers"]),
        ("sweep gpt2_tiny --over optimizer.b", ["optimizer.b1=", "optimizer.b2="]),
        ("explain run.keep_", ["run.keep_every", "run.keep_at", "run.keep_best"]),
        ("import open", ["openai"]),
        ("train x --executor s", ["slurm"]),
        ("train x nonsense = ", []),
    ],
)
def test_names_settings_values_and_tasks(offered, line, expected):
    found = offered(*line.split())
    if line.endswith(" "):
        assert not set(found) & {"jit", "muon"}
    else:
        assert found == expected


def test_folders_are_offered_where_a_run_is_asked(offered, tmp_path, monkeypatch):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "rust.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert offered("generate", "ru") == ["runs"]
    assert offered("generate", "runs/m") == ["runs/mine"]
    assert offered("batch", "no/such") == []


def test_tab_is_instant():
    """Not a timing: what costs time is never imported."""
    code = (
        "import sys; from launch.__main__ import run\n"
        "try: run([])\n"
        "except SystemExit: pass\n"
        "assert not {'jax', 'numpy', 'rich.table'} & set(sys.modules)"
    )
    words = {"_LINEAGE_COMPLETE": "complete_bash", "COMP_WORDS": "lineage\ntrain\ngpt", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True
    )
    assert done.returncode == 0 and "gpt2_tiny" in done.stdout
