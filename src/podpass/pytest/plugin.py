"""Options and fixtures of the pytest plugin."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from podpass.pytest.environment import TestEnvironment
    from podpass.pytest.instance import Podpass

_SHARED = "podpass_shared"
_SIGN_IN = "podpass_sign_in"
_EARLY = pytest.StashKey["Podpass"]()
_ENVIRONMENT = pytest.StashKey["TestEnvironment"]()
_NO_IDENTITY = """No identity is signed in for this test. If it needs one, add before its first client:
    podpass_env.sign_in(podpass.create_identity("web", accounts=["default/web"]))
or, for an identity of the seed:
    podpass_env.sign_in(podpass.identity("web"))"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options: a shared instance, and a ServiceAccount for modules that pytest imports."""
    what = "all workers of pytest-xdist use one instance, which is not reset between tests"
    group = parser.getgroup("podpass")
    group.addoption("--podpass-shared", action="store_true", dest=_SHARED, help=what)
    parser.addini(_SHARED, what, type="bool", default=False)
    what = (
        "the ServiceAccount, NAMESPACE/NAME, with whose identity modules create clients on import"
    )
    parser.addini(_SIGN_IN, what, default="")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """With `podpass_sign_in`, start the instance before pytest imports conftest.py and tests."""
    if account := early_config.getini(_SIGN_IN):
        if _is_shared(early_config):
            raise pytest.UsageError(
                f"{_SIGN_IN} needs an instance in each test process; remove {_SHARED}"
            )
        _sign_in(early_config, account)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
    """Add to the report of a failed test that no identity is signed in: the SDK lists only its attempts."""
    report = yield
    environment = item.stash.get(_ENVIRONMENT, None)
    # In the teardown the variables are already removed.
    if report.failed and call.when != "teardown" and environment and not environment.has_identity():
        report.sections.append(("podpass", _NO_IDENTITY))
    return report


def _sign_in(config: pytest.Config, account: str) -> None:
    """Start the instance of the session, and set the variables of an identity until its end."""
    import tempfile

    from podpass.pytest.environment import TestEnvironment
    from podpass.pytest.instance import Podpass

    parent = tempfile.TemporaryDirectory(prefix="podpass-")
    config.add_cleanup(parent.cleanup)
    running = Podpass.start(Path(parent.name))
    config.add_cleanup(running.stop)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    environment = TestEnvironment(running, patch, Path(parent.name))
    environment.use_gateway()
    # The seed, or the test, adds the federated credential that trusts the ServiceAccount.
    environment.sign_in(running.create_identity(account.rpartition("/")[2]), account=account)
    running.set_baseline()
    config.stash[_EARLY] = running


def _is_shared(config: pytest.Config) -> bool:
    known = config.known_args_namespace
    return bool(getattr(known, _SHARED, False) or config.getini(_SHARED))


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
    if running := config.stash.get(_EARLY, None):
        running.apply(podpass_seed)
        running.set_baseline()
        yield running
        return
    is_shared = _is_shared(config)
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
    request: pytest.FixtureRequest,
    podpass: "Podpass",
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> "TestEnvironment":
    """Route Azure's hosts to the instance in this process; `sign_in` chooses the identity."""
    from podpass.pytest.environment import TestEnvironment

    environment = TestEnvironment(podpass, monkeypatch, tmp_path)
    environment.use_gateway()
    request.node.stash[_ENVIRONMENT] = environment
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
