"""Read the public documents of an issuer as Entra does: anonymously, over https, without redirects."""

import asyncio
import ipaddress
from urllib.parse import urlsplit

from podpass.assertion.publishing.entra_rules import check_issuer
from podpass.crypto import jose
from podpass.diagnose.doctor.model import Document, IssuerFacts
from podpass.errors import SettingsError
from podpass.http import address_policy
from podpass.http.client import choose_proxy
from podpass.http.resolver import NameNotResolved, Resolver
from podpass.provision.connection import AzureConnection, header
from podpass.provision.errors import ApiError

_HTTPS = 443
_LOOKUP_SECONDS = 3.0
# Names without an address on the internet, by the last labels: RFC 6761, RFC 6762, RFC 8375, Kubernetes.
_PRIVATE_NAMES = (
    "svc",
    "cluster.local",
    "local",
    "localhost",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
)


def find_private_name(host: str) -> str:
    """Return why a host cannot be reached from the internet, by its name alone; empty if it may be."""
    name = host.lower().removesuffix(".")
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        if "." not in name:
            return f"{name} is not a name of the internet"
        return next(
            (
                f"names that end with .{suffix} are not on the internet"
                for suffix in _PRIVATE_NAMES
                if name.endswith(f".{suffix}")
            ),
            "",
        )
    return _check_addresses((name,), name)


def _check_addresses(addresses: tuple[str, ...], host: str) -> str:
    for address in addresses:
        try:
            address_policy.check_address(address)
        except address_policy.AddressNotPublic:
            what = f"{host} has the address {address}" if address != host else f"{address}"
            return (
                f"{what}, which is not on the internet" if address != host else f"{what} is private"
            )
    return ""


class IssuerReader:
    """Reads issuers through one connection; a private host is named and not contacted."""

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection
        self._resolver = Resolver()

    async def read(self, issuer: str) -> IssuerFacts:
        """Return the documents of an issuer."""
        if check_issuer(issuer):
            return IssuerFacts(issuer=issuer)
        if private := await self._find_private(issuer):
            return IssuerFacts(issuer=issuer, private=private)
        discovery = await self._fetch(issuer.removesuffix("/") + jose.DISCOVERY_PATH)
        keys_url = str((discovery.body or {}).get("jwks_uri") or "")
        if not keys_url:
            return IssuerFacts(issuer=issuer, discovery=discovery)
        keys_private = await self._find_private(keys_url)
        keys = None
        if not keys_private and keys_url.startswith("https://"):
            keys = await self._fetch(keys_url)
        return IssuerFacts(issuer=issuer, discovery=discovery, keys_private=keys_private, keys=keys)

    async def _find_private(self, url: str) -> str:
        """Return why a host is not on the internet.

        Behind a proxy, the proxy resolves names; the addresses that this machine sees do not count.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _HTTPS
            proxy = choose_proxy(
                host,
                port,
                https_proxy=self._connection.https_proxy,
                no_proxy=self._connection.no_proxy,
            )
        except (ValueError, SettingsError):
            return ""
        if not host or (private := find_private_name(host)):
            return private if host else ""
        if proxy is not None:
            return ""
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                return _check_addresses(await self._resolver.find(host), host)
        except (NameNotResolved, TimeoutError):
            return ""  # the request fails with the cause

    async def _fetch(self, url: str) -> Document:
        try:
            response = await self._connection.send(
                "GET", url, headers={"Accept": "application/jwk-set+json, application/json"}
            )
        except ApiError as exc:
            return Document(url=url, error=exc.message, status=exc.api_status)
        except SettingsError as exc:
            return Document(url=url, error=exc.message)
        try:
            body = jose.loads_object(response.body)
        except jose.MalformedToken:
            body = None
        return Document(
            url=url,
            status=response.status,
            location=header(response, "location"),
            body=body,
            size=len(response.body),
        )
