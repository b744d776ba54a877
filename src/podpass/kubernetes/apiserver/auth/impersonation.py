"""Acting as somebody else, by the `Impersonate-*` headers, for those whom RBAC lets."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from podpass.http.server import Headers
from podpass.kubernetes.apiserver.auth.authentication import ANONYMOUS, AUTHENTICATED
from podpass.kubernetes.apiserver.auth.rbac import Asked, Rbac
from podpass.kubernetes.apiserver.request import User
from podpass.kubernetes.apiserver.status import internal
from podpass.kubernetes.service_account.names import USERNAME_PREFIX, group_names

_log = logging.getLogger(__name__)

_EXTRA = "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# What only looks like an account is a user, and the right to be an account is no right to be it.
_ACCOUNT = re.compile(
    rf"{USERNAME_PREFIX}(?P<namespace>{_LABEL}):(?P<name>(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Who somebody wants to be, as the headers say it."""

    name: str
    uid: str
    groups: Sequence[str]
    extra: Mapping[str, Sequence[str]]


def impersonated(user: User, headers: Headers, rbac: Rbac) -> User:
    """Give the user that is acted for, or the one who asks.

    Errors:  StatusError 403 for whoever may not; 500 where the headers name no user, as the real API.
    """
    wanted = _wanted(headers)
    if not wanted.name:
        if wanted.groups or wanted.uid or wanted.extra:
            raise internal("requested groups, uid or extra without impersonating a user")
        return user
    for question in _questions(wanted):
        rbac.check(user, question)
    _log.info("impersonation_granted", extra={"user": user.name, "as_user": wanted.name})
    return User(name=wanted.name, uid=wanted.uid, groups=_groups(wanted), extra=wanted.extra)


def _wanted(headers: Headers) -> _Wanted:
    """Read the headers; each line is one value, for a comma is part of a name."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name.startswith(b"impersonate-"):
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    extra = {
        unquote(name.removeprefix(_EXTRA)): values
        for name, values in found.items()
        if name.startswith(_EXTRA)
    }
    return _Wanted(
        name=found.get("impersonate-user", [""])[0],
        uid=found.get("impersonate-uid", [""])[0],
        groups=found.get("impersonate-group", []),
        extra=extra,
    )


def _questions(wanted: _Wanted) -> list[Asked]:
    """Ask for the right to each part of it."""
    questions = [_may_be("users", wanted.name)]
    if account := _ACCOUNT.fullmatch(wanted.name):
        questions = [Asked(verb="impersonate", resource="serviceaccounts", **account.groupdict())]
    questions += [_may_be("groups", group) for group in wanted.groups]
    if wanted.uid:
        questions.append(_may_be("uids", wanted.uid, group=_AUTHENTICATION))
    for key, values in wanted.extra.items():
        about = _may_be("userextras", "", group=_AUTHENTICATION)
        questions += [replace(about, subresource=key, name=value) for value in values]
    return questions


def _may_be(resource: str, name: str, *, group: str = "") -> Asked:
    return Asked(verb="impersonate", group=group, resource=resource, name=name)


def _groups(wanted: _Wanted) -> tuple[str, ...]:
    """Add the groups every user of the name's kind is in."""
    found, account = list(wanted.groups), _ACCOUNT.fullmatch(wanted.name)
    if not found and account:
        found = list(group_names(account["namespace"]))
    anonymous = ANONYMOUS.groups[0]
    if wanted.name == ANONYMOUS.name:
        found.append(anonymous)
    elif anonymous not in found:
        found.append(AUTHENTICATED)
    return tuple(dict.fromkeys(found))
