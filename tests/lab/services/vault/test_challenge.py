"""The challenge, and each token that is refused, over TLS."""

import json
from typing import Any

import pytest

from podpass.directory.model import Tenant

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
GREETING = "/secrets/greeting?api-version=7.4"
CHALLENGE = (
    f'Bearer authorization="https://login.microsoftonline.com/{TENANT}",'
    ' resource="https://vault.azure.net"'
)


async def test_request_without_token_is_challenged(world: Any) -> None:
    status, body, headers = await world.send("PUT", GREETING)
    assert status == 401
    assert body == {
        "error": {
            "code": "Unauthorized",
            "message": "AKV10000: The request has no bearer token.",
        }
    }
    assert headers["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize("given", ["Basic dTpw", "Bearer", "Bearer  ", "x"])
async def test_other_scheme_or_empty_token_is_challenged(world: Any, given: str) -> None:
    status, body, headers = await world.send("GET", GREETING, headers={"Authorization": given})
    assert (status, headers["WWW-Authenticate"]) == (401, CHALLENGE)
    assert "AKV10000" in body["error"]["message"]


async def test_request_with_two_tokens_is_refused(world: Any, token: str) -> None:
    """Fails if the first or the last token is used: a proxy may have checked the other one."""
    async with world.session.get(
        f"https://127.0.0.1:{world.port}{GREETING}",
        headers=[
            ("Host", "demo-vault.vault.azure.net"),
            ("Authorization", f"Bearer {token}"),
            ("Authorization", f"Bearer {token}"),
        ],
    ) as answer:
        assert answer.status == 401


async def test_direct_mode_challenge_has_its_authority_and_port(world: Any) -> None:
    for host in ("demo-vault.vault.localhost", "localhost", f"localhost:{world.port}", "127.0.0.1"):
        _, _, headers = await world.send("GET", GREETING, host=host)
        assert headers["WWW-Authenticate"] == (
            f'Bearer authorization="https://localhost:18443/{TENANT}",'
            f' resource="https://vault.localhost:{world.port}"'
        )


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        (
            {"aud": "https://graph.microsoft.com"},
            "AKV10022: The token is for https://graph.microsoft.com; this vault requires one for",
        ),
        ({"aud": "api://AzureADTokenExchange"}, "AKV10022"),
        (
            {"iss": "https://sts.windows.net/other/"},
            "AKV10032: The token is from https://sts.windows.net/other/;",
        ),
        ({"tid": "other"}, "The access token is invalid: the token is from another tenant."),
        ({"exp": 1}, "The access token is invalid: the token has expired."),
    ],
)
async def test_token_of_another_audience_or_issuer_is_refused_with_challenge(
    world: Any, officer: Any, changes: dict[str, Any], number: str
) -> None:
    bad = world.authority.mint(officer, **changes)
    status, body, headers = await world.send("GET", GREETING, token=bad)
    assert (status, body["error"]["code"]) == (401, "Unauthorized")
    assert body["error"]["message"].startswith(number)
    assert headers["WWW-Authenticate"] == CHALLENGE
    assert bad not in json.dumps(body)


async def test_token_of_another_tenant_is_refused(world: Any, token: str) -> None:
    other = "77777777-0c35-4fd1-9f0e-1f6a54a3a1d0"
    await world.directory.create_tenant(Tenant(id=other))
    await world.vault("far-vault", tenant_id=other)
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer", "far-vault")
    host = "far-vault.vault.azure.net"
    status, body, headers = await world.send("GET", GREETING, token=token, host=host)
    assert (status, body["error"]["message"][:8]) == (401, "AKV10032")
    # The challenge has the tenant of the vault, not that of the caller.
    assert f"https://login.microsoftonline.com/{other}" in headers["WWW-Authenticate"]


async def test_version_2_token_is_refused_by_vault(world: Any, officer: Any) -> None:
    """A version 2 token is for a customer's API, even if it has the vault's audience."""
    second = {
        "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "azp": officer.client_id,
        "appid": None,
        "ver": "2.0",
    }
    status, body, _ = await world.send(
        "GET", GREETING, token=world.authority.mint(officer, **second)
    )
    assert (status, body["error"]["message"][:8]) == (401, "AKV10032")


async def test_unpublished_key_is_refused(
    world: Any, officer: Any, signing_keys: list[Any]
) -> None:
    forged = signing_keys[1].sign(world.authority.claims(officer))
    status, body, _ = await world.send("GET", GREETING, token=forged)
    assert (status, body["error"]["message"][:8]) == (401, "AKV10046")


async def test_projected_service_account_token_is_refused_by_vault(
    world: Any, signing_keys: list[Any]
) -> None:
    """Attack group 13: a client assertion is not an access token."""
    projected = signing_keys[1].sign(
        {
            "aud": ["api://AzureADTokenExchange"],
            "iss": f"https://eastus.oic.prod-aks.azure.com/{TENANT}/x/",
            "sub": "system:serviceaccount:default:web",
            "iat": int(world.clock()),
            "nbf": int(world.clock()),
            "exp": int(world.clock()) + 3600,
        }
    )
    status, body, _ = await world.send("GET", GREETING, token=projected)
    assert (status, body["error"]["message"][:8]) == (401, "AKV10046")


async def test_vault_is_unavailable_while_keys_cannot_be_fetched(world: Any, token: str) -> None:
    world.authority.down = True
    status, body, _ = await world.send("GET", GREETING, token=token)
    assert (status, body["error"]["code"]) == (503, "ServiceUnavailable")


@pytest.mark.parametrize(
    "audience", ["https://vault.azure.net/", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"]
)
async def test_other_spellings_of_the_vault_are_accepted(
    world: Any, officer: Any, audience: str
) -> None:
    good = world.authority.mint(officer, aud=audience)
    status, body, _ = await world.send("GET", GREETING, token=good)
    assert (status, body["error"]["code"]) == (404, "SecretNotFound")


async def test_key_is_fetched_once_for_many_requests(world: Any, token: str) -> None:
    for _ in range(3):
        await world.send("GET", GREETING, token=token)
    assert world.authority.fetches == 1
