"""The grants of users: password, refresh token, authorization code, device code; their tokens and errors."""

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.directory.access import GLOBAL_ADMINISTRATOR
from podpass.directory.model import AppRoleAssignment
from podpass.directory.resources import MANAGER_APP_ID
from podpass.exchange.sign_in import passwords, refresh_tokens, users
from podpass.exchange.sign_in.tokens import MEMBER
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.token_sealer import TokenSealer
from tests.exchange.sign_in.browser import AZ, LOOPBACK, Browser, browsing
from tests.exchange.world import ADMIN_ID, OTHER_TENANT, Answer, Start, World

ARM = "https://management.core.windows.net/"
SCOPE = f"{ARM}/.default offline_access openid profile"
POWERSHELL = "1950a258-227b-4e31-a9cf-717495945fc2"
AZCOPY = "579a7132-0e58-4d80-b1e1-7a1e2d337859"
TOKEN = "/organizations/oauth2/v2.0/token"


@pytest.fixture
async def browser(world: World) -> AsyncIterator[Browser]:
    async with browsing(world) as opened:
        yield opened


async def request_by_password(world: World, path: str = TOKEN, **changes: str | None) -> Answer:
    fields: dict[str, str | None] = {
        "grant_type": "password",
        "client_id": AZ,
        "username": world.ADMIN,
        "password": world.PASSWORD,
        "scope": SCOPE,
        "client_info": "1",
    }
    return await world.post(path, **{**fields, **changes})


async def request_by_refresh_token(
    world: World, token: str, path: str = TOKEN, **changes: str
) -> Answer:
    fields = {
        "grant_type": "refresh_token",
        "client_id": AZ,
        "refresh_token": token,
        "scope": SCOPE,
    }
    return await world.post(path, **{**fields, **changes})


def pkce() -> tuple[str, str]:
    verifier = jose.b64encode(os.urandom(32))
    return verifier, jose.b64encode(hashlib.sha256(verifier.encode()).digest())


async def get_code(browser: Browser, **changes: str | None) -> str:
    page = await browser.sign_in(await browser.authorize(**changes))
    return page.response["code"]


async def redeem_code(world: World, code: str, path: str = TOKEN, **changes: str | None) -> Answer:
    fields: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "client_id": AZ,
        "code": code,
        "redirect_uri": LOOPBACK,
        "scope": SCOPE,
    }
    return await world.post(path, **{**fields, **changes})


async def start_device_flow(world: World, **changes: str) -> dict[str, Any]:
    fields = {"client_id": AZ, "scope": SCOPE}
    answer = await world.post("/organizations/oauth2/v2.0/devicecode", **{**fields, **changes})
    assert answer.status == 200, answer.body
    return answer.body


async def poll_device_code(world: World, device_code: str, **changes: str) -> Answer:
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    fields = {"grant_type": grant, "client_id": AZ, "device_code": device_code}
    return await world.post(TOKEN, **{**fields, **changes})


async def public_app(world: World, **document: Any) -> None:
    await world.change(
        world.APPLICATION,
        document={
            "isFallbackPublicClient": True,
            "publicClient": {"redirectUris": ["https://app.test/callback"]},
            **document,
        },
    )


# ------------------------------------------------------------------------------------ issued tokens


async def test_realm_is_managed_for_own_domains_and_unknown_for_others(world: World) -> None:
    path = "/common/UserRealm/{}?api-version=1.0"
    answer = await world.send(path.format("admin%40contoso.test"), method="GET")
    assert (answer.body["account_type"], answer.body["domain_name"]) == ("Managed", "contoso.test")
    foreign = await world.send(path.format("someone@elsewhere.test"), method="GET")
    assert foreign.body["account_type"] == "Unknown"


async def test_password_grant_issues_resource_manager_token(world: World) -> None:
    answer = await request_by_password(world)
    assert answer.status == 200, answer.body
    claims = answer.claims()
    assert claims["aud"] == ARM
    assert claims["iss"] == f"https://sts.windows.net/{world.TENANT}/"
    assert (claims["oid"], claims["tid"]) == (world.ADMIN_ID, world.TENANT)
    assert (claims["upn"], claims["unique_name"], claims["name"]) == (
        world.ADMIN,
        world.ADMIN,
        "Ada Admin",
    )
    assert (claims["appid"], claims["appidacr"], claims["idtyp"]) == (AZ, "0", "user")
    assert (claims["scp"], claims["amr"], claims["ver"]) == ("user_impersonation", ["pwd"], "1.0")
    # A user who is not configured as administrator has no role, from any source.
    assert claims["wids"] == [MEMBER]
    assert claims["exp"] - world.now == 75 * 60
    assert answer.body["foci"] == "1"
    assert answer.body["expires_in"] == 4500
    assert f"{ARM}/.default" in answer.body["scope"].split()


async def test_only_configured_administrator_has_administrator_role(start: Start) -> None:
    world = await start(administrators=(ADMIN_ID,))
    assert (await request_by_password(world)).claims()["wids"] == [GLOBAL_ADMINISTRATOR, MEMBER]


async def test_other_user_than_configured_administrator_has_no_role(start: Start) -> None:
    world = await start(administrators=(OTHER_TENANT,))
    assert (await request_by_password(world)).claims()["wids"] == [MEMBER]


async def test_id_token_has_client_as_audience(world: World) -> None:
    answer = await request_by_password(world)
    said = jose.parse(answer.body["id_token"]).claims
    assert said["aud"] == AZ
    assert said["iss"] == f"{world.url}/{world.TENANT}/v2.0"
    assert (said["oid"], said["preferred_username"]) == (world.ADMIN_ID, world.ADMIN)
    assert said["ver"] == "2.0"
    assert said["sub"] not in {world.ADMIN_ID, answer.claims()["sub"]}
    info = jose.loads_object(jose.b64decode(answer.body["client_info"]))
    assert info == {"uid": world.ADMIN_ID, "utid": world.TENANT}


async def test_only_requested_tokens_are_issued(world: World) -> None:
    answer = await request_by_password(world, scope=f"{ARM}/.default", client_info=None)
    assert not {"refresh_token", "id_token", "client_info", "foci"} & set(answer.body)


async def test_v1_endpoint_returns_numbers_as_strings(world: World) -> None:
    answer = await request_by_password(
        world, "/organizations/oauth2/token", resource=ARM, scope=None
    )
    assert answer.status == 200, answer.body
    assert (answer.body["resource"], answer.body["expires_in"]) == (ARM, "4500")
    assert answer.claims()["scp"] == "user_impersonation"


@pytest.mark.parametrize("tenant", ["organizations", "{0}", "contoso.test"])
async def test_password_grant_accepts_each_tenant_path(world: World, tenant: str) -> None:
    path = f"/{tenant.format(world.TENANT)}/oauth2/v2.0/token"
    assert (await request_by_password(world, path)).status == 200


@pytest.mark.parametrize(
    ("scope", "audience", "scp"),
    [
        ("https://graph.microsoft.com//.default", "https://graph.microsoft.com/", "Directory.Acc"),
        ("https://graph.microsoft.com/.default", "https://graph.microsoft.com", "User.ReadWrite"),
        ("User.Read", "https://graph.microsoft.com", "User.Read"),
        (
            "https://graph.microsoft.com/Application.Read.All",
            "https://graph.microsoft.com",
            "Application.Read.All",
        ),
        ("https://vault.azure.net/.default", "https://vault.azure.net", "user_impersonation"),
        (
            "https://vault.azure.net/user_impersonation",
            "https://vault.azure.net",
            "user_impersonation",
        ),
        ("openid profile", "https://graph.microsoft.com", "User.ReadWrite"),
    ],
)
async def test_refresh_token_is_valid_for_every_resource(
    world: World, scope: str, audience: str, scp: str
) -> None:
    first = await request_by_password(world)
    answer = await request_by_refresh_token(world, first.body["refresh_token"], scope=scope)
    assert answer.status == 200, answer.body
    assert scp in answer.claims()["scp"]
    assert answer.claims()["aud"] == audience
    for each in set(scope.split()) - {"openid", "profile"}:
        assert each in answer.body["scope"].split()


async def test_token_has_delegated_permissions_of_application(world: World) -> None:
    scopes = [
        {"value": "read", "isEnabled": True},
        {"value": "write", "isEnabled": True},
        {"value": "old", "isEnabled": False},
    ]
    await world.change(world.APPLICATION, document={"api": {"oauth2PermissionScopes": scopes}})
    api = f"api://{world.APPLICATION}"
    every = await request_by_password(world, scope=f"{api}/.default")
    assert every.claims()["scp"] == "read write"
    assert (every.claims()["aud"], every.claims()["ver"]) == (world.APPLICATION, "2.0")
    assert every.claims()["preferred_username"] == world.ADMIN
    one = await request_by_password(world, scope=f"{api}/read")
    assert one.claims()["scp"] == "read"
    assert (await request_by_password(world, scope=f"{api}/old")).code == 650053


async def test_token_has_app_roles_of_user(world: World) -> None:
    role = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
    app_role = {"id": role, "value": "Things.Manage", "isEnabled": True}
    await world.change(world.APPLICATION, document={"appRoles": [app_role]})
    await assign_app_role(world, world.ADMIN_ID, role)
    answer = await request_by_password(world, scope=f"api://{world.APPLICATION}/.default")
    assert answer.claims()["roles"] == ["Things.Manage"]


async def assign_app_role(world: World, principal: str, role: str) -> None:
    application = await world.directory.find_identity(world.TENANT, world.APPLICATION)
    assert application is not None
    await world.directory.app_roles.put(
        AppRoleAssignment(
            id="",
            principal_id=principal,
            principal_type="User",
            resource_id=application.object_id,
            app_role_id=role,
        )
    )


async def test_code_is_exchanged_for_tokens(world: World, browser: Browser) -> None:
    verifier, challenge = pkce()
    asked = {"code_challenge": challenge, "code_challenge_method": "S256", "nonce": "n-1"}
    page = await browser.sign_in(await browser.authorize(**asked))
    assert page.status == 302
    assert page.location.startswith(LOOPBACK + "?")
    assert page.response["state"] == "the-state"
    answer = await redeem_code(world, page.response["code"], code_verifier=verifier)
    assert answer.status == 200, answer.body
    assert jose.parse(answer.body["id_token"]).claims["nonce"] == "n-1"
    assert answer.body["refresh_token"]


async def test_device_code_grant_issues_tokens(world: World, browser: Browser) -> None:
    device = await start_device_flow(world)
    assert device["verification_uri"] == f"{world.url}/common/oauth2/deviceauth"
    assert device["user_code"] in device["message"]
    assert (await poll_device_code(world, device["device_code"])).code == 70016
    page = await browser.get("/common/oauth2/deviceauth")
    typed = device["user_code"].lower()
    page = await browser.submit(page, user_code=f" {typed[:4]}-{typed[4:]} ")
    assert "Microsoft Azure CLI" in page.text
    assert "Continue only if you started that program" in page.text
    page = await browser.sign_in(page)
    assert "You are signed in" in page.text
    world.now += 5
    answer = await poll_device_code(world, device["device_code"])
    assert answer.status == 200, answer.body
    assert answer.claims()["upn"] == world.ADMIN
    assert (await poll_device_code(world, device["device_code"])).code == 70018


@pytest.mark.parametrize("grant", ["device_code", "urn:ietf:params:oauth:grant-type:device_code"])
@pytest.mark.parametrize("parameter", ["device_code", "code"])
async def test_both_names_of_the_device_code_parameter_are_accepted(
    world: World, browser: Browser, grant: str, parameter: str
) -> None:
    """MSAL for Go, Node and Java send `device_code` with the short name of the grant."""
    device = await start_device_flow(world)
    page = await browser.get("/common/oauth2/deviceauth", user_code=device["user_code"])
    await browser.sign_in(await browser.submit(page, user_code=device["user_code"]))
    fields = {"grant_type": grant, "client_id": AZ, parameter: device["device_code"]}
    answer = await world.post(TOKEN, **fields)
    assert answer.status == 200, answer.body
    assert answer.claims()["upn"] == world.ADMIN


async def test_numbers_of_a_device_code_are_text_in_version_1(world: World) -> None:
    """ADAL for Go, in kubelogin's legacy mode, reads numbers only as text."""
    first = await world.post("/common/oauth2/devicecode", client_id=AZ, resource=ARM)
    second = await start_device_flow(world)
    assert (first.body["expires_in"], first.body["interval"]) == ("900", "5")
    assert (second["expires_in"], second["interval"]) == (900, 5)


@pytest.mark.parametrize("grant", ["device_code", "urn:ietf:params:oauth:grant-type:device_code"])
async def test_missing_device_code_is_refused_with_900144(world: World, grant: str) -> None:
    answer = await world.post(TOKEN, grant_type=grant, client_id=AZ)
    assert answer.code == 900144
    assert "device_code" in answer.body["error_description"]


# ---------------------------------------------------------------------------------------- passwords


async def test_wrong_password_and_unknown_user_have_their_numbers(world: World) -> None:
    wrong = await request_by_password(world, password="no")
    assert (wrong.code, wrong.status, wrong.body["error"]) == (50126, 400, "invalid_grant")
    assert (await request_by_password(world, username="unknown@contoso.test")).code == 50034
    assert (await request_by_password(world, username="unknown")).code == 50059
    assert (await request_by_password(world, username="unknown@elsewhere.test")).code == 90002
    elsewhere = f"/{world.OTHER_TENANT}/oauth2/v2.0/token"
    assert (await request_by_password(world, elsewhere)).code == 50034
    assert (await request_by_password(world, "/common/oauth2/v2.0/token")).code == 9001023
    assert (await request_by_password(world, "/consumers/oauth2/v2.0/token")).code == 9001023


async def test_ten_wrong_passwords_lock_a_user_for_a_minute(world: World) -> None:
    for _ in range(users.MAX_ATTEMPTS):
        assert (await request_by_password(world, password="no")).code == 50126
    assert (await request_by_password(world)).code == 50053
    world.now += users.LOCKOUT_SECONDS - 1
    assert (await request_by_password(world)).code == 50053
    world.now += 1
    assert (await request_by_password(world, password="no")).code == 50126
    assert (await request_by_password(world)).status == 200


async def test_correct_password_resets_the_count(world: World) -> None:
    for _ in range(2):
        for _ in range(users.MAX_ATTEMPTS - 1):
            await request_by_password(world, password="no")
        assert (await request_by_password(world)).status == 200


async def test_page_and_endpoint_share_the_lockout(world: World, browser: Browser) -> None:
    page = await browser.authorize()
    for _ in range(users.MAX_ATTEMPTS):
        page = await browser.sign_in(page, password="no")
        assert "not valid" in page.error
    assert "locked" in (await browser.sign_in(page)).error
    assert (await request_by_password(world)).code == 50053


async def test_user_without_a_password_cannot_sign_in(world: World) -> None:
    user = await world.directory.users.get(world.ADMIN_ID)
    assert user is not None
    await world.directory.users.put(replace(user, password=""))
    assert (await request_by_password(world)).code == 50126
    assert (await request_by_password(world, password=" ")).code == 900144


async def test_confidential_application_requires_its_secret(world: World) -> None:
    answer = await request_by_password(world, client_id=world.APPLICATION)
    assert (answer.code, answer.status, answer.body["error"]) == (50194, 400, "invalid_request")
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    answer = await request_by_password(world, path, client_id=world.APPLICATION)
    assert (answer.code, answer.status, answer.body["error"]) == (7000218, 401, "invalid_client")
    await public_app(world)
    await world.consent(MANAGER_APP_ID, "user_impersonation")
    assert (await request_by_password(world, path, client_id=world.APPLICATION)).status == 200
    assert (await request_by_password(world, client_secret="x")).code == 700025


async def test_password_is_not_checked_without_client_authentication(world: World) -> None:
    """Otherwise any client ID would suffice to guess passwords, without the client's secret."""
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    answer = await request_by_password(world, path, client_id=world.APPLICATION, password="no")
    assert answer.code == 7000218


@pytest.mark.parametrize("missing", ["username", "password", "client_id"])
async def test_missing_parameter_is_named(world: World, missing: str) -> None:
    answer = await request_by_password(world, **{missing: ""})
    assert (answer.code, missing in answer.body["error_description"]) == (900144, True)


# ------------------------------------------------------------------------------------ refresh tokens


async def test_each_use_of_refresh_token_issues_a_new_one(world: World) -> None:
    first = (await request_by_password(world)).body["refresh_token"]
    second = (await request_by_refresh_token(world, first)).body["refresh_token"]
    assert first != second
    world.now += 89 * 86400
    assert (await request_by_refresh_token(world, second)).status == 200
    world.now += 2 * 86400
    assert (await request_by_refresh_token(world, second)).code == 700082


async def test_refresh_token_is_invalid_after_password_change(world: World) -> None:
    token = (await request_by_password(world)).body["refresh_token"]
    user = await world.directory.users.get(world.ADMIN_ID)
    assert user is not None
    await world.directory.users.put(replace(user, password=passwords.hash_password("new")))
    answer = await request_by_refresh_token(world, token)
    assert (answer.code, answer.body["error"]) == (50173, "invalid_grant")


async def test_refresh_token_is_valid_within_client_family_only(world: World) -> None:
    token = (await request_by_password(world)).body["refresh_token"]
    assert (await request_by_refresh_token(world, token, client_id=POWERSHELL)).status == 200
    assert (await request_by_refresh_token(world, token, client_id=AZCOPY)).code == 70000
    await public_app(world)
    path = f"/{world.TENANT}/oauth2/v2.0/token"
    assert (
        await request_by_refresh_token(world, token, path, client_id=world.APPLICATION)
    ).code == 70000
    alone = (await request_by_password(world, client_id=AZCOPY)).body
    assert "foci" not in alone
    assert (
        await request_by_refresh_token(world, alone["refresh_token"], client_id=AZCOPY)
    ).status == 200
    assert (await request_by_refresh_token(world, alone["refresh_token"])).code == 70000


async def test_refresh_token_is_valid_in_its_tenant_only(world: World) -> None:
    token = (await request_by_password(world)).body["refresh_token"]
    elsewhere = f"/{world.OTHER_TENANT}/oauth2/v2.0/token"
    assert (await request_by_refresh_token(world, token, elsewhere)).code == 700005
    here = f"/{world.TENANT}/oauth2/v2.0/token"
    assert (await request_by_refresh_token(world, token, here)).status == 200
    assert (await request_by_refresh_token(world, token, "/common/oauth2/v2.0/token")).status == 200


async def test_changed_refresh_token_is_refused(world: World) -> None:
    token = (await request_by_password(world)).body["refresh_token"]
    changed = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    for text in (changed, token[:-4], token + "AAAA", "x", "é", "A" * 60_000):
        assert (await request_by_refresh_token(world, text)).code == 70000


async def test_access_token_is_not_accepted_as_refresh_token(world: World) -> None:
    answer = await request_by_password(world)
    assert (await request_by_refresh_token(world, answer.body["access_token"])).code == 70000
    assert (await request_by_refresh_token(world, answer.body["id_token"])).code == 70000


async def test_another_replica_accepts_the_refresh_token(world: World) -> None:
    user = await world.directory.users.get(world.ADMIN_ID)
    assert user is not None
    other = await AuthorityKeys.open(world.keys.database, world.sealing, world.clock)
    token = refresh_tokens.issue(other.token_sealer, user, AZ, clock=world.clock)
    assert (await request_by_refresh_token(world, token)).status == 200
    foreign = refresh_tokens.issue(TokenSealer(bytes(32)), user, AZ, clock=world.clock)
    assert (await request_by_refresh_token(world, foreign)).code == 70000


async def test_refresh_token_of_deleted_user_is_refused(world: World) -> None:
    user = await world.directory.users.get(world.ADMIN_ID)
    assert user is not None
    other = replace(user, id="99999999-9999-4999-8999-999999999999")
    token = refresh_tokens.issue(world.keys.token_sealer, other, AZ, clock=world.clock)
    assert (await request_by_refresh_token(world, token)).code == 50034
