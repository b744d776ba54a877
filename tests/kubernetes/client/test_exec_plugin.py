"""Credential plugins of a kubeconfig: run as kubectl runs them, with a real program and a real server."""

import asyncio
import json
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.kubernetes.client import BadKubeconfig, KubeClient, KubeError, read_kubeconfig
from podpass.kubernetes.client.exec_plugin import PluginFailed, parse_credential

V1 = "client.authentication.k8s.io/v1"
BETA = "client.authentication.k8s.io/v1beta1"
# Prints the next credential of a file, and records how it was called.
PROGRAM = """
import json, os, sys
from pathlib import Path
folder = Path(__file__).parent
runs = folder / "runs"
number = len(runs.read_text().splitlines()) if runs.exists() else 0
called = {"arguments": sys.argv[1:], "mine": os.environ.get("MINE"), "home": "PATH" in os.environ}
with runs.open("a") as file:
    file.write(json.dumps(called | {"info": json.loads(os.environ["KUBERNETES_EXEC_INFO"])}) + "\\n")
printed = json.loads((folder / "credentials").read_text())
print(json.dumps(printed[min(number, len(printed) - 1)]))
"""


def credential(version: str = V1, **status: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": "ExecCredential", "status": status}


def in_future(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def kubeconfig(server: Any, *credentials: dict[str, Any], **entry: Any) -> Path:
    """Write a kubeconfig whose plugin prints these credentials, one at each run."""
    plugin = server.folder / "plugin"
    plugin.write_text(f"#!{sys.executable}\n{PROGRAM}")
    plugin.chmod(stat.S_IRWXU)
    (server.folder / "credentials").write_text(json.dumps(credentials))
    given = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", **entry}
    path: Path = server.kubeconfig({"exec": given}, **{"tls-server-name": "kubernetes.example"})
    return path


def runs(server: Any) -> list[dict[str, Any]]:
    file = server.folder / "runs"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def authorization_headers(server: Any) -> list[str]:
    return [each.headers["authorization"] for each in server.requests]


@pytest.mark.parametrize("version", [V1, BETA])
async def test_token_of_the_plugin_is_sent_and_reused(server: Any, version: str) -> None:
    path = kubeconfig(
        server,
        credential(version, token="first", expirationTimestamp=in_future(600)),
        apiVersion=version,
        args=["get-token", "--login", "azurecli"],
        env=[{"name": "MINE", "value": "set"}],
        provideClusterInfo=True,
    )
    async with KubeClient.from_kubeconfig(path) as client:
        await client.get("/version")
        await client.get("/version")
    assert authorization_headers(server) == ["Bearer first"] * 2
    (run,) = runs(server)
    assert run["arguments"] == ["get-token", "--login", "azurecli"]
    assert (run["mine"], run["home"]) == ("set", True)
    info = run["info"]
    assert (info["kind"], info["apiVersion"]) == ("ExecCredential", version)
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == server.url
    assert info["spec"]["cluster"]["tls-server-name"] == "kubernetes.example"


async def test_requests_at_the_same_time_run_the_plugin_once(server: Any) -> None:
    path = kubeconfig(server, credential(token="first"), credential(token="second"))
    async with KubeClient.from_kubeconfig(path) as client:
        await asyncio.gather(*(client.get("/version") for _ in range(5)))
    assert authorization_headers(server) == ["Bearer first"] * 5
    assert len(runs(server)) == 1


async def test_expired_token_is_replaced_before_the_request(server: Any) -> None:
    path = kubeconfig(
        server,
        credential(token="first", expirationTimestamp=in_future(5)),
        credential(token="second", expirationTimestamp=in_future(600)),
    )
    async with KubeClient.from_kubeconfig(path) as client:
        await client.get("/version")
        await client.get("/version")
    assert authorization_headers(server) == ["Bearer first", "Bearer second"]


async def test_refused_token_is_replaced_once(server: Any) -> None:
    def refuse(_: Any) -> tuple[int, Any]:
        return (401, {"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized"})

    server.handler = refuse
    path = kubeconfig(server, credential(token="first"), credential(token="second"))
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(KubeError) as refused:
            await client.get("/version")
        assert refused.value.status == 401
        assert authorization_headers(server) == ["Bearer first", "Bearer second"]
        server.handler = lambda _: (200, {})
        await client.get("/version")
    assert len(runs(server)) == 3


async def test_client_certificate_of_the_plugin_is_used(server: Any, ca: trustme.CA) -> None:
    issued = ca.issue_cert("user.example", common_name="user")
    path = kubeconfig(
        server,
        credential(
            clientCertificateData=issued.cert_chain_pems[0].bytes().decode(),
            clientKeyData=issued.private_key_pem.bytes().decode(),
        ),
    )
    async with KubeClient.from_kubeconfig(path) as client:
        await client.get("/version")
    assert server.requests[0].client_name is not None
    assert "authorization" not in server.requests[0].headers


async def test_missing_plugin_is_reported_with_its_install_hint(server: Any) -> None:
    path = kubeconfig(server, command="no-such-plugin", installHint="install kubelogin\n")
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(PluginFailed, match="no-such-plugin is not installed") as failed:
            await client.get("/version")
    assert failed.value.hint == "install kubelogin"
    assert server.requests == []


async def test_failed_plugin_is_reported_and_nothing_is_sent(server: Any) -> None:
    path = kubeconfig(server, command=sys.executable, args=["-c", "raise SystemExit(7)"])
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(PluginFailed, match="exited with 7"):
            await client.get("/version")
    assert server.requests == []


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"hush",
        b"[]",
        json.dumps({"status": {"token": "hush"}}).encode(),
        json.dumps(credential(BETA, token="hush")).encode(),
        json.dumps(credential(token="hush", expirationTimestamp="soon")).encode(),
        json.dumps(credential(clientKeyData="hush")).encode(),
        json.dumps({**credential(), "status": None}).encode(),
    ],
)
def test_output_without_a_credential_is_refused_without_printing_it(output: bytes) -> None:
    with pytest.raises(PluginFailed) as failed:
        parse_credential(output, V1)
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "apiVersion"),
        ({"command": ""}, "a command"),
        ({"interactiveMode": "Always"}, "needs a terminal"),
    ],
)
def test_plugin_that_cannot_run_is_refused_when_the_kubeconfig_is_read(
    server: Any, monkeypatch: pytest.MonkeyPatch, entry: dict[str, str], words: str
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadKubeconfig, match=words):
        read_kubeconfig(kubeconfig(server, credential(token="x"), **entry))


def test_credential_is_not_in_a_repr(server: Any) -> None:
    assert "hush" not in repr(parse_credential(json.dumps(credential(token="hush")).encode(), V1))
    assert "hush" not in repr(read_kubeconfig(kubeconfig(server, credential(token="hush"))))


async def test_stream_that_is_refused_is_opened_again_with_a_newer_credential(server: Any) -> None:
    """A forwarder opens streams only: it would use the expired credential again and again."""
    path = kubeconfig(server, credential(token="expired"), credential(token="renewed"))
    server.handler = lambda request: (
        401 if request.headers["authorization"] == "Bearer expired" else 403,
        {},
    )
    async with KubeClient.from_kubeconfig(path) as client:
        with pytest.raises(KubeError, match="refused the stream with status 403"):
            await client.websocket("/stream", [], (), 5)
    assert authorization_headers(server) == ["Bearer expired", "Bearer renewed"]


async def test_stream_that_is_refused_twice_is_an_error(server: Any) -> None:
    server.handler = lambda _: (401, {})
    async with KubeClient.from_kubeconfig(kubeconfig(server, credential(token="t"))) as client:
        with pytest.raises(KubeError, match="refused the stream with status 401"):
            await client.websocket("/stream", [], (), 5)
    assert len(authorization_headers(server)) == 2
