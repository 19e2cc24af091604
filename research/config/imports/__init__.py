"""Modules and files of other people that register experiments, optimizers, model parts … when imported.

`--import`, LINEAGE_IMPORT and the entry-point group `lineage.experiments` name them. A run's record keeps
their names, to import them again, and hashes of the code behind the names that the run uses. Standard
library only.
"""

from research.config.imports.editing import import_edited
from research.config.imports.loading import (
    GROUP,
    OPTION,
    VARIABLE,
    failed,
    import_all,
    import_plugin,
    imported,
    options,
)
from research.config.imports.own_code import own_line
from research.config.imports.recorded import (
    as_recorded,
    changed_imports,
    import_recorded,
    where_names_come_from,
)

__all__ = [
    "GROUP",
    "OPTION",
    "VARIABLE",
    "as_recorded",
    "changed_imports",
    "failed",
    "import_all",
    "import_edited",
    "import_plugin",
    "import_recorded",
    "imported",
    "options",
    "own_line",
    "where_names_come_from",
]
