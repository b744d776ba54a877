"""Which vault a request is for, and what its challenge says, from the Host header. Pure.

Only suffixes from the settings count: an unknown Host is never echoed, and the port is not looked at, for
some clients leave it out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from podpass.resource.errors import VaultNotFound
from podpass.settings import VaultOrigin

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a request arrived.

    Shapes:  `vault` is None for a loopback host, which stands for the instance's only vault; `base` is
             the origin that ids of secrets begin with.
    """

    vault: str | None
    base: str
    authority: str
    resource: str


def locate(host: str | None, origins: Iterable[VaultOrigin]) -> Place:
    """Read a Host header.

    Errors:  VaultNotFound for a host that is no vault's.
    """
    name = _without_port((host or "").lower())
    for origin in origins:
        _, _, netloc = origin.resource.partition("://")
        vault, dot, rest = name.partition(".")
        if dot and vault and rest == origin.suffix:
            return _place(vault, f"https://{vault}.{netloc}", origin)
        if name in _LOOPBACK and origin.suffix.endswith("localhost"):
            port = netloc.removeprefix(_without_port(netloc))
            return _place(None, f"https://{name}{port}", origin)
    suffixes = ", ".join(origin.suffix for origin in origins)
    raise VaultNotFound(
        "This host is not a vault's.", hint=f"use https://VAULT.SUFFIX with one of: {suffixes}"
    )


def _place(vault: str | None, base: str, origin: VaultOrigin) -> Place:
    return Place(vault=vault, base=base, authority=origin.authority, resource=origin.resource)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
