"""Find the vault of a request by its Host header. Pure.

Only the suffixes in the settings are accepted, and an unknown host is never returned to the caller. The port
is ignored, because some clients omit it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from podpass.lab.services.vault.errors import VaultNotFound
from podpass.lab.services.vault.settings import VaultOrigin

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultHost:
    """The vault in a Host header.

    `vault` is None for a loopback host, which means the only vault of the instance; `base` is the origin in
    the IDs of secrets.
    """

    vault: str | None
    base: str
    authority: str
    resource: str


def parse_host(host: str | None, origins: Iterable[VaultOrigin]) -> VaultHost:
    """Parse a Host header. Raises VaultNotFound for a host that is not a vault."""
    name = _without_port((host or "").lower())
    for origin in origins:
        _, _, netloc = origin.resource.partition("://")
        vault, dot, rest = name.partition(".")
        if dot and vault and rest == origin.suffix:
            return _vault_host(vault, f"https://{vault}.{netloc}", origin)
        if name in _LOOPBACK and origin.suffix.endswith("localhost"):
            port = netloc.removeprefix(_without_port(netloc))
            return _vault_host(None, f"https://{name}{port}", origin)
    suffixes = ", ".join(origin.suffix for origin in origins)
    raise VaultNotFound(
        "This host is not a vault.", hint=f"use https://VAULT.SUFFIX with one of: {suffixes}"
    )


def _vault_host(vault: str | None, base: str, origin: VaultOrigin) -> VaultHost:
    return VaultHost(vault=vault, base=base, authority=origin.authority, resource=origin.resource)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
