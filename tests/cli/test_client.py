"""Notices and errors of requests to an instance name the service."""

import queue
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme

from podpass.cli import client, output
from podpass.cli.account_options import AccountOptions
from podpass.cli.azure_account import choose_kubeconfig
from podpass.cli.cluster import find_instance_kubeconfig
from podpass.errors import Error, UsageError
from podpass.lab.data.datadir import DataDir


@pytest.mark.parametrize(
    ("host", "service"),
    [("localhost", "the instance"), ("issuer.example", "issuer.example of this instance")],
)
def test_wait_notice_and_error_name_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, service: str
) -> None:
    printed: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(output, "_NOTICE_SECONDS", 0)
    monkeypatch.setattr(output, "print_message", printed.put)
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    notices: list[str] = []

    def close_connection(server: socket.socket) -> None:
        taken, _ = server.accept()
        notices.append(printed.get())
        taken.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=close_connection, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(Error, match=f"{service} does not respond on port {port}"):
            client.request(port, tmp_path / "ca.crt", "GET", "/", host=host)
        thread.join()
    assert notices == [f"waiting for {service} to respond on port {port}, for up to 30 seconds"]


def test_service_that_completes_no_handshake_is_reported_before_the_limit_of_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel accepts the connection of a process that does not run."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.crt")
    monkeypatch.setattr(client, "_HANDSHAKE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(client.NotResponding, match="did not respond on port"):
            client.request(port, tmp_path / "ca.crt", "GET", "/")


def test_command_that_needs_a_cluster_is_refused_for_the_cloud_half_alone(tmp_path: Path) -> None:
    status = {"kubernetes": {"kind": "external", "issuer": None}, "pids": {"podpass": 7}}
    with pytest.raises(client.NoCluster, match="it has no cluster and no console"):
        client.check_has_cluster(DataDir(tmp_path), status)
    client.check_has_cluster(DataDir(tmp_path), {"kubernetes": {"kind": "managed"}})


def test_cloud_half_alone_has_no_kubeconfig() -> None:
    external = {"kubernetes": {"kind": "external", "issuer": None}}
    assert find_instance_kubeconfig(external) is None
    found = find_instance_kubeconfig({"kubernetes": {"kubeconfig": "/d/kubeconfig"}})
    assert found == Path("/d/kubeconfig")


def test_instance_without_a_cluster_needs_a_kubeconfig() -> None:
    account = cast("Any", SimpleNamespace(is_instance=True, kubeconfig=None))
    with pytest.raises(UsageError, match="which has no cluster"):
        choose_kubeconfig(AccountOptions(), account)
    chosen = AccountOptions(kubeconfig="/d/kubeconfig")
    assert choose_kubeconfig(chosen, account) == Path("/d/kubeconfig")
