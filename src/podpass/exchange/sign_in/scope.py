"""A scope parameter of a user's sign-in in; the one resource and the permissions asked for out. Pure.

Unlike a client that asks for itself, a user's client may name single permissions, may name none at all,
and adds what it wants of the answer: `openid`, `profile`, `email`, `offline_access`.
"""

import re
from dataclasses import dataclass

from podpass import names
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.scope import DEFAULT, USER_SCOPES, is_resource

GRAPH = f"https://{names.GRAPH_HOST}"
IMPERSONATION = "user_impersonation"
# What Microsoft's tools have been granted in Graph; others get what they ask for by name.
_TOOLS_IN_GRAPH = (
    "AuditLog.Read.All",
    "Directory.AccessAsUser.All",
    "Group.ReadWrite.All",
    "User.ReadWrite.All",
)
_OTHERS_IN_GRAPH = ("User.Read",)
MAX_SCOPE_CHARS = 4096
_PERMISSION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,119}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user's client asks for.

    Shapes:  `resource` as the client wrote it; `permissions` by name, none for `.default`; `wanted` are
             those of USER_SCOPES; `text` the scopes as they were asked.
    """

    resource: str
    permissions: tuple[str, ...] = ()
    wanted: frozenset[str] = frozenset()
    text: tuple[str, ...] = ()


def read(text: str, *, version: int) -> Asked:
    """Read what an endpoint of this version is asked for: a scope, or a resource.

    Errors:  Refused 70011, 700022.
    """
    return read_scope(text) if version == 2 else of_resource(text)


def read_scope(scope: str) -> Asked:
    """Read the scope of a sign-in; without a resource it is about Graph.

    Errors:  Refused 70011, 700022.
    """
    # It is kept while a sign-in waits, and anybody may begin one.
    if len(scope) > MAX_SCOPE_CHARS:
        raise Refused(70011, scope=scope)
    scopes = scope.split()
    wanted = frozenset(scopes) & USER_SCOPES
    named = [_split(each, scope) for each in scopes if each not in USER_SCOPES]
    resources = {resource for resource, _ in named}
    if len({each.removesuffix("/") for each in resources}) > 1:
        raise Refused(700022, scope=scope)
    permissions = tuple(dict.fromkeys(permission for _, permission in named if permission))
    if permissions and any(not permission for _, permission in named):
        raise Refused(70011, scope=scope)
    return Asked(
        resource=resources.pop() if resources else GRAPH,
        permissions=permissions,
        wanted=wanted,
        text=tuple(each for each in scopes if each not in USER_SCOPES),
    )


def of_resource(resource: str) -> Asked:
    """Read the `resource` of the v1.0 endpoint, which always wants all that it can get.

    Errors:  Refused 70011.
    """
    if len(resource) > MAX_SCOPE_CHARS or not is_resource(resource):
        raise Refused(70011, scope=resource)
    return Asked(resource=resource, wanted=USER_SCOPES)


def _split(each: str, scope: str) -> tuple[str, str]:
    if each.endswith(DEFAULT):
        resource, permission = each.removesuffix(DEFAULT), ""
    else:
        resource, slash, permission = each.rpartition("/")
        if not slash:
            resource = GRAPH
        if _PERMISSION.fullmatch(permission) is None:
            raise Refused(70011, scope=scope)
    if not is_resource(resource):
        raise Refused(70011, scope=scope)
    return resource, permission


def granted(
    asked: Asked, *, is_graph: bool, is_tool: bool, offered: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Decide which permissions a token carries (`scp`).

    Shapes:  `offered` are those an application of the tenant declares, None for Microsoft's resources.
    Errors:  Refused 70011 for one that the application does not declare.
    """
    if offered is not None:
        if unknown := [each for each in asked.permissions if each not in offered]:
            raise Refused(70011, scope=unknown[0])
        return asked.permissions or offered
    if is_graph:
        in_graph = asked.permissions or (_TOOLS_IN_GRAPH if is_tool else _OTHERS_IN_GRAPH)
        return (*in_graph, *sorted(asked.wanted - {"offline_access"}))
    return (IMPERSONATION,)


def answered(asked: Asked, permissions: tuple[str, ...]) -> str:
    """Write the answer's `scope`: what was granted, and what was asked in the client's own words.

    MSAL finds a token in its cache by the words it asked with.
    """
    full = [each if each in USER_SCOPES else f"{asked.resource}/{each}" for each in permissions]
    return " ".join(dict.fromkeys([*full, *asked.text, *sorted(asked.wanted - {"offline_access"})]))
