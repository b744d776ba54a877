"""Clients that sign users in: the tools every tenant knows, and the applications of a tenant. Pure.

A redirect URI is where a code goes, so it is compared as it stands: no normalising, no prefixes, no
wildcards. Only the port of a loopback address may differ, since a tool takes a free one (RFC 8252, 7.3).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from podpass.directory import redirects
from podpass.directory.model import Identity
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in import well_known_clients

MAX_REDIRECT_CHARS = 2048
_LOOPBACK = re.compile(r"http://(localhost|127\.0\.0\.1|\[::1\])(?::([0-9]{1,5}))?([/?][!-~]*)?")
_TOOLS_REDIRECT = ("http://localhost", "http://localhost/")
_MULTI_TENANT = frozenset({"AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount"})


class Platform(StrEnum):
    """What a redirect URI was registered for; a code sent to `web` is for a client with a credential."""

    PUBLIC = "publicClient"
    SPA = "spa"
    WEB = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that signs users in; `identity` is None for a tool that is built in."""

    id: str
    name: str
    identity: Identity | None = None

    @property
    def about(self) -> str:
        """Say what it is: anybody who may register an application chooses its name."""
        kind = "built-in tool" if self.identity is None else "application of this directory"
        return f"{kind}, {self.id}"

    @property
    def family(self) -> str:
        return well_known_clients.family_of(self.id) if self.identity is None else ""

    @property
    def is_public(self) -> bool:
        """Tell whether it may go without a credential where no redirect URI says so."""
        if self.identity is None:
            return True
        return self.identity.document.get("isFallbackPublicClient") is True

    @property
    def is_multi_tenant(self) -> bool:
        if self.identity is None:
            return True
        return self.identity.document.get("signInAudience") in _MULTI_TENANT

    def platform(self, redirect: str) -> Platform:
        """Tell for what a redirect URI is registered.

        Errors:  Refused 50011, 900971.
        """
        registered = list(self._registered())
        if not registered:
            raise Refused(900971)
        for platform, uri in registered:
            if fits(redirect, uri):
                return platform
        raise Refused(50011, redirect=redirect, client=self.id)

    def _registered(self) -> Iterator[tuple[Platform, str]]:
        if self.identity is None:
            for uri in _TOOLS_REDIRECT:
                yield Platform.PUBLIC, uri
            return
        for platform in (Platform.WEB, Platform.SPA, Platform.PUBLIC):
            for uri in _texts(self.identity.document.get(platform), "redirectUris"):
                # What is kept need not have come through Graph.
                if redirects.fault(platform, uri) is None:
                    yield platform, uri


def built_in(client_id: str) -> Client | None:
    """Give a tool that every tenant knows."""
    found = well_known_clients.BUILT_IN.get(client_id.lower())
    return None if found is None else Client(id=found.id, name=found.name)


def fits(redirect: str, registered: str) -> bool:
    """Compare a redirect URI with a registered one."""
    # It becomes a header and an attribute of a page: one line of visible signs, whatever is registered.
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


def permissions_of(application: Identity) -> tuple[str, ...]:
    """List the delegated permissions that an application declares and has switched on."""
    api = application.document.get("api")
    scopes = api.get("oauth2PermissionScopes") if isinstance(api, dict) else None
    return tuple(
        scope["value"]
        for scope in (scopes if isinstance(scopes, list) else ())
        if isinstance(scope, dict)
        and scope.get("isEnabled", True) is True
        and isinstance(scope.get("value"), str)
        and scope["value"]
    )


def _texts(holder: Any, name: str) -> Iterator[str]:
    values = holder.get(name) if isinstance(holder, dict) else None
    for value in values if isinstance(values, list) else ():
        if isinstance(value, str):
            yield value
