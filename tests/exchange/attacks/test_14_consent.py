"""Group 14: an application acts for users who were never asked, or with permissions they did not grant."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trustme

from podpass.directory import builtin_principals
from podpass.directory.graph.app import create_app as create_graph_app
from podpass.directory.model import AppRoleAssignment, PermissionGrant
from podpass.directory.resources import GRAPH_APP_ID, PORTAL_APP_ID, VAULT_APP_ID, audiences
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.consents import Consents, ConsentScope
from podpass.exchange.sign_in.passwords import hash_password
from podpass.exchange.sign_in.scope import parse_scope
from podpass.resource.api_callers import admit_with
from podpass.resource.guard import Guard
from podpass.servers.authority.admin import LocalKeys
from tests.exchange import world as worlds
from tests.exchange.sign_in.browser import AZ, Browser, Page, browsing
from tests.exchange.world import ADMIN_ID, OBJECT, OTHER_TENANT, TENANT, Answer, Start, World

OWNED_BY = "18a4783c-866b-4cc7-a460-3d5e5662c884"
REDIRECT = "https://attacker.test/callback"
GRAPH = "https://graph.microsoft.com"
ARM = "https://management.azure.com"
TOKEN = f"/{TENANT}/oauth2/v2.0/token"


@dataclass
class Attacker:
    """A workload whose only permission is Application.ReadWrite.OwnedBy, and Graph on the same directory."""

    world: World
    graph: str
    bearer: str
    client_id: str = ""
    secret: str = ""

    async def call(self, method: str, path: str, body: Any = None, bearer: str = "") -> Any:
        headers = {"Authorization": f"Bearer {bearer or self.bearer}"}
        url = f"{self.graph}/v1.0{path}"
        async with self.world.session.request(method, url, json=body, headers=headers) as reply:
            return {"status": reply.status, **((await reply.json()) or {})}

    async def register(self, **members: Any) -> None:
        """Register an application with a redirect URI and a secret."""
        body = {"displayName": "Time sheets", "web": {"redirectUris": [REDIRECT]}, **members}
        application = await self.call("POST", "/applications", body)
        assert application["status"] == 201, application
        principal = await self.call("POST", "/servicePrincipals", {"appId": application["appId"]})
        assert principal["status"] == 201, principal
        secret = await self.call("POST", f"/applications/{application['id']}/addPassword", {})
        self.client_id, self.secret = application["appId"], secret["secretText"]

    async def open_page(self, browser: Browser, scope: str, **changes: str) -> Page:
        return await browser.authorize(
            tenant=TENANT, client_id=self.client_id, redirect_uri=REDIRECT, scope=scope, **changes
        )

    async def redeem(self, code: str, **changes: str) -> Answer:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return await self.post(**{**fields, **changes})

    async def post(self, **fields: str) -> Answer:
        own = {"client_id": self.client_id, "client_secret": self.secret}
        return await self.world.post(TOKEN, **{**own, **fields})


@pytest.fixture
async def attacker(start: Start, ca: trustme.CA) -> AsyncIterator[Attacker]:
    world = await start(administrators=(ADMIN_ID,))
    await world.directory.app_roles.put(
        AppRoleAssignment(
            id="",
            principal_id=OBJECT,
            principal_type="ServicePrincipal",
            resource_id=builtin_principals.object_id(TENANT, GRAPH_APP_ID),
            app_role_id=OWNED_BY,
        )
    )
    guard = Guard(
        tenant_id=TENANT,
        audiences=audiences(GRAPH_APP_ID),
        authorities=(),
        keys=LocalKeys(world.keys),
        clock=world.clock,
    )
    app = create_graph_app(
        world.directory,
        admit_with(guard),
        TENANT,
        "contoso.test",
        world.clock,
        hash_password=hash_password,
    )
    async with AsyncExitStack() as stack:
        port = await worlds.listen(stack, ca, app, "localhost")
        token = await world.request_token(scope=f"{GRAPH}/.default")
        yield Attacker(world, f"https://localhost:{port}", token.body["access_token"])


@pytest.fixture
async def browser(attacker: Attacker) -> AsyncIterator[Browser]:
    async with browsing(attacker.world) as opened:
        yield opened


async def consent(attacker: Attacker, browser: Browser, scope: str, **accept: str) -> Answer:
    """Sign in as the administrator, accept what the page lists, and redeem the code."""
    page = await browser.sign_in(await attacker.open_page(browser, scope))
    accepted = await browser.submit(page, step="accept", **accept)
    return await attacker.redeem(accepted.response["code"], scope=scope)


async def list_grants(attacker: Attacker) -> list[tuple[str, str]]:
    found = await attacker.world.directory.grants.page(TENANT)
    return sorted((one.principal_id, one.scope) for one in found)


async def test_administrator_is_asked_before_an_application_acts_for_them(
    attacker: Attacker, browser: Browser
) -> None:
    await attacker.register()
    scope = f"{GRAPH}/Directory.AccessAsUser.All openid"
    page = await browser.sign_in(await attacker.open_page(browser, scope))
    assert (page.status, page.location) == (200, "")
    assert "<strong>Time sheets</strong> wants to act for" in page.text
    assert f"application of this directory, {attacker.client_id}" in page.text
    assert "goes to <code>https://attacker.test</code>" in page.text
    assert "Do everything in the directory that you may do" in page.text
    assert "Microsoft Graph: Directory.AccessAsUser.All (for administrators)" in page.text
    declined = await browser.submit(page, step="cancel")
    assert declined.response["error"] == "access_denied"
    assert await list_grants(attacker) == []


async def test_consent_is_stored_for_the_user_and_audited(
    attacker: Attacker, browser: Browser
) -> None:
    await attacker.register()
    answer = await consent(attacker, browser, f"{GRAPH}/Application.Read.All openid")
    assert answer.status == 200, answer.body
    assert answer.claims()["scp"] == "openid User.Read Application.Read.All"
    bearer = answer.body["access_token"]
    assert (await attacker.call("GET", "/applications", bearer=bearer))["status"] == 200
    assert (await attacker.call("GET", "/users", bearer=bearer))["status"] == 403
    scope = "openid profile email offline_access User.Read Application.Read.All"
    assert await list_grants(attacker) == [(ADMIN_ID, scope)]
    [entry] = [
        one
        for one in await attacker.world.directory.audit.list(limit=5)
        if "oAuth2PermissionGrants" in one.action
    ]
    assert entry.action == "microsoft.directory/oAuth2PermissionGrants/create"
    assert (entry.actor, entry.actor_name) == (ADMIN_ID, attacker.world.ADMIN)
    # The user is not asked again.
    again = await browser.sign_in(await attacker.open_page(browser, "Application.Read.All"))
    assert again.response["code"]


async def test_code_and_refresh_token_are_refused_for_another_resource(
    attacker: Attacker, browser: Browser
) -> None:
    await attacker.register()
    first = await consent(attacker, browser, "User.Read offline_access")
    refresh = first.body["refresh_token"]
    for scope in (f"{ARM}/.default", f"{ARM}/user_impersonation", f"{GRAPH}/User.Read.All"):
        page = await browser.sign_in(await attacker.open_page(browser, "User.Read"))
        redeemed = await attacker.redeem(page.response["code"], scope=scope)
        refreshed = await attacker.post(
            grant_type="refresh_token", refresh_token=refresh, scope=scope
        )
        for answer in (redeemed, refreshed):
            assert (answer.code, answer.body["error"]) == (65001, "invalid_grant"), scope
            assert answer.body["suberror"] == "consent_required"


async def test_v1_endpoint_needs_consent_too(attacker: Attacker, browser: Browser) -> None:
    await attacker.register()
    first = await consent(attacker, browser, "User.Read offline_access")
    for resource, code in ((ARM, 65001), (GRAPH, 0)):
        answer = await attacker.world.post(
            f"/{TENANT}/oauth2/token",
            grant_type="refresh_token",
            refresh_token=first.body["refresh_token"],
            resource=resource,
            client_id=attacker.client_id,
            client_secret=attacker.secret,
        )
        assert answer.body.get("error_codes", [0]) == [code]


async def test_deleted_consent_ends_a_refresh_token(attacker: Attacker, browser: Browser) -> None:
    await attacker.register()
    first = await consent(attacker, browser, "User.Read offline_access")
    fields = {"grant_type": "refresh_token", "refresh_token": first.body["refresh_token"]}
    assert (await attacker.post(**fields, scope="User.Read")).status == 200
    for grant in await attacker.world.directory.grants.page(TENANT):
        await attacker.world.directory.grants.delete(grant.id)
    assert (await attacker.post(**fields, scope="User.Read")).code == 65001


async def test_password_grant_needs_consent(attacker: Attacker) -> None:
    await attacker.register(isFallbackPublicClient=True)
    world = attacker.world
    fields = {"grant_type": "password", "username": world.ADMIN, "password": world.PASSWORD}
    for scope in (f"{ARM}/.default", "openid", "User.Read", "Directory.AccessAsUser.All"):
        answer = await attacker.post(**fields, scope=scope)
        assert answer.code == 65001, scope


async def test_device_code_needs_consent_on_the_page(attacker: Attacker, browser: Browser) -> None:
    await attacker.register(isFallbackPublicClient=True)
    world = attacker.world
    path = f"/{TENANT}/oauth2/v2.0/devicecode"
    device = await world.post(path, client_id=attacker.client_id, scope=f"{ARM}/user_impersonation")
    start = await browser.get("/common/oauth2/deviceauth")
    page = await browser.submit(start, user_code=device.body["user_code"])
    page = await browser.sign_in(page)
    assert "Azure Resource Manager: everything that you may do there" in page.text
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    poll = {
        "grant_type": grant,
        "client_id": attacker.client_id,
        "device_code": device.body["device_code"],
    }
    assert (await world.post(TOKEN, **poll)).code == 70016
    assert "You are signed in" in (await browser.submit(page, step="accept")).text
    world.now += 5
    answer = await world.post(TOKEN, **poll)
    assert (answer.status, answer.claims()["scp"]) == (200, "user_impersonation")


async def test_user_cannot_consent_to_a_permission_for_administrators(
    attacker: Attacker, browser: Browser
) -> None:
    await attacker.register()
    world = attacker.world
    admin = await world.directory.users.get(ADMIN_ID)
    assert admin is not None
    user = replace(admin, id=str(uuid.uuid4()), name="bob@contoso.test")
    await world.directory.users.put(user)
    page = await attacker.open_page(browser, "Directory.AccessAsUser.All")
    page = await browser.sign_in(page, username=user.name)
    assert "AADSTS90094" in page.error
    assert not page.location
    page = await attacker.open_page(browser, f"{ARM}/user_impersonation")
    page = await browser.sign_in(page, username=user.name)
    assert "all users of this directory" not in page.text
    # The form field of an administrator has no effect for another user.
    assert (await browser.submit(page, step="accept", organization="1")).response["code"]
    assert {principal for principal, _ in await list_grants(attacker)} == {user.id}


async def test_consent_is_checked_again_when_it_is_stored(attacker: Attacker) -> None:
    """Attack: a user has the consent page open when they lose the role of administrator."""
    await attacker.register()
    directory = attacker.world.directory
    identity = await directory.find_identity(TENANT, attacker.client_id)
    tenant, user = await directory.find_tenant(TENANT), await directory.users.get(ADMIN_ID)
    assert identity is not None
    assert tenant is not None
    assert user is not None
    client = Client(id=identity.client_id, name=identity.name, identity=identity)
    parties = ConsentScope(tenant=tenant, client=client, user=user)
    requested = parse_scope("Directory.ReadWrite.All")
    shown = await Consents(directory, [ADMIN_ID]).needed(parties, requested)
    with pytest.raises(AadstsError) as refused:
        await Consents(directory, []).accept(parties, shown, for_all=True)
    assert refused.value.entry.number == 90094
    assert await list_grants(attacker) == []


async def test_consent_form_of_another_browser_is_refused(
    attacker: Attacker, browser: Browser
) -> None:
    """Attack: the owner sends the administrator's browser a consent form of their own sign-in."""
    await attacker.register()
    page = await browser.sign_in(await attacker.open_page(browser, "User.Read"))
    async with browsing(attacker.world) as other:
        refused = await other.submit(page, step="accept")
    assert "AADSTS165000" in refused.error
    assert await list_grants(attacker) == []


async def test_owner_cannot_write_or_read_consents(attacker: Attacker) -> None:
    await attacker.register()
    world = attacker.world
    principal = await attacker.call("GET", f"/servicePrincipals(appId='{attacker.client_id}')")
    body = {
        "clientId": principal["id"],
        "consentType": "AllPrincipals",
        "resourceId": builtin_principals.object_id(TENANT, GRAPH_APP_ID),
        "scope": "Directory.AccessAsUser.All",
    }
    assert (await attacker.call("POST", "/oauth2PermissionGrants", body))["status"] == 403
    assert (await attacker.call("GET", "/oauth2PermissionGrants"))["status"] == 403
    path = f"/servicePrincipals/{principal['id']}"
    patched = await attacker.call("PATCH", path, {"oauth2PermissionGrants": [body]})
    assert patched["status"] == 400
    assert await world.directory.grants.page(TENANT) == []


async def test_consent_of_another_tenant_does_not_count(attacker: Attacker) -> None:
    """Attack: an administrator of one tenant consents for all users, and users of another tenant sign in."""
    await attacker.register(isFallbackPublicClient=True, signInAudience="AzureADMultipleOrgs")
    world = attacker.world
    client = await world.directory.find_identity(TENANT, attacker.client_id)
    assert client is not None
    resource = builtin_principals.object_id(TENANT, GRAPH_APP_ID)
    grant = PermissionGrant(
        id="",
        tenant_id=OTHER_TENANT,
        client_id=client.object_id,
        resource_id=resource,
        scope="User.Read",
    )
    await world.directory.grants.add([grant])
    fields = {
        "grant_type": "password",
        "username": world.ADMIN,
        "password": world.PASSWORD,
        "scope": "User.Read",
    }
    assert (await attacker.post(**fields)).code == 65001
    await world.directory.grants.add([replace(grant, tenant_id=TENANT)])
    assert (await attacker.post(**fields)).status == 200


async def test_consent_for_one_client_or_user_does_not_count_for_another(
    attacker: Attacker, browser: Browser
) -> None:
    await attacker.register(isFallbackPublicClient=True)
    await consent(attacker, browser, "User.Read")
    world = attacker.world
    admin = await world.directory.users.get(ADMIN_ID)
    assert admin is not None
    await world.directory.users.put(replace(admin, id=str(uuid.uuid4()), name="bob@contoso.test"))
    fields = {"grant_type": "password", "password": world.PASSWORD, "scope": "User.Read"}
    assert (await attacker.post(**fields, username=world.ADMIN)).status == 200
    assert (await attacker.post(**fields, username="bob@contoso.test")).code == 65001
    await attacker.register(isFallbackPublicClient=True)
    assert (await attacker.post(**fields, username=world.ADMIN)).code == 65001


async def test_consent_for_one_resource_does_not_count_for_another(attacker: Attacker) -> None:
    """Permissions of different resources can have the same name."""
    await attacker.register(isFallbackPublicClient=True)
    world = attacker.world
    await world.consent(VAULT_APP_ID, "user_impersonation", attacker.client_id)
    fields = {"grant_type": "password", "username": world.ADMIN, "password": world.PASSWORD}
    assert (await attacker.post(**fields, scope="https://vault.azure.net/.default")).status == 200
    assert (await attacker.post(**fields, scope=f"{ARM}/.default")).code == 65001


async def test_consent_is_deleted_with_the_service_principal(
    attacker: Attacker, browser: Browser
) -> None:
    """Attack: the owner deletes an application that has consent, and registers a worse one in its place."""
    await attacker.register()
    await consent(attacker, browser, "User.Read")
    path = f"/servicePrincipals(appId='{attacker.client_id}')"
    assert (await attacker.call("DELETE", path))["status"] == 204
    assert await list_grants(attacker) == []


async def test_consent_cannot_create_a_permission(attacker: Attacker) -> None:
    """Attack: a stored grant names a permission that the resource does not publish."""
    await attacker.register(isFallbackPublicClient=True)
    world = attacker.world
    client = await world.directory.find_identity(TENANT, attacker.client_id)
    assert client is not None
    grant = PermissionGrant(
        id="",
        tenant_id=TENANT,
        client_id=client.object_id,
        resource_id=builtin_principals.object_id(TENANT, GRAPH_APP_ID),
        scope="User.Read Everything.All",
    )
    await world.directory.grants.add([grant])
    fields = {"grant_type": "password", "username": world.ADMIN, "password": world.PASSWORD}
    answer = await attacker.post(**fields, scope=f"{GRAPH}/.default")
    assert answer.claims()["scp"] == "User.Read"
    assert (await attacker.post(**fields, scope=f"{GRAPH}/Everything.All")).code == 650053


async def test_preauthorization_covers_the_owners_own_permissions_only(attacker: Attacker) -> None:
    await attacker.register(isFallbackPublicClient=True)
    own, foreign = str(uuid.uuid4()), "41094075-9dad-400e-a0bd-54e686782033"
    scopes = [{"id": own, "value": "read", "type": "User", "isEnabled": True}]
    scopes.append({"id": str(uuid.uuid4()), "value": "write", "type": "User", "isEnabled": True})
    application = await attacker.call("GET", f"/applications(appId='{attacker.client_id}')")
    for scope in scopes:
        scope |= {"adminConsentDisplayName": "x", "adminConsentDescription": "x"}
    path = f"/applications/{application['id']}"
    listed = [{"appId": attacker.client_id, "delegatedPermissionIds": [own]}]
    assert (await attacker.call("PATCH", path, {"api": {"oauth2PermissionScopes": scopes}}))[
        "status"
    ] == 204
    for ids in ([own], [own, foreign]):
        listed[0]["delegatedPermissionIds"] = ids
        await attacker.call("PATCH", path, {"api": {"preAuthorizedApplications": listed}})
    world = attacker.world
    fields = {"grant_type": "password", "username": world.ADMIN, "password": world.PASSWORD}
    answer = await attacker.post(**fields, scope=f"api://{attacker.client_id}/.default")
    assert answer.claims()["scp"] == "read"
    assert (await attacker.post(**fields, scope=f"{ARM}/.default")).code == 65001


async def test_token_of_a_user_is_not_accepted_as_a_grant(attacker: Attacker) -> None:
    """The on-behalf-of flow is not served: it would bypass consent."""
    await attacker.register()
    answer = await attacker.post(
        grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer",
        requested_token_use="on_behalf_of",
        assertion="x.y.z",
        scope=f"{ARM}/.default",
    )
    assert (answer.code, answer.body["error"]) == (70003, "unsupported_grant_type")


async def test_application_gets_no_token_for_the_portal(
    attacker: Attacker, browser: Browser
) -> None:
    """Attack: the portal's API consents to everything, so consent for it would be consent for everything."""
    await attacker.register(isFallbackPublicClient=True)
    await attacker.world.consent(PORTAL_APP_ID, "user_impersonation", attacker.client_id)
    for scope, code in (("user_impersonation", 650053), (".default", 650057)):
        page = await attacker.open_page(browser, f"{PORTAL_APP_ID}/{scope}")
        assert f"AADSTS{code}" in (await browser.sign_in(page)).error
    world = attacker.world
    fields = {"grant_type": "password", "username": world.ADMIN, "password": world.PASSWORD}
    assert (await attacker.post(**fields, scope=f"{PORTAL_APP_ID}/.default")).code == 65001
    tool = await world.post(TOKEN, **fields, client_id=AZ, scope=f"{PORTAL_APP_ID}/.default")
    assert tool.claims()["scp"] == "user_impersonation"
