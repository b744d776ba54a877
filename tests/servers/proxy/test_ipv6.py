"""A sidecar on a host without IPv4."""

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
    namespace.run("ip", "link", "set", "lo", "up")
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
