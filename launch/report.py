"""A page of what came of runs."""

import json as json_
from pathlib import Path


def make_report(directories: list[Path], out: Path | None, json: bool) -> None:
    from research.reporting.facts import facts
    from research.reporting.page import write_page

    path = out or (directories[0] if len(directories) == 1 else Path()) / "report.html"
    found = facts(directories)
    write_page(found, path)
    names = [run["name"] for run in found["runs"]]
    if json:
        print(json_.dumps({"page": str(path), "runs": names}, indent=2))
    else:
        print(
            f"{path}  ({len(names)} run{'' if len(names) == 1 else 's'}, {path.stat().st_size / 1e6:.1f} MB)"
        )
