"""One instance on a real control plane for the whole folder."""

from collections.abc import Iterator

import pytest

from control_plane import plane
from journey.instance import Instance, started
from podpass.tools.local.control_plane.programs import ASSETS

REAL = ("--kubernetes", "kube-apiserver")


@pytest.fixture(scope="session")
def assets() -> Iterator[None]:
    """Let commands find a control plane, or skip."""
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
