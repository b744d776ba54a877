"""One cluster of kubeling for all programs; after each test its objects are those of the start."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kubeling
from tests.kubeling_peers.command import Command

# Programs of this machine that stand for images of the charts and of the suites.
_IMAGES = {
    "gcr.io/google_containers/pause": ["sleep", "infinity"],
    "nginx": [sys.executable, "-m", "http.server", "80"],
}


@pytest.fixture(scope="session")
def container_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder on the PATH of every container; tests link programs into it."""
    folder = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield folder


@pytest.fixture(scope="session")
def kubeling_options(container_programs: Path) -> dict[str, Any]:
    assert container_programs.is_dir()
    return {"images": _IMAGES}


@pytest.fixture
def cluster(kubeling_reset: kubeling.Cluster) -> kubeling.Cluster:
    return kubeling_reset


@pytest.fixture
def command(cluster: kubeling.Cluster, tmp_path: Path) -> Callable[..., Command]:
    """Return a function that makes a command line client of the cluster."""
    (tmp_path / "home").mkdir()
    variables = os.environ | cluster.env() | {"HOME": str(tmp_path / "home")}
    return lambda *words: Command([str(word) for word in words], variables)
