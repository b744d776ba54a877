"""The table of what Graph serves: path and method to an operation and what it needs."""

from collections.abc import Awaitable, Callable, Sequence

from podpass.directory.graph import (
    app_roles,
    applications,
    credentials,
    federated,
    grants,
    objects,
    owners,
    people,
    principals,
)
from podpass.directory.graph import permissions as may
from podpass.directory.graph.calls import Answer, Call, Operation
from podpass.directory.graph.paths import Key, Step
from podpass.directory.graph.permissions import Needs
from podpass.directory.graph.refusals import MethodNotAllowed, no_segment

Path = tuple[str, ...]
Run = Callable[[Call], Awaitable[Answer]]
Methods = dict[str, Operation]


def _get(title: str, needs: Needs, run: Run) -> Methods:
    return {"GET": Operation(title=title, needs=needs, run=run)}


def _post(title: str, needs: Needs, run: Run) -> Methods:
    return {"POST": Operation(title=title, needs=needs, run=run, body=True)}


def _patch(title: str, needs: Needs, run: Run) -> Methods:
    return {"PATCH": Operation(title=title, needs=needs, run=run, body=True)}


def _delete(title: str, needs: Needs, run: Run) -> Methods:
    return {"DELETE": Operation(title=title, needs=needs, run=run)}


_APP = ("applications", "*")
_SP = ("serviceprincipals", "*")
_TRUST = (*_APP, "federatedidentitycredentials")

# `*` stands for a key; names are compared without case, as Graph does.
_APPLICATIONS: dict[Path, Methods] = {
    ("applications",): {
        **_get("list applications", may.LIST_APPS, applications.list_all),
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
    (*_APP, "owners"): _get("list owners", may.READ_APP, owners.of_application),
    (*_APP, "owners", "$ref"): _post("add an owner", may.WRITE_APP, owners.add_to_application),
    (*_APP, "owners", "*", "$ref"): _delete(
        "remove an owner", may.WRITE_APP, owners.remove_from_application
    ),
    _TRUST: {
        **_get("list federated credentials", may.READ_APP, federated.list_all),
        **_post("add a federated credential", may.WRITE_APP, federated.create),
    },
    (*_TRUST, "*"): {
        **_get("read a federated credential", may.READ_APP, federated.get),
        **_patch("update a federated credential", may.WRITE_APP, federated.update),
        **_delete("delete a federated credential", may.WRITE_APP, federated.delete),
    },
}
_PRINCIPALS: dict[Path, Methods] = {
    ("serviceprincipals",): {
        **_get("list service principals", may.LIST_APPS, principals.list_all),
        **_post("create a service principal", may.CREATE_APP, principals.create),
    },
    ("serviceprincipals", "$count"): _get(
        "count service principals", may.LIST_APPS, principals.count
    ),
    _SP: {
        **_get("read a service principal", may.READ_APP, principals.get),
        **_patch("update a service principal", may.WRITE_APP, principals.update),
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
    (*_SP, "owners"): _get("list owners", may.READ_APP, owners.of_principal),
    (*_SP, "owners", "$ref"): _post("add an owner", may.WRITE_APP, owners.add_to_principal),
    (*_SP, "owners", "*", "$ref"): _delete(
        "remove an owner", may.WRITE_APP, owners.remove_from_principal
    ),
    (*_SP, "ownedobjects"): _get("list owned objects", may.READ_OWN, owners.owned_by_principal),
    (*_SP, "approleassignments"): {
        **_get("list application roles held", may.READ_ROLES, app_roles.held),
        **_post("give an application role", may.WRITE_ROLES, app_roles.give_to),
    },
    (*_SP, "approleassignments", "*"): {
        **_get("read an application role held", may.READ_ROLES, app_roles.get_held),
        **_delete("take an application role", may.WRITE_ROLES, app_roles.take_from),
    },
    (*_SP, "approleassignedto"): {
        **_get("list application roles given", may.READ_ROLES, app_roles.given),
        **_post("give an application role", may.WRITE_ROLES, app_roles.give_of),
    },
    (*_SP, "approleassignedto", "*"): {
        **_get("read an application role given", may.READ_ROLES, app_roles.get_given),
        **_delete("take an application role", may.WRITE_ROLES, app_roles.take_of),
    },
    (*_SP, "memberof"): _get("list memberships", may.READ_OBJECTS, people.nothing),
    (*_SP, "transitivememberof"): _get("list memberships", may.READ_OBJECTS, people.nothing),
    (*_SP, "oauth2permissiongrants"): _get("list grants", may.READ_GRANTS, grants.of_principal),
    (*_SP, "checkmembergroups"): _post("check groups", may.READ_OBJECTS, objects.member_groups),
    (*_SP, "getmembergroups"): _post("list groups", may.READ_OBJECTS, objects.member_groups),
    (*_SP, "getmemberobjects"): _post("list groups", may.READ_OBJECTS, objects.member_groups),
}
_OTHERS: dict[Path, Methods] = {
    ("me",): _get("read the signed-in user", may.ME, people.me),
    ("me", "ownedobjects"): _get("list owned objects", may.ME, owners.owned_by_me),
    ("me", "ownedobjects", "application"): _get(
        "list owned applications", may.ME, owners.applications_of_me
    ),
    ("me", "ownedobjects", "serviceprincipal"): _get(
        "list owned service principals", may.ME, owners.principals_of_me
    ),
    ("me", "memberof"): _get("list memberships", may.ME, people.nothing),
    ("me", "transitivememberof"): _get("list memberships", may.ME, people.nothing),
    ("users",): _get("list users", may.READ_USERS, people.list_users),
    ("users", "*"): _get("read a user", may.READ_USERS, people.get_user),
    ("users", "*", "memberof"): _get("list memberships", may.READ_USERS, people.nothing),
    ("users", "*", "getmembergroups"): _post("list groups", may.READ_USERS, objects.member_groups),
    ("users", "*", "approleassignments"): {
        **_get("list application roles held", may.READ_ROLES, app_roles.held_by_user),
        **_post("give an application role", may.WRITE_ROLES, app_roles.give_to_user),
    },
    ("groups",): _get("list groups", may.READ_GROUPS, people.groups),
    ("groups", "*"): _get("read a group", may.READ_GROUPS, people.no_such),
    ("organization",): _get("read the organization", may.READ_ORGANIZATION, people.organization),
    ("organization", "*"): _get(
        "read the organization", may.READ_ORGANIZATION, people.get_organization
    ),
    ("domains",): _get("list domains", may.READ_DOMAINS, people.domains),
    ("domains", "*"): _get("read a domain", may.READ_DOMAINS, people.get_domain),
    ("oauth2permissiongrants",): {
        **_get("list grants", may.READ_GRANTS, grants.list_all),
        **_post("grant delegated permissions", may.WRITE_GRANTS, grants.create),
    },
    ("oauth2permissiongrants", "*"): {
        **_get("read a grant", may.READ_GRANTS, grants.get),
        **_patch("change a grant", may.WRITE_GRANTS, grants.update),
        **_delete("delete a grant", may.WRITE_GRANTS, grants.delete),
    },
    ("directoryobjects", "getbyids"): _post("read objects", may.READ_OBJECTS, objects.get_by_ids),
    ("directoryobjects", "*"): _get("read an object", may.READ_OBJECTS, objects.get),
    ("directoryobjects", "*", "checkmembergroups"): _post(
        "check groups", may.READ_OBJECTS, objects.member_groups
    ),
    ("directoryobjects", "*", "getmembergroups"): _post(
        "list groups", may.READ_OBJECTS, objects.member_groups
    ),
    # Nothing is kept of what is deleted.
    ("directory", "deleteditems", "application"): _get(
        "list deleted applications", may.LIST_APPS, people.nothing
    ),
    ("directory", "deleteditems", "serviceprincipal"): _get(
        "list deleted service principals", may.LIST_APPS, people.nothing
    ),
    ("directory", "deleteditems", "*"): {
        **_get("read a deleted object", may.READ_OBJECTS, people.no_such),
        **_delete("purge a deleted object", may.WRITE_APP, people.no_such),
    },
}
TABLE: dict[Path, Methods] = {**_APPLICATIONS, **_PRINCIPALS, **_OTHERS}
_FIRST = frozenset(path[0] for path in TABLE)


def find(method: str, steps: Sequence[Step]) -> tuple[Operation, tuple[Key, ...]]:
    """Find the operation of a request, with the keys of its path.

    Errors:  Malformed for a path that is not served; MethodNotAllowed.
    """
    best: tuple[int, Path, tuple[Key, ...]] | None = None
    for path in TABLE:
        keys = _match(path, steps)
        # A name is meant as a name where it is one: fewer keys win.
        if keys is not None and (best is None or len(keys) < best[0]):
            best = (len(keys), path, keys)
    if best is None:
        raise no_segment(_strange(steps))
    methods = TABLE[best[1]]
    if method not in methods:
        raise MethodNotAllowed(f"This path takes {', '.join(methods)} only.")
    return methods[method], best[2]


def _match(path: Path, steps: Sequence[Step]) -> tuple[Key, ...] | None:
    if len(path) != len(steps):
        return None
    keys = []
    for name, step in zip(path, steps, strict=True):
        if name == "*":
            keys.append(step if isinstance(step, Key) else Key(name="id", value=step))
        elif isinstance(step, Key) or step.lower() != name:
            return None
    return tuple(keys)


def _strange(steps: Sequence[Step]) -> str:
    """Name the segment at which a path leaves what is served."""
    names = [step.value if isinstance(step, Key) else step for step in steps]
    names = [name for name in names if name]  # `delta()` is a name and an empty key
    if not names or names[0].lower() not in _FIRST:
        return names[0] if names else ""
    return names[-1]
