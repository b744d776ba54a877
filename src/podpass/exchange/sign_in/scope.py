"""Parse the scope parameter of a user's sign-in into one resource and its permissions. Pure.

Unlike with client credentials, a scope may name single permissions or no resource, and may contain the OIDC
scopes `openid`, `profile`, `email` and `offline_access`.
"""

import re
from dataclasses import dataclass

from podpass import names
from podpass.directory.well_known_resources import IMPERSONATION
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.scope import DEFAULT_SUFFIX, USER_SCOPES, is_resource

GRAPH = f"https://{names.GRAPH_HOST}"
# The permissions of Microsoft's tools in Graph; other clients need consent.
_TOOLS_IN_GRAPH = (
    "AuditLog.Read.All",
    "Directory.AccessAsUser.All",
    "Group.ReadWrite.All",
    "User.ReadWrite.All",
)
# The permission of a tool in a resource that publishes none, so that no other client can request it.
_TOOLS_ONLY = (IMPERSONATION,)
MAX_SCOPE_CHARS = 4096
_PERMISSION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,119}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedScope:
    """The parsed scope of a request.

    `resource` as the client wrote it; `permissions` by name, empty for `.default`, where `is_default` is
    true, and for OIDC scopes only; `oidc_scopes` is a part of USER_SCOPES; `text` are the other scopes as the
    client wrote them.
    """

    resource: str
    permissions: tuple[str, ...] = ()
    is_default: bool = False
    oidc_scopes: frozenset[str] = frozenset()
    text: tuple[str, ...] = ()


def parse(text: str, *, version: int) -> RequestedScope:
    """Parse the parameter of an endpoint of this version: a scope, or a resource.

    Raises AadstsError 70011, 700022.
    """
    return parse_scope(text) if version == 2 else parse_resource(text)


def parse_scope(scope: str) -> RequestedScope:
    """Parse the scope of a sign-in; a scope without a resource is for Graph.

    Raises AadstsError 70011, 700022.
    """
    # The scope is stored while a sign-in is pending, and every client may start one.
    if len(scope) > MAX_SCOPE_CHARS:
        raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    scopes = scope.split()
    oidc_scopes = frozenset(scopes) & USER_SCOPES
    items = [_parse_item(each, scope) for each in scopes if each not in USER_SCOPES]
    resources = {resource for resource, _ in items}
    if len({each.removesuffix("/") for each in resources}) > 1:
        raise AadstsError(numbers.SCOPE_OF_TWO_RESOURCES, scope=scope)
    permissions = tuple(dict.fromkeys(permission for _, permission in items if permission))
    if permissions and any(not permission for _, permission in items):
        raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    return RequestedScope(
        resource=resources.pop() if resources else GRAPH,
        permissions=permissions,
        is_default=bool(items) and not permissions,
        oidc_scopes=oidc_scopes,
        text=tuple(each for each in scopes if each not in USER_SCOPES),
    )


def parse_resource(resource: str) -> RequestedScope:
    """Parse the `resource` of the v1.0 endpoint, which always requests all permissions and OIDC scopes.

    Raises AadstsError 70011.
    """
    if len(resource) > MAX_SCOPE_CHARS or not is_resource(resource):
        raise AadstsError(numbers.INVALID_SCOPE, scope=resource)
    return RequestedScope(resource=resource, is_default=True, oidc_scopes=USER_SCOPES)


def _parse_item(each: str, scope: str) -> tuple[str, str]:
    if each.endswith(DEFAULT_SUFFIX):
        resource, permission = each.removesuffix(DEFAULT_SUFFIX), ""
    else:
        resource, slash, permission = each.rpartition("/")
        if not slash:
            resource = GRAPH
        if _PERMISSION.fullmatch(permission) is None:
            raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    if not is_resource(resource):
        raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    return resource, permission


def tool_permissions(
    requested: RequestedScope, published: tuple[str, ...], *, is_graph: bool
) -> tuple[str, ...]:
    """Return the permissions of a token (`scp`) of one of Microsoft's tools, which need no consent.

    `published` are the names of the resource's permissions. In Graph a tool has the permissions that it
    requests.
    """
    if not is_graph:
        return requested.permissions or published or _TOOLS_ONLY
    in_graph = requested.permissions or _TOOLS_IN_GRAPH
    return (*in_graph, *sorted(requested.oidc_scopes - {"offline_access"}))


def format_scope(requested: RequestedScope, permissions: tuple[str, ...]) -> str:
    """Return the `scope` of a response: the granted scopes, and the requested ones as the client wrote them.

    MSAL finds a token in its cache by the scopes of its request.
    """
    full = [each if each in USER_SCOPES else f"{requested.resource}/{each}" for each in permissions]
    return " ".join(
        dict.fromkeys([*full, *requested.text, *sorted(requested.oidc_scopes - {"offline_access"})])
    )
