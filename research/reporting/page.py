"""One HTML page with its data, styles, scripts and Plotly inside. It opens offline."""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from research.errors import UsageError
from research.io.files import as_utf8, write_atomic

# In this order: each uses those before it.
PARTS = (
    "format",
    "look",
    "view",
    "axes",
    "charts",
    "legend",
    "tables",
    "samples",
    "summary",
    "seeds",
    "sweep",
    "page",
)
MADE_HERE = '<meta name="generator" content="Lineage">'


def page(facts: Mapping[str, Any]) -> str:
    """The page of runs or of a sweep, as text."""
    return _whole("page.html", PARTS, facts)


def law_page(facts: Mapping[str, Any]) -> str:
    """The page of a fitted law, as text."""
    return _whole("law.html", ("format", "look", "law"), facts)


def _whole(body: str, parts: Sequence[str], facts: Mapping[str, Any]) -> str:
    from plotly.offline import get_plotlyjs

    folder = files("research.reporting") / "page"
    text = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()}
    scripts = [(folder / "scripts" / f"{part}.js").read_text(encoding="utf-8") for part in parts]
    return Template(text["shell.html"]).substitute(
        title=escape(as_utf8(f"{facts['title']} · Lineage")),
        style=text["page.css"],
        body=text[body],
        data=embedded(facts),
        plotly=get_plotlyjs(),
        script="\n".join(scripts),
    )


def write_page(facts: Mapping[str, Any], path: Path, make: Callable[[Mapping[str, Any]], str] = page) -> None:
    """Writes the page to `path`. Raises UsageError rather than overwrite a file that is not a report."""
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; expected a file")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such directory")
    if path.exists() and MADE_HERE not in path.read_text(encoding="utf-8", errors="replace")[:500]:
        raise UsageError(f"{path}: exists and is not a report; choose another --out")
    write_atomic(path, make(facts))


def embedded(facts: Mapping[str, Any]) -> str:
    """JSON that is safe inside a <script>: no sample can end the element or begin another."""
    text = json.dumps(facts, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
