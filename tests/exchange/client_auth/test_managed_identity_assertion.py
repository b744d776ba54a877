"""A managed identity's token authenticates an application that trusts it; other own tokens are refused."""

from dataclasses import replace

import pytest

from podpass.clouds import CLOUDS
from podpass.crypto import jose
from podpass.directory import resources
from podpass.directory.resources import EXCHANGE_APP_ID
from podpass.exchange.client_auth.managed_identity_assertion import (
    DEVOPS_CLIENT,
    FEDERATION_CLAIM,
    connection_prefix,
)
from podpass.names import EXCHANGE_AUDIENCE
from tests.exchange import managed_identity_tokens as own
from tests.exchange.client_auth.test_secrets import SECRET, add_credentials, create_password
from tests.exchange.world import Start, World


def sign_copy(world: World, text: str, **changes: object) -> str:
    """Sign a changed copy of an own token with the service's key."""
    claims = {**jose.parse(text).claims, **changes}
    present = {name: value for name, value in claims.items() if value is not None}
    return world.keys.active.sign(present, {"typ": "JWT"})


async def test_managed_identity_gets_a_token_for_the_exchange(world: World) -> None:
    for scope in (own.SCOPE, f"{EXCHANGE_APP_ID}/.default"):
        claims = jose.parse(await own.get_token(world, scope)).claims
        assert claims["aud"] == EXCHANGE_APP_ID
        assert claims["iss"] == f"https://login.microsoftonline.com/{world.TENANT}/v2.0"
        assert claims["sub"] == claims["oid"] == world.OBJECT
        assert (claims["ver"], claims["idtyp"], claims["azp"]) == ("2.0", "app", world.CLIENT)


@pytest.mark.parametrize("audience", [EXCHANGE_AUDIENCE, EXCHANGE_APP_ID])
async def test_managed_identity_token_authenticates_a_trusting_application(
    world: World, audience: str
) -> None:
    await own.trust(world, audiences=(audience,))
    answer = await own.present(world, await own.get_token(world))
    assert answer.status == 200
    claims = answer.claims()
    assert (claims["appid"], claims["oid"]) == (
        world.APPLICATION,
        world.APPLICATION.replace("4", "6"),
    )
    assert claims["appidacr"] == "2"


async def test_own_token_is_verified_without_a_fetch(world: World) -> None:
    await own.trust(world)
    assertion = await own.get_token(world)
    world.site.hits.clear()
    assert (await own.present(world, assertion)).status == 200
    assert world.site.hits == []


async def test_own_token_of_another_origin_matches_the_documented_issuer(world: World) -> None:
    """The credential has the documented issuer; the token has the origin of its request."""
    await own.trust(world, issuer=f"https://login.microsoftonline.com/{world.TENANT}/v2.0")
    issuer = f"{world.url}/{world.TENANT}/v2.0"
    token = sign_copy(world, await own.get_token(world), iss=issuer)
    assert (await own.present(world, token)).status == 200


async def test_own_token_works_after_rotation_until_its_key_is_deleted(world: World) -> None:
    await own.trust(world)
    assertion = await own.get_token(world)
    other_key = jose.SigningKey(kid=jose.b64encode(b"other"), key=jose.generate_rsa())
    claims = jose.parse(assertion).claims
    answer = await own.present(world, other_key.sign(claims, {"typ": "JWT"}))
    assert answer.code == 7000272
    assert b"other".hex().upper() in answer.body["error_description"]
    forged = jose.SigningKey(kid=world.keys.active.kid, key=other_key.key)
    assert (await own.present(world, forged.sign(claims, {"typ": "JWT"}))).code == 7000274


async def test_own_token_without_credential_is_refused(world: World) -> None:
    assertion = await own.get_token(world)
    assert (await own.present(world, assertion)).code == 700211
    await world.change(world.APPLICATION, credentials=())
    assert (await own.present(world, assertion)).code == 70025
    await own.trust(world, subject=world.APPLICATION)
    assert (await own.present(world, assertion)).code == 700213
    await own.trust(world, audiences=("api://other",))
    assert (await own.present(world, assertion)).code == 7002121


async def test_own_token_for_a_resource_is_refused_as_credential(world: World) -> None:
    """Key Vault receives the first token, an API the second; neither recipient may impersonate the client."""
    await own.trust(world, issuer=f"https://sts.windows.net/{world.TENANT}/")
    assert (
        await own.present(world, await own.get_token(world, "https://vault.azure.net/.default"))
    ).code == 700222
    api = f"api://{world.APPLICATION}"
    await own.trust(world, audiences=(world.APPLICATION,))
    assert (await own.present(world, await own.get_token(world, f"{api}/.default"))).code == 700227


async def test_managed_identity_cannot_authenticate_by_another_one(world: World) -> None:
    assertion = await own.get_token(world)
    await own.trust(world, world.CLIENT)
    assert (await own.present(world, assertion, client_id=world.CLIENT)).code == 700222


@pytest.mark.parametrize(
    "audiences", [[EXCHANGE_APP_ID, "other"], [EXCHANGE_AUDIENCE], [EXCHANGE_APP_ID.upper()]]
)
async def test_own_token_must_have_the_exchange_as_only_audience(
    world: World, audiences: list[str]
) -> None:
    await own.trust(world)
    changed = sign_copy(world, await own.get_token(world), aud=audiences)
    assert (await own.present(world, changed)).code in {7002121, 700227}


async def test_user_token_is_refused_as_credential(world: World) -> None:
    await own.trust(world)
    assertion = await own.get_token(world)
    for kind in ("user", None, "APP", ["app"]):
        assert (await own.present(world, sign_copy(world, assertion, idtyp=kind))).code == 700229


async def test_application_token_is_refused_as_credential(world: World) -> None:
    """An application authenticates only with its own credentials, by a secret or by an issuer."""
    await add_credentials(world, passwords=(create_password(SECRET),))
    secret = {"client_id": world.APPLICATION, "client_secret": SECRET}
    answer = await world.request_token(
        None, scope=own.SCOPE, client_assertion=None, client_assertion_type=None, **secret
    )
    await own.trust(world, subject=world.APPLICATION.replace("4", "6"))
    assert (await own.present(world, answer.body["access_token"])).code == 700226


async def test_token_obtained_with_a_federated_credential_is_refused_as_credential(
    world: World,
) -> None:
    """One federated hop: the endpoint's token is accepted, the same identity's by a pod's token is not."""
    await own.trust(world)
    assertion = (await world.request_token(scope=own.SCOPE)).body["access_token"]
    marked = jose.parse(assertion).claims
    assert (marked["aud"], marked["xms_ficinfo"]) == (EXCHANGE_APP_ID, "CAAQABgAIAA")
    assert (await own.present(world, assertion)).code == 700231
    values: tuple[object, ...] = (None, "", 0, False, [])
    for value in values:
        answer = await own.present(
            world, sign_copy(world, await own.get_token(world), xms_ficinfo=value)
        )
        assert answer.status == (200 if value is None else 401)
    direct = await own.present(world, await own.get_token(world))
    assert "xms_ficinfo" in direct.claims()  # this hop was federated, too


async def test_only_tokens_by_a_federated_credential_for_microsofts_resources_are_marked(
    world: World,
) -> None:
    assert "xms_ficinfo" in (await world.request_token()).claims()
    api = f"api://{world.APPLICATION}/.default"
    assert "xms_ficinfo" not in (await world.request_token(scope=api)).claims()
    await add_credentials(world, passwords=(create_password(SECRET),))
    secret = {"client_id": world.APPLICATION, "client_secret": SECRET}
    answer = await world.request_token(client_assertion=None, client_assertion_type=None, **secret)
    assert "xms_ficinfo" not in answer.claims()


@pytest.mark.parametrize("client", [None, "x", 5, "99999999-9999-4999-8999-999999999999"])
async def test_own_token_without_azp_is_refused_as_credential(world: World, client: object) -> None:
    await own.trust(world)
    assert (
        await own.present(world, sign_copy(world, await own.get_token(world), azp=client))
    ).code == 700226


async def test_subject_must_be_the_identity_the_token_was_issued_to(world: World) -> None:
    await own.trust(world, subject="other-subject")
    changed = sign_copy(world, await own.get_token(world), sub="other-subject")
    assert (await own.present(world, changed)).code == 700226


def connection_claims(world: World, **changes: str) -> dict[str, str]:
    """Return what a token of a service connection has in place of the claims of an identity."""
    subject = connection_prefix(world.TENANT) + "organization/connection"
    return {"sub": subject, "azp": DEVOPS_CLIENT, FEDERATION_CLAIM: "CAAQARgAIAA", **changes}


def test_subject_of_a_service_connection_is_encoded_as_in_a_recorded_token() -> None:
    prefix = connection_prefix("ff882432-09b0-437b-bd22-ca13c0037ded")
    assert prefix == "/eid1/c/pub/t/MiSI_7AJe0O9IsoTwAN97Q/a/rISbSSETf0KqFyZ8ppdXmA/sc/"


async def test_service_connection_authenticates_applications_and_managed_identities(
    world: World,
) -> None:
    claims = connection_claims(world)
    token = sign_copy(world, await own.get_token(world), **claims)
    await own.trust(world, subject=claims["sub"])
    assert (await own.present(world, token)).status == 200
    await own.trust(world, world.CLIENT, subject=claims["sub"])
    assert (await own.present(world, token, client_id=world.CLIENT)).status == 200
    forged = token[:-8] + "A" * 8
    assert (await own.present(world, forged)).code == 7000274


async def test_only_azure_devops_has_subjects_of_service_connections(world: World) -> None:
    text = await own.get_token(world)
    other = connection_prefix(world.OTHER_TENANT) + "organization/connection"
    for changes in ({"azp": world.CLIENT}, {"sub": other}, {"sub": world.OBJECT}):
        claims = connection_claims(world, **changes)
        await own.trust(world, subject=claims["sub"])
        token = sign_copy(world, text, **claims)
        assert (await own.present(world, token)).code == 700226, changes
        await own.trust(world, world.CLIENT, subject=claims["sub"])
        assert (await own.present(world, token, client_id=world.CLIENT)).code == 700222, changes


async def test_token_of_a_disabled_or_deleted_identity_is_refused(world: World) -> None:
    await own.trust(world)
    assertion = await own.get_token(world)
    await world.change(world.CLIENT, enabled=False)
    assert (await own.present(world, assertion)).code == 700226
    await world.change(world.CLIENT, enabled=True)
    assert (await own.present(world, assertion)).status == 200
    await world.directory.identities.delete(world.TENANT, world.CLIENT)
    assert (await own.present(world, assertion)).code == 700226


async def test_token_of_another_tenant_is_refused_as_credential(world: World) -> None:
    identity = await world.directory.find_identity(world.TENANT, world.CLIENT)
    assert identity is not None
    other = replace(
        identity,
        tenant_id=world.OTHER_TENANT,
        client_id=world.CLIENT.replace("3", "8"),
        object_id=world.OBJECT.replace("5", "9"),
        resource_id=f"{identity.resource_id}2",
    )
    await world.directory.identities.put(other)
    answer = await world.request_token(
        f"/{world.OTHER_TENANT}/oauth2/v2.0/token", client_id=other.client_id, scope=own.SCOPE
    )
    assertion = str(answer.body["access_token"])
    foreign = f"{world.url}/{world.OTHER_TENANT}/v2.0"
    await own.trust(world, subject=other.object_id)
    assert (await own.present(world, assertion)).code == 700211
    await own.trust(world, subject=other.object_id, issuer=foreign)
    assert (await own.present(world, assertion)).code == 700236
    # With our tenant in its issuer, the signature would not be valid.
    await own.trust(world, subject=other.object_id)
    renamed = sign_copy(world, assertion, iss=f"{world.url}/{world.TENANT}/v2.0")
    assert (await own.present(world, renamed)).code == 700226


@pytest.mark.parametrize(
    "issuer",
    [
        *("{url}/{tenant}/v2.0/", "{url}/{tenant}", "{url}/{tenant}/", "{url}/{tenant}/V2.0"),
        *("{url}/common/v2.0", "{url}//{tenant}/v2.0", "{url}/{tenant}/v2.0?x"),
        *("https://sts.windows.net/{tenant}/", "https://sts.windows.net/{tenant}/v2.0"),
    ],
)
async def test_issuer_similar_to_ours_is_never_fetched(world: World, issuer: str) -> None:
    almost = issuer.format(url=world.url, tenant=world.TENANT)
    await own.trust(world, issuer=almost)
    assert (
        await own.present(world, sign_copy(world, await own.get_token(world), iss=almost))
    ).code == 700222
    assert [hit for hit in world.site.hits if world.TENANT in hit] == []


async def test_own_token_expires_like_any_assertion(world: World) -> None:
    await own.trust(world)
    assertion = await own.get_token(world)
    world.now += 86399
    assert (await own.present(world, assertion)).code == 700024
    longer = sign_copy(world, assertion, exp=int(world.now) + 90_000)
    assert (await own.present(world, longer)).code == 70023


async def test_exchange_audience_of_another_cloud_is_accepted(start: Start) -> None:
    world = await start(cloud="AzureUSGovernment")
    theirs = resources.resources_of_cloud(CLOUDS["AzureUSGovernment"])
    world.directory._resources = resources.Resources(theirs)
    name = "api://AzureADTokenExchangeUSGov"
    assertion = await own.get_token(world, f"{name}/.default")
    await own.trust(world, audiences=(name,))
    assert (await own.present(world, assertion)).status == 200
    await own.trust(world)
    assert (await own.present(world, assertion)).code == 7002121
