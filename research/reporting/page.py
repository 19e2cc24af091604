"""One HTML page with its data, styles, scripts and Plotly inside. It opens offline."""

import json
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from research.errors import UsageError
from research.io.files import as_utf8, write_atomic

# In this order, because each uses those before it.
PARTS = (
    "format",
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
    """The page as a text."""
    from plotly.offline import get_plotlyjs

    folder = files("research.reporting") / "page"
    script = "\n".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in PARTS)
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(as_utf8(f"{facts['title']} · Lineage")),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        data=embedded(facts),
        plotly=get_plotlyjs(),
        script=script,
    )


def law_page(facts: Mapping[str, Any]) -> str:
    """The page of a fitted law as a text."""
    from plotly.offline import get_plotlyjs

    folder = files("research.reporting") / "page"
    return Template((folder / "law.html").read_text(encoding="utf-8")).substitute(
        title=escape(as_utf8(f"{facts['title']} · Lineage")),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        data=embedded(facts),
        plotly=get_plotlyjs(),
        script=(folder / "law.js").read_text(encoding="utf-8"),
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
