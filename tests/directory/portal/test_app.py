"""The portal's consent API, which `az ad app permission admin-consent` calls."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from podpass.database import Database
from podpass.directory import builtin_principals
from podpass.directory.access import GLOBAL_ADMINISTRATOR, Caller, NotAdmitted, Reason
from podpass.directory.model import Identity, IdentityKind, Tenant
from podpass.directory.portal.app import create_app
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID
from podpass.directory.store.directory import Directory
from podpass.http.server import bind, serving

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER = "0a7e6b0c-7e1d-4a57-8a7a-5f6c0a6e2f11"
CLIENT = "33333333-3333-4333-8333-333333333333"
API = "44444444-4444-4444-8444-444444444444"
OBJECT = "55555555-5555-4555-8555-555555555555"
API_OBJECT = "66666666-6666-4666-8666-666666666666"
USER_READ = "e1fe6dd8-ba31-4d61-89e7-88639da4683d"
READ_APPLICATIONS = "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"
IMPERSONATION = "41094075-9dad-400e-a0bd-54e686782033"
SCOPE_ID, ROLE_ID, UNKNOWN_ID, DISABLED_ID = (
    f"{digit * 8}-aaaa-4aaa-8aaa-aaaaaaaaaaaa" for digit in "7896"
)
PATH = f"/api/RegisteredApplications/{CLIENT}/Consent?onBehalfOfAll=true"


def caller(**changes: Any) -> Caller:
    values: dict[str, Any] = {
        "object_id": "u",
        "app_id": "a",
        "tenant_id": TENANT,
        "name": "admin",
        "is_user": True,
        "wids": frozenset({GLOBAL_ADMINISTRATOR}),
    }
    return Caller(**(values | changes))


@dataclass
class Portal:
    """The API and its directory; the text of a token is the name of its caller."""

    directory: Directory
    session: aiohttp.ClientSession
    port: int = 0
    callers: dict[str, Caller] = field(default_factory=dict)

    async def admit(self, authorization: Sequence[str]) -> Caller:
        if not authorization:
            raise NotAdmitted("there is no token", reason=Reason.MISSING)
        return self.callers[authorization[0]]

    async def post(
        self, path: str = PATH, *, token: str | None = "admin", method: str = "POST"
    ) -> int:
        headers = {} if token is None else {"Authorization": token}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, headers=headers) as reply:
            return reply.status


@pytest.fixture
async def portal(directory_url: str) -> AsyncIterator[Portal]:
    async with contextlib.AsyncExitStack() as stack:
        directory = await stack.enter_async_context(Directory(Database(directory_url)))
        await directory.create_tenant(Tenant(id=TENANT, display_name="Contoso"))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        made = Portal(directory, session)
        made.callers = {
            "admin": caller(),
            "user": caller(wids=frozenset()),
            "application": caller(is_user=False),
            "outsider": caller(tenant_id=OTHER),
        }
        sock = bind("127.0.0.1", 0)
        made.port = sock.getsockname()[1]
        await stack.enter_async_context(serving(create_app(directory, made.admit, TENANT), sock))
        yield made


def access(app_id: str, *scopes: str, roles: Sequence[str] = ()) -> dict[str, Any]:
    listed = [{"id": each, "type": "Scope"} for each in scopes]
    listed += [{"id": each, "type": "Role"} for each in roles]
    return {"resourceAppId": app_id, "resourceAccess": listed}


async def register(portal: Portal, *required: dict[str, Any], **changes: Any) -> None:
    client = Identity(
        tenant_id=TENANT,
        client_id=CLIENT,
        object_id=OBJECT,
        name="client",
        kind=IdentityKind.APPLICATION,
        document={"requiredResourceAccess": list(required)},
        **changes,
    )
    await portal.directory.identities.put(client)


async def register_api(portal: Portal) -> None:
    role = {"id": ROLE_ID, "value": "Things.Read", "allowedMemberTypes": ["Application"]}
    for_users = {"id": UNKNOWN_ID, "value": "Things.Own", "allowedMemberTypes": ["User"]}
    scope = {"id": SCOPE_ID, "value": "read", "type": "Admin", "isEnabled": True}
    api = Identity(
        tenant_id=TENANT,
        client_id=API,
        object_id=API_OBJECT,
        name="api",
        kind=IdentityKind.APPLICATION,
        document={
            "api": {"oauth2PermissionScopes": [scope]},
            "appRoles": [role, for_users, role | {"id": DISABLED_ID, "isEnabled": False}],
        },
    )
    await portal.directory.identities.put(api)


async def list_grants(portal: Portal) -> dict[str, str]:
    found = await portal.directory.grants.page(TENANT)
    assert {(one.client_id, one.principal_id) for one in found} <= {(OBJECT, "")}
    return {one.resource_id: one.scope for one in found}


async def test_admin_consent_grants_what_the_registration_lists(portal: Portal) -> None:
    await register_api(portal)
    await register(
        portal,
        access(GRAPH_APP_ID, USER_READ, UNKNOWN_ID, roles=[READ_APPLICATIONS]),
        access(MANAGER_APP_ID, IMPERSONATION),
        access(API, SCOPE_ID, roles=[ROLE_ID, UNKNOWN_ID, DISABLED_ID]),
        access(OTHER, SCOPE_ID),
    )
    for _ in range(2):  # a second consent changes nothing
        assert await portal.post() == 204
        assert await list_grants(portal) == {
            builtin_principals.object_id(TENANT, GRAPH_APP_ID): "User.Read",
            builtin_principals.object_id(TENANT, MANAGER_APP_ID): "user_impersonation",
            API_OBJECT: "read",
        }
        roles = await portal.directory.app_roles.list(principal_id=OBJECT)
        assert {one.app_role_id for one in roles} == {READ_APPLICATIONS, ROLE_ID}
    assert await portal.directory.app_roles.roles_of(OBJECT, API) == ("Things.Read",)
    actions = {one.action: one.actor_name for one in await portal.directory.audit.list()}
    assert actions["microsoft.directory/oAuth2PermissionGrants/create"] == "admin"
    assert actions["microsoft.directory/servicePrincipals/appRoleAssignedTo/update"] == "admin"


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("outsider", 401), ("user", 403), ("application", 403)]
)
async def test_caller_who_is_not_an_administrator_of_the_tenant_is_refused(
    portal: Portal, token: str | None, status: int
) -> None:
    await register(portal, access(GRAPH_APP_ID, USER_READ))
    assert await portal.post(token=token) == status
    assert await list_grants(portal) == {}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (PATH, "GET", 404),
        ("/", "POST", 404),
        (PATH.replace(CLIENT, API), "POST", 404),
        (PATH.replace(CLIENT, "x"), "POST", 404),
        (PATH.partition("?")[0], "POST", 400),
        (PATH.replace("true", "false"), "POST", 400),
    ],
)
async def test_consent_request_with_another_method_path_or_query_is_refused(
    portal: Portal, path: str, method: str, status: int
) -> None:
    await register(portal, access(GRAPH_APP_ID, USER_READ))
    assert await portal.post(path, method=method) == status
    assert await list_grants(portal) == {}


async def test_application_without_service_principal_is_refused(portal: Portal) -> None:
    await register(portal, access(GRAPH_APP_ID, USER_READ), has_principal=False)
    assert await portal.post() == 400


async def test_managed_identity_gets_no_admin_consent(portal: Portal) -> None:
    identity = Identity(
        tenant_id=TENANT,
        client_id=CLIENT,
        object_id=OBJECT,
        name="identity",
        kind=IdentityKind.MANAGED_IDENTITY,
        resource_id=f"/subscriptions/{OTHER}/resourceGroups/rg/providers/"
        "Microsoft.ManagedIdentity/userAssignedIdentities/identity",
    )
    await portal.directory.identities.put(identity)
    assert await portal.post() == 404
