"""Modules and files of other people: found, loaded once, compared with what a record says."""

import json
import os
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from research.config.imports import loading
from research.config.imports.loading import import_all, import_plugin, imported, options
from research.config.imports.recorded import import_recorded, where_names_come_from
from research.errors import LineageWarning, UsageError

BODY = "LOADED = []\nclass Idea: pass\nfrom sibling_{n} import VALUE\n"


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch):
    """A process of its own for each test, but for the modules that Python keeps."""
    monkeypatch.setattr(loading, "IMPORTED", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(loading.VARIABLE, raising=False)


@pytest.fixture
def plugin(tmp_path):
    """A file with a sibling."""
    name = tmp_path.name.replace("-", "_")
    (tmp_path / f"sibling_{name}.py").write_text("VALUE = 7\n")
    path = tmp_path / "experiments.py"  # a name that shadows nothing
    path.write_text(BODY.format(n=name))
    return path


def module_of(path):
    (module,) = (known for known in sys.modules.values() if getattr(known, "__file__", None) == str(path))
    return module


def test_a_file_is_loaded_once_under_a_name_that_can_be_pickled(plugin, monkeypatch):
    monkeypatch.chdir(plugin.parent)
    import_plugin(str(plugin))
    module = module_of(plugin)
    assert module.VALUE == 7
    import_plugin("./experiments.py")
    assert module_of(plugin) is module and list(imported()) == [str(plugin)]
    assert pickle.loads(pickle.dumps(module.Idea)) is module.Idea
    assert sys.modules["experiments"] is not module
    assert options() == ["--import", str(plugin)]


def test_another_process_loads_it_under_the_same_name(plugin):
    import_plugin(str(plugin))
    code = (
        "import pickle, sys; from research.config.imports.loading import import_plugin;"
        "import_plugin(sys.argv[1]);"
        "print(pickle.loads(bytes.fromhex(sys.argv[2])).__name__)"
    )
    sent = pickle.dumps(module_of(plugin).Idea).hex()
    done = subprocess.run([sys.executable, "-c", code, str(plugin), sent], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("Idea\n", 0), done.stderr


def test_a_module_of_the_working_directory_is_found_from_elsewhere(tmp_path, monkeypatch):
    package = tmp_path / "lab_in_folder"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "ideas.py").write_text("VALUE = 1\n")
    monkeypatch.chdir(tmp_path)
    import_plugin("lab_in_folder.ideas")
    kept = json.loads(json.dumps(imported()))
    assert kept["lab_in_folder.ideas"]["folder"] == str(tmp_path)
    code = (
        "import json, sys; from research.config.imports.recorded import import_recorded;"
        "print(import_recorded({'imports': json.loads(sys.argv[1])}), 'lab_in_folder.ideas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(kept)],
        capture_output=True,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(Path(loading.__file__).parents[3])},
    )
    assert done.stdout == "{} True\n", done.stderr


def test_options_the_variable_and_entry_points_are_all_imported(tmp_path, monkeypatch):
    for name in ("one", "two", "three", "four"):
        (tmp_path / f"imported_{name}.py").write_text("")
    one, two, three = (str(tmp_path / f"imported_{name}.py") for name in ("one", "two", "three"))
    monkeypatch.setenv(loading.VARIABLE, f"{one},{two}")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mine", "imported_four:anything", loading.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] * (group == loading.GROUP))
    import_all([three])
    assert list(imported()) == ["imported_four", one, two, three]
    loading.IMPORTED.clear()
    monkeypatch.setenv(loading.VARIABLE, f"{one}:{two}")
    import_all()
    assert list(imported()) == ["imported_four", one, two]


def test_an_entry_point_that_does_not_load_is_a_warning_once(tmp_path, monkeypatch):
    """It is installed, and this command may need none of its names."""
    (tmp_path / "broken_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mine", "broken_plugin", loading.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    with pytest.warns(LineageWarning, match=r"entry point mine: broken_plugin: ZeroDivision.*are not known"):
        import_all()
    import_all()
    assert imported() == {} and list(loading.FAILED) == ["broken_plugin"]
    assert "made with broken_plugin (ZeroDivisionError" in where_names_come_from({})


@pytest.mark.parametrize(
    "name, body, message",
    [
        ("gone.py", None, r"gone\.py: no such file"),
        ("broken.py", "x = 1\ndef f(:\n", r"broken\.py: invalid syntax \(.*broken\.py, line 2\)"),
        ("raises.py", "x = 1\n\n1 / 0\n", r"raises\.py: ZeroDivisionError: .*raises\.py, line 3\)"),
        ("exits.py", "raise SystemExit(0)\n", r"exits\.py: SystemExit: 0"),
        ("needs.py", "import nothing_of_this_name\n", r"needs\.py: ModuleNotFoundError: No module named '"),
        (
            "nothing_of_this_name.part",
            None,
            r"nothing_of_this_name\.part: no such module; expected one, or a file's path",
        ),
        ("research.nothing", None, r"research\.nothing: no such module; expected one, or a file's path"),
        (
            "taken.py",
            "from experiments.registry import experiment\n@experiment\ndef gpt2_tiny(): ...\n",
            r"taken\.py: experiment=gpt2_tiny: already registered by experiments\.tiny; choose another name",
        ),
        (
            "built_in.py",
            "from research.config.names import OPTIMIZERS\nOPTIMIZERS.register('adamw')(lambda *_: 0)\n",
            r"built_in\.py: optimizer\.name=adamw: already registered by research",
        ),
    ],
)
def test_a_fault_is_one_line_that_names_it(tmp_path, name, body, message):
    named = str(tmp_path / name) if name.endswith(".py") else name
    if body is not None:
        (tmp_path / name).write_text(body)
    with pytest.raises(UsageError, match=f"^--import .*{message}") as fault:
        import_plugin(named)
    assert "\n" not in str(fault.value) and imported() == {}


def recorded(path):
    import_plugin(str(path))
    record = {"imports": json.loads(json.dumps(imported()))}
    loading.IMPORTED.clear()
    return record


def test_an_unchanged_file_is_imported_again_without_a_word(plugin):
    record = recorded(plugin)
    assert import_recorded(record) == {} and list(imported()) == [str(plugin)]
    assert import_recorded({}) == {}


def test_a_changed_file_is_named_with_both_hashes(plugin):
    record = recorded(plugin)
    before = record["imports"][str(plugin)]["sha256"]
    plugin.write_text(plugin.read_text() + "# another idea\n")
    ((name, (old, new)),) = import_recorded(record).items()
    assert name == str(plugin) and old == before[:12] and len(new) == 12 and new != old


def test_as_quick_and_as_long_an_edit_is_seen(tmp_path):
    """Python takes a compiled file for current by its size and the second in which it was written."""
    path = tmp_path / "quick.py"
    for value in (1, 2):
        path.write_text(f"VALUE = {value}\n")
        loading.IMPORTED.clear()
        import_plugin(str(path))
        assert module_of(path).VALUE is value


def test_a_missing_file_is_known_again_where_it_was_moved(plugin, tmp_path_factory):
    record = recorded(plugin)
    elsewhere = plugin.rename(tmp_path_factory.mktemp("elsewhere") / "renamed.py")
    assert import_recorded(record)[str(plugin)][1] == "no such file"
    import_plugin(str(elsewhere))
    assert import_recorded(record) == {}  # the same bytes
    loading.IMPORTED.clear()
    edited = elsewhere.with_name(plugin.name)
    edited.write_text(elsewhere.read_text() + "# edited\n")
    import_plugin(str(edited))
    assert len(import_recorded(record)[str(plugin)][1]) == 12  # the same name, other bytes


def test_a_file_that_no_longer_loads_is_named_with_the_reason(plugin):
    record = recorded(plugin)
    plugin.write_text("1 / 0\n")
    assert "ZeroDivisionError" in import_recorded(record)[str(plugin)][1]
