"""Options and fixtures of the pytest plugin."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from podpass.pytest.environment import TestEnvironment
    from podpass.pytest.instance import Podpass

_SHARED = "podpass_shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that makes the workers of pytest-xdist share an instance."""
    what = "all workers of pytest-xdist use one instance, which is not reset between tests"
    group = parser.getgroup("podpass")
    group.addoption("--podpass-shared", action="store_true", dest=_SHARED, help=what)
    parser.addini(_SHARED, what, type="bool", default=False)


@pytest.fixture(scope="session")
def podpass_seed() -> Any:
    """Override this fixture to start the instance with a seed: a path, a text or a mapping."""
    return None


@pytest.fixture(scope="session")
def podpass_instance(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, podpass_seed: Any
) -> "Iterator[Podpass]":
    """Run one instance for the session of this process; `podpass` is the same with a reset after the test."""
    from podpass.pytest.instance import Podpass

    config = request.config
    is_shared = bool(config.getoption(_SHARED) or config.getini(_SHARED))
    base = tmp_path_factory.getbasetemp()
    if is_shared and hasattr(config, "workerinput"):
        base = base.parent  # that of the controller, which all workers have
    folder = base / "podpass-shared" if is_shared else tmp_path_factory.mktemp("podpass")
    running = Podpass.start(folder, podpass_seed, is_shared=is_shared)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def podpass(podpass_instance: "Podpass") -> "Iterator[Podpass]":
    """Use the instance, and reset it after the test."""
    try:
        yield podpass_instance
    finally:
        if not podpass_instance.is_shared:
            podpass_instance.reset()


@pytest.fixture
def podpass_env(
    podpass: "Podpass", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> "TestEnvironment":
    """Route Azure's hosts to the instance in this process; `sign_in` chooses the identity."""
    from podpass.pytest.environment import TestEnvironment

    environment = TestEnvironment(podpass, monkeypatch, tmp_path)
    environment.use_gateway()
    return environment


@pytest.fixture
def podpass_namespace(podpass: "Podpass") -> "Iterator[str]":
    """Create a namespace with a unique name; delete it after the test."""
    import uuid

    name = f"test-{uuid.uuid4().hex[:12]}"
    podpass.kubernetes.create_namespace(name)
    yield name
    if podpass.is_shared:
        podpass.kubernetes.delete("Namespace", name)
