"""Where the sidecar gets its tokens: the token endpoint, the proxy, the file with the pod's token. Pure.

With an identity binding (AZURE_KUBERNETES_TOKEN_PROXY), requests go to the cluster's own endpoint: to its
address, with its server name and its CA.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit

from podpass import names
from podpass.errors import SettingsError
from podpass.http.client import HttpProxy, choose_proxy

_TENANT = re.compile(r"[0-9A-Za-z.-]{1,255}")
_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The endpoint of an identity binding.

    `sni` is empty for the host of `url`; at most one of `ca_file` and `ca_data` is set.
    """

    url: str
    sni: str = ""
    ca_file: str = ""
    ca_data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The token endpoint, and the file with the pod's projected token.

    `path` begins with a slash; `binding` and `proxy` are never both set.
    """

    host: str
    port: int
    path: str
    token_file: Path
    binding: Binding | None = None
    proxy: HttpProxy | None = None

    @classmethod
    def from_urls(
        cls,
        authority_host: str,
        tenant_id: str,
        token_file: Path,
        binding: Binding | None = None,
        *,
        https_proxy: str = "",
        no_proxy: str = "",
    ) -> Self:
        """Create an authority from addresses, after the checks of the Azure SDKs. Raises SettingsError."""
        if not _TENANT.fullmatch(tenant_id):
            raise SettingsError(["AZURE_TENANT_ID must be a GUID or a domain name"])
        variable, url = names.ENV_AUTHORITY_HOST, authority_host
        if binding is not None:
            variable, url = names.ENV_TOKEN_PROXY, binding.url
            if binding.ca_file and binding.ca_data:
                raise SettingsError(
                    [f"{variable} needs {names.ENV_CA_FILE} or {names.ENV_CA_DATA}, not both"]
                )
        parts = _parse_https(variable, url)
        host, port = str(parts.hostname), parts.port or _HTTPS_PORT
        proxy = None
        if binding is None:
            proxy = choose_proxy(host, port, https_proxy=https_proxy, no_proxy=no_proxy)
        return cls(
            host=host,
            port=port,
            path=f"{parts.path.rstrip('/')}/{tenant_id}/oauth2/v2.0/token",
            token_file=token_file,
            binding=binding,
            proxy=proxy,
        )

    @property
    def token_url(self) -> str:
        """Return the address of the token endpoint, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _HTTPS_PORT else f":{self.port}"
        return f"https://{host}{port}{self.path}"


def _parse_https(variable: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError([f"{variable} is not a URL"]) from None
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise SettingsError([f"{variable} must be an https URL"])
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SettingsError([f"{variable} must not contain a user, a query or a fragment"])
    return parts
