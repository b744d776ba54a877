"""Fetch a JSON document from a URL that an attacker may have chosen.

HTTPS only, no redirect, no proxy from the environment, no cookie, no compression. The name is resolved once,
every address is checked, and the connection goes to a checked address with SNI and Host of the name. Bytes
and seconds are limited. Errors never contain a part of the remote body.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from podpass import files
from podpass.crypto import jose
from podpass.errors import Error, SettingsError
from podpass.http import address_policy
from podpass.http.address_policy import AddressNotPublic
from podpass.http.resolver import NameNotResolved, Resolver

if TYPE_CHECKING:
    import aiohttp

MAX_URL_CHARS = 2048
_HTTPS_PORT = 443
# A JWKS may have its own media type, and an API server serves its keys only as this type.
_ACCEPT = "application/jwk-set+json, application/json"
_MAX_CA_BYTES = 1024 * 1024
_MAX_TOKEN_BYTES = 16 * 1024
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]+")


class FetchError(Error):
    """A document could not be fetched or is invalid; `reason` is a stable slug."""

    code = "fetch_failed"
    status = 502

    def __init__(self, message: str, *, reason: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = {"reason": reason, **facts}
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedUrls:
    """URLs that the operator has named, with the CA of their host and the token for it.

    The host may have a private address, and any address that is written in the URL itself. Only `ca_file`
    verifies its certificate, or the system's CAs without it. The token in `token_file` is sent to exactly
    these URLs. Both files are read for each request, because they are rotated.
    """

    urls: frozenset[str] = frozenset()
    ca_file: Path | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """The hosts to which a fetcher may connect, and its limits.

    `hosts` maps names that this instance serves to their loopback address and port; a name is `host`,
    `*.suffix` or, for another port than 443, `host:port`. Only their certificates are verified against
    `ca_file`, all others against the system's CAs. `private` allows more addresses: a host name allows
    addresses of private networks for that host, a network (`10.20.0.0/16`) allows its addresses for every
    host. Only for these addresses, the CAs in `private_ca_file` are trusted in addition to the system's.
    Units: `seconds` for everything, including the name lookup.
    """

    hosts: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    ca_file: Path | None = None
    private: tuple[str, ...] = ()
    private_ca_file: Path | None = None
    trusted: TrustedUrls = TrustedUrls()
    max_bytes: int = 64 * 1024
    seconds: float = 3.0


class TrustStore(StrEnum):
    """The set of CAs that verify the certificate of a host."""

    OWN = "own"
    TRUSTED = "trusted"
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchTarget:
    """The checked addresses of a URL, and the CAs that verify its host."""

    addresses: tuple[tuple[str, int], ...]
    trust_store: TrustStore


class Fetcher:
    """Fetches JSON objects by one set of rules.

    Raises SettingsError when a file of the rules cannot be read.
    """

    def __init__(self, rules: FetchRules) -> None:
        self._rules = rules
        self._networks = tuple(ipaddress.ip_network(each) for each in rules.private if "/" in each)
        self._names = frozenset(each for each in rules.private if "/" not in each)
        self._resolver = Resolver()
        self._contexts: dict[TrustStore, ssl.SSLContext] = {}
        if rules.private_ca_file is not None:
            # Loaded now, so that a missing file is an error at the start and not at the first fetch.
            self._contexts[TrustStore.PRIVATE] = self._create_tls(TrustStore.PRIVATE)
        if rules.trusted.ca_file is not None:
            _read_ca(rules.trusted.ca_file)
        if rules.trusted.token_file is not None:
            _read_token(rules.trusted.token_file)

    def reload_own_ca(self) -> None:
        """Read the CA of this instance's own hosts again before the next fetch."""
        self._contexts.pop(TrustStore.OWN, None)

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object. Raises FetchError."""
        parts = parse_url(url)
        try:
            async with asyncio.timeout(self._rules.seconds):
                target = await self._locate(url, parts)
                body = await self._read(url, target)
        except TimeoutError as exc:
            raise FetchError(
                "the response took too long", reason="timeout", host=parts.hostname
            ) from exc
        try:
            return jose.loads_object(body)
        except jose.MalformedToken as exc:
            raise FetchError(
                "the response is not a JSON object", reason="not_json", host=parts.hostname
            ) from exc

    async def _locate(self, url: str, parts: SplitResult) -> FetchTarget:
        host, port = str(parts.hostname), parts.port or _HTTPS_PORT
        is_trusted = url in self._rules.trusted.urls
        if own := instance_address(self._rules.hosts, host, port):
            return FetchTarget(addresses=(own,), trust_store=TrustStore.OWN)
        allowed = address_policy.PRIVATE if host in self._names else self._networks
        if is_trusted:
            allowed = (*address_policy.PRIVATE, *self._networks, *_literal_network(host))
        try:
            found = await self._resolver.find(host)
        except NameNotResolved as exc:
            raise FetchError(exc.message, reason="name", host=host) from exc
        try:
            public = [address_policy.check_address(address, allowed) for address in found]
        except AddressNotPublic as exc:
            raise FetchError(exc.message, reason="address") from exc
        store = TrustStore.PUBLIC if all(public) else TrustStore.PRIVATE
        return FetchTarget(
            addresses=tuple((address, port) for address in found),
            trust_store=TrustStore.TRUSTED if is_trusted else store,
        )

    async def _read(self, url: str, target: FetchTarget) -> bytes:
        import aiohttp  # imported here, because it costs 0.1 s and 10 MB, and some processes never fetch

        try:
            async with (
                _session(target, self._tls(target.trust_store)) as session,
                session.get(url, allow_redirects=False, headers=self._credentials(url)) as response,
            ):
                return await self._read_body(response)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise FetchError(
                "the URL cannot be fetched", reason="unreachable", cause=type(exc).__name__
            ) from exc

    async def _read_body(self, response: "aiohttp.ClientResponse") -> bytes:
        if response.status != 200:
            raise FetchError(
                "the status of the response is not 200",
                reason="status",
                http_status=response.status,
            )
        # The request does not allow compression, so a compressed body is an error or a decompression bomb.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError("the response is compressed", reason="compressed")
        limit = self._rules.max_bytes
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise FetchError(f"the response is larger than {limit} bytes", reason="too_large")
        return bytes(body)

    def _credentials(self, url: str) -> dict[str, str]:
        """Return the header with the token, for a URL to which it may be sent."""
        trusted = self._rules.trusted
        if trusted.token_file is None or url not in trusted.urls:
            return {}
        try:
            return {"Authorization": f"Bearer {_read_token(trusted.token_file)}"}
        except SettingsError as exc:
            raise FetchError(exc.message, reason="token_file") from exc

    def _tls(self, trust_store: TrustStore) -> ssl.SSLContext:
        if trust_store is TrustStore.TRUSTED:
            if (ca_file := self._rules.trusted.ca_file) is None:
                return self._tls(TrustStore.PUBLIC)
            try:
                return ssl.create_default_context(cadata=_read_ca(ca_file))
            except SettingsError as exc:
                raise FetchError(exc.message, reason="ca_file") from exc
        if trust_store not in self._contexts:
            self._contexts[trust_store] = self._create_tls(trust_store)
        return self._contexts[trust_store]

    def _create_tls(self, trust_store: TrustStore) -> ssl.SSLContext:
        if trust_store is TrustStore.OWN:
            return ssl.create_default_context(cafile=self._rules.ca_file)
        context = ssl.create_default_context()
        if trust_store is TrustStore.PRIVATE and self._rules.private_ca_file is not None:
            context.load_verify_locations(cadata=_read_ca(self._rules.private_ca_file))
        return context


def _read_ca(path: Path) -> str:
    """Read a PEM file of certificates. Raises SettingsError."""
    try:
        # Comments between the certificates may have other characters.
        text = files.read_regular(path, _MAX_CA_BYTES).decode("ascii", "ignore") or "-"
        ssl.create_default_context(cadata=text)
    except ssl.SSLError as exc:
        raise SettingsError([f"{path}: not a PEM file of certificates"]) from exc
    except OSError as exc:
        raise SettingsError([f"{path}: the CA file cannot be read: {exc.strerror}"]) from exc
    return text


def _read_token(path: Path) -> str:
    """Read a bearer token. Raises SettingsError, which never shows the content of the file."""
    try:
        data = files.read_regular(path, _MAX_TOKEN_BYTES).strip()
    except OSError as exc:
        raise SettingsError([f"{path}: the token file cannot be read: {exc.strerror}"]) from exc
    if not _TOKEN.fullmatch(data):
        raise SettingsError([f"{path}: the file does not contain a token"])
    return data.decode("ascii")


def _literal_network(host: str) -> tuple[address_policy.Network, ...]:
    try:
        return (ipaddress.ip_network(host),)
    except ValueError:
        return ()


def parse_url(url: str) -> SplitResult:
    """Parse a URL, and refuse one that two parsers may read differently. Raises FetchError, reason `url`."""
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable():
        raise FetchError("the URL is too long or not printable ASCII", reason="url")
    if any(char in url for char in ' \\"<>^`{|}'):
        raise FetchError("the URL contains a character that must be percent-encoded", reason="url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise FetchError("the URL is invalid", reason="url") from exc
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise FetchError("the URL must have the scheme https and a host", reason="url")
    if "@" in parts.netloc or "%" in parts.netloc or "#" in url:
        raise FetchError("the URL must not have a user, a zone or a fragment", reason="url")
    return parts


def instance_address(
    hosts: Mapping[str, tuple[str, int]], host: str, port: int
) -> tuple[str, int] | None:
    """Return the loopback address at which this instance serves a name, or None."""
    if port != _HTTPS_PORT:
        return hosts.get(f"{host}:{port}")
    if host in hosts:
        return hosts[host]
    suffixes = (f"*.{host.split('.', n)[-1]}" for n in range(1, host.count(".") + 1))
    return next((hosts[name] for name in suffixes if name in hosts), None)


def _session(target: FetchTarget, tls: ssl.SSLContext) -> "aiohttp.ClientSession":
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Pinned(AbstractResolver):
        """A resolver that returns the checked addresses, even if the name now resolves to others."""

        async def resolve(
            self,
            host: str,
            port: int = 0,  # noqa: ARG002 the checked port is used
            family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
        ) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=checked_port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST,
                )
                for address, checked_port in target.addresses
            ]

        async def close(self) -> None: ...

    connector = aiohttp.TCPConnector(
        resolver=Pinned(), use_dns_cache=False, ssl=tls, force_close=True
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"},
    )
