"""Unmodified Go programs on an embedded API server; each is built once, or its tests are skipped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podpass.http.server import PortInUse, bind
from tests.kubeling.cluster import ring, serve
from tests.kubernetes_clients.command import CommandLineClient
from tests.kubernetes_clients.reference import SERVICE, ReferenceWebhook
from tests.lab.instance.kubectl import binaries
from tests.ports import exclusive_port
from tests.programs import built

__all__ = ["ring", "serve"]

# The reference listens on this port in any case.
_PORT = 9443
_PORT_SECONDS = 120
_TRIES = 5


@pytest.fixture(scope="session")
def webhook_binary() -> Path:
    return built("azwi-webhook")


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    return built("helm")


@pytest.fixture(scope="session")
def external_secrets_binary() -> Path:
    return built("external-secrets")


@pytest.fixture
async def live(serve: Callable[..., Any]) -> Any:
    """Run a cluster that resolves the reference's Service to this machine."""
    return await serve(services={SERVICE: f"https://127.0.0.1:{_PORT}"})


@pytest.fixture
def kubectl(live: Any) -> CommandLineClient:
    found = binaries()
    binary = found["machine"] or found["package"]
    if not binary:
        pytest.skip("kubectl is not installed")
    return CommandLineClient(Path(binary), live)


@pytest.fixture
def helm(helm_binary: Path, live: Any) -> CommandLineClient:
    return CommandLineClient(helm_binary, live)


@pytest.fixture
def reference_port() -> Iterator[None]:
    """Hold the reference's port: the peers suite runs the reference at the same time."""
    with exclusive_port(_PORT):
        yield


@pytest.fixture
async def reference(
    reference_port: None, webhook_binary: Path, live: Any, kubectl: CommandLineClient
) -> AsyncIterator[ReferenceWebhook]:
    """Run the reference's webhook; it is ready and has created its certificate."""
    assert reference_port is None
    program = ReferenceWebhook(webhook_binary, live, kubectl)
    await program.install()
    for _ in range(_TRIES):
        await _wait_for_port()
        async with program.running():
            if await program.ready():
                yield program
                return
    pytest.skip(f"port {_PORT} is in use in every attempt, and the reference can use no other port")


async def _wait_for_port() -> None:
    """Wait until no process listens on the reference's port; the reference needs it on all addresses."""
    for _ in range(_PORT_SECONDS):
        try:
            bind("0.0.0.0", _PORT).close()
        except PortInUse:
            await asyncio.sleep(1)
        else:
            return
    pytest.skip(f"port {_PORT} is in use, and the reference can use no other port")
