"""Parses the scope or resource parameter into the identifier of the requested resource. Pure."""

import re
from functools import lru_cache

from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import MAX_CACHED_CHARS, TokenRequest
from podpass.guids import is_guid

DEFAULT_SUFFIX = "/.default"
# MSAL Go adds these to every request; without a user they have no effect.
USER_SCOPES = frozenset({"openid", "offline_access", "profile", "email"})
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")


def requested_resource(request: TokenRequest) -> str:
    """Return the requested resource as the client wrote it.

    For a scope, the text before the last `/.default`; a slash before that is part of it. Raises AadstsError
    70011, 1002012, 700022.
    """
    if request.version == 1:
        return request.get("resource")
    scope = request.get("scope")
    # Pods request the same few scopes repeatedly.
    return _cached_resource(scope) if len(scope) <= MAX_CACHED_CHARS else resource_from_scope(scope)


def resource_from_scope(scope: str) -> str:
    """Parse the scope of a client credentials grant. Raises AadstsError 70011, 1002012, 700022."""
    scopes = [each for each in scope.split() if each not in USER_SCOPES]
    if not scopes:
        raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    resources = {
        each.removesuffix(DEFAULT_SUFFIX) for each in scopes if each.endswith(DEFAULT_SUFFIX)
    }
    others = [each for each in scopes if not each.endswith(DEFAULT_SUFFIX)]
    if not resources:
        raise AadstsError(numbers.SCOPE_WITHOUT_DEFAULT, scope=others[0])
    if others:
        raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    if len(resources) > 1:
        raise AadstsError(numbers.SCOPE_OF_TWO_RESOURCES, scope=scope)
    name = resources.pop()
    if not is_resource(name):
        raise AadstsError(numbers.INVALID_SCOPE, scope=scope)
    return name


_cached_resource = lru_cache(maxsize=256)(resource_from_scope)


def is_resource(name: str) -> bool:
    """Return whether a text can be a resource identifier: a URI or an application ID."""
    return is_guid(name) or _URI.fullmatch(name) is not None
