"""Who may do what in Graph: the decision, pure. What no rule allows is refused.

Applications hold permissions (`roles` of their tokens). Users act through a client that has to be allowed
to act for them (`scp`), and only Global Administrators change anything.
Source: https://learn.microsoft.com/graph/permissions-reference
"""

from dataclasses import dataclass
from enum import StrEnum

from podpass.directory.access import GLOBAL_ADMINISTRATOR, Caller

OWNED_BY = "Application.ReadWrite.OwnedBy"
# The scope by which a client may do whatever its user may.
_AS_USER = frozenset({"Directory.AccessAsUser.All"})


class Grant(StrEnum):
    """How far a caller may go."""

    ALL = "all"
    OWNED = "owned"  # only with objects that the caller owns
    ITSELF = "itself"  # only with the caller's own application


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an operation needs.

    Shapes:  any one of `permissions` suffices, as an application's or as a scope of a user's client; with
             `owned`, OWNED_BY suffices for objects the caller owns, and the operation must look; with
             `itself`, an application needs nothing for itself. What is for users only names no
             permission, so that no application has it.
    """

    permissions: tuple[str, ...] = ()
    owned: bool = False
    itself: bool = False
    writes: bool = False
    users_only: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        return (*self.permissions, *((OWNED_BY,) if self.owned else ()))


def grant(caller: Caller, needs: Needs) -> Grant | None:
    """Decide how far a caller may go with an operation; None is not at all."""
    if caller.is_user:
        return Grant.ALL if _user_may(caller, needs) else None
    if caller.roles.intersection(needs.permissions):
        return Grant.ALL
    if needs.owned and OWNED_BY in caller.roles:
        return Grant.OWNED
    return Grant.ITSELF if needs.itself else None


def _user_may(caller: Caller, needs: Needs) -> bool:
    allowed = _AS_USER.union(needs.permissions)
    if needs.users_only:
        allowed = allowed | {"User.Read"}
    if not caller.scopes & allowed:
        return False
    return not needs.writes or GLOBAL_ADMINISTRATOR in caller.wids


_READ_DIRECTORY = ("Directory.Read.All", "Directory.ReadWrite.All")
_APPS = ("Application.Read.All", "Application.ReadWrite.All")
LIST_APPS = Needs(permissions=(*_APPS, *_READ_DIRECTORY))
READ_APP = Needs(permissions=(*_APPS, *_READ_DIRECTORY), owned=True)
CREATE_APP = Needs(permissions=_APPS[1:], owned=True, writes=True)
WRITE_APP = Needs(permissions=_APPS[1:], owned=True, writes=True)
ROLL_KEY = Needs(permissions=_APPS[1:], owned=True, itself=True, writes=True)
READ_OWN = Needs(permissions=(*_APPS, *_READ_DIRECTORY), owned=True, itself=True)
READ_ROLES = Needs(permissions=(*_APPS, *_READ_DIRECTORY, "AppRoleAssignment.ReadWrite.All"))
WRITE_ROLES = Needs(permissions=("AppRoleAssignment.ReadWrite.All",), writes=True)
WRITE_GRANTS = Needs(
    permissions=("DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All"), writes=True
)
READ_GRANTS = Needs(permissions=("DelegatedPermissionGrant.ReadWrite.All", *_READ_DIRECTORY))
READ_OBJECTS = Needs(permissions=(*_READ_DIRECTORY, *_APPS))
READ_USERS = Needs(permissions=("User.Read.All", "User.ReadWrite.All", *_READ_DIRECTORY))
READ_GROUPS = Needs(permissions=("Group.Read.All", "Group.ReadWrite.All", *_READ_DIRECTORY))
READ_ORGANIZATION = Needs(permissions=("Organization.Read.All", *_READ_DIRECTORY))
READ_DOMAINS = Needs(permissions=("Domain.Read.All", *_READ_DIRECTORY))
ME = Needs(users_only=True)
