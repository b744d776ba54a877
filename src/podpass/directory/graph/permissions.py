"""The authorization rules of Graph. Pure. An operation that no rule allows is denied.

An application has permissions: the `roles` claim of its token. A user calls through a client that needs the
permission as a scope (`scp`), and only a Global Administrator may write.
Source: https://learn.microsoft.com/graph/permissions-reference
"""

from dataclasses import dataclass
from enum import StrEnum

from podpass.directory.access import GLOBAL_ADMINISTRATOR, Caller

OWNED_BY = "Application.ReadWrite.OwnedBy"
# With this scope a client has all permissions of its user.
_AS_USER = "Directory.AccessAsUser.All"

Alternative = tuple[str, ...]
"""Permissions that are sufficient together."""


class AccessLevel(StrEnum):
    """The objects on which a caller may run an operation."""

    ALL = "all"
    OWNED = "owned"  # only objects that the caller owns
    ITSELF = "itself"  # only the caller's own application


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredPermissions:
    """The permissions that an operation needs.

    Each member of `sufficient` suffices, as permissions of an application or as scopes of a user's client.
    `owned`, if not empty, suffices for objects that the caller owns; the operation checks the owner. With
    `itself` an application needs no permission for its own object. An operation with `users_only` has no
    permission, so no application may run it.
    """

    sufficient: tuple[Alternative, ...] = ()
    owned: Alternative = ()
    itself: bool = False
    writes: bool = False
    users_only: bool = False

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Return each sufficient set of permissions as text."""
        sets = (*self.sufficient, *((self.owned,) if self.owned else ()))
        return tuple(" and ".join(names) for names in sets)


def authorize(caller: Caller, needs: RequiredPermissions) -> AccessLevel | None:
    """Return the objects on which a caller may run an operation; None means no object."""
    if caller.is_user:
        return AccessLevel.ALL if _is_user_allowed(caller, needs) else None
    if _holds_any(caller.roles, needs.sufficient):
        return AccessLevel.ALL
    if needs.owned and caller.roles.issuperset(needs.owned):
        return AccessLevel.OWNED
    return AccessLevel.ITSELF if needs.itself else None


def _holds_any(held: frozenset[str], sufficient: tuple[Alternative, ...]) -> bool:
    return any(held.issuperset(names) for names in sufficient)


def _is_user_allowed(caller: Caller, needs: RequiredPermissions) -> bool:
    sufficient = (*needs.sufficient, (_AS_USER,))
    if needs.users_only:
        sufficient = (*sufficient, ("User.Read",))
    if not _holds_any(caller.scopes, sufficient):
        return False
    return not needs.writes or GLOBAL_ADMINISTRATOR in caller.wids


def _any_of(*names: str) -> tuple[Alternative, ...]:
    return tuple((name,) for name in names)


def _pairs(first: str, *seconds: str) -> tuple[Alternative, ...]:
    return tuple((first, second) for second in seconds)


_DIRECTORY = ("Directory.Read.All", "Directory.ReadWrite.All")
_APPS = ("Application.Read.All", "Application.ReadWrite.All")
_WRITE_APPS = "Application.ReadWrite.All"
_ASSIGN = "AppRoleAssignment.ReadWrite.All"
_GRANT = "DelegatedPermissionGrant.ReadWrite.All"
LIST_APPS = RequiredPermissions(sufficient=_any_of(*_APPS, *_DIRECTORY, OWNED_BY))
READ_APP = RequiredPermissions(sufficient=_any_of(*_APPS, *_DIRECTORY), owned=(OWNED_BY,))
CREATE_APP = RequiredPermissions(sufficient=_any_of(_WRITE_APPS), owned=(OWNED_BY,), writes=True)
WRITE_APP = RequiredPermissions(sufficient=_any_of(_WRITE_APPS), owned=(OWNED_BY,), writes=True)
WRITE_PRINCIPAL = RequiredPermissions(
    sufficient=_any_of(_WRITE_APPS, "Directory.ReadWrite.All"), owned=(OWNED_BY,), writes=True
)
ROLL_KEY = RequiredPermissions(
    sufficient=_any_of(_WRITE_APPS), owned=(OWNED_BY,), itself=True, writes=True
)
READ_CREDENTIALS = RequiredPermissions(sufficient=_any_of(*_APPS), owned=(OWNED_BY,))
ADD_OWNER = RequiredPermissions(
    sufficient=(*_pairs(_WRITE_APPS, "Directory.Read.All"), *_any_of("Directory.ReadWrite.All")),
    owned=(OWNED_BY, "Directory.Read.All"),
    writes=True,
)
READ_DELETED = RequiredPermissions(sufficient=_any_of(*_APPS, *_DIRECTORY))
READ_ROLES = RequiredPermissions(sufficient=_any_of(*_APPS, *_DIRECTORY), owned=(OWNED_BY,))
READ_USER_ROLES = RequiredPermissions(sufficient=_any_of(*_DIRECTORY, _ASSIGN))
ASSIGN_ROLES = RequiredPermissions(sufficient=_pairs(_ASSIGN, *_APPS, *_DIRECTORY), writes=True)
REVOKE_ROLES = RequiredPermissions(sufficient=_any_of(_ASSIGN), writes=True)
READ_MEMBERSHIPS = RequiredPermissions(sufficient=_any_of(*_DIRECTORY, *_APPS))
WRITE_GRANTS = RequiredPermissions(
    sufficient=_any_of(_GRANT, "Directory.ReadWrite.All"), writes=True
)
READ_GRANTS = RequiredPermissions(sufficient=_any_of(_GRANT, *_DIRECTORY))
# Applications and service principals; the operation hides users from a caller without READ_USERS.
READ_OBJECTS = RequiredPermissions(sufficient=_any_of(*_DIRECTORY, *_APPS))
CHECK_MEMBERSHIPS = RequiredPermissions(sufficient=_any_of(*_DIRECTORY))
CHECK_USER_MEMBERSHIPS = RequiredPermissions(
    sufficient=(*_pairs("User.Read.All", "Group.Read.All"), *_any_of(*_DIRECTORY))
)
READ_USERS = RequiredPermissions(
    sufficient=_any_of("User.Read.All", "User.ReadWrite.All", *_DIRECTORY)
)
CREATE_USER = RequiredPermissions(
    sufficient=_any_of("User.ReadWrite.All", "Directory.ReadWrite.All"), writes=True
)
UPDATE_USER = CREATE_USER
DELETE_USER = RequiredPermissions(sufficient=_any_of("User.ReadWrite.All"), writes=True)
READ_GROUPS = RequiredPermissions(
    sufficient=_any_of("Group.Read.All", "Group.ReadWrite.All", *_DIRECTORY)
)
READ_ORGANIZATION = RequiredPermissions(sufficient=_any_of("Organization.Read.All", *_DIRECTORY))
READ_DOMAINS = RequiredPermissions(sufficient=_any_of("Domain.Read.All", *_DIRECTORY))
ME = RequiredPermissions(users_only=True)
USERINFO = RequiredPermissions(sufficient=_any_of("openid"))
