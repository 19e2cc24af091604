"""Imports whose files were edited since, as in a notebook that has been open for a while."""

import hashlib
import warnings

from research.config.imports import code, loading
from research.config.imports.loading import Import, import_plugin, is_file, named, same_file
from research.errors import LineageWarning, UsageError


def import_edited(name: str, source: str) -> None:
    """`import_plugin`, but executes a file again if it was edited since.

    Python keeps modules: a LineageWarning names those beside the import that were edited. Raises UsageError.
    """
    import_plugin(name, source)
    key = named(name) if named(name) in loading.IMPORTED else same_file(name)
    assert key is not None  # it is imported
    kept = loading.IMPORTED[key]
    if is_file(key) and _is_edited(kept):
        del loading.IMPORTED[key]
        try:
            import_plugin(name, source)
        except UsageError:
            loading.IMPORTED[key] = kept  # the next call tries again
            raise
        again = loading.IMPORTED[key]
        loading.IMPORTED[key] = again._replace(names=kept.names | again.names)
    for file in code.edited():
        if kept.root in file.parents:
            text = f"{file}: edited since it was imported; restart Python to use it"
            warnings.warn(text, LineageWarning, stacklevel=3)


def _is_edited(kept: Import) -> bool:
    file = kept.file
    return (
        file is not None and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != kept.sha256
    )
