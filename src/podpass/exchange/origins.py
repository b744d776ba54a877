"""Under which origin the service was asked: one of the configured ones, whatever the caller's Host says.

A Host header that could name any origin would let its sender poison documents that others cache. Entra is
one issuer under several names: asked under an alias it writes the main one, which is what validators pin.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from podpass import names

_AZURE = f"https://{names.LOGIN_HOST}"


class Origins:
    """The service's own origins, the main one first."""

    def __init__(self, origins: Sequence[str]) -> None:
        written = {origin: _written(origin, origins) for origin in origins}
        self._main = written[origins[0]]
        self._by_host: dict[str, str] = {}
        for origin in origins:
            self._by_host[urlsplit(origin).netloc] = written[origin]
        for origin in origins:
            # azure-sdk-for-cpp and MSAL Python leave the port out.
            self._by_host.setdefault(urlsplit(origin).hostname or "", written[origin])

    @property
    def main(self) -> str:
        return self._main

    def of_host(self, host: str | None) -> str:
        """Choose the origin that a Host header means; the main one when it means none."""
        return self.find(host or "") or self._main

    def find(self, netloc: str) -> str | None:
        """Find the origin of a `host[:port]`."""
        return self._by_host.get(netloc.lower().removesuffix(":443"))

    def of_endpoint(self, url: str) -> str | None:
        """Find the origin of an authority's URL, aliases of the public cloud included."""
        parts = urlsplit(url)
        if parts.scheme != "https":
            return None
        if parts.hostname in names.LOGIN_ALIASES and parts.port in {None, 443}:
            return f"https://{parts.hostname}"
        return self.find(parts.netloc)


def _written(origin: str, origins: Sequence[str]) -> str:
    """Choose the name an origin goes by in tokens and documents."""
    alias = origin.removeprefix("https://") in names.LOGIN_ALIASES
    return _AZURE if alias and _AZURE in origins else origin
