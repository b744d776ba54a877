"""The exact members of access tokens and token responses."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.clouds import CLOUDS, PUBLIC
from podpass.directory.model import Identity, ResourcePrincipal, Tenant
from podpass.exchange import access_token
from podpass.exchange.access_token import Exchange
from podpass.exchange.client_auth.authenticator import Acr, ClientAuthentication

NOW, SECONDS = 1_750_000_000.9, 3600
IDENTITY = Identity(
    tenant_id="t", client_id="client", object_id="object", name="web", resource_id="/sub/x"
)
RESOURCE = ResourcePrincipal(app_id="app", uris=("https://r",), display_name="r", token_version=1)
EXCHANGE = Exchange(
    tenant=Tenant(id="tenant"),
    identity=IDENTITY,
    client_auth=ClientAuthentication(acr=Acr.ASSERTION, credential="c"),
    resource=RESOURCE,
    requested="https://r/",
    origin="https://login.test",
)
TIMES = {"iat": 1_749_999_700, "nbf": 1_749_999_700, "exp": 1_750_003_600}


def claims(**changes: Any) -> dict[str, Any]:
    return access_token.build_claims(
        replace(EXCHANGE, **changes), now=NOW, seconds=SECONDS, uti="u"
    )


def test_version_1_token_has_the_expected_claims() -> None:
    assert claims() == {
        "aud": "https://r/",
        "iss": "https://sts.windows.net/tenant/",
        **TIMES,
        "appid": "client",
        "appidacr": "2",
        "idp": "https://sts.windows.net/tenant/",
        "idtyp": "app",
        "oid": "object",
        "sub": "object",
        "tid": "tenant",
        "uti": "u",
        "ver": "1.0",
        "xms_mirid": "/sub/x",
    }


def test_federation_and_capabilities_are_claims_of_the_token() -> None:
    federated = ClientAuthentication(acr=Acr.ASSERTION, credential="c", is_federated=True)
    found = claims(client_auth=federated, capabilities=("CP1",))
    assert {name: found[name] for name in found.keys() - claims().keys()} == {
        "xms_ficinfo": "CAAQABgAIAA",
        "xms_cc": ["CP1"],
    }


def test_version_2_token_has_the_expected_claims() -> None:
    assert claims(
        resource=replace(RESOURCE, token_version=2),
        client_auth=ClientAuthentication(acr=Acr.SECRET),
    ) == {
        "aud": "app",
        "iss": "https://login.test/tenant/v2.0",
        **TIMES,
        "azp": "client",
        "azpacr": "1",
        "idtyp": "app",
        "oid": "object",
        "sub": "object",
        "tid": "tenant",
        "uti": "u",
        "ver": "2.0",
    }


@pytest.mark.parametrize("version", [1, 2])
def test_roles_claim_is_present_only_with_roles(version: int) -> None:
    resource = replace(RESOURCE, token_version=version)
    assert "roles" not in claims(resource=resource)
    assert claims(resource=resource, roles=("a", "b"))["roles"] == ["a", "b"]


def test_token_of_an_application_has_no_resource_id() -> None:
    assert "xms_mirid" not in claims(identity=replace(IDENTITY, resource_id=None))


def test_v1_issuer_depends_on_the_cloud() -> None:
    for cloud in CLOUDS.values():
        made = claims(cloud=cloud)
        assert made["iss"] == made["idp"] == f"https://{cloud.sts}/tenant/"
    assert PUBLIC.sts == "sts.windows.net"


def test_only_v1_header_has_the_thumbprint() -> None:
    assert access_token.build_header({"ver": "1.0"}, "k") == {"typ": "JWT", "x5t": "k"}
    assert access_token.build_header({"ver": "2.0"}, "k") == {"typ": "JWT"}


@pytest.mark.parametrize(("seconds", "refresh"), [(7199, None), (7200, 3600), (86_399, 43_199)])
def test_long_lived_token_has_refresh_in_at_half_its_lifetime(
    seconds: int, refresh: int | None
) -> None:
    made = access_token.build_response(
        "x", version=2, requested="https://r", now=NOW, seconds=seconds
    )
    expected = {
        "token_type": "Bearer",
        "expires_in": seconds,
        "ext_expires_in": seconds,
        "expires_on": 1_750_000_000 + seconds,
        "refresh_in": refresh,
        "access_token": "x",
    }
    assert made == {name: value for name, value in expected.items() if value is not None}
    texts = access_token.build_response(
        "x", version=1, requested="https://r", now=NOW, seconds=seconds
    )
    assert texts == {
        **{name: str(value) for name, value in made.items()},
        "not_before": "1749999700",
        "resource": "https://r",
    }
