"""Fixtures: keys that are created once and copied for each test."""

import shutil
from pathlib import Path

import pytest

from podpass.assertion.keys import KeyRing


@pytest.fixture(scope="session")
def first_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ring")
    KeyRing.open(folder)
    return folder


@pytest.fixture
def folder(first_key: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first_key, tmp_path / "keys")


@pytest.fixture
def ring(folder: Path) -> KeyRing:
    return KeyRing.open(folder)
