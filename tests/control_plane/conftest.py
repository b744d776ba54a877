"""One instance with a real control plane for all tests of this folder."""

from collections.abc import Iterator

import pytest

from podpass.lab.cluster.control_plane.programs import ASSETS
from tests.control_plane import plane
from tests.journey.instance import Instance, started

REAL = ("--kubernetes", "kube-apiserver")


@pytest.fixture(scope="session")
def assets() -> Iterator[None]:
    """Set the environment of a control plane, or skip."""
    found = plane.environ()
    with pytest.MonkeyPatch.context() as patch:
        if folder := found.get(ASSETS):
            patch.setenv(ASSETS, folder)
        yield


@pytest.fixture(scope="session")
def real_instance(assets: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    assert assets is None
    with started(tmp_path_factory.mktemp("real"), *REAL) as running:
        yield running
