"""The images that the tests of one worker share (tests/suite_policy.py)."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.image_root import open_layer, run_script


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the archive of the image with all commands, and its digest."""
    file = tmp_path_factory.mktemp("archive") / "podpass.tar"
    return file, run_script("archive", str(file))


@pytest.fixture(scope="session")
def root(archive: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root file system of the archive, extracted from its layer with all modes."""
    folder = tmp_path_factory.mktemp("image") / "root"
    with open_layer(archive[0]) as layer:
        layer.extractall(folder, filter="fully_trusted")
    return folder


@pytest.fixture(scope="session")
def target_root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that assembles the root file system of one process once."""

    @functools.cache
    def make(name: str) -> Path:
        made = tmp_path_factory.mktemp("target") / "root"
        run_script("target", name, str(made))
        return made

    return make
