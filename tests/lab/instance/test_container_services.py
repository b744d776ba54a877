"""What the cloud half serves to containers without a cluster, with real sockets."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from podpass.http.server import serving
from podpass.lab.instance.run_cloud import find_system_upstream
from podpass.servers.listen import listen_for_queries
from tests.lab.instance.test_run_cloud import HEADER, Running, ask_control, ask_endpoint, run
from tests.lab.services.storage.recording_server import RecordingServer

SEED = """
identities: [{name: web}]
storage_accounts:
  - name: orders
    access: [{identity: web, role: Storage Blob Data Reader}]
vaults: [{name: demo-vault}]
dns_zones: [{name: example.test}]
"""
ACCOUNTS = "orders:a2V5IG9mIHRoZSBhY2NvdW50"
BLOBS = "orders.blob.core.windows.net"


class Served:
    """A running cloud with storage accounts, its resolver, and the server in Azurite's place."""

    def __init__(self, running: Running, azurite: RecordingServer, dns_port: int, msi: int) -> None:
        self.running, self.azurite = running, azurite
        self._dns_port, self._msi = dns_port, msi

    async def resolve(self, name: str) -> list[str]:
        """Return the addresses of a name, or the response code."""
        query = dns.message.make_query(name, "A")
        reply = await dns.asyncquery.udp(query, "127.0.0.1", 20, self._dns_port)
        found = [str(item) for rrset in reply.answer for item in rrset]
        return found or [dns.rcode.to_text(reply.rcode())]

    async def token(self) -> str:
        """Return a token for storage from the managed identity endpoint."""
        path = "/msi/token?api-version=2019-08-01"
        resource = "https://storage.azure.com"
        status, body = await ask_endpoint(self._msi, path, {"X-IDENTITY-HEADER": HEADER}, resource)
        assert status == 200, body
        return str(body["access_token"])


@asynccontextmanager
async def serve(folder: Path, **chosen: str) -> AsyncIterator[Served]:
    azurite = RecordingServer(chunks=[b'{"from": "azurite"}'])
    environ = {"AZURITE_ACCOUNTS": ACCOUNTS, "PODPASS_CLOUD_IDENTITY_HEADERS": f"web={HEADER}"}
    udp, tcp = listen_for_queries("--dns-listen", "127.0.0.1:0")
    with (
        socket.create_server(("127.0.0.1", 0)) as behind,
        socket.create_server(("127.0.0.1", 0)) as endpoint,
    ):
        more = {"dns_udp": udp, "dns_tcp": tcp, "managed_identity": endpoint}
        given: dict[str, Any] = {
            "azurite": f"blob=http://127.0.0.1:{behind.getsockname()[1]}",
            "dns_listen": "127.0.0.1:0",
            "managed_identity_listen": "127.0.0.1:0",
            **chosen,
        }
        async with serving(azurite, behind), run(folder, SEED, environ, more, **given) as running:
            yield Served(running, azurite, udp.getsockname()[1], endpoint.getsockname()[1])
    udp.close()
    tcp.close()


async def test_container_reads_a_blob_by_name_and_other_accounts_have_no_name(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path / "cloud", dns_upstream="127.0.0.1:1") as served:
        for name in (BLOBS, "demo-vault.vault.azure.net", "login.microsoftonline.com"):
            assert await served.resolve(name) == ["127.0.0.1"]
        for name in (
            "other.blob.core.windows.net",
            "-.blob.core.windows.net",
            "other.vault.azure.net",
            "www.example.test",
        ):
            assert await served.resolve(name) == ["NXDOMAIN"]
        # Azurite's other services are not served, so these names are those of the other server.
        assert await served.resolve("orders.queue.core.windows.net") == ["SERVFAIL"]
        bearer = {"Authorization": f"Bearer {await served.token()}", "x-ms-version": "2021-12-02"}
        assert await served.running.get(BLOBS, "/invoices/a", bearer) == (200, {"from": "azurite"})
        assert served.azurite.header("host") == [BLOBS]
        control = f"{served.running.status['control']}/storage"
        _, found = await ask_control(served.running, control, method="GET")
        assert found == {
            "accounts": ["orders"],
            "services": ["blob"],
            "azurite_accounts": ["orders"],
        }


async def test_resolver_answers_with_the_given_addresses(tmp_path: Path) -> None:
    given = "192.0.2.7, 192.0.2.8"
    async with serve(tmp_path / "cloud", dns_address=given) as served:
        assert sorted(await served.resolve(BLOBS)) == ["192.0.2.7", "192.0.2.8"]


async def test_ca_is_written_for_other_containers(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    async with run(tmp_path / "cloud", trust_dir=str(folder)) as running:
        assert (folder / "ca.crt").read_bytes() == running.data_dir.ca_file.read_bytes()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# a comment\nsearch example.org\nnameserver 127.0.0.11\noptions ndots:0\n", "127.0.0.11"),
        ("nameserver fd00::1\nnameserver 10.0.0.1\n", "fd00::1"),
        ("search example.org\nnameserver\n", None),
    ],
    ids=["docker", "several", "none"],
)
def test_dns_server_of_this_machine_is_found(tmp_path: Path, text: str, found: str | None) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert find_system_upstream(file) == (found and (found, 53))


def test_machine_without_a_configuration_has_no_dns_server(tmp_path: Path) -> None:
    assert find_system_upstream(tmp_path / "resolv.conf") is None
