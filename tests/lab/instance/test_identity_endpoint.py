"""The managed identity endpoint with a real directory and token service, over HTTP."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from azure.identity import ClientAssertionCredential, ManagedIdentityCredential

from podpass import clock
from podpass.crypto import jose
from podpass.crypto.secret import Secret
from podpass.database import DatabaseFailed
from podpass.diagnose.explain.recognition import recognize
from podpass.directory.model import Identity
from podpass.http.server import bind, serving
from podpass.lab.instance import identity_endpoint
from tests.exchange import managed_identity_tokens
from tests.exchange.conftest import key_folders, start, world
from tests.exchange.world import Start, World

__all__ = ["key_folders", "start", "world"]

IMDS = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
APP_SERVICE = "/msi/token?api-version=2019-08-01&resource=https://vault.azure.net"
METADATA = {"Metadata": "true"}
SECOND = "33333333-3333-4333-8333-333333333344"
HEADERS = {
    World.MIRID: Secret("0123456789abcdef-web"),
    f"{World.MIRID}2": Secret("0123456789abcdef-second"),
}
WEB, OF_SECOND = ({"X-IDENTITY-HEADER": value.reveal()} for value in HEADERS.values())


@dataclass
class Endpoint:
    """A running endpoint."""

    origin: str
    session: aiohttp.ClientSession

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Any]:
        url = f"http://{self.origin}{path}"
        async with self.session.request(method, url, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text

    async def client(self, path: str, headers: Mapping[str, str]) -> str:
        """Return the client ID in the token of a request that must succeed."""
        status, body = await self.get(path, headers)
        assert status == 200, body
        return str(jose.parse(body["access_token"]).claims["appid"])


@asynccontextmanager
async def running(
    world: World,
    *,
    assigned: Sequence[str] = (),
    headers: Mapping[str, Secret] | None = None,
    hosts: Collection[str] = (),
    address: str = "127.0.0.1",
) -> AsyncIterator[Endpoint]:
    app = identity_endpoint.create_app(
        world.directory,
        world.app.managed_identities,
        world.TENANT,
        world.clock,
        assigned=assigned,
        headers=headers or {},
        hosts=hosts,
    )
    async with AsyncExitStack() as stack:
        sock = bind(address, 0)
        await stack.enter_async_context(serving(app, sock))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Endpoint(f"{address}:{sock.getsockname()[1]}", session)


async def add_second(world: World, name: str = "second") -> Identity:
    """Add a second managed identity."""
    web = await world.directory.find_identity(world.TENANT, world.CLIENT)
    assert web is not None
    second = replace(
        web,
        client_id=SECOND,
        object_id="55555555-5555-4555-8555-555555555566",
        name=name,
        resource_id=f"{web.resource_id}2",
        credentials=(),
    )
    await world.directory.identities.put(second)
    return second


async def test_imds_uses_the_only_identity_by_default(world: World) -> None:
    async with running(world) as endpoint:
        status, body = await endpoint.get(IMDS, METADATA)
    assert status == 200
    claims = jose.parse(body["access_token"]).claims
    assert claims["appid"] == body["client_id"] == world.CLIENT
    assert claims["xms_mirid"] == world.MIRID
    assert body["expires_on"] == str(claims["exp"])
    assert (body["resource"], body["token_type"]) == ("https://vault.azure.net", "Bearer")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "Required metadata header not specified"),
        ({"Metadata": "false"}, "Required metadata header not specified"),
        ({"Metadata": "true", "X-Forwarded-For": "192.0.2.1"}, "X-Forwarded-For are refused"),
        ({"Metadata": "true", "X-Forwarded-For": ""}, "X-Forwarded-For are refused"),
    ],
)
async def test_forwarded_request_and_request_without_metadata_header_are_refused(
    world: World, headers: Mapping[str, str], text: str
) -> None:
    async with running(world) as endpoint:
        status, body = await endpoint.get(IMDS, headers)
    assert (status, body["error"]) == (400, "invalid_request")
    assert text in body["error_description"]


@pytest.mark.parametrize(
    "host",
    [
        *("rebound.example.com", "rebound.example.com.:80", "127.0.0.1.nip.io", "8.b.d.ip6.arpa"),
        # A network gives such names, too: by mDNS, by a search domain, by the DNS server of a router.
        *("rebound", "rebound.local", "rebound.internal", "rebound.test", "a_b.c_d", "podpass.svc"),
        *("127.0.0.2", "10.0.0.1", "[::2]", "localhost.", "podpass.", ""),
    ],
)
async def test_request_for_another_host_is_refused(world: World, host: str) -> None:
    chosen: dict[str, Any] = {"headers": HEADERS, "assigned": (World.MIRID,), "hosts": ["podpass"]}
    async with running(world, **chosen) as endpoint:
        status, body = await endpoint.get(IMDS, {**METADATA, "Host": host})
        # The secret header proves the caller.
        assert await endpoint.client(APP_SERVICE, {**WEB, "Host": host}) == world.CLIENT
    assert (status, body["error"]) == (400, "invalid_request")
    assert "Host header is not a host of this endpoint" in body["error_description"]
    assert "--managed-identity-hosts" in body["error_description"]


@pytest.mark.parametrize("path", [IMDS, APP_SERVICE])
@pytest.mark.parametrize("encoded", ["%2f", "%2F"])
async def test_path_with_an_encoded_slash_is_not_found(
    world: World, path: str, encoded: str
) -> None:
    """The attack: bypass a proxy in front of the endpoint that refuses the path of the protocol."""
    first, _, rest = path[1:].partition("/")
    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        assert (await endpoint.get(path, METADATA | WEB))[0] == 200
        host, _, port = endpoint.origin.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = "".join(f"{name}: {value}\r\n" for name, value in (METADATA | WEB).items())
        target = f"/{first}{encoded}{rest}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {endpoint.origin}\r\n{head}\r\n".encode())
        assert (await reader.readline()).split()[1] == b"404"
        writer.close()


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "127.0.0.1:8080", "[::1]", "[::1]:8080", "LOCALHOST:8080"),
        *("podpass", "Podpass:8080", "podpass.app_default"),
    ],
)
async def test_host_of_the_endpoint_is_accepted(world: World, host: str) -> None:
    async with running(world, hosts=["podpass", "podpass.app_default"]) as endpoint:
        assert await endpoint.client(IMDS, {**METADATA, "Host": host}) == world.CLIENT


async def test_address_that_the_client_has_connected_to_is_accepted(world: World) -> None:
    async with running(world, address="127.0.0.3") as endpoint:
        assert await endpoint.client(IMDS, METADATA) == world.CLIENT
        status, _ = await endpoint.get(IMDS, {**METADATA, "Host": "127.0.0.4"})
        assert status == 400


@pytest.mark.parametrize(
    "selection",
    [
        f"client_id={SECOND}",
        f"client_id={SECOND.upper()}",
        "object_id=55555555-5555-4555-8555-555555555566",
        "principal_id=55555555-5555-4555-8555-555555555566",
        f"mi_res_id={World.MIRID}2",
        f"msi_res_id={World.MIRID.upper()}2",
    ],
)
async def test_imds_selects_an_identity_by_each_of_its_ids(world: World, selection: str) -> None:
    await add_second(world)
    async with running(world) as endpoint:
        assert await endpoint.client(f"{IMDS}&{selection}", METADATA) == SECOND


@pytest.mark.parametrize(
    ("query", "error", "text"),
    [
        ("", "invalid_request", "Multiple user assigned identities"),
        (f"&client_id={World.APPLICATION}", "invalid_request", "Identity not found"),
        (
            "&client_id=00000000-aaaa-4bbb-8ccc-000000000009",
            "invalid_request",
            "Identity not found",
        ),
        ("&client_id=web", "invalid_request", "Identity not found"),
        (f"&client_id={SECOND}&object_id=x", "invalid_request", "Only one of"),
        (f"&client_id={SECOND}&client_id={SECOND}", "invalid_request", "more than once"),
    ],
)
async def test_request_that_selects_no_single_identity_is_refused(
    world: World, query: str, error: str, text: str
) -> None:
    await add_second(world)
    async with running(world) as endpoint:
        status, body = await endpoint.get(f"{IMDS}{query}", METADATA)
    assert (status, body["error"]) == (400, error)
    assert text in body["error_description"]


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (IMDS, {}, "imds_header_missing"),
        (IMDS, {**METADATA, "X-Forwarded-For": "192.0.2.1"}, "imds_forwarded"),
        (IMDS, {**METADATA, "Host": "rebound.example.com"}, "imds_forwarded"),
        (IMDS, METADATA, "imds_several_identities"),
        (f"{IMDS}&client_id=web", METADATA, "imds_identity_unknown"),
        (IMDS.partition("&")[0], METADATA, "imds_bad_resource"),
        (APP_SERVICE, {"X-IDENTITY-HEADER": "wrong"}, "imds_identity_header"),
        (APP_SERVICE, {}, "imds_identity_header"),
    ],
)
async def test_refusal_of_the_endpoint_is_explained(
    world: World, path: str, headers: Mapping[str, str], expected: str
) -> None:
    await add_second(world)
    async with running(world, headers=HEADERS, assigned=(*HEADERS,)) as endpoint:
        status, body = await endpoint.get(path, headers)
    assert status in (400, 401)
    # As azure-identity for Python prints it.
    text = f"ManagedIdentityCredential authentication unavailable. {json.dumps(body)}"
    assert [each.sentence.id for each in recognize(text).findings] == [expected]


async def test_identity_that_is_not_assigned_is_not_found(world: World) -> None:
    await add_second(world)
    async with running(world, assigned=(World.MIRID,)) as endpoint:
        assert await endpoint.client(IMDS, METADATA) == world.CLIENT
        assert await endpoint.client(f"{IMDS}&client_id={world.CLIENT}", METADATA) == world.CLIENT
        status, body = await endpoint.get(f"{IMDS}&client_id={SECOND}", METADATA)
    assert (status, body["error_description"]) == (400, "Identity not found")


async def test_identity_of_the_same_name_in_another_group_is_not_used(world: World) -> None:
    """Otherwise, a user who may create identities in one group gives a container that identity."""
    other = await add_second(world, name="web")
    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        for path, headers in ((IMDS, METADATA), (APP_SERVICE, WEB)):
            assert await endpoint.client(path, headers) == world.CLIENT
            status, body = await endpoint.get(f"{path}&client_id={other.client_id}", headers)
            assert (status, "Identity not found" in str(body)) == (400, True)
        await world.directory.identities.delete(world.TENANT, world.CLIENT)
        for path, headers in ((IMDS, METADATA), (APP_SERVICE, WEB)):
            status, body = await endpoint.get(path, headers)
            assert (status, "Identity not found" in str(body)) == (400, True)


async def test_header_value_gives_its_own_identity_and_no_other(world: World) -> None:
    await add_second(world)
    async with running(world, headers=HEADERS) as endpoint:
        assert await endpoint.client(APP_SERVICE, WEB) == world.CLIENT
        assert await endpoint.client(APP_SERVICE, OF_SECOND) == SECOND
        assert await endpoint.client(f"{APP_SERVICE}&client_id={SECOND}", OF_SECOND) == SECOND
        assert await endpoint.client(APP_SERVICE, {"secret": WEB["X-IDENTITY-HEADER"]})
        status, body = await endpoint.get(f"{APP_SERVICE}&client_id={SECOND}", WEB)
    assert (status, body["statusCode"], body["message"]) == (400, 400, "Identity not found")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        METADATA,
        {"X-IDENTITY-HEADER": ""},
        {"X-IDENTITY-HEADER": "0123456789abcdef-wex"},
        {"X-IDENTITY-HEADER": "0123456789abcdef-web ", "secret": "0123456789abcdef-web"},
    ],
    ids=range(5),
)
async def test_wrong_or_missing_header_value_is_refused(
    world: World, headers: Mapping[str, str]
) -> None:
    async with running(world, headers=HEADERS) as endpoint:
        status, body = await endpoint.get(APP_SERVICE, headers)
    assert (status, body["statusCode"]) == (401, 401)


async def test_forwarded_request_with_the_right_header_is_refused(world: World) -> None:
    async with running(world, headers=HEADERS) as endpoint:
        status, _ = await endpoint.get(APP_SERVICE, {**WEB, "X-Forwarded-For": "192.0.2.1"})
    assert status == 400


async def test_imds_is_off_where_header_values_separate_the_callers(world: World) -> None:
    async with running(world, headers=HEADERS) as endpoint:
        status, answer = await endpoint.get(IMDS, METADATA)
        assert (status, "IMDS is off" in str(answer)) == (404, True)
    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        assert await endpoint.client(IMDS, METADATA) == world.CLIENT


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (IMDS.replace("vault.azure.net", "nothing.example"), "invalid_resource"),
        (IMDS.partition("&")[0], "invalid_request"),
        (IMDS.replace("https://vault.azure.net", "a%20b"), "invalid_resource"),
        (IMDS.replace("api-version=2018-02-01&", ""), "invalid_request"),
    ],
    ids=["unknown", "missing", "blank", "version"],
)
async def test_error_of_the_request_has_the_form_of_imds(
    world: World, path: str, error: str
) -> None:
    async with running(world) as endpoint:
        status, body = await endpoint.get(path, METADATA)
    assert (status, body["error"]) == (400, error)


async def test_disabled_identity_gets_no_token(world: World) -> None:
    await world.change(world.CLIENT, enabled=False)
    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        status, body = await endpoint.get(IMDS, METADATA)
        assert (status, body["error_description"][:14]) == (400, "AADSTS7000112:")
        assert (await endpoint.get(APP_SERVICE, WEB))[0] == 400


@pytest.mark.parametrize("method", ["find", "get"])
async def test_failed_database_is_a_temporary_error(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def fail(*_arguments: object, **_names: object) -> None:
        raise DatabaseFailed("the disk is full")

    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        monkeypatch.setattr(world.directory.identities, method, fail)
        status, body = await endpoint.get(IMDS, METADATA)
        assert (status, body["error"]) == (503, "server_error")
        assert body["error_description"] == "The directory is unavailable: the disk is full"
        status, body = await endpoint.get(APP_SERVICE, WEB)
        assert (status, body["statusCode"]) == (500, 500)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/metadata/instance?api-version=2021-02-01", 404),
        ("GET", "/metadata/identity/oauth2/tokens", 404),
        ("POST", IMDS, 405),
        ("HEAD", IMDS, 405),
        ("POST", APP_SERVICE, 405),
    ],
)
async def test_other_paths_and_methods_are_refused(
    world: World, method: str, path: str, status: int
) -> None:
    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        assert (await endpoint.get(path, {**METADATA, **WEB}, method))[0] == status


async def test_trailing_slash_is_accepted(world: World) -> None:
    """Node's library sends one."""
    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        for path, headers in ((IMDS, METADATA), (APP_SERVICE, WEB)):
            assert await endpoint.client(path.replace("token?", "token/?"), headers)


async def test_log_has_the_identity_but_no_token_or_header_value(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(world, headers=HEADERS) as endpoint:
        with caplog.at_level(logging.DEBUG):
            _, body = await endpoint.get(APP_SERVICE, WEB)
            await endpoint.get(APP_SERVICE, {"X-IDENTITY-HEADER": "a-wrong-header-value"})
    logged = "".join(str(vars(record)) for record in caplog.records if "podpass" in record.name)
    assert world.CLIENT in logged
    for secret in (body["access_token"], WEB["X-IDENTITY-HEADER"], "a-wrong-header-value"):
        assert secret not in logged


@pytest.mark.parametrize("protocol", ["App Service", "IMDS"])
async def test_token_of_the_endpoint_authenticates_an_application_by_the_released_sdk(
    start: Start, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """A token by WorkloadIdentityCredential is refused with 700231: tests/servers/authority/test_sdk.py."""
    world = await start(clock.system)
    await managed_identity_tokens.trust(world)
    for name in ("HTTP_PROXY", "http_proxy", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def sign_in() -> str:
        with (
            ManagedIdentityCredential() as identity,
            ClientAssertionCredential(
                world.TENANT,
                world.APPLICATION,
                lambda: identity.get_token(managed_identity_tokens.SCOPE).token,
                authority=world.url,
                disable_instance_discovery=True,
                connection_verify=str(world.ca_file),
            ) as application,
        ):
            return application.get_token("https://vault.azure.net/.default").token

    async with running(world, headers=HEADERS, assigned=(World.MIRID,)) as endpoint:
        url = f"http://{endpoint.origin}"
        if protocol == "IMDS":
            monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", url)
        else:
            monkeypatch.setenv("IDENTITY_ENDPOINT", f"{url}/msi/token")
            monkeypatch.setenv("IDENTITY_HEADER", WEB["X-IDENTITY-HEADER"])
        claims = jose.parse(await asyncio.to_thread(sign_in)).claims
    assert (claims["appid"], claims["appidacr"]) == (world.APPLICATION, "2")
