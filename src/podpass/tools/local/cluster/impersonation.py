"""Acting as somebody else, by the `Impersonate-*` headers, for those whom RBAC lets."""

from collections.abc import Mapping
from urllib.parse import unquote

from podpass.tools.local.cluster.authn import ANONYMOUS, AUTHENTICATED
from podpass.tools.local.cluster.rbac import Asked, Rbac
from podpass.tools.local.cluster.request import User
from podpass.tools.local.cluster.status import bad_request

_ACCOUNT = "system:serviceaccount:"
_EXTRA = "impersonate-extra-"


def impersonated(user: User, headers: Mapping[str, str], rbac: Rbac) -> User:
    """Give the user that is acted for, or the one who asks.

    Errors:  StatusError 400, 403.
    """
    name = headers.get("impersonate-user", "")
    groups = [each.strip() for each in headers.get("impersonate-group", "").split(",")]
    groups = [each for each in groups if each]
    uid = headers.get("impersonate-uid", "")
    extra = {
        unquote(key.removeprefix(_EXTRA)): [value]
        for key, value in headers.items()
        if key.startswith(_EXTRA)
    }
    if not name:
        if groups or uid or extra:
            raise bad_request("requested groups, uid or extra without impersonating a user")
        return user
    for question in _questions(name, groups, uid, extra):
        rbac.check(user, question)
    return User(name=name, uid=uid, groups=_groups(name, groups), extra=extra)


def _questions(
    name: str, groups: list[str], uid: str, extra: Mapping[str, list[str]]
) -> list[Asked]:
    questions = [_question("users", name)]
    if name.startswith(_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        questions = [
            Asked(verb="impersonate", resource="serviceaccounts", namespace=namespace, name=account)
        ]
    questions += [_question("groups", group) for group in groups]
    group = "authentication.k8s.io"
    if uid:
        questions.append(Asked(verb="impersonate", group=group, resource="uids", name=uid))
    for key, values in extra.items():
        for value in values:
            questions.append(
                Asked(
                    verb="impersonate",
                    group=group,
                    resource="userextras",
                    subresource=key,
                    name=value,
                )
            )
    return questions


def _question(resource: str, name: str) -> Asked:
    return Asked(verb="impersonate", resource=resource, name=name)


def _groups(name: str, groups: list[str]) -> tuple[str, ...]:
    """Add the groups every user of the name's kind is in."""
    found = list(groups)
    if not found and name.startswith(_ACCOUNT) and name.count(":") == 3:
        found = ["system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}"]
    last = ANONYMOUS.groups[0] if name == ANONYMOUS.name else AUTHENTICATED
    return tuple(dict.fromkeys([*found, last]))
