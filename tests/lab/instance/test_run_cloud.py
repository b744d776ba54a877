"""The cloud half alone: one address for all of Azure's names, and the same cloud after a restart."""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from podpass.errors import SettingsError
from podpass.http.server import Limits, bind
from podpass.lab.data.datadir import DataDir, load_config, prepare
from podpass.lab.instance.run_cloud import start_parts
from podpass.servers import file_limits
from podpass.settings import CloudSettings
from tests.lab.instance.instances import overwrite
from tests.waiting import eventually

TENANT = "11111111-2222-4333-8444-555555555555"
SEED = "vaults: [{name: demo-vault, secrets: {greeting: hello}}]\nidentities: [{name: web}]\n"


class _Resolver(aiohttp.abc.AbstractResolver):
    """Leads every name to loopback, as the DNS of a cluster leads Azure's names to the Service."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": family,
                "proto": 0,
                "flags": 0,
            }
        ]

    async def close(self) -> None:
        pass


class Running:
    """A running cloud, and its address."""

    def __init__(self, data_dir: DataDir, status: dict[str, Any], port: int, health: int) -> None:
        self.data_dir, self.status = data_dir, status
        self.port, self.health = port, health

    async def get(
        self,
        host: str,
        path: str,
        more: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        source: str = "127.0.0.1",
    ) -> tuple[int, Any]:
        """Send a request as a pod does: by the name, at the one port, with the CA."""
        tls = ssl.create_default_context(cafile=str(self.data_dir.ca_file))
        connector = aiohttp.TCPConnector(resolver=_Resolver(), ssl=tls, local_addr=(source, 0))
        headers = {"Host": host, **(more or {})}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method, f"https://{host}:{self.port}{path}", headers=headers
            ) as response,
        ):
            return response.status, json.loads(await response.read())

    async def probe(self, path: str) -> int:
        return (await self.probe_text(path))[0]

    async def probe_text(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.health}{path}") as response,
        ):
            return response.status, await response.text()


@asynccontextmanager
async def run(
    folder: Path,
    seed: str | None = SEED,
    environ: Mapping[str, str] | None = None,
    more: Mapping[str, socket.socket] | None = None,
    **chosen: str,
) -> AsyncIterator[Running]:
    data_dir = DataDir(folder)
    prepare(data_dir)
    settings = replace(CloudSettings(data_dir=folder, tenant_id=TENANT), **chosen)  # type: ignore[arg-type]
    opened = {"tls": bind("127.0.0.1", 0), "health": bind("127.0.0.1", 0), **(more or {})}
    ports = [opened[name].getsockname()[1] for name in ("tls", "health")]
    async with AsyncExitStack() as stack:
        given = None if seed is None else (seed, "seed.yaml")
        status = await start_parts(
            stack,
            data_dir=data_dir,
            settings=settings,
            opened=opened,
            seed=given,
            environ=environ or {},
            progress=lambda _part, _detail: None,
        )
        yield Running(data_dir, status, *ports)


HEADER = "0123456789abcdef-web"


@asynccontextmanager
async def run_with_endpoint(folder: Path, **chosen: str) -> AsyncIterator[tuple[Running, int]]:
    """Run the cloud half with its managed identity endpoint; the identity `web` has a header value."""
    seed = (
        "identities: [{name: web}, {name: other}]\n"
        "vaults: [{name: demo-vault, secrets: {greeting: hello},"
        " access: [{identity: web, role: Key Vault Secrets User}]}]\n"
    )
    endpoint = bind("127.0.0.1", 0)
    environ = {"PODPASS_CLOUD_IDENTITY_HEADERS": f"web={HEADER}"}
    chosen = {"managed_identity_listen": "127.0.0.1:0", **chosen}
    async with run(folder, seed, environ, {"managed_identity": endpoint}, **chosen) as running:
        yield running, endpoint.getsockname()[1]


async def ask_endpoint(
    port: int, path: str, headers: Mapping[str, str], resource: str = "https://vault.azure.net"
) -> tuple[int, Any]:
    """Ask the managed identity endpoint for a token."""
    url = f"http://127.0.0.1:{port}{path}&resource={resource}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text.startswith("{") else text


APP_SERVICE = "/msi/token?api-version=2019-08-01"
IMDS = "/metadata/identity/oauth2/token?api-version=2018-02-01"
SECRET = "/secrets/greeting?api-version=7.4"


async def test_container_with_a_header_value_reads_the_secret_of_its_identity(
    tmp_path: Path,
) -> None:
    async with run_with_endpoint(tmp_path / "cloud") as (running, port):
        status, body = await ask_endpoint(port, APP_SERVICE, {"X-IDENTITY-HEADER": HEADER})
        assert status == 200, body
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        status, secret = await running.get("demo-vault.vault.azure.net", SECRET, bearer)
        assert (status, secret["value"]) == (200, "hello")
        assert (await ask_endpoint(port, APP_SERVICE, {"X-IDENTITY-HEADER": HEADER + "x"}))[
            0
        ] == 401
        # Header values exist, and no identity is assigned to the address.
        assert (await ask_endpoint(port, IMDS, {"Metadata": "true"}))[0] == 404


async def test_imds_endpoint_returns_a_token_of_the_assigned_identity(tmp_path: Path) -> None:
    async with run_with_endpoint(tmp_path / "cloud", managed_identities="web") as (running, port):
        status, body = await ask_endpoint(port, IMDS, {"Metadata": "true"})
        assert status == 200, body
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        status, _ = await running.get("demo-vault.vault.azure.net", SECRET, bearer)
        assert status == 200


async def test_invalid_header_value_is_refused_at_the_start_and_not_shown(tmp_path: Path) -> None:
    environ = {"PODPASS_CLOUD_IDENTITY_HEADERS": "web=short-value"}
    with pytest.raises(SettingsError, match="PODPASS_CLOUD_IDENTITY_HEADERS, entry 1") as caught:
        async with run(tmp_path / "cloud", None, environ):
            raise AssertionError("it must not start")
    assert "short-value" not in str(caught.value)


async def _keys(running: Running) -> list[str]:
    _, keys = await running.get("login.microsoftonline.com", "/common/discovery/v2.0/keys")
    return [each["kid"] for each in keys["keys"]]


async def test_cloud_serves_azure_by_name_and_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with run(tmp_path / "cloud") as running:
        assert running.status["tenant_id"] == TENANT
        path = f"/{TENANT}/v2.0/.well-known/openid-configuration"
        status, document = await running.get("login.microsoftonline.com", path)
        assert (status, document["issuer"]) == (
            200,
            f"https://login.microsoftonline.com/{TENANT}/v2.0",
        )
        # A browser of a container, and the page that explains an error, are led to a name that it can reach.
        sign_in = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize"
        assert document["authorization_endpoint"] == sign_in
        status, body = await running.get(
            "demo-vault.vault.azure.net", "/secrets/greeting?api-version=7.4"
        )
        assert (status, body["error"]["code"]) == (401, "Unauthorized")
        for host, path in (
            ("graph.microsoft.com", "/v1.0/servicePrincipals"),
            ("management.azure.com", "/subscriptions?api-version=2022-12-01"),
        ):
            assert (await running.get(host, path))[0] == 401
        with pytest.raises(aiohttp.ClientConnectorError):
            await running.get("later-vault.vault.azure.net", "/secrets/x?api-version=7.4")
        assert [await running.probe(path) for path in ("/healthz", "/readyz", "/")] == [
            200,
            200,
            404,
        ]
        keys, ca = await _keys(running), running.data_dir.ca_file.read_bytes()
    async with run(tmp_path / "cloud", seed=None) as again:
        assert await _keys(again) == keys
        assert again.data_dir.ca_file.read_bytes() == ca
        assert again.status["tenant_id"] == TENANT
        assert (await again.get("demo-vault.vault.azure.net", "/secrets?api-version=7.4"))[0] == 401


async def test_services_log_the_address_of_the_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway's own address says nothing about the pod that sends invalid requests."""
    path = f"/{TENANT}/oauth2/v2.0/token"
    async with run(tmp_path / "cloud") as running:
        with caplog.at_level(logging.INFO):
            for host, method, each in (
                ("login.microsoftonline.com", "POST", path),
                ("demo-vault.vault.azure.net", "GET", SECRET),
                ("graph.microsoft.com", "GET", "/v1.0/servicePrincipals"),
                ("management.azure.com", "GET", "/subscriptions?api-version=2022-12-01"),
            ):
                await running.get(host, each, method=method, source="127.0.0.2")
    found = [vars(each)["source"] for each in caplog.records if hasattr(each, "source")]
    assert found == ["127.0.0.2"] * 4


async def test_address_takes_only_its_share_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: a client connects to a service itself, or through the gateway, and says nothing."""
    monkeypatch.setattr(file_limits, "LIMITS", Limits(connections=6))
    async with run(tmp_path / "cloud") as running:
        services = load_config(running.data_dir).ports
        for name in ("vault", "azure", "authority", "control"):
            with ExitStack() as stack:
                held = [
                    socket.create_connection(("127.0.0.1", services[name]), 30, ("127.64.0.2", 0))
                    for _ in range(4)
                ]
                for each in held:
                    stack.enter_context(each)
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(held[-1].recv, 1)
                tls = ssl.create_default_context(cafile=str(running.data_dir.ca_file))
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", services[name], ssl=tls, server_hostname="localhost"
                )
                writer.close()
                if name == "vault":  # the gateway is not a client of its own
                    found, _ = await running.get("demo-vault.vault.azure.net", SECRET)
                    assert found == 401
                    with pytest.raises(aiohttp.ClientConnectionError):
                        await running.get("demo-vault.vault.azure.net", SECRET, source="127.64.0.2")


async def test_reset_returns_to_the_seed_and_refuses_earlier_tokens(tmp_path: Path) -> None:
    async with run(tmp_path / "cloud") as running:
        keys = await _keys(running)
        control = running.status["control"]
        assert await _apply(running, "vaults: [{name: later-vault}]") == 200
        assert (await running.get("later-vault.vault.azure.net", "/secrets?api-version=7.4"))[
            0
        ] == 401
        status, body = await ask_control(running, f"{control}/reset")
        assert (status, body.keys()) == (200, {"took_ms"})
        with pytest.raises(aiohttp.ClientConnectorError):
            await running.get("later-vault.vault.azure.net", "/secrets?api-version=7.4")
        assert (await running.get("demo-vault.vault.azure.net", "/secrets?api-version=7.4"))[
            0
        ] == 401
        assert not set(keys) & set(await _keys(running))
        # The control token is that of the data directory, which only the process and its owner can read.
        assert (await ask_control(running, f"{control}/reset", token="x"))[0] == 401
        assert await _apply(running, "vaults: [{name: later-vault}]") == 200


async def test_platform_and_issuer_of_a_seed_are_trusted_until_the_reset(tmp_path: Path) -> None:
    async with run(tmp_path / "cloud") as running:
        control = running.status["control"]
        issuers = running.data_dir.path("issuers.json")
        job = f"{control}/pipelines/jobs?job=github:contoso/app:pull_request"
        status, body = await ask_control(running, job)
        assert (status, "pipelines: [github]" in str(body)) == (400, True)
        assert (
            await _apply(running, "pipelines: [github]\nissuers: [{url: 'https://a.example'}]")
            == 200
        )
        status, body = await ask_control(running, job)
        assert (status, body.get("GITHUB_ACTIONS")) == (200, "true")
        assert "a.example" in issuers.read_text()
        for missing in ("folder", "ca_file"):
            entry = f"issuers: [{{url: 'https://b.example', {missing}: /missing}}]"
            assert await _apply(running, entry) == 400
        assert "b.example" not in issuers.read_text()
        assert (await ask_control(running, f"{control}/reset"))[0] == 200
        assert (await ask_control(running, job))[0] == 400
        assert "a.example" not in issuers.read_text()


async def test_reset_ends_a_job_of_a_platform_that_the_seed_enables(tmp_path: Path) -> None:
    async with run(tmp_path / "cloud", "pipelines: [github]") as running:
        control = running.status["control"]

        async def start_job() -> tuple[str, str]:
            url = f"{control}/pipelines/jobs?job=github:contoso/app:pull_request"
            _, job = await ask_control(running, url)
            return job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]

        async def request_token(url: str, bearer: str) -> int:
            path = url.removeprefix("https://management.azure.com")
            headers = {"Authorization": f"Bearer {bearer}"}
            return (await running.get("management.azure.com", path, headers))[0]

        before = await start_job()
        assert await request_token(*before) == 200
        assert (await ask_control(running, f"{control}/reset"))[0] == 200
        assert await request_token(*before) == 401
        assert await request_token(*await start_job()) == 200


async def test_damaged_database_fails_readiness_with_its_file_and_not_liveness(
    tmp_path: Path,
) -> None:
    async with run(tmp_path / "cloud") as running:
        path = running.data_dir.path("directory.db")
        overwrite(path)

        async def fails() -> str | None:
            status, text = await running.probe_text("/readyz")
            return text if status == 503 else None

        text = await eventually(fails)
        assert f"{path} cannot be used: file is not a database" in text
        assert "podpass restore FILE --replace" in text
        assert await running.probe("/healthz") == 200


async def test_identity_without_a_client_id_gets_the_same_one_in_every_new_folder(
    tmp_path: Path,
) -> None:
    found = []
    for name in ("first", "second"):
        async with run(tmp_path / name, seed="identities: [{name: web}]") as running:
            url = f"{running.status['control']}/identities"
            _, body = await ask_control(running, url, method="GET")
            found.append([(each["name"], each["client_id"]) for each in body["value"]])
    assert found[0] == found[1]
    assert found[0][0][0] == "web"


async def _apply(running: Running, seed: str) -> int:
    status, _ = await ask_control(running, f"{running.status['control']}/apply", seed)
    return status


async def ask_control(
    running: Running, url: str, body: str = "", token: str | None = None, method: str = "POST"
) -> tuple[int, Any]:
    own = load_config(running.data_dir).control_token.reveal()
    tls = ssl.create_default_context(cafile=str(running.data_dir.ca_file))
    headers = {"Authorization": f"Bearer {token or own}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=body.encode(), headers=headers, ssl=tls) as response,
    ):
        return response.status, json.loads(await response.read())


async def test_seed_with_issuer_cluster_is_refused_outside_a_cluster(tmp_path: Path) -> None:
    seed = "identities: [{name: web, federated_credentials: [{name: web, issuer: cluster, subject: b}]}]"
    with pytest.raises(Exception, match="this instance has no cluster"):
        async with run(tmp_path / "cloud", seed):
            raise AssertionError("it must not start")


def test_error_names_every_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="--listen") as caught:
        CloudSettings(
            data_dir=tmp_path,
            listen="x",
            tenant_id="y",
            propagation_seconds=-1,
            managed_identities="web",
            dns_address="x",
            dns_upstream="y",
            azurite="z",
        )
    for flag in (
        *("--managed-identities needs", "--dns-address needs", "--dns-upstream needs"),
        *("'x': must be IP addresses", "--dns-upstream 'y': must", "--azurite", "--listen"),
        *("--tenant-id y", "--propagation-delay -1"),
    ):
        assert flag in str(caught.value)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", None),
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
    ],
)
def test_address_of_the_upstream_dns_server_is_parsed(
    tmp_path: Path, given: str, found: tuple[str, int] | None
) -> None:
    settings = CloudSettings(data_dir=tmp_path, dns_listen=":53", dns_upstream=given)
    assert settings.find_upstream() == found


def test_resolver_listens_by_default_only_behind_a_service(tmp_path: Path) -> None:
    assert CloudSettings(data_dir=tmp_path).resolver_address == ""
    assert CloudSettings(data_dir=tmp_path, service="cloud").resolver_address == ":5353"
