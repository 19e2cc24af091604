"""The place in an import's own code that an exception comes from."""

import sys
import traceback
from pathlib import Path

from research.config.imports import code, loading
from research.config.imports.loading import file_of


def own_line(error: BaseException) -> str | None:
    """'my_lab/optim.py, line 29': the last line of an import's code that an exception went through."""
    chain: BaseException | None = error
    while chain is not None:
        for frame in reversed(traceback.extract_tb(chain.__traceback__)):
            if _is_own(Path(frame.filename)):
                path = Path(frame.filename)
                short = path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path
                return f"{short}, line {frame.lineno}"
        chain = chain.__cause__ or chain.__context__
    return None


def _is_own(file: Path) -> bool:
    if any(kept.holds(file) for kept in loading.IMPORTED.values()):
        return True
    beside = any(kept.root in file.parents for kept in loading.IMPORTED.values())
    top = next((name for name, module in list(sys.modules.items()) if file_of(module) == file), "research")
    return beside and code.is_outside(top) and not code.is_installed(file)
