"""Maps the Host header of a request to one of the configured origins.

Documents contain only configured origins: if they contained the caller's Host header, a caller could poison
the documents in a cache. Entra is one issuer with several host names; a request to an alias gets documents
with the main name, which is the issuer that validators expect.
"""

from collections.abc import Sequence
from typing import Self
from urllib.parse import urlsplit

from podpass.clouds import CLOUDS, PUBLIC, Cloud, find_cloud
from podpass.settings import AuthoritySettings


class Origins:
    """The origins of this service, the main origin first."""

    def __init__(self, origins: Sequence[str], cloud: Cloud = PUBLIC, pages: str = "") -> None:
        self.cloud = cloud
        self._pages = pages
        canonical = {origin: _canonical(origin, origins, cloud) for origin in origins}
        self._main = canonical[origins[0]]
        self._by_host: dict[str, str] = {}
        for origin in origins:
            self._by_host[urlsplit(origin).netloc] = canonical[origin]
        for origin in origins:
            # azure-sdk-for-cpp and MSAL Python omit the port.
            self._by_host.setdefault(urlsplit(origin).hostname or "", canonical[origin])

    @classmethod
    def from_settings(cls, settings: AuthoritySettings) -> Self:
        """Create the origins from the settings of the token service."""
        return cls(settings.origins, CLOUDS[settings.cloud], settings.pages_origin)

    @property
    def main(self) -> str:
        return self._main

    @property
    def pages(self) -> str:
        """Return the origin at which browsers reach the sign-in page."""
        return self._pages or self._main

    def for_host(self, host: str | None) -> str:
        """Return the origin for a Host header; the main origin for an unknown host."""
        return self.find(host or "") or self._main

    def find(self, netloc: str) -> str | None:
        """Return the origin for a `host[:port]`; None for an unknown host."""
        return self._by_host.get(netloc.lower().removesuffix(":443"))

    def for_endpoint(self, url: str) -> str | None:
        """Return the origin of an authority URL of this service or an Azure cloud, or None."""
        parts = urlsplit(url)
        if parts.scheme != "https":
            return None
        if find_cloud(parts.hostname or "") is not None and parts.port in {None, 443}:
            return f"https://{parts.hostname}"
        return self.find(parts.netloc)


def _canonical(origin: str, origins: Sequence[str], cloud: Cloud) -> str:
    """Return the origin that tokens and documents contain instead of an alias."""
    main = f"https://{cloud.login}"
    alias = origin.removeprefix("https://") in cloud.aliases
    return main if alias and main in origins else origin
