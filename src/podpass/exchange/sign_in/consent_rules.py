"""Which delegated permissions a client requests, which it holds, and which a user must consent to. Pure.

As in Entra, a token has every permission that the client holds in the resource: the scope of a request names
those that must be among them. Consent on the sign-in page includes signing in and reading the user's profile.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.directory.delegated_permissions import OIDC_SCOPES, SIGN_IN, DelegatedPermission
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in.scope import RequestedScope

_BASIC = (*OIDC_SCOPES, SIGN_IN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePermissions:
    """The permissions of one resource for one client and user.

    `id` is the object ID of the resource's service principal; `published` are its enabled permissions;
    `registered` are the names that the client's registration lists, `granted` those that the client holds.
    """

    id: str
    name: str
    is_graph: bool
    published: tuple[DelegatedPermission, ...]
    registered: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()

    @property
    def held(self) -> tuple[str, ...]:
        """Return the published permissions that the client holds: a consent cannot create a permission."""
        return tuple(one.value for one in self.published if one.value in self.granted)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedPermission:
    """A permission that the consent page shows."""

    resource_id: str
    resource: str
    permission: DelegatedPermission


def deserialize(values: Sequence[Mapping[str, Any]]) -> tuple[RequestedPermission, ...]:
    """Convert the JSON values of permissions, as `asdict` returns them, to permissions."""
    return tuple(
        RequestedPermission(**{**each, "permission": DelegatedPermission(**each["permission"])})
        for each in values
    )


def check_known(
    requested: RequestedScope, published: Sequence[DelegatedPermission], *, client: str, name: str
) -> None:
    """Check that the resource publishes each permission that a scope names. Raises AadstsError 650053."""
    known = {one.value for one in published}
    for each in requested.permissions:
        if each not in known:
            raise AadstsError(
                numbers.UNKNOWN_PERMISSION,
                name=name,
                client=client,
                scope=each,
                resource=requested.resource,
            )


def held_permissions(
    requested: RequestedScope, resource: ResourcePermissions
) -> tuple[str, ...] | None:
    """Return the permissions of a token (`scp`), or None if a requested one has no consent.

    The OIDC scopes need no separate consent for a resource that the client may use, and are in a token for
    Graph only if they were requested and granted.
    """
    held = resource.held
    if not held or not set(requested.permissions) <= set(held):
        return None
    silent = {"offline_access", *(set(OIDC_SCOPES) - requested.oidc_scopes)}
    return tuple(each for each in held if not (resource.is_graph and each in silent))


def needed_permissions(
    requested: RequestedScope, resources: Sequence[ResourcePermissions], *, prompt: bool
) -> tuple[RequestedPermission, ...]:
    """Return the permissions that a user must consent to; none if the client holds what it requests.

    `resources`: the requested one first, then those of the client's registration, Microsoft Graph among them.
    `prompt` requests consent again. Raises AadstsError 650057 for `.default` of a resource that the
    registration does not list.
    """
    target = resources[0]
    if not prompt and held_permissions(requested, target) is not None:
        return ()
    if requested.is_default and not target.is_graph and not target.registered:
        raise AadstsError(numbers.RESOURCE_NOT_LISTED, resource=requested.resource)
    found: list[RequestedPermission] = []
    for resource in resources:
        names = set(requested.permissions) if resource is target else set()
        names |= resource.registered if requested.is_default else set()
        names |= set(_BASIC) if resource.is_graph else set()
        found += [
            RequestedPermission(resource_id=resource.id, resource=resource.name, permission=one)
            for one in resource.published
            if one.value in names and (prompt or one.value not in resource.granted)
        ]
    return tuple(found)


def check_consent(permissions: Collection[RequestedPermission], *, administers: bool) -> None:
    """Check that a user may consent to permissions. Raises AadstsError 90094."""
    if administers:
        return
    for each in permissions:
        if each.permission.admin_only:
            raise AadstsError(
                numbers.ADMIN_CONSENT_REQUIRED,
                permission=each.permission.value,
                resource=each.resource,
            )
