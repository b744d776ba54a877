"""Under which origin the service was asked: one of the configured ones, whatever the caller's Host says.

A Host header that could name any origin would let its sender poison documents that others cache. Entra is
one issuer under several names: asked under an alias it writes the main one, which is what validators pin.
"""

from collections.abc import Sequence
from typing import Self
from urllib.parse import urlsplit

from podpass.clouds import CLOUDS, PUBLIC, Cloud, of_host
from podpass.settings import AuthoritySettings


class Origins:
    """The service's own origins, the main one first."""

    def __init__(self, origins: Sequence[str], cloud: Cloud = PUBLIC, pages: str = "") -> None:
        self.cloud = cloud
        self._pages = pages
        written = {origin: _written(origin, origins, cloud) for origin in origins}
        self._main = written[origins[0]]
        self._by_host: dict[str, str] = {}
        for origin in origins:
            self._by_host[urlsplit(origin).netloc] = written[origin]
        for origin in origins:
            # azure-sdk-for-cpp and MSAL Python leave the port out.
            self._by_host.setdefault(urlsplit(origin).hostname or "", written[origin])

    @classmethod
    def of(cls, settings: AuthoritySettings) -> Self:
        """Take a token service's origins from its settings."""
        return cls(settings.origins, CLOUDS[settings.cloud], settings.pages_origin)

    @property
    def main(self) -> str:
        return self._main

    @property
    def pages(self) -> str:
        """The origin at which a browser really reaches us."""
        return self._pages or self._main

    def of_host(self, host: str | None) -> str:
        """Choose the origin that a Host header means; the main one when it means none."""
        return self.find(host or "") or self._main

    def find(self, netloc: str) -> str | None:
        """Find the origin of a `host[:port]`."""
        return self._by_host.get(netloc.lower().removesuffix(":443"))

    def of_endpoint(self, url: str) -> str | None:
        """Find the origin of an authority's URL; those of Azure's clouds are known as they are there."""
        parts = urlsplit(url)
        if parts.scheme != "https":
            return None
        if of_host(parts.hostname or "") is not None and parts.port in {None, 443}:
            return f"https://{parts.hostname}"
        return self.find(parts.netloc)


def _written(origin: str, origins: Sequence[str], cloud: Cloud) -> str:
    """Choose the name an origin goes by in tokens and documents."""
    main = f"https://{cloud.login}"
    alias = origin.removeprefix("https://") in cloud.aliases
    return main if alias and main in origins else origin
