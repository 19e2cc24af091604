"""Every command that a README prints parses, names what exists, and declares an experiment that holds."""

import re
import shlex
import tomllib
from pathlib import Path

import jax
import pytest
import typer

import experiments
from launch import machine
from launch.app import COMMANDS, app
from research.config import Experiment, Sweep
from research.config.settings import names, override, parse_assignments
from research.evaluation.tasks import tasks
from research.sweeping.notation import parse_space
from tests.test_readmes import READMES, run_blocks_of_own_package

ROOT = Path(__file__).parents[1]
PAGES = [*READMES, ROOT / ".github" / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
COMMENT = re.compile(r"\s{3,}.*|\s+#.*|\s+>\s*\S+$")  # beside a command; where its output goes
INSTALLED = {"tensorboard": "tensorboard", "optuna-dashboard": "optuna-dashboard", "pre-commit": "pre-commit"}
OWN = {"my_experiment", "my_rates"}  # which test_readmes.py declares
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*\b|…")


def printed(page: Path) -> list[str]:
    """The commands of a page: lines of its blocks without a language, and `lineage …` within sentences."""
    text = page.read_text(encoding="utf-8").replace(" \\\n", " ")
    found = []
    for language, block in BLOCK.findall(text):
        if language:
            continue
        block = re.sub(
            r"^\$ .*\n.*$", "", block, flags=re.MULTILINE
        )  # mistakes, with their messages: run below
        lines = [COMMENT.sub("", line.strip()) for line in block.splitlines()]
        found += [line for line in lines if line and is_command(line)]
    for code in INLINE.findall(BLOCK.sub("", text)):
        if code.split()[0] in {"lineage", "pip", "python", "tensorboard", "optuna-dashboard", "pytest"}:
            found.append(COMMENT.sub("", code))
    return [part for line in found for part in re.split(r" && |; (?=\[|status)", line) if is_command(part)]


def is_command(line: str) -> bool:
    return bool(
        re.match(
            r"(lineage|pip|python|pytest|tensorboard|optuna-dashboard|pre-commit|\.ci/run|bash|srun)( |$)",
            line,
        )
    )


CASES = [(page, command) for page in PAGES for command in dict.fromkeys(printed(page))]


def test_the_readmes_print_commands():
    assert len(CASES) > 100
    named = {command.split()[1] for _, command in CASES if command.startswith("lineage ") and " " in command}
    assert set(COMMANDS) <= named  # each command of the program is shown somewhere


@pytest.mark.parametrize(("page", "command"), CASES, ids=lambda case: case if isinstance(case, str) else "")
def test_a_printed_command_holds(page, command, capsys, registries):
    words = [word for word in shlex.split(command) if word not in ("2>&1", "|")]
    match words:
        case ["lineage", *arguments]:
            check_lineage(command, arguments)
        case ["pip", "install", *what]:
            check_installed(what)
        case ["python", "-m", module, *_]:
            assert (ROOT / (module.replace(".", "/") + ".py")).exists(), command
        case ["python", file, *_]:
            assert (ROOT / file).exists(), command
        case ["pytest", *arguments]:
            for path in (argument for argument in arguments if argument.startswith("tests")):
                assert (ROOT / path).exists(), command
        case ["bash", file, *_] if file.startswith("."):
            assert (ROOT / file).exists(), command
        case [file, *_] if file.startswith(".ci"):
            assert (ROOT / file).exists(), command
        case ["srun", "lineage", *arguments]:
            check_lineage(command, arguments)
        case [name, *_]:  # not ours: the page says how to get it
            assert f"pip install {INSTALLED[name]}" in page.read_text(encoding="utf-8")


def check_lineage(command: str, arguments: list[str]) -> None:
    if "--import" in arguments:
        run_blocks_of_own_package()
        at = arguments.index("--import")
        arguments = arguments[:at] + arguments[at + 2 :]
    if not arguments or "COMMAND" in arguments or arguments[0].startswith("-"):
        assert all(
            a in {"COMMAND", "-h", "--help", "--version", "--install-completion", "…"} for a in arguments
        )
        return
    name, *rest = arguments
    assert name in COMMANDS, command
    if rest[:1] == ["…"]:
        rest[0] = "NAME"  # the rest of a command that is printed above
    rest = [word for word in rest if word not in ("…", "--help", "-h")]
    if not rest and name not in ("list", "doctor", "cache", "status", "evaluate"):
        return  # the name of a command, in a sentence
    program = typer.main.get_command(app).commands[name]
    context = program.make_context(name, list(rest))
    check_declared(name, context.params)


def check_declared(name: str, given: dict) -> None:
    overrides = {
        key: value
        for key, value in parse_assignments(list(given.get("overrides") or [])).items()
        if not PLACEHOLDER.search(value)
    }
    declared = given.get("name")
    if name in {"train", "show", "params", "prepare", "batch", "plan", "bench", "sweep"} and declared:
        if PLACEHOLDER.fullmatch(declared) or "/" in str(declared) or declared in OWN:
            return
        one = (
            experiments.get(declared) if declared in experiments.names() else experiments.get_sweep(declared)
        )
        base = one.base if isinstance(one, Sweep) else one
        assert isinstance(override(base, overrides), Experiment)
        if given.get("over"):
            assert parse_space(base, list(given["over"]))
    elif name == "resume":
        assert isinstance(override(experiments.get("quickstart"), overrides), Experiment)
    elif name == "explain" and given.get("setting"):
        assert any(f"{key}.".startswith(f"{given['setting']}.") for key in names())
    elif name == "average" and given.get("last"):
        assert given["last"] <= experiments.get("quickstart").run.keep  # no run keeps more by default
    elif name == "evaluate" and given.get("task"):
        ours = {task for task in str(given["task"]).split(",") if not task.startswith("harness:")}
        assert ours - {"last_token"} <= {*tasks(), "list", "validation", "answers", "squad"}


def check_installed(what: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in (word for word in what if word != "-e"):
        base, _, extra = word.rstrip("]").partition("[")
        assert base in {".", project["name"], *INSTALLED.values()}, word
        assert not extra or extra in project["optional-dependencies"], word


def test_extras_that_messages_name_exist():
    """As in "pip install 'lineage-lm[tf]'" of an error's line."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    from research.devices.ahead import PLUGINS

    named = {extra for _, extra in PLUGINS.values()}
    for path in [*(ROOT / "research").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]:
        named |= set(re.findall(r"lineage-lm\[([\w-]+)\]", path.read_text(encoding="utf-8")))
    assert named <= set(extras) and len(named) >= 7
    assert set(machine.EXTRAS) == set(extras)  # which `lineage doctor` lists


def test_the_mistakes_on_the_first_page(capsys):
    """Each `$ lineage …` is followed by what it prints."""
    from launch.__main__ import run

    shown = re.findall(
        r"^\$ (lineage .+)\n(lineage: .+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(shown) == 2
    for command, line in shown:
        assert run(shlex.split(command)[1:]) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1] == line


SHRUNK = [
    *("data.source=files:corpus.txt", "data.tokenizer=bpe:300", "data.split=tail", "data.holdout=0.1"),
    *(
        "model.width=16",
        "model.vocabulary=512",
        "data.batch=2",
        "model.depth=1",
        "model.heads=2",
        "data.length=32",
        "run.evaluate_every=2",
    ),
    *("run.checkpoint_every=2", "run.sample=0"),
]


@pytest.mark.slow
def test_the_first_page_runs(tmp_path, monkeypatch, capsys):
    """As printed and in its order, at a small size; the plan needs an accelerator's compiler or says so."""
    from launch.__main__ import run
    from research.devices import startup

    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(
        "".join(f"{n} bottles stood by {n * 7} others.\n" for n in range(800))
    )
    (tmp_path / "items.tsv").write_text("item\ttext\n1\t7 bottles stood by 49 others.\n")
    typed = [command for command in printed(ROOT / "README.md") if command.startswith("lineage ")]
    names = [command.split()[1] for command in typed]
    assert {"train", "generate", "list", "explain", "resume", "status", "report"} <= set(names)
    for command, name in zip(typed, names, strict=True):
        arguments = shlex.split(command.replace("s3://BUCKET", f"{tmp_path}/bucket"))[1:]
        if name in ("train", "sweep"):
            arguments += [*SHRUNK, "run.steps=4", "optimizer.rate.warmup=1"]
        elif name == "resume":
            arguments = [re.sub("run.steps=.*", "run.steps=6", argument) for argument in arguments]
        with jax.numpy_dtype_promotion("standard"):  # as a user has it
            status, error = run(arguments), capsys.readouterr().err
        if name == "plan" and status:
            assert "compiler is not installed: pip install" in error or "cuDNN" in error
        else:
            assert status == 0, (command, error)
    assert (tmp_path / "compare.html").exists() and (tmp_path / "bucket/RUN/experiment.json").exists()
