"""The HTTP handler of the portal's consent API: only an administrator of the tenant may call it.

Delegated permissions become grants, application permissions become app role assignments of the application.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from podpass.database import DatabaseFailed
from podpass.directory import builtin_principals, delegated_permissions, resources
from podpass.directory.access import GLOBAL_ADMINISTRATOR, Admit, Caller, NotAdmitted
from podpass.directory.actor import Actor, acting
from podpass.directory.errors import DirectoryError
from podpass.directory.model import AppRoleAssignment, Identity, IdentityKind, PermissionGrant
from podpass.directory.store.directory import Directory
from podpass.errors import Error
from podpass.guids import PATTERN
from podpass.http.api_frame import (
    ApiFrame,
    EncodedResponse,
    ErrorOutcome,
    RequestProgress,
    common_headers,
    request_ids,
)
from podpass.http.server import JSON, App, Receive, Scope, header_values

_CONSENT = re.compile(rf"/+api/RegisteredApplications/({PATTERN})/Consent", re.IGNORECASE)
_FOR_ALL = b"onbehalfofall=true"

PortalResponse = tuple[int, Mapping[str, str] | None]


class PortalRefused(Error):
    """The request is refused."""

    code = "portal_refused"

    def __init__(self, message: str, *, status: int, wire_code: str) -> None:
        super().__init__(message)
        self.status = status
        self.wire_code = wire_code


def create_app(directory: Directory, admit: Admit, tenant_id: str) -> App:
    """Create the application that serves the portal's consent API for one tenant."""
    return PortalApp(directory, admit, tenant_id)


class PortalApp(ApiFrame[PortalResponse, RequestProgress]):
    """The portal's consent API of one tenant."""

    logger = logging.getLogger(__name__)
    stage = "directory"
    answered_event = "portal_request_answered"
    failed_event = "portal_request_failed"

    def __init__(self, directory: Directory, admit: Admit, tenant_id: str) -> None:
        self._directory = directory
        self._admit = admit
        self._tenant_id = tenant_id

    def begin(self, scope: Scope) -> RequestProgress:
        ids = request_ids(scope, b"x-ms-client-request-id", b"client-request-id")
        return RequestProgress(asked="a request", **ids)

    async def serve(
        self, scope: Scope, receive: Receive, progress: RequestProgress
    ) -> PortalResponse:
        del receive
        caller = await self._authenticate(scope, progress)
        found = _CONSENT.fullmatch(scope["path"])
        if found is None or scope["method"] != "POST":
            raise PortalRefused("This path is not served.", status=404, wire_code="NotFound")
        if _FOR_ALL not in scope["query_string"].lower():
            text = "Only consent for all users is served: onBehalfOfAll=true."
            raise PortalRefused(text, status=400, wire_code="BadRequest")
        progress.asked = "consent for all users"
        _require_administrator(caller)
        progress.checked.append("administrator")
        client = await self._find_client(found[1].lower())
        with acting(Actor(object_id=caller.object_id, name=caller.name)):
            await consent(self._directory, client)
        return 204, None

    async def _authenticate(self, scope: Scope, progress: RequestProgress) -> Caller:
        caller = await self._admit(header_values(scope, b"authorization"))
        # The token check compares the tenant too, as in Graph.
        if caller.tenant_id.lower() != self._tenant_id:
            text = "The access token was issued for another tenant."
            raise PortalRefused(text, status=401, wire_code="Unauthorized")
        progress.facts |= {"client_id": caller.app_id, "object_id": caller.object_id}
        progress.checked.append("access token")
        return caller

    async def _find_client(self, client_id: str) -> Identity:
        found = await self._directory.find_identity(self._tenant_id, client_id)
        if found is None or found.kind is not IdentityKind.APPLICATION:
            text = f"The application {client_id} does not exist."
            raise PortalRefused(text, status=404, wire_code="NotFound")
        if not found.has_principal:
            text = f"The application has no service principal: run az ad sp create --id {client_id}"
            raise PortalRefused(text, status=400, wire_code="BadRequest")
        return found

    def error_outcome(
        self, exc: Exception, progress: RequestProgress
    ) -> ErrorOutcome[PortalResponse] | None:
        del progress
        match exc:
            case NotAdmitted():
                status, code = 401, "Unauthorized"
            case PortalRefused():
                status, code = exc.status, exc.wire_code
            case DatabaseFailed():
                status, code = 503, "ServiceUnavailable"
            case DirectoryError():
                status, code = 400, "BadRequest"
            case _:
                return None
        assert isinstance(exc, Error)
        return ErrorOutcome(
            response=(status, {"ClassName": code, "Message": exc.message}),
            outcome=code,
            facts={"status": status, "cause": exc.message},
        )

    def internal_error(self, progress: RequestProgress) -> PortalResponse:
        text = f"The portal failed unexpectedly. Request id: {progress.request_id}."
        return 500, {"ClassName": "InternalServerError", "Message": text}

    def encode(
        self, _scope: Scope, response: PortalResponse, progress: RequestProgress
    ) -> EncodedResponse:
        status, body = response
        content = b"" if body is None else orjson.dumps(body)
        headers = [JSON, *common_headers(progress, b"x-ms-request-id")]
        return EncodedResponse(status, content, headers)


def _require_administrator(caller: Caller) -> None:
    if not caller.is_user or GLOBAL_ADMINISTRATOR not in caller.wids:
        raise PortalRefused(
            "Only an administrator of the directory can consent for all users.",
            status=403,
            wire_code="Forbidden",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPermissions:
    """What a resource publishes: the names of delegated permissions by ID, and the IDs of app roles.

    `object_id` is that of the resource's service principal.
    """

    object_id: str
    scopes: dict[str, str]
    roles: frozenset[str]


async def consent(directory: Directory, client: Identity) -> None:
    """Store the consent. Permissions that their resource does not publish are left out.

    Raises DatabaseFailed.
    """
    scopes = delegated_permissions.registered(client)
    roles = delegated_permissions.registered_roles(client)
    grants: list[PermissionGrant] = []
    for app_id in dict.fromkeys([*scopes, *roles]):
        found = await _find_published(directory, client.tenant_id, app_id)
        if found is None:
            continue
        listed = scopes.get(app_id, frozenset())
        if names := [name for id_, name in found.scopes.items() if id_ in listed]:
            grants.append(_grant(client, found.object_id, names))
        for role_id in sorted(found.roles & roles.get(app_id, frozenset())):
            await directory.app_roles.put(_assignment(client, found.object_id, role_id))
    await directory.grants.add(grants)


async def _find_published(
    directory: Directory, tenant_id: str, app_id: str
) -> PublishedPermissions | None:
    built_in = next((one for one in resources.BUILT_IN if one.app_id == app_id), None)
    if built_in is not None:
        is_graph = app_id == resources.GRAPH_APP_ID
        permissions = delegated_permissions.of_built_in(app_id, built_in.display_name)
        return PublishedPermissions(
            object_id=builtin_principals.object_id(tenant_id, app_id),
            scopes={one.id: one.value for one in permissions},
            roles=frozenset(builtin_principals.GRAPH_ROLES if is_graph else ()),
        )
    application = await directory.find_identity(tenant_id, app_id)
    if application is None or not application.has_principal:
        return None
    published = delegated_permissions.of_application(application)
    return PublishedPermissions(
        object_id=application.object_id,
        scopes={one.id: one.value for one in published},
        roles=frozenset(_application_roles(application)),
    )


def _application_roles(application: Identity) -> Iterator[str]:
    """Return the IDs of the enabled app roles that applications can have."""
    roles = application.document.get("appRoles")
    for role in roles if isinstance(roles, list) else ():
        members = role.get("allowedMemberTypes") if isinstance(role, dict) else None
        if isinstance(members, list) and "Application" in members and role.get("isEnabled", True):
            yield str(role.get("id", "")).lower()


def _grant(client: Identity, resource_id: str, names: list[str]) -> PermissionGrant:
    return PermissionGrant(
        id="",
        tenant_id=client.tenant_id,
        client_id=client.object_id,
        resource_id=resource_id,
        scope=" ".join(names),
    )


def _assignment(client: Identity, resource_id: str, role_id: str) -> AppRoleAssignment:
    return AppRoleAssignment(
        id="",
        principal_id=client.object_id,
        principal_type="ServicePrincipal",
        resource_id=resource_id,
        app_role_id=role_id,
    )
