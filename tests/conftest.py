"""What every test gets: a user's settings folder of its own, so that no real signing key is touched."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def settings_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which `swap` keeps the key of this installation; no test can undo this by its own monkeypatch."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CONFIG_HOME", str(folder))
        yield folder / "swap"
