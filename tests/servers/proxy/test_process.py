"""`podpass proxy` as a process: an Azure SDK reads a secret through it; bad settings; a graceful stop."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.lab.instance.instances import CLIENT, Podpass
from tests.ports import free_port
from tests.run_program import run_text

StartProxy = Callable[..., tuple[subprocess.Popen[str], int]]

pytestmark = pytest.mark.processes

READ_SECRET = """
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
for client_id in (None, "{client}"):
    credential = ManagedIdentityCredential(client_id=client_id)
    client = SecretClient("https://tools-vault.vault.azure.net", credential)
    print(client.get_secret("greeting").value)
"""


@pytest.fixture
def environ(running: Podpass, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a pod whose token the instance trusts."""
    running("run", "--", "kubectl", "create", "serviceaccount", "web")
    command = ("kubectl", "create", "token", "web", "--audience", "api://AzureADTokenExchange")
    token = running("run", "--", *command)
    (tmp_path / "token").write_text(token.stdout)
    lines = running("run", "--", "env").stdout.splitlines()
    return {
        **dict(line.split("=", 1) for line in lines if "=" in line),
        "AZURE_TENANT_ID": running.status()["tenant_id"],
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
    }


@pytest.fixture
def proxy(running: Podpass, environ: dict[str, str]) -> Iterator[StartProxy]:
    """Return a function that starts a sidecar and waits until it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(*flags: str) -> tuple[subprocess.Popen[str], int]:
        port = free_port()
        command = running.command("proxy", "--proxy-port", str(port), *flags)
        child = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        started.append(child)
        ready = running("proxy", f"--proxy-port={port}", "--probe")
        assert ready.returncode == 0, ready.stderr
        return child, port

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_managed_identity_credential_reads_a_secret_through_the_sidecar(
    proxy: StartProxy, environ: dict[str, str]
) -> None:
    child, port = proxy("--log-level=info")
    host = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{port}"}
    done = run_text(
        [sys.executable, "-c", READ_SECRET.format(client=CLIENT)], env={**environ, **host}
    )
    assert done.stdout.split() == ["hello", "hello"], done.stderr
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert child.returncode == 0
    # The migration guide of AKS shows these lines.
    assert {
        "starting the proxy server",
        "received readyz request",
        "received token request",
        "successfully acquired token",
        "received shutdown signal",
    } <= set(events)
    assert environ["AZURE_FEDERATED_TOKEN_FILE"] not in errors


@pytest.mark.parametrize(
    ("flags", "changes", "message"),
    [
        ((), {"AZURE_TENANT_ID": ""}, "AZURE_TENANT_ID not set"),
        ((), {"AZURE_FEDERATED_TOKEN_FILE": ""}, "AZURE_FEDERATED_TOKEN_FILE not set"),
        (("--proxy-port=70000",), {}, "--proxy-port '70000'"),
        (("--log-level=loud",), {}, "--log-level 'loud'"),
        (("--nosuch",), {}, "--nosuch: unknown flag"),
        ((), {"AZURE_KUBERNETES_TOKEN_PROXY": "http://x"}, "must be an https URL"),
        ((), {"AZURE_KUBERNETES_TOKEN_PROXY": "https://a:b@x"}, "must not contain a user"),
        ((), {"AZURE_KUBERNETES_SNI_NAME": "x"}, "AZURE_KUBERNETES_TOKEN_PROXY not set"),
        ((), {"AZURE_TENANT_ID": "a/b"}, "AZURE_TENANT_ID must be a GUID or a domain name"),
        ((), {"AZURE_AUTHORITY_HOST": "http://x"}, "AZURE_AUTHORITY_HOST must be an https URL"),
        ((), {"https_proxy": "socks5://x:1"}, "HTTPS_PROXY must be an http URL"),
    ],
)
def test_invalid_setting_is_reported_at_the_start(
    podpass: Podpass, flags: tuple[str, ...], changes: dict[str, str], message: str
) -> None:
    environ = {"AZURE_TENANT_ID": CLIENT, "AZURE_FEDERATED_TOKEN_FILE": "/nowhere", **changes}
    done = podpass("proxy", *flags, env=environ)
    assert done.returncode != 0
    assert message in done.stderr


def test_port_in_use_is_reported(
    proxy: StartProxy, running: Podpass, environ: dict[str, str]
) -> None:
    _, port = proxy()
    done = running("proxy", f"--proxy-port={port}", env=environ)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_probe_without_a_sidecar_fails(podpass: Podpass) -> None:
    """Another program has the port; without any, the probe would wait longer."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever).start()
        port = other.server_port
        done = podpass("proxy", f"--proxy-port={port}", "--probe", env=dict(os.environ))
        other.shutdown()
    assert done.returncode == 1
    assert "failed to probe: /readyz answered 501" in done.stderr
