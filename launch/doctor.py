"""What this machine has: devices, versions, caches, and how to get what is missing."""

import importlib.util
import json as json_
import os
import shutil
from contextlib import suppress
from pathlib import Path

from research.io.home import home

EXTRAS = {
    "tf": ("tensorflow", "data sets whose builders need TensorFlow"),
    "parity": ("transformers", "the tests against PyTorch"),
    "test": ("pytest", "the tests"),
}


def diagnose(json: bool) -> None:
    from research.runs.record import environment

    facts = environment()
    facts["home"] = str(home())
    facts["caches"] = {path.name: _size(path) for path in sorted(home().glob("*")) if path.is_dir()}
    facts["free"] = shutil.disk_usage(_existing(home())).free
    facts["extras"] = {
        extra: importlib.util.find_spec(module) is not None for extra, (module, _) in EXTRAS.items()
    }
    if json:
        print(json_.dumps(facts, indent=2))
        return
    print(f"lineage   {facts['lineage']}, commit {facts['commit'] or 'unknown'}")
    print(f"devices   {', '.join(facts['devices'])}")
    print("packages  " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    print(f"home      {facts['home']}  ({facts['free'] / 1e9:.0f} GB free)")
    for name, size in facts["caches"].items():
        print(f"          {name}: {size / 1e6:.1f} MB")
    for extra, present in facts["extras"].items():
        need = "here" if present else f"missing: pip install 'lineage-lm[{extra}]'"
        print(f"extra     {extra} ({EXTRAS[extra][1]}): {need}")


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _size(directory: Path) -> int:
    """Its bytes. Others may write and remove files meanwhile: what has gone counts for nothing."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total
