"""Impersonation of another user with the `Impersonate-*` headers, if RBAC allows it."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from kubeling.apiserver.auth.authentication import ANONYMOUS, AUTHENTICATED
from kubeling.apiserver.auth.rbac import AuthorizerAttributes, RbacAuthorizer
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.status import internal
from kubeling.asgi import Headers
from kubeling.service_account.names import USERNAME_PREFIX, account_groups

_log = logging.getLogger(__name__)

_EXTRA = "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A name that only resembles an account is a user: the permission to impersonate accounts does not include it.
_ACCOUNT = re.compile(
    rf"{USERNAME_PREFIX}(?P<namespace>{_LABEL}):(?P<name>(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImpersonationRequest:
    """The user that the headers request."""

    name: str
    uid: str
    groups: Sequence[str]
    extra: Mapping[str, Sequence[str]]


def impersonate(user: UserInfo, headers: Headers, rbac: RbacAuthorizer) -> UserInfo:
    """Return the impersonated user, or the authenticated user if there are no impersonation headers.

    Raises StatusError 403 if RBAC does not allow it; 500 if the headers name no user, as in the real API.
    """
    requested = _parse_headers(headers)
    if not requested.name:
        if requested.groups or requested.uid or requested.extra:
            raise internal("requested groups, uid or extra without impersonating a user")
        return user
    for attributes in _required_attributes(requested):
        rbac.check(user, attributes)
    _log.info("user_impersonated", extra={"user": user.name, "as_user": requested.name})
    return UserInfo(
        name=requested.name, uid=requested.uid, groups=_groups(requested), extra=requested.extra
    )


def _parse_headers(headers: Headers) -> _ImpersonationRequest:
    """Parse the headers; each line is one value, because a comma is part of a name."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name.startswith(b"impersonate-"):
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    extra = {
        unquote(name.removeprefix(_EXTRA)): values
        for name, values in found.items()
        if name.startswith(_EXTRA)
    }
    return _ImpersonationRequest(
        name=found.get("impersonate-user", [""])[0],
        uid=found.get("impersonate-uid", [""])[0],
        groups=found.get("impersonate-group", []),
        extra=extra,
    )


def _required_attributes(requested: _ImpersonationRequest) -> list[AuthorizerAttributes]:
    """Return the authorizer attributes that each part of the request needs."""
    required = [_impersonate_attributes("users", requested.name)]
    if account := _ACCOUNT.fullmatch(requested.name):
        required = [
            AuthorizerAttributes(
                verb="impersonate", resource="serviceaccounts", **account.groupdict()
            )
        ]
    required += [_impersonate_attributes("groups", group) for group in requested.groups]
    if requested.uid:
        required.append(_impersonate_attributes("uids", requested.uid, group=_AUTHENTICATION))
    for key, values in requested.extra.items():
        key_attributes = _impersonate_attributes("userextras", "", group=_AUTHENTICATION)
        required += [replace(key_attributes, subresource=key, name=value) for value in values]
    return required


def _impersonate_attributes(resource: str, name: str, *, group: str = "") -> AuthorizerAttributes:
    return AuthorizerAttributes(verb="impersonate", group=group, resource=resource, name=name)


def _groups(requested: _ImpersonationRequest) -> tuple[str, ...]:
    """Return the requested groups and the groups that every such user has."""
    found, account = list(requested.groups), _ACCOUNT.fullmatch(requested.name)
    if not found and account:
        found = list(account_groups(account["namespace"]))
    anonymous = ANONYMOUS.groups[0]
    if requested.name == ANONYMOUS.name:
        found.append(anonymous)
    elif anonymous not in found:
        found.append(AUTHENTICATED)
    return tuple(dict.fromkeys(found))
