"""The protocols of App Service and Cloud Shell at `/msi/token`, their secret headers, and the Azure SDK."""

import asyncio
import json
import time

import pytest
from azure.identity import ManagedIdentityCredential

from podpass import names
from podpass.crypto import jose
from podpass.crypto.secret import Secret
from podpass.errors import SettingsError
from podpass.imds.identity_headers import IdentityHeaders, parse_headers
from tests.exchange import managed_identity_tokens
from tests.imds.conftest import Sidecar

PATH = "/msi/token"
VAULT = "resource=https%3A%2F%2Fvault.azure.net"
APP_SERVICE = {"X-IDENTITY-HEADER": "secret"}
PROTOCOLS = {
    "App Service 2019-08-01": ("GET", "api-version=2019-08-01&", "client_id", APP_SERVICE),
    "App Service 2017-09-01": ("GET", "api-version=2017-09-01&", "clientid", {"secret": "secret"}),
    "Cloud Shell": ("POST", "", "client_id", {"Metadata": "true"}),
}


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_protocol_returns_the_token_of_the_named_identity(
    sidecar: Sidecar, name: str
) -> None:
    method, version, parameter, headers = PROTOCOLS[name]
    for client in (sidecar.world.CLIENT, sidecar.world.APPLICATION):
        text = f"{VAULT}&{parameter}={client}"
        if method == "POST":
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body, _ = await sidecar.get(PATH, "POST", data=text, headers=headers | form)
        else:
            status, body, _ = await sidecar.get(f"{PATH}?{version}{text}", headers=headers)
        assert status == 200, body
        answer = json.loads(body)
        claims = jose.parse(answer["access_token"]).claims
        assert (claims["appid"], answer["client_id"]) == (client, client)
        # Clients parse one of these: a number of seconds, or a time as text.
        assert answer["expires_on"] == str(claims["exp"])
        assert isinstance(answer["expires_in"], int)
        assert (answer["resource"], answer["token_type"]) == ("https://vault.azure.net", "Bearer")


@pytest.mark.parametrize("path", [PATH, f"{PATH}/", "/MSI/token/"])
async def test_path_may_end_with_a_slash(sidecar: Sidecar, path: str) -> None:
    assert (await sidecar.get(f"{path}?{VAULT}", headers=APP_SERVICE))[0] == 200


@pytest.mark.parametrize("path", ["/msi/tokens", "/msi", "/msi/token/x", "/a/msi/token"])
async def test_other_paths_are_forwarded(sidecar: Sidecar, path: str) -> None:
    assert (await sidecar.get(f"{path}?{VAULT}", headers=APP_SERVICE))[0] == 203


@pytest.mark.parametrize("headers", [{}, {"X-IDENTITY-HEADER": ""}, {"Metadata": "false"}])
async def test_request_without_a_header_of_a_protocol_is_refused(
    sidecar: Sidecar, headers: dict[str, str]
) -> None:
    """A program that is made to follow a link cannot add one."""
    status, body, _ = await sidecar.get(f"{PATH}?{VAULT}", headers=headers)
    assert (status, json.loads(body)["error"]) == (400, "invalid_request")
    assert "X-IDENTITY-HEADER" in body


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("resource=", 400, "invalid_request"),
        (f"{VAULT}&mi_res_id=/x", 400, "invalid_request"),
        (f"{VAULT}&principal_id=x", 400, "invalid_request"),
        (f"{VAULT}&clientid=web", 400, "invalid_request"),
        ("resource=https://nothing.example", 400, "invalid_resource"),
    ],
    ids=range(5),
)
async def test_errors_are_json(sidecar: Sidecar, query: str, status: int, error: str) -> None:
    found, body, _ = await sidecar.get(f"{PATH}?{query}", headers=APP_SERVICE)
    assert (found, json.loads(body)["error"]) == (status, error)


@pytest.mark.parametrize(
    "variables",
    [
        {"IDENTITY_ENDPOINT": "{url}", "IDENTITY_HEADER": "x"},
        {"MSI_ENDPOINT": "{url}"},
        {"MSI_ENDPOINT": "{url}", "MSI_SECRET": "x"},
        {
            "IDENTITY_ENDPOINT": "{url}",
            "IDENTITY_HEADER": "x",
            "MSI_ENDPOINT": "http://127.0.0.1:1",
        },
    ],
    ids=("App Service", "Cloud Shell", "App Service 2017", "both"),
)
async def test_sdk_gets_a_token_with_the_variables_of_a_protocol(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    sidecar.world.now = time.time()
    sidecar.token_file.write_text(sidecar.world.mint())
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(url=sidecar.url + PATH))
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    names_client = "IDENTITY_ENDPOINT" in variables or "MSI_SECRET" in variables
    client = sidecar.world.APPLICATION if names_client else None

    def get_token() -> str:
        with ManagedIdentityCredential(client_id=client) as credential:
            return str(credential.get_token("https://vault.azure.net/.default").token)

    claims = jose.parse(await asyncio.to_thread(get_token)).claims
    assert claims["appid"] == (client or sidecar.world.CLIENT)


async def test_token_of_the_sidecar_is_refused_as_credential_of_an_application(
    sidecar: Sidecar,
) -> None:
    """The sidecar exchanges a federated credential, and Entra accepts one federated hop only."""
    await managed_identity_tokens.trust(sidecar.world)
    status, body, _ = await sidecar.get(
        f"{PATH}?resource={names.EXCHANGE_AUDIENCE}", headers=APP_SERVICE
    )
    assert status == 200, body
    token = json.loads(body)["access_token"]
    assert (await managed_identity_tokens.present(sidecar.world, token)).code == 700231


WEB, BATCH = "0123456789abcdef", "fedcba9876543210"


def test_header_value_selects_only_its_own_identity() -> None:
    headers = IdentityHeaders({"web": Secret(WEB), "batch": Secret(BATCH)})
    assert headers.find(WEB) == "web"
    assert headers.find(BATCH) == "batch"
    for wrong in ("", WEB[:-1], f"{WEB}0", WEB.upper(), "ü" * 16):
        assert headers.find(wrong) is None
    assert IdentityHeaders({}).find("") is None


@pytest.mark.parametrize("text", [f"web={WEB};batch={BATCH}", f"\nweb={WEB}\n\n batch={BATCH} \n"])
def test_entries_are_separated_by_semicolons_or_lines(text: str) -> None:
    found = parse_headers(text, "X")
    assert {name: value.reveal() for name, value in found.items()} == {"web": WEB, "batch": BATCH}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("web=short", "X, entry 1: want NAME=VALUE"),
        ("web", "X, entry 1: want NAME=VALUE"),
        (f"={WEB}", "X, entry 1: want NAME=VALUE"),
        (f"web={WEB} x", "X, entry 1: want NAME=VALUE"),
        (f"web={WEB};web={BATCH}", "X, entry 2: the identity web has a value already"),
        (f"web={WEB};batch={WEB}", "X, entry 2: another identity has the same value"),
    ],
)
def test_wrong_entry_is_reported_without_its_value(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_headers(text, "X")
    assert problem in refused.value.message
    assert WEB not in refused.value.message
    assert "short" not in refused.value.message


def test_values_are_never_printed() -> None:
    found = parse_headers(f"web={WEB}", "X")
    assert WEB not in repr(found)
