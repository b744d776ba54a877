"""Clients that sign in users: built-in tools, and the applications of a tenant. Pure.

A code is sent to the redirect URI, so the URI must be equal to a registered one: no normalization, no
prefixes, no wildcards. Only the port of a loopback address may differ (RFC 8252, 7.3).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from podpass.directory import redirects
from podpass.directory.model import Identity
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in import well_known_clients

MAX_REDIRECT_CHARS = 2048
_LOOPBACK = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(?::([0-9]{1,5}))?([/?][!-~]*)?")
_TOOLS_REDIRECT = ("http://localhost", "http://localhost/")
_MULTI_TENANT = frozenset({"AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount"})


class Platform(StrEnum):
    """The platform of a redirect URI; a code for `web` needs client authentication."""

    PUBLIC = "publicClient"
    SPA = "spa"
    WEB = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that signs in users; `identity` is None for a built-in tool."""

    id: str
    name: str
    identity: Identity | None = None

    @property
    def description(self) -> str:
        """Return the kind and ID of the client, without the name that its owner chose."""
        kind = "built-in tool" if self.identity is None else "application of this directory"
        return f"{kind}, {self.id}"

    @property
    def family(self) -> str:
        """Return the client family of a tool, or an empty text."""
        return well_known_clients.family_of(self.id) if self.identity is None else ""

    @property
    def is_public(self) -> bool:
        """Return whether the client may use grants without a redirect URI unauthenticated."""
        if self.identity is None:
            return True
        return self.identity.document.get("isFallbackPublicClient") is True

    @property
    def is_multi_tenant(self) -> bool:
        """Return whether users of other tenants may sign in."""
        if self.identity is None:
            return True
        return self.identity.document.get("signInAudience") in _MULTI_TENANT

    def find_platform(self, redirect: str) -> Platform:
        """Return the platform for which a redirect URI is registered. Raises AadstsError 50011, 900971."""
        registered = list(self._registered())
        if not registered:
            raise AadstsError(numbers.NO_REDIRECT_URI)
        for platform, uri in registered:
            if matches_redirect(redirect, uri):
                return platform
        raise AadstsError(numbers.REDIRECT_URI_NOT_REGISTERED, redirect=redirect, client=self.id)

    def _registered(self) -> Iterator[tuple[Platform, str]]:
        if self.identity is None:
            for uri in _TOOLS_REDIRECT:
                yield Platform.PUBLIC, uri
            return
        for platform in (Platform.WEB, Platform.SPA, Platform.PUBLIC):
            for uri in _texts(self.identity.document.get(platform), "redirectUris"):
                # The stored document may not come from Graph.
                if redirects.redirect_fault(platform, uri) is None:
                    yield platform, uri


def find_built_in(client_id: str) -> Client | None:
    """Return the built-in tool with a client ID, or None."""
    found = well_known_clients.BUILT_IN.get(client_id.lower())
    return None if found is None else Client(id=found.id, name=found.name)


def matches_redirect(redirect: str, registered: str) -> bool:
    """Return whether a redirect URI matches a registered one."""
    # The URI becomes a header and an HTML attribute, so it must have visible ASCII characters only, even if
    # it is registered.
    if len(redirect) > MAX_REDIRECT_CHARS or re.fullmatch(r"[!-~]+", redirect) is None:
        return False
    if "#" in redirect:
        return False
    if redirect == registered:
        return True
    ours, theirs = _LOOPBACK.fullmatch(registered), _LOOPBACK.fullmatch(redirect)
    if ours is None or theirs is None:
        return False
    return ours[1] == theirs[1] and ours[3] == theirs[3] and int(theirs[2] or 0) <= 65535


def _texts(holder: Any, name: str) -> Iterator[str]:
    values = holder.get(name) if isinstance(holder, dict) else None
    for value in values if isinstance(values, list) else ():
        if isinstance(value, str):
            yield value
