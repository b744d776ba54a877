"""One way to read a JSON document from an address somebody else chose: as an attacker would choose it.

HTTPS only, no redirect, no proxy from the environment, no cookie, no compression; the name is resolved
once, every address it gives is checked, and the connection goes to a checked one with SNI and Host of the
name; bytes and seconds are capped. It must never say more of a remote body than that it was unfit.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from podpass.crypto import jose
from podpass.errors import Error, SettingsError
from podpass.http import address_policy as addresses
from podpass.http.address_policy import NotPublic
from podpass.http.resolver import NameUnknown, Resolver

if TYPE_CHECKING:
    import aiohttp

MAX_URL_CHARS = 2048
_HTTPS_PORT = 443


class FetchError(Error):
    """A document could not be fetched, or is not what it should be; `reason` is a stable slug."""

    code = "fetch_failed"
    status = 502

    def __init__(self, message: str, *, reason: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = {"reason": reason, **facts}
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """Where a fetcher may go, and how far.

    Shapes:  `hosts` maps names served by this very instance to their loopback address and port; a name is
             `host`, `*.suffix` or, for another port than 443, `host:port`. Only they are checked
             against `ca_file`; all others against the system's authorities.
             `private` opens what is closed: a host's name lets that host have an address of a private
             network, a network (`10.20.0.0/16`) lets any host have an address in it. For such addresses,
             and no other, `private_ca_file` holds authorities beside the system's.
    Units:   `seconds` is for everything, name lookup included.
    """

    hosts: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    ca_file: Path | None = None
    private: tuple[str, ...] = ()
    private_ca_file: Path | None = None
    max_bytes: int = 64 * 1024
    seconds: float = 3.0


class Trust(StrEnum):
    """Whose authorities a host's certificate is checked against."""

    OWN = "own"
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a URL really leads: checked addresses, and who vouches for the host there."""

    addresses: tuple[tuple[str, int], ...]
    trust: Trust


class Fetcher:
    """Fetch JSON objects under one set of rules.

    Errors:  SettingsError when `private_ca_file` cannot be read.
    """

    def __init__(self, rules: FetchRules) -> None:
        self._rules = rules
        self._networks = tuple(ipaddress.ip_network(each) for each in rules.private if "/" in each)
        self._names = frozenset(each for each in rules.private if "/" not in each)
        self._resolver = Resolver()
        self._contexts: dict[Trust, ssl.SSLContext] = {}
        if rules.private_ca_file is not None:
            # Now, so that a file that is missing is a fault of the start and not of an issuer.
            self._contexts[Trust.PRIVATE] = self._make_tls(Trust.PRIVATE)

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object.

        Errors:  FetchError.
        """
        parts = split(url)
        try:
            async with asyncio.timeout(self._rules.seconds):
                target = await self._locate(parts)
                body = await self._read(url, target)
        except TimeoutError as exc:
            raise FetchError(
                "the answer took too long", reason="timeout", host=parts.hostname
            ) from exc
        try:
            return jose.loads_object(body)
        except jose.MalformedToken as exc:
            raise FetchError(
                "the answer is no JSON object", reason="not_json", host=parts.hostname
            ) from exc

    async def _locate(self, parts: SplitResult) -> Target:
        host, port = str(parts.hostname), parts.port or _HTTPS_PORT
        if own := own_address(self._rules.hosts, host, port):
            return Target(addresses=(own,), trust=Trust.OWN)
        opened = addresses.PRIVATE if host in self._names else self._networks
        try:
            found = await self._resolver.find(host)
        except NameUnknown as exc:
            raise FetchError(exc.message, reason="name", host=host) from exc
        try:
            public = [addresses.check_address(address, opened) for address in found]
        except NotPublic as exc:
            raise FetchError(exc.message, reason="address") from exc
        return Target(
            addresses=tuple((address, port) for address in found),
            trust=Trust.PUBLIC if all(public) else Trust.PRIVATE,
        )

    async def _read(self, url: str, target: Target) -> bytes:
        import aiohttp  # a tenth of a second and 10 MB, for a process that may never fetch

        try:
            async with (
                _session(target, self._tls(target.trust)) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                return await self._checked(answer)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise FetchError(
                "the address cannot be read", reason="unreachable", cause=type(exc).__name__
            ) from exc

    async def _checked(self, answer: "aiohttp.ClientResponse") -> bytes:
        if answer.status != 200:
            raise FetchError("the answer is not 200", reason="status", http_status=answer.status)
        # Asked for none, so a compressed body is a mistake or a bomb.
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError("the answer is compressed", reason="compressed")
        limit = self._rules.max_bytes
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise FetchError(f"the answer is over {limit} bytes", reason="too_large")
        return bytes(body)

    def _tls(self, trust: Trust) -> ssl.SSLContext:
        if trust not in self._contexts:
            self._contexts[trust] = self._make_tls(trust)
        return self._contexts[trust]

    def _make_tls(self, trust: Trust) -> ssl.SSLContext:
        if trust is Trust.OWN:
            return ssl.create_default_context(cafile=self._rules.ca_file)
        made = ssl.create_default_context()
        if trust is Trust.PRIVATE and self._rules.private_ca_file is not None:
            try:
                made.load_verify_locations(cafile=self._rules.private_ca_file)
            except OSError as exc:
                problem = f"{self._rules.private_ca_file}: not a PEM file of certificates"
                raise SettingsError([problem]) from exc
        return made


def split(url: str) -> SplitResult:
    """Take a URL apart, and refuse what two parsers might read in two ways.

    Errors:  FetchError, reason `url`.
    """
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable():
        raise FetchError("the URL is too long or not plain ASCII", reason="url")
    if any(sign in url for sign in ' \\"<>^`{|}'):
        raise FetchError("the URL holds a character that has to be escaped", reason="url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise FetchError("the URL cannot be read", reason="url") from exc
    if parts.scheme != "https" or not parts.hostname or port == 0:
        raise FetchError("want a URL with https and a host", reason="url")
    if "@" in parts.netloc or "%" in parts.netloc or "#" in url:
        raise FetchError("the URL names a user, a zone or a fragment", reason="url")
    return parts


def own_address(
    hosts: Mapping[str, tuple[str, int]], host: str, port: int
) -> tuple[str, int] | None:
    """Find the loopback address under which this instance serves a name itself."""
    if port != _HTTPS_PORT:
        return hosts.get(f"{host}:{port}")
    if host in hosts:
        return hosts[host]
    suffixes = (f"*.{host.split('.', n)[-1]}" for n in range(1, host.count(".") + 1))
    return next((hosts[name] for name in suffixes if name in hosts), None)


def _session(target: Target, tls: ssl.SSLContext) -> "aiohttp.ClientSession":
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Pinned(AbstractResolver):
        """Give the addresses that were checked, whatever the name says by now."""

        async def resolve(
            self,
            host: str,
            port: int = 0,  # noqa: ARG002 the checked one counts
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
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )
