"""Go programs of other people, unmodified, on a live embedded API; each is built once, or skipped by name."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bench.peers.build import CannotBuild, built
from podpass.http.server import PortInUse, bind
from tests.kubernetes.conftest import ca, ring, serve
from tests.kubernetes_clients.command import Command
from tests.kubernetes_clients.reference import SERVICE, Reference
from tests.local.kubectl import binaries

__all__ = ["ca", "ring", "serve"]

# Where the reference listens, whatever it is told.
_PORT = 9443
_PORT_SECONDS = 120
_TRIES = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kubernetes)
            item.add_marker(pytest.mark.timeout(1800))


def _built(name: str) -> Path:
    try:
        return built(name)
    except CannotBuild as exc:
        pytest.skip(f"{name}: {exc}")


@pytest.fixture(scope="session")
def webhook_binary() -> Path:
    return _built("azwi-webhook")


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    return _built("helm")


@pytest.fixture
async def live(serve: Callable[..., Any]) -> Any:
    """A cluster that finds the reference's service on this machine."""
    return await serve(services={SERVICE: f"https://127.0.0.1:{_PORT}"})


@pytest.fixture
def kubectl(live: Any) -> Command:
    found = binaries()
    binary = found["machine"] or found["package"]
    if not binary:
        pytest.skip("no kubectl is here")
    return Command(Path(binary), live)


@pytest.fixture
def helm(helm_binary: Path, live: Any) -> Command:
    return Command(helm_binary, live)


@pytest.fixture
async def reference(webhook_binary: Path, live: Any, kubectl: Command) -> AsyncIterator[Reference]:
    """The reference's webhook, ready, with a certificate it made for itself."""
    program = Reference(webhook_binary, live, kubectl)
    await program.install()
    for _ in range(_TRIES):
        await _free()
        async with program.running():
            if await program.ready():
                yield program
                return
    pytest.skip(f"port {_PORT} is taken again and again, and the reference can listen nowhere else")


async def _free() -> None:
    """Wait until nobody else listens where the reference must."""
    for _ in range(_PORT_SECONDS):
        try:
            bind("127.0.0.1", _PORT).close()
        except PortInUse:
            await asyncio.sleep(1)
        else:
            return
    pytest.skip(f"port {_PORT} is taken, and the reference can listen nowhere else")
