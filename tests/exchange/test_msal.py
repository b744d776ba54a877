"""The released MSAL and azure-identity for Python, unmodified, against a live token service.

Microsoft's host name has another port: MSAL's requests go to the port of the test instead of port 443.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import jwt
import msal
import pytest
import requests
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import CertificateCredential
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from podpass import clock
from podpass.crypto.jose import private_key_pem
from podpass.crypto.x509 import encode_pem
from tests.exchange import managed_identity_tokens
from tests.exchange.client_auth.test_secrets import DER, SECRET, add_credentials
from tests.exchange.sign_in.browser import AZ, LOOPBACK, Browser, browsing
from tests.exchange.sign_in.test_grants import ARM
from tests.exchange.world import Start, World
from tests.rsa_keys import KEY

# MSAL warns about passwords and about assertions passed as text; az uses both.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

AUTHORITY = "https://login.microsoftonline.com/"
SCOPES = [f"{ARM}/.default"]
PRIVATE_PEM = private_key_pem(KEY).decode()


class PortMappingSession:
    """An HTTP session that sends requests for Microsoft's sign-in host to the test's port."""

    def __init__(self, world: World) -> None:
        self._url = world.url + "/"
        self._session = requests.Session()
        self._session.verify = str(world.ca_file)
        self._session.trust_env = False

    def _map_port(self, url: str, how: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        assert url.startswith(AUTHORITY), url
        host = {"Host": "login.microsoftonline.com"}
        headers = {name: value for name, value in (how.get("headers") or {}).items() if value}
        return url.replace(AUTHORITY, self._url), {**how, "headers": {**headers, **host}}

    def get(self, url: str, **how: Any) -> requests.Response:
        url, how = self._map_port(url, how)
        return self._session.get(url, timeout=20, **how)

    def post(self, url: str, **how: Any) -> requests.Response:
        url, how = self._map_port(url, how)
        return self._session.post(url, timeout=20, **how)

    def close(self) -> None:
        self._session.close()


@pytest.fixture
async def live(start: Start) -> World:
    world = await start(clock.system)
    world.now = clock.system()
    return world


@pytest.fixture
async def browser(live: World) -> AsyncIterator[Browser]:
    async with browsing(live) as opened:
        yield opened


@pytest.fixture
async def port_mapping(live: World) -> AsyncIterator[PortMappingSession]:
    client = PortMappingSession(live)
    yield client
    client.close()


async def run_in_thread(call: Callable[[], Any]) -> Any:
    """Run MSAL in a thread, because it blocks."""
    return await asyncio.to_thread(call)


async def public(
    port_mapping: PortMappingSession, tenant: str = "organizations"
) -> msal.PublicClientApplication:
    return await run_in_thread(
        lambda: msal.PublicClientApplication(
            AZ, authority=AUTHORITY + tenant, http_client=port_mapping, client_capabilities=["CP1"]
        )
    )


async def confidential(
    world: World, port_mapping: PortMappingSession, credential: Any
) -> dict[str, Any]:
    await add_credentials(world)
    app = await run_in_thread(
        lambda: msal.ConfidentialClientApplication(
            world.APPLICATION,
            client_credential=credential,
            authority=AUTHORITY + world.TENANT,
            http_client=port_mapping,
        )
    )
    return dict(
        await run_in_thread(
            lambda: app.acquire_token_for_client(["https://vault.azure.net/.default"])
        )
    )


def claims_of(result: dict[str, Any]) -> dict[str, Any]:
    assert "access_token" in result, result
    return dict(jwt.decode(result["access_token"], options={"verify_signature": False}))


async def test_password_sign_in_then_refresh_token_gets_tokens_for_other_resources(
    live: World, port_mapping: PortMappingSession
) -> None:
    app = await public(port_mapping)
    result = await run_in_thread(
        lambda: app.acquire_token_by_username_password(live.ADMIN, live.PASSWORD, SCOPES)
    )
    assert claims_of(result)["upn"] == live.ADMIN
    assert claims_of(result)["xms_cc"] == ["CP1"]
    accounts = await run_in_thread(app.get_accounts)
    assert [each["username"] for each in accounts] == [live.ADMIN]
    cached = await run_in_thread(lambda: app.acquire_token_silent(SCOPES, accounts[0]))
    assert cached["token_source"] == "cache"
    tenant = await run_in_thread(
        lambda: msal.PublicClientApplication(
            AZ,
            authority=AUTHORITY + live.TENANT,
            http_client=port_mapping,
            token_cache=app.token_cache,
        )
    )
    for resource in ("https://vault.azure.net", "https://graph.microsoft.com/"):
        scopes = [f"{resource}/.default"]
        result = await run_in_thread(partial(tenant.acquire_token_silent, scopes, accounts[0]))
        assert claims_of(result)["aud"] == resource


async def test_refresh_token_of_a_client_family_is_shared(
    live: World, port_mapping: PortMappingSession
) -> None:
    app = await public(port_mapping)
    await run_in_thread(
        lambda: app.acquire_token_by_username_password(live.ADMIN, live.PASSWORD, SCOPES)
    )
    powershell = await run_in_thread(
        lambda: msal.PublicClientApplication(
            "1950a258-227b-4e31-a9cf-717495945fc2",
            authority=AUTHORITY + "organizations",
            http_client=port_mapping,
            token_cache=app.token_cache,
        )
    )
    account = (await run_in_thread(powershell.get_accounts))[0]
    result = await run_in_thread(lambda: powershell.acquire_token_silent(SCOPES, account))
    assert claims_of(result)["appid"] == "1950a258-227b-4e31-a9cf-717495945fc2"


async def test_wrong_password_returns_its_number(
    live: World, port_mapping: PortMappingSession
) -> None:
    app = await public(port_mapping)
    result = await run_in_thread(
        lambda: app.acquire_token_by_username_password(live.ADMIN, "no", SCOPES)
    )
    assert (result["error"], result["error_codes"]) == ("invalid_grant", [50126])


async def test_device_code_flow_signs_in(
    live: World, port_mapping: PortMappingSession, browser: Browser
) -> None:
    app = await public(port_mapping)
    flow = await run_in_thread(lambda: app.initiate_device_flow(SCOPES))
    page = await browser.get("/common/oauth2/deviceauth")
    page = await browser.submit(page, user_code=flow["user_code"])
    await browser.sign_in(page)
    result = await run_in_thread(lambda: app.acquire_token_by_device_flow(flow))
    assert claims_of(result)["upn"] == live.ADMIN
    assert result["id_token_claims"]["preferred_username"] == live.ADMIN


async def test_authorization_code_flow_with_pkce_signs_in(
    live: World, port_mapping: PortMappingSession, browser: Browser
) -> None:
    app = await public(port_mapping)
    flow = await run_in_thread(
        lambda: app.initiate_auth_code_flow(
            SCOPES, redirect_uri=LOOPBACK, response_mode="form_post"
        )
    )
    page = await browser.get("/" + flow["auth_uri"].removeprefix(AUTHORITY))
    page = await browser.sign_in(page)
    result = await run_in_thread(lambda: app.acquire_token_by_auth_code_flow(flow, page.fields))
    assert claims_of(result)["upn"] == live.ADMIN
    refreshed = await run_in_thread(
        lambda: app.acquire_token_by_refresh_token(result["refresh_token"], SCOPES)
    )
    assert claims_of(refreshed)["oid"] == live.ADMIN_ID


async def test_consent_on_the_page_lets_a_client_sign_in(
    live: World, port_mapping: PortMappingSession, browser: Browser
) -> None:
    await live.change(
        live.APPLICATION,
        document={
            "isFallbackPublicClient": True,
            "publicClient": {"redirectUris": ["http://localhost"]},
        },
    )
    app = await run_in_thread(
        lambda: msal.PublicClientApplication(
            live.APPLICATION, authority=AUTHORITY + live.TENANT, http_client=port_mapping
        )
    )
    refused = await run_in_thread(
        lambda: app.acquire_token_by_username_password(live.ADMIN, live.PASSWORD, ["User.Read"])
    )
    assert (refused["error_codes"], refused["suberror"]) == ([65001], "consent_required")
    flow = await run_in_thread(
        lambda: app.initiate_auth_code_flow(
            ["User.Read"], redirect_uri=LOOPBACK, response_mode="form_post"
        )
    )
    page = await browser.sign_in(await browser.get("/" + flow["auth_uri"].removeprefix(AUTHORITY)))
    assert "Microsoft Graph: User.Read" in page.text
    page = await browser.submit(page, step="accept")
    result = await run_in_thread(lambda: app.acquire_token_by_auth_code_flow(flow, page.fields))
    assert "User.Read" in claims_of(result)["scp"].split()
    account = (await run_in_thread(app.get_accounts))[0]
    cached = await run_in_thread(lambda: app.acquire_token_silent(["User.Read"], account))
    assert cached["token_source"] == "cache"
    other = await run_in_thread(lambda: app.acquire_token_silent_with_error(SCOPES, account))
    assert other["suberror"] == "consent_required"


async def test_client_secret_gets_a_token(live: World, port_mapping: PortMappingSession) -> None:
    assert claims_of(await confidential(live, port_mapping, SECRET))["appidacr"] == "1"


@pytest.mark.parametrize("named", ["thumbprint", "pem"])
async def test_client_certificate_gets_a_token(
    live: World, port_mapping: PortMappingSession, named: str
) -> None:
    certificate = x509.load_der_x509_certificate(DER)
    credential = {"private_key": PRIVATE_PEM}
    if named == "thumbprint":
        credential["thumbprint"] = certificate.fingerprint(hashes.SHA1()).hex()
    else:
        credential["public_certificate"] = encode_pem(certificate).decode()
    assert claims_of(await confidential(live, port_mapping, credential))["appidacr"] == "2"


async def test_asynchronous_certificate_credential_gets_a_token(live: World) -> None:
    """This credential of azure-identity does not use MSAL, and pads each part of its assertion."""
    await add_credentials(live)
    pem = PRIVATE_PEM.encode() + encode_pem(x509.load_der_x509_certificate(DER))
    credential = CertificateCredential(
        live.TENANT,
        live.APPLICATION,
        certificate_data=pem,
        authority=live.url,
        transport=AioHttpTransport(connection_verify=str(live.ca_file)),
    )
    async with credential:
        token = await credential.get_token("https://vault.azure.net/.default")
    assert claims_of({"access_token": token.token})["appidacr"] == "2"


async def test_federated_assertion_gets_a_token(
    live: World, port_mapping: PortMappingSession
) -> None:
    credential = {"client_assertion": live.mint()}
    assert claims_of(await confidential(live, port_mapping, credential))["appidacr"] == "2"


async def test_managed_identity_token_by_a_federated_credential_is_refused_as_credential(
    live: World, port_mapping: PortMappingSession
) -> None:
    """The test uses two clients: the managed identity gets the token, the application sends it."""
    identity = await run_in_thread(
        lambda: msal.ConfidentialClientApplication(
            live.CLIENT,
            client_credential={"client_assertion": live.mint()},
            authority=AUTHORITY + live.TENANT,
            http_client=port_mapping,
        )
    )
    got = await run_in_thread(
        lambda: identity.acquire_token_for_client([managed_identity_tokens.SCOPE])
    )
    await managed_identity_tokens.trust(live, issuer=f"{AUTHORITY}{live.TENANT}/v2.0")
    credential = {"client_assertion": got["access_token"]}
    assert (await confidential(live, port_mapping, credential))["error_codes"] == [700231]
    credential = {"client_assertion": await managed_identity_tokens.get_token(live)}
    claims = claims_of(await confidential(live, port_mapping, credential))
    assert (claims["appid"], claims["appidacr"]) == (live.APPLICATION, "2")


async def test_token_signature_is_verified_by_another_library(
    live: World, port_mapping: PortMappingSession
) -> None:
    app = await public(port_mapping)
    result = await run_in_thread(
        lambda: app.acquire_token_by_username_password(live.ADMIN, live.PASSWORD, SCOPES)
    )
    keys = (
        await run_in_thread(lambda: port_mapping.get(AUTHORITY + "common/discovery/v2.0/keys"))
    ).json()
    found = jwt.PyJWKSet.from_dict(keys)
    for name, audience in (("id_token", AZ), ("access_token", ARM)):
        kid = jwt.get_unverified_header(result[name])["kid"]
        said = jwt.decode(result[name], found[kid], algorithms=["RS256"], audience=audience)
        assert said["oid"] == live.ADMIN_ID
