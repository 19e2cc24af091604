"""Every command on every kind of run: it works, or it is refused in one line that says why."""

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from launch.__main__ import run
from research.config import Sweep
from research.config.space import grid
from research.devices import startup
from research.sweeping.record import open_sweep
from research.sweeping.worker import work
from research.training.loop import running, train
from tests.data.finetuning.labelled import tuned
from tests.training.test_finetune import files
from tests.training.tiny import quickstart, shrunk

pytestmark = pytest.mark.slow

TINY = {"run__steps": 2, "run__evaluate_every": 0, "run__checkpoint_every": 1, "optimizer__rate__warmup": 1}
TINY |= {"run__sample": 0}
TUNED = {  # kind → experiment, file
    "classification": ("gpt1_sst2", "single.tsv"),
    "regression": ("gpt1_stsb", "scores.csv"),
    "choice": ("gpt1_storycloze", "story.jsonl"),
    "spans": ("bert_squad", "squad.json"),
    "tags": ("bert_ner", "conll.txt"),
}
COMMANDS = {
    "status": ["status", "RUN"],
    "table": ["table", "RUN"],
    "report": ["report", "RUN", "--out", "OUT.html"],
    "figure": ["figure", "RUN", "--out", "OUT.svg"],
    "batch": ["batch", "RUN", "--step", "1"],
    "generate": ["generate", "RUN", "--prompt", "a b", "--tokens", "2"],
    "fill": ["generate", "RUN", "--prompt", "a [MASK]", "--tokens", "2"],
    "surprisals": ["surprisals", "RUN", "--data", "short.txt"],
    "validation": ["evaluate", "RUN", "--task", "validation"],
    "likelihood": ["evaluate", "RUN", "--task", "text8", "--data", "short.txt"],
    "answers": ["evaluate", "RUN", "--task", "answers", "--data", "FILE"],
    "export": ["export", "RUN", "OUT"],
    "average": ["average", "RUN", "--out", "OUT"],
    "import": ["import", "huggingface", "RUN", "OUT"],
    "stop": ["stop", "RUN"],
    "resume": ["resume", "RUN"],
}
RUN = {"status", "table", "report", "figure", "batch", "validation", "average", "export", "stop", "resume"}
TEXT = {"generate", "fill", "likelihood", "surprisals"}  # a prompt for a GPT may have anything in it
NO_CLASS = {"export"}  # Transformers has no GPT-1 with these heads
WORKS = {
    "trial": RUN | TEXT,
    "bert": RUN | {"fill", "surprisals"},
    "classification": (RUN | TEXT | {"answers"}) - NO_CLASS,
    "regression": (RUN | TEXT | {"answers"}) - NO_CLASS,
    "choice": (RUN | TEXT | {"answers"}) - NO_CLASS,
    "spans": RUN | {"answers"},
    "tags": RUN | {"answers"},
    "averaged": TEXT | {"export", "import"},
    "imported": TEXT | {"export", "import"},
    "unfinished": {"status", "table", "report", "figure", "batch", "stop", "resume"},
    "one_checkpoint": (RUN | TEXT) - {"average"},
    "sweep": {"status", "table", "report", "figure", "stop"},
    "folder": {"status", "table", "report", "figure"},
    "nothing": set(),
}
SAID = {  # in the line of a refusal
    ("bert", "generate"): "fills in masked tokens",
    ("bert", "likelihood"): "gives no likelihoods",
    ("bert", "answers"): "it has no task",
    ("trial", "answers"): "it has no task",
    ("spans", "fill"): "fine-tuned (model.head=tokens)",
    ("spans", "surprisals"): "this BERT is fine-tuned for a task",
    ("tags", "generate"): "fine-tuned (model.head=tokens)",
    ("classification", "export"): "model.special_tokens=true: Transformers' OpenAIGPTForSequence",
    ("choice", "export"): "Transformers has no gpt1 with this head",
    ("averaged", "answers"): "architectures=GPT2LMHeadModel: has no head of a task",
    ("averaged", "batch"): "not a run",
    ("imported", "resume"): "not a run",
    ("unfinished", "generate"): "has no checkpoint",
    ("one_checkpoint", "average"): "found 1 (step 1)",
    ("sweep", "resume"): "not a run",
    ("nothing", "generate"): "no such directory",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with something of each kind in it."""
    lab = tmp_path_factory.mktemp("lab")
    files(lab)
    (lab / "short.txt").write_text("a b c d e f g h i j. ")
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
        patch.setenv("LINEAGE_HOME", str(lab / "home"))
        patch.chdir(lab)
        base = quickstart(lab / "corpus.txt", **TINY)
        open_sweep(lab / "sweep", Sweep(name="tiny", base=base, space=grid("run.seed", 0)), None)
        work(lab / "sweep", {"devices": (), "host": "here", "job": None}, print, running)
        shutil.copytree(lab / "sweep/trials/0000", lab / "trial")
        masked = {"data__length": 16, "data__masking__predictions": 4}
        train(shrunk("bert_tiny", lab / "bert.txt", **masked, **TINY), lab / "bert", print)
        for kind, (name, file) in TUNED.items():
            more = {"task__question": 2} if kind == "spans" else {}
            train(tuned(name, lab, file, **TINY, **more), lab / kind, print)
        assert run(["average", "trial", "--out", "averaged"]) == 0
        assert run(["export", "trial", "exported"]) == 0
        assert run(["import", "huggingface", "exported", "imported"]) == 0
    shutil.copytree(lab / "trial", lab / "one_checkpoint")
    shutil.rmtree(lab / "one_checkpoint/checkpoints/2")
    shutil.copytree(lab / "trial", lab / "unfinished")  # killed before its first checkpoint
    shutil.rmtree(lab / "unfinished/checkpoints")
    (lab / "folder").mkdir()
    shutil.copytree(lab / "trial", lab / "folder" / "trial")
    return lab


@pytest.fixture
def typed(lab, lineage, monkeypatch) -> Callable[[str, str], tuple[int, str, str]]:
    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)
    monkeypatch.setenv("LINEAGE_HOME", str(lab / "home"))
    monkeypatch.chdir(lab)

    def call(kind: str, command: str) -> tuple[int, str, str]:
        file = TUNED.get(kind, ("", "single.tsv"))[1]
        words = [{"RUN": kind, "FILE": file}.get(word, word) for word in COMMANDS[command]]
        try:
            with jax.numpy_dtype_promotion("standard"):
                return lineage(*words)
        finally:
            shutil.rmtree("OUT", ignore_errors=True)

    return call


@pytest.mark.parametrize("kind", WORKS)
def test_every_command_works_or_says_why_not_in_a_line(typed, kind):
    worked = set()
    for command in COMMANDS:
        status, out, err = typed(kind, command)
        if status == 0:
            worked.add(command)
            assert out and "Traceback" not in err, command
            continue
        assert status == 2, (command, err)
        assert err.startswith("lineage: ") and err.count("\n") == 1 and "Error:" not in err, (command, err)
        assert SAID.get((kind, command), "") in err, (command, err)
    assert worked == WORKS[kind]
