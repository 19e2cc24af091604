"""Where caches are: `$LINEAGE_HOME`, or the user's cache directory, if there is such a user."""

import platformdirs
import pytest

from research.errors import EnvironmentFault
from research.io.home import home


def test_a_user_without_a_home_gets_one_line(tmp_path, monkeypatch):
    """As in a container whose user is only a number."""

    def unknown(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_cache_dir", unknown)
    monkeypatch.delenv("LINEAGE_HOME", raising=False)
    with pytest.raises(EnvironmentFault, match="set LINEAGE_HOME"):
        home()
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path))
    assert home() == tmp_path
