"""The address and the hosts file for programs in pods that ignore proxy variables."""

import ipaddress
import socket
from pathlib import Path

import pytest

from podpass.database import Database
from podpass.http.server import bind
from podpass.lab.gateway import direct_tls
from podpass.lab.gateway.direct_tls import HostsFile, build_hosts, choose_address, try_listen
from podpass.lab.services import create_directory
from podpass.lab.services.vault.vaults import Vaults
from tests.lab.instance.instances import overwrite
from tests.waiting import eventually


def test_address_of_an_instance_is_a_loopback_host_address(tmp_path: Path) -> None:
    found = {choose_address(tmp_path / str(number)) for number in range(500)}
    assert len(found) > 450, "instances have different addresses"
    for address in map(ipaddress.ip_address, found):
        assert address in ipaddress.ip_network("127.254.0.0/16")
        assert str(address).rpartition(".")[2] not in ("0", "255")
    assert choose_address(tmp_path) == choose_address(tmp_path)


def test_port_that_cannot_be_opened_is_not_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with bind("127.254.9.9", 0) as other:
        monkeypatch.setattr(direct_tls, "HTTPS", other.getsockname()[1])
        assert try_listen("127.254.9.9") is None
    assert "direct_tls_unavailable" in caplog.messages


def test_hosts_of_the_instance_precede_those_of_the_system() -> None:
    text = build_hosts(
        "127.254.1.1", ["b.example", "a.example", "a.example"], "192.0.2.1 a.example\n"
    )
    assert text.splitlines()[1:] == [
        *("127.254.1.1 a.example", "127.254.1.1 b.example", "192.0.2.1 a.example")
    ]


async def test_hosts_file_changes_in_place_when_a_vault_is_added_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running pods have mounted the file: a new file of the same name would not reach them."""
    monkeypatch.setattr(direct_tls, "_MIN_SECONDS", 0.0)
    hosts = {"one.vault.azure.net"}

    async def list_hosts() -> set[str]:
        return hosts

    async with HostsFile(tmp_path / "hosts", "127.254.1.1", list_hosts) as file:
        mounted = file.path.open()
        assert "127.254.1.1 one.vault.azure.net\n" in mounted.read()

        def mounted_text() -> str:
            mounted.seek(0)
            return mounted.read()

        hosts |= {"two.vault.azure.net"}
        file.changed()
        await eventually(lambda: "127.254.1.1 two.vault.azure.net\n" in mounted_text())
        hosts -= {"one.vault.azure.net", "two.vault.azure.net"}
        file.changed()
        await eventually(lambda: "vault" not in mounted_text())
        assert mounted_text() == build_hosts("127.254.1.1", [], Path("/etc/hosts").read_text())
        mounted.close()
    assert socket.gethostbyname("localhost").startswith("127.")
    assert "localhost" in file.path.read_text()


async def test_failed_update_of_a_damaged_database_is_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The error's traceback contains the statements of the directory."""
    file = tmp_path / "podpass.db"
    async with create_directory(Database(f"sqlite:///{file}")) as directory:
        is_damaged = False

        async def list_hosts() -> list[str]:
            vaults = await directory.store(Vaults).list() if is_damaged else []
            return [vault.name for vault in vaults]

        async with HostsFile(tmp_path / "hosts", "127.254.1.1", list_hosts) as hosts:
            overwrite(file)
            is_damaged = True
            hosts.changed()
            await eventually(lambda: "hosts_file_update_failed" in caplog.messages)
    [record] = [each for each in caplog.records if each.msg == "hosts_file_update_failed"]
    assert record.exc_info is None
    assert vars(record)["reason"] == "the database is damaged"
    assert "podpass restore" in vars(record)["fix"]
