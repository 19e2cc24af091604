"""The directory of caches: token stores, trained tokenizers, compiled programs."""

import os
from pathlib import Path


def home() -> Path:
    """`$LINEAGE_HOME`, or `lineage` in the platform's user cache directory."""
    if path := os.environ.get("LINEAGE_HOME"):
        return Path(path).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lineage"))
