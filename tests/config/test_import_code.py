"""Of other people's code a record keeps what is behind the names that the run uses, file by file."""

import importlib
import itertools
import json
import subprocess
import sys

import pytest

import experiments
from research.config.imports import loading
from research.config.imports.loading import import_plugin
from research.config.imports.own_code import own_line
from research.config.imports.recorded import as_recorded, import_recorded
from research.config.settings import override, to_json
from research.errors import UsageError

NUMBERS = itertools.count()
RULE = '''
from research.config.names import OPTIMIZERS
from {lab}.factors import factor

def unused(): return 3

@OPTIMIZERS.register("{lab}_rule")
def rule(config, rate):
    """A rule."""
    return factor() * 2.0

@OPTIMIZERS.register("{lab}_other")
def other(config, rate): return 5
'''
EXPERIMENT = """
from experiments.registry import experiment

@experiment
def {lab}_one(): ...
"""


@pytest.fixture(autouse=True)
def nothing_imported(monkeypatch):
    monkeypatch.setattr(loading, "IMPORTED", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(loading.VARIABLE, raising=False)


class Lab:
    """A package of a name of its own: a rule, which needs factors.py, and an experiment."""

    def __init__(self, folder):
        self.name, self.path = f"lab_{next(NUMBERS)}", folder
        self.write("__init__", "from {lab} import rule, tried\n")
        self.write("rule", RULE)
        self.write("factors", "def factor(): return 1.0\n")
        self.write("tried", EXPERIMENT)

    def file(self, module):
        return self.path / self.name / f"{module}.py"

    def write(self, module, text):
        self.file(module).parent.mkdir(exist_ok=True)
        self.file(module).write_text(text.replace("{lab}", self.name))

    def edit(self, module, old, new):
        before = self.file(module).read_text()
        assert old in before
        self.write(module, before.replace(old, new))

    def record(self, **settings):
        tiny = experiments.get("gpt2_tiny")
        if "optimizer" in settings:
            tiny = override(tiny, {"optimizer.name": settings["optimizer"]})
        declared = to_json(tiny)
        return json.loads(json.dumps({"experiment": declared, "imports": as_recorded(declared)}))

    def changes(self, record):
        """As another process finds them."""
        code = "import json, sys; from research.config.imports.recorded import import_recorded; "
        code += "print(json.dumps(import_recorded(json.loads(sys.argv[1]))))"
        done = subprocess.run(
            [sys.executable, "-B", "-c", code, json.dumps(record)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    made = Lab(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    import_plugin(made.name)
    return made


def test_a_record_has_the_files_behind_the_names_in_use(lab):
    (kept,) = lab.record(optimizer=f"{lab.name}_rule")["imports"].values()
    assert kept["files"].keys() == {f"{lab.name}/{name}.py" for name in ("__init__", "rule", "factors")}
    (kept,) = lab.record()["imports"].values()
    assert kept["files"] == {}


@pytest.mark.parametrize(
    "module, old, new, refused",
    [
        ("factors", "1.0", "1.5", True),
        ("rule", "2.0", "3.0", True),
        ("rule", "rule(config, rate):", "rule(config, rate=1):", True),
        ("rule", "A rule.", "A good rule.", False),
        ("rule", "def unused(): return 3", "\n# a thought\nLIMIT = 4\ndef unused(): return LIMIT", False),
        ("rule", "return 5", "return 6", False),
        ("tried", "_one(): ...", "_one(): ...\n@experiment\ndef {lab}_two(): ...", False),
        ("factors", "1.0", "(1.0)  # the same", False),
        ("factors", "def", "import os\ndef", False),
        ("factors", "factor(): return 1.0", "other(): ...\nfactor = abs", True),
        ("__init__", "import rule", "import factors, rule", False),
    ],
)
def test_a_change_counts_where_the_run_uses_it(lab, module, old, new, refused):
    record = lab.record(optimizer=f"{lab.name}_rule")
    assert lab.changes(record) == {}
    lab.edit(module, old, new)
    places = {f"{lab.name} ({lab.name}/{module}.py)"} if refused else set()
    assert lab.changes(record).keys() == places


def test_what_is_gone_counts_where_the_run_used_it(lab):
    used, unused = lab.record(optimizer=f"{lab.name}_rule"), lab.record()
    lab.file("factors").unlink()
    assert "No module named" in lab.changes(used)[lab.name][1]
    assert lab.changes(unused) == {}


def test_an_entry_point_is_in_the_record_of_a_run_that_uses_it(lab):
    kept = loading.IMPORTED[lab.name]
    loading.IMPORTED[lab.name] = kept._replace(asked=False)
    assert lab.record()["imports"] == {}
    assert lab.record(optimizer=f"{lab.name}_rule")["imports"].keys() == {lab.name}


def test_a_file_has_the_siblings_that_it_imports(lab, tmp_path):
    """Also where they register its names."""
    single = tmp_path / f"single_{lab.name}.py"
    single.write_text(f"import {lab.name}\n")
    loading.IMPORTED.clear()
    for name in [name for name in sys.modules if name.startswith(lab.name)]:
        del sys.modules[name]
    import_plugin(str(single))
    record = lab.record(optimizer=f"{lab.name}_rule")
    assert f"{lab.name}/factors.py" in record["imports"][str(single)]["files"]
    lab.edit("factors", "1.0", "1.5")
    assert lab.changes(record).keys() == {f"{single} ({lab.name}/factors.py)"}


def test_a_file_that_registers_nothing_counts_by_itself(tmp_path):
    patch = tmp_path / "patch.py"
    patch.write_text("import math\nmath.idea = 7\n")
    import_plugin(str(patch))
    lab = Lab(tmp_path)
    record = lab.record()
    patch.write_text("import math\nmath.idea = 7  # seven\n")
    assert lab.changes(record) == {}
    patch.write_text("import math\nmath.idea = 8\n")
    assert lab.changes(record).keys() == {str(patch)}


def test_a_module_and_its_file_are_one_import(lab):
    import_plugin(str(lab.file("rule")))
    import_plugin(f"{lab.name}.rule")
    assert list(loading.imported()) == [lab.name, str(lab.file("rule"))]
    import_plugin(f"{lab.path / lab.name}/")  # a folder, as a shell completes it
    assert len(loading.imported()) == 2
    with pytest.raises(UsageError, match=r"a folder without __init__\.py; expected a package"):
        import_plugin(f"{lab.path}/")


def test_a_record_by_path_serves_where_the_module_is_named(tmp_path, monkeypatch):
    name = f"lab_{next(NUMBERS)}"
    path = tmp_path / f"{name}.py"
    path.write_text(f"from research.config.names import OPTIMIZERS\nOPTIMIZERS.register('{name}')(print)\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_plugin(name)
    assert import_recorded({"imports": {str(path): {"sha256": "a", "files": {}}}}) == {}
    assert list(loading.imported()) == [name]


def test_the_line_of_an_error_is_that_of_own_code(lab):
    lab.write("broken", "import math\n\ndef fails(): return math.sqrt(-1)\n")
    module = importlib.import_module(f"{lab.name}.broken")
    with pytest.raises(ValueError) as fault:
        module.fails()
    assert own_line(fault.value) == f"{lab.file('broken')}, line 3"
    with pytest.raises(ValueError) as fault:
        int("no")
    assert own_line(fault.value) is None
