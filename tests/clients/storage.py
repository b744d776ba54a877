"""Runs Azurite, Azure's emulator of blob storage, for the pods of an instance."""

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.clients import toolchains
from tests.journey.instance import Instance
from tests.ports import free_port

CONTAINER = "podpass"
START_SECONDS = 120


@contextmanager
def run_azurite(instance: Instance, folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Serve blobs with the instance's certificate; yield host and port.

    Azurite checks a token's issuer, audience and times, not its signature.
    """
    port = free_port()
    tls = instance.data_dir / "tls"
    command = [
        *toolchains.azurite(),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)),
        *("--oauth", "basic", "--cert", str(tls / "leaf.pem"), "--key", str(tls / "leaf.key")),
        *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
    ]
    with subprocess.Popen(
        command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, cwd=folder
    ) as running:
        try:
            wait_for(port, running)
            asyncio.run(_make_container(instance, f"https://127.0.0.1:{port}/devstoreaccount1"))
            yield f"127.0.0.1:{port}"
        finally:
            running.terminate()


async def _make_container(instance: Instance, account: str) -> None:
    """Create the container with a token of a pod's account, because not every library can create one."""
    scope = "https://storage.azure.com/.default"
    status, answer = await instance.exchange(
        instance.token("web"), correlation_id="container", scope=scope
    )
    assert status == 200, answer
    headers = {"authorization": f"Bearer {answer['access_token']}", "x-ms-version": "2021-12-02"}
    context = ssl.create_default_context(cafile=instance.status["ca_file"])
    url = f"{account}/{CONTAINER}?restype=container"
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, headers=headers, ssl=context) as made,
    ):
        assert made.status == 201, await made.text()


def wait_for(port: int, running: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens on a port."""
    for _ in range(START_SECONDS * 10):
        assert running.poll() is None, "azurite has exited"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("azurite did not start")
