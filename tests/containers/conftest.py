"""One Docker Engine for all tests of this folder, with the images that a registry would have."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.installation import podpass_environment
from tests.containers import images
from tests.containers.engine import Engine, docker_engine, podman_engine
from tests.containers.programs import check_machine
from tests.node.programs import CannotRun
from tests.node.sandbox import left_by


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the archives of the images, or skip the test where no engine can run."""
    try:
        check_machine()
    except CannotRun as exc:
        pytest.skip(f"container engines: {exc}")
    folder = tmp_path_factory.mktemp("archives")
    others = [images.application_archive(folder), images.kubectl_archive(folder)]
    return [images.podpass_archive(), *others]


@pytest.fixture(scope="session")
def docker(archives: list[Path]) -> Iterator[Engine]:
    """Run Docker Engine; at its end, nothing of it may be left on the machine."""
    with docker_engine() as engine:
        for archive in archives:
            engine.load(archive)
        yield engine
    assert left_by(engine.sandbox.folder.name) == []


@pytest.fixture(scope="module")
def podman(archives: list[Path]) -> Iterator[Engine]:
    """Run podman's service; at its end, nothing of it may be left on the machine."""
    with podman_engine() as engine:
        for archive in archives:
            engine.load(archive)
        yield engine
    assert left_by(engine.sandbox.folder.name) == []


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the Python of an environment with podpass from its wheel, and Testcontainers."""
    folder = tmp_path_factory.mktemp("wheel")
    with podpass_environment(
        "testcontainers", folder, [], "[testcontainers]", "pytest>=8.4"
    ) as found:
        yield found
