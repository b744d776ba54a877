"""The route table of Graph: path and method to an operation and its required permissions."""

from collections.abc import Awaitable, Callable, Sequence

from podpass.directory.graph import (
    app_roles,
    applications,
    credentials,
    directory_objects,
    federated_credentials,
    owners,
    permission_grants,
    principals,
    users,
)
from podpass.directory.graph import permissions as may
from podpass.directory.graph.errors import GraphMethodNotAllowed, unknown_segment
from podpass.directory.graph.model import GraphOperation, GraphRequest, GraphResponse
from podpass.directory.graph.paths import USERINFO, ObjectKey, PathStep
from podpass.directory.graph.permissions import RequiredPermissions

Path = tuple[str, ...]
Run = Callable[[GraphRequest], Awaitable[GraphResponse]]
Methods = dict[str, GraphOperation]


def _get(title: str, needs: RequiredPermissions, run: Run) -> Methods:
    return {"GET": GraphOperation(title=title, needs=needs, run=run)}


def _post(title: str, needs: RequiredPermissions, run: Run) -> Methods:
    return {"POST": GraphOperation(title=title, needs=needs, run=run, body=True)}


def _patch(title: str, needs: RequiredPermissions, run: Run) -> Methods:
    return {"PATCH": GraphOperation(title=title, needs=needs, run=run, body=True)}


def _delete(title: str, needs: RequiredPermissions, run: Run) -> Methods:
    return {"DELETE": GraphOperation(title=title, needs=needs, run=run)}


_APP = ("applications", "*")
_SP = ("serviceprincipals", "*")
_FEDERATED = (*_APP, "federatedidentitycredentials")

# `*` matches a key. Names are compared case-insensitively, as in Graph.
_APPLICATIONS: dict[Path, Methods] = {
    ("applications",): {
        **_get("list applications", may.LIST_APPS, applications.list_applications),
        **_post("create an application", may.CREATE_APP, applications.create),
    },
    ("applications", "$count"): _get("count applications", may.LIST_APPS, applications.count),
    _APP: {
        **_get("read an application", may.READ_APP, applications.get),
        **_patch("update an application", may.WRITE_APP, applications.update),
        **_delete("delete an application", may.WRITE_APP, applications.delete),
    },
    (*_APP, "addpassword"): _post("add a secret", may.WRITE_APP, credentials.add_password),
    (*_APP, "removepassword"): _post("remove a secret", may.WRITE_APP, credentials.remove_password),
    (*_APP, "addkey"): _post("add a certificate", may.ROLL_KEY, credentials.add_key),
    (*_APP, "removekey"): _post("remove a certificate", may.ROLL_KEY, credentials.remove_key),
    (*_APP, "owners"): _get("list owners", may.READ_APP, owners.list_of_application),
    (*_APP, "owners", "$ref"): _post("add an owner", may.ADD_OWNER, owners.add_to_application),
    (*_APP, "owners", "*", "$ref"): _delete(
        "remove an owner", may.WRITE_APP, owners.remove_from_application
    ),
    _FEDERATED: {
        **_get(
            "list federated credentials",
            may.READ_CREDENTIALS,
            federated_credentials.list_credentials,
        ),
        **_post("add a federated credential", may.WRITE_APP, federated_credentials.create),
    },
    (*_FEDERATED, "*"): {
        **_get("read a federated credential", may.READ_CREDENTIALS, federated_credentials.get),
        **_patch("update a federated credential", may.WRITE_APP, federated_credentials.update),
        **_delete("delete a federated credential", may.WRITE_APP, federated_credentials.delete),
    },
}
_PRINCIPALS: dict[Path, Methods] = {
    ("serviceprincipals",): {
        **_get("list service principals", may.LIST_APPS, principals.list_principals),
        **_post("create a service principal", may.CREATE_APP, principals.create),
    },
    ("serviceprincipals", "$count"): _get(
        "count service principals", may.LIST_APPS, principals.count
    ),
    _SP: {
        **_get("read a service principal", may.READ_APP, principals.get),
        **_patch("update a service principal", may.WRITE_PRINCIPAL, principals.update),
        **_delete("delete a service principal", may.WRITE_APP, principals.delete),
    },
    (*_SP, "addpassword"): _post(
        "add a secret", may.WRITE_APP, credentials.add_password_of_principal
    ),
    (*_SP, "removepassword"): _post(
        "remove a secret", may.WRITE_APP, credentials.remove_password_of_principal
    ),
    (*_SP, "addkey"): _post("add a certificate", may.ROLL_KEY, credentials.add_key_of_principal),
    (*_SP, "removekey"): _post(
        "remove a certificate", may.ROLL_KEY, credentials.remove_key_of_principal
    ),
    (*_SP, "owners"): _get("list owners", may.READ_APP, owners.list_of_principal),
    (*_SP, "owners", "$ref"): _post("add an owner", may.ADD_OWNER, owners.add_to_principal),
    (*_SP, "owners", "*", "$ref"): _delete(
        "remove an owner", may.WRITE_APP, owners.remove_from_principal
    ),
    (*_SP, "ownedobjects"): _get(
        "list owned objects", may.READ_APP, owners.list_owned_by_principal
    ),
    (*_SP, "approleassignments"): {
        **_get("list app role assignments", may.READ_ROLES, app_roles.list_of_principal),
        **_post("assign an app role", may.ASSIGN_ROLES, app_roles.grant_to_principal),
    },
    (*_SP, "approleassignments", "*"): {
        **_get("read an app role assignment", may.READ_ROLES, app_roles.get_of_principal),
        **_delete(
            "remove an app role assignment", may.REVOKE_ROLES, app_roles.revoke_from_principal
        ),
    },
    (*_SP, "approleassignedto"): {
        **_get("list app role assignments", may.READ_ROLES, app_roles.list_of_resource),
        **_post("assign an app role", may.ASSIGN_ROLES, app_roles.grant_by_resource),
    },
    (*_SP, "approleassignedto", "*"): {
        **_get("read an app role assignment", may.READ_ROLES, app_roles.get_of_resource),
        **_delete("remove an app role assignment", may.REVOKE_ROLES, app_roles.revoke_by_resource),
    },
    (*_SP, "memberof"): _get("list memberships", may.READ_MEMBERSHIPS, users.list_nothing),
    (*_SP, "transitivememberof"): _get(
        "list memberships", may.READ_MEMBERSHIPS, users.list_nothing
    ),
    (*_SP, "oauth2permissiongrants"): _get(
        "list grants", may.READ_GRANTS, permission_grants.list_of_principal
    ),
    (*_SP, "checkmembergroups"): _post(
        "check groups", may.READ_MEMBERSHIPS, directory_objects.list_member_groups
    ),
    (*_SP, "getmembergroups"): _post(
        "list groups", may.READ_MEMBERSHIPS, directory_objects.list_member_groups
    ),
    (*_SP, "getmemberobjects"): _post(
        "list groups", may.READ_MEMBERSHIPS, directory_objects.list_member_groups
    ),
}
_OTHERS: dict[Path, Methods] = {
    ("me",): _get("read the signed-in user", may.ME, users.get_signed_in_user),
    ("me", "ownedobjects"): _get("list owned objects", may.ME, owners.list_owned_by_user),
    ("me", "ownedobjects", "application"): _get(
        "list owned applications", may.ME, owners.list_applications_of_user
    ),
    ("me", "ownedobjects", "serviceprincipal"): _get(
        "list owned service principals", may.ME, owners.list_principals_of_user
    ),
    ("me", "memberof"): _get("list memberships", may.ME, users.list_nothing),
    ("me", "transitivememberof"): _get("list memberships", may.ME, users.list_nothing),
    USERINFO: {
        method: GraphOperation(
            title="read the claims of the signed-in user",
            needs=may.USERINFO,
            run=users.get_userinfo,
        )
        for method in ("GET", "POST")
    },
    ("users",): {
        **_get("list users", may.READ_USERS, users.list_users),
        **_post("create a user", may.CREATE_USER, users.create_user),
    },
    ("users", "*"): {
        **_get("read a user", may.READ_USERS, users.get_user),
        **_patch("update a user", may.UPDATE_USER, users.update_user),
        **_delete("delete a user", may.DELETE_USER, users.delete_user),
    },
    ("users", "*", "memberof"): _get("list memberships", may.READ_USERS, users.list_nothing),
    ("users", "*", "getmembergroups"): _post(
        "list groups", may.CHECK_USER_MEMBERSHIPS, directory_objects.list_member_groups
    ),
    ("users", "*", "approleassignments"): {
        **_get("list app role assignments", may.READ_USER_ROLES, app_roles.list_of_user),
        **_post("assign an app role", may.ASSIGN_ROLES, app_roles.grant_to_user),
    },
    ("groups",): _get("list groups", may.READ_GROUPS, users.list_groups),
    ("groups", "*"): _get("read a group", may.READ_GROUPS, users.respond_not_found),
    ("organization",): _get(
        "read the organization", may.READ_ORGANIZATION, users.list_organizations
    ),
    ("organization", "*"): _get(
        "read the organization", may.READ_ORGANIZATION, users.get_organization
    ),
    ("domains",): _get("list domains", may.READ_DOMAINS, users.list_domains),
    ("domains", "*"): _get("read a domain", may.READ_DOMAINS, users.get_domain),
    ("oauth2permissiongrants",): {
        **_get("list grants", may.READ_GRANTS, permission_grants.list_grants),
        **_post("grant delegated permissions", may.WRITE_GRANTS, permission_grants.create),
    },
    ("oauth2permissiongrants", "*"): {
        **_get("read a grant", may.READ_GRANTS, permission_grants.get),
        **_patch("change a grant", may.WRITE_GRANTS, permission_grants.update),
        **_delete("delete a grant", may.WRITE_GRANTS, permission_grants.delete),
    },
    ("directoryobjects", "getbyids"): _post(
        "read objects", may.READ_OBJECTS, directory_objects.get_by_ids
    ),
    ("directoryobjects", "*"): _get("read an object", may.READ_OBJECTS, directory_objects.get),
    ("directoryobjects", "*", "checkmembergroups"): _post(
        "check groups", may.CHECK_MEMBERSHIPS, directory_objects.list_member_groups
    ),
    ("directoryobjects", "*", "getmembergroups"): _post(
        "list groups", may.CHECK_MEMBERSHIPS, directory_objects.list_member_groups
    ),
    # Deletion is permanent, so these collections are always empty.
    ("directory", "deleteditems", "application"): _get(
        "list deleted applications", may.READ_DELETED, users.list_nothing
    ),
    ("directory", "deleteditems", "serviceprincipal"): _get(
        "list deleted service principals", may.READ_DELETED, users.list_nothing
    ),
    ("directory", "deleteditems", "*"): {
        **_get("read a deleted object", may.READ_DELETED, users.respond_not_found),
        **_delete("purge a deleted object", may.WRITE_APP, users.respond_not_found),
    },
}
TABLE: dict[Path, Methods] = {**_APPLICATIONS, **_PRINCIPALS, **_OTHERS}
_FIRST = frozenset(path[0] for path in TABLE)


def find(method: str, steps: Sequence[PathStep]) -> tuple[GraphOperation, tuple[ObjectKey, ...]]:
    """Return the operation of a request and the keys of its path.

    Raises MalformedRequest for a path that is not served; GraphMethodNotAllowed.
    """
    best: tuple[int, Path, tuple[ObjectKey, ...]] | None = None
    for path in TABLE:
        keys = _match(path, steps)
        # A segment can match both a name and a key. The path with fewer keys takes precedence.
        if keys is not None and (best is None or len(keys) < best[0]):
            best = (len(keys), path, keys)
    if best is None:
        raise unknown_segment(_unknown_segment(steps))
    methods = TABLE[best[1]]
    if method not in methods:
        raise GraphMethodNotAllowed(f"This path accepts only {', '.join(methods)}.")
    return methods[method], best[2]


def _match(path: Path, steps: Sequence[PathStep]) -> tuple[ObjectKey, ...] | None:
    if len(path) != len(steps):
        return None
    keys = []
    for name, step in zip(path, steps, strict=True):
        if name == "*":
            keys.append(step if isinstance(step, ObjectKey) else ObjectKey(name="id", value=step))
        elif isinstance(step, ObjectKey) or step.lower() != name:
            return None
    return tuple(keys)


def _unknown_segment(steps: Sequence[PathStep]) -> str:
    """Return the first segment that is not served."""
    names = [step.value if isinstance(step, ObjectKey) else step for step in steps]
    names = [name for name in names if name]  # `delta()` parses as a name and an empty key
    if not names or names[0].lower() not in _FIRST:
        return names[0] if names else ""
    return names[-1]
