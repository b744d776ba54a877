"""A sidecar on a host without IPv4, and the redirection in a pod that has only IPv6 addresses."""

from pathlib import Path

import pytest

from tests.servers.proxy.namespace import Namespace

pytestmark = pytest.mark.processes

ASK = """
import http.client
connection = http.client.HTTPConnection("::1", 8000, timeout=60)
connection.request("GET", "/metadata/identity/oauth2/token?resource=a")
print(connection.getresponse().read().decode())
"""


def test_sidecar_listens_on_the_ipv6_loopback_of_a_host_without_ipv4(
    namespace: Namespace, tmp_path: Path
) -> None:
    namespace.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    namespace.run("ip", "route", "add", "unreachable", "127.0.0.0/8")
    (tmp_path / "token").write_text("x")
    pod = {
        "AZURE_TENANT_ID": "11111111-1111-4111-8111-111111111111",
        "AZURE_CLIENT_ID": "11111111-1111-4111-8111-111111111111",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_AUTHORITY_HOST": "https://[::1]:1/",
    }
    with namespace.start("-m", "podpass.cli", "proxy", **pod):
        probe = namespace.podpass("proxy", "--probe")
        assert probe.returncode == 0, probe.stderr
        answer = namespace.run("/usr/bin/python3", "-c", ASK).stdout
        assert "https://[::1]:1/" in answer
        assert "cannot be reached: ConnectionRefusedError" in answer


CONNECT = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 8000))
try:
    connection = socket.create_connection(("169.254.169.254", 80), timeout=60)
except OSError as exc:
    sys.exit(exc.strerror)
print(connection.getsockname()[0], "reaches", listener.accept()[0].getsockname()[0])
"""


def test_redirection_works_in_a_pod_with_ipv6_addresses_only(namespace: Namespace) -> None:
    namespace.run("ip", "link", "add", "eth0", "type", "bridge")
    namespace.run("ip", "address", "add", "fd00::2/64", "dev", "eth0", "nodad")
    namespace.run("ip", "link", "set", "eth0", "up")
    namespace.run("ip", "route", "add", "::/0", "dev", "eth0")
    before = namespace.run("/usr/bin/python3", "-c", CONNECT)
    assert before.stderr == "Network is unreachable\n"
    done = namespace.podpass("proxy-init")
    assert (done.returncode, done.stderr) == (
        0,
        "added a route to 169.254.169.254: the pod had none\n",
    )
    assert (
        namespace.run("/usr/bin/python3", "-c", CONNECT).stdout == "127.0.0.1 reaches 127.0.0.1\n"
    )
    again = namespace.podpass("proxy-init")
    assert (again.returncode, again.stderr, again.stdout) == (0, "", done.stdout)


def test_route_that_cannot_be_added_fails_the_init_container(namespace: Namespace) -> None:
    namespace.run("ip", "link", "set", "lo", "down")
    done = namespace.podpass("proxy-init")
    assert done.returncode == 1
    assert "podpass: cannot add a route to 169.254.169.254: Network is down" in done.stderr
    assert "the loopback interface of the pod must be up" in done.stderr


def test_pod_with_ipv4_keeps_its_routes(namespace: Namespace) -> None:
    namespace.run("ip", "route", "add", "169.254.0.0/16", "dev", "lo")
    before = namespace.run("ip", "route").stdout
    done = namespace.podpass("proxy-init")
    assert (done.returncode, done.stderr) == (0, "")
    assert namespace.run("ip", "route").stdout == before
