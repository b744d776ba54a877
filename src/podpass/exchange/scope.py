"""A scope or resource parameter in, the identifier of the one resource asked for out. Pure."""

import re
from functools import lru_cache

from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.token_request import ALIKE_CHARS, TokenRequest
from podpass.guids import is_guid

DEFAULT = "/.default"
# MSAL Go adds these to every request; they mean nothing without a user.
USER_SCOPES = frozenset({"openid", "offline_access", "profile", "email"})
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")


def resource(request: TokenRequest) -> str:
    """Name the resource a request is about, as it was asked for.

    Shapes:  from a scope, the text before the last `/.default`; a slash before that stays.
    Errors:  Refused 70011, 1002012, 700022.
    """
    if request.version == 1:
        return request.get("resource")
    scope = request.get("scope")
    # A pod asks for the same few, again and again.
    return _scope_alike(scope) if len(scope) <= ALIKE_CHARS else from_scope(scope)


def from_scope(scope: str) -> str:
    """Read the scope of a client credentials grant.

    Errors:  Refused 70011, 1002012, 700022.
    """
    scopes = [each for each in scope.split() if each not in USER_SCOPES]
    if not scopes:
        raise Refused(70011, scope=scope)
    resources = {each.removesuffix(DEFAULT) for each in scopes if each.endswith(DEFAULT)}
    others = [each for each in scopes if not each.endswith(DEFAULT)]
    if not resources:
        raise Refused(1002012, scope=others[0])
    if others:
        raise Refused(70011, scope=scope)
    if len(resources) > 1:
        raise Refused(700022, scope=scope)
    name = resources.pop()
    if not is_resource(name):
        raise Refused(70011, scope=scope)
    return name


_scope_alike = lru_cache(maxsize=256)(from_scope)


def is_resource(name: str) -> bool:
    """Tell whether a text can name a resource: a URI or an application id."""
    return is_guid(name) or _URI.fullmatch(name) is not None
