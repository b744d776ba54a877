"""A client of the token service that records each response, and a check of its tokens with PyJWT."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import jwt

from podpass import names
from tests.soak.lane import TENANT
from tests.soak.report import Violation

VAULT = "https://vault.azure.net"
TOKEN_PATH = f"/{TENANT.id}/oauth2/v2.0/token"
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenResponse:
    """The response to one request.

    `code` is the AADSTS number, 0 for a token, and -1 if the service did not respond; `cause` is the error
    body or the exception.
    """

    status: int
    code: int
    seconds: float
    token: str = ""
    retry_after: str | None = None
    cause: str = ""


class TokenClient:
    """Send token requests over keep-alive connections, from one source address to one URL.

    `retries` counts how often a request is sent again after its connection ended without a response, as a
    client behind a load balancer does.
    """

    def __init__(
        self, url: str, ca_file: Path, *, source: str = "127.0.0.1", retries: int = 0
    ) -> None:
        self._url = url
        self._tls = ssl.create_default_context(cafile=ca_file)
        self._source = source
        self._tries = retries + 1
        self.reconnected = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, local_addr=(self._source, 0), limit=0)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _exc: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def request_token(self, form: Mapping[str, str], path: str = TOKEN_PATH) -> TokenResponse:
        """Send a token request and return the response."""
        began = time.perf_counter()
        for tried in range(self._tries):
            try:
                return await self._send(form, path, began)
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                cause = f"{type(exc).__name__}: {exc}"
                self.reconnected += tried + 1 < self._tries
        seconds = time.perf_counter() - began
        return TokenResponse(status=0, code=-1, seconds=seconds, cause=cause)

    async def _send(self, form: Mapping[str, str], path: str, began: float) -> TokenResponse:
        async with self._session.post(self._url + path, data=form) as answered:
            body = await answered.json(content_type=None)
            codes = body.get("error_codes") or [-1]
            return TokenResponse(
                status=answered.status,
                code=0 if answered.status == 200 else int(codes[0]),
                seconds=time.perf_counter() - began,
                token=body.get("access_token", ""),
                retry_after=answered.headers.get("Retry-After"),
                cause="" if answered.status == 200 else str(body)[:300],
            )

    async def published_keys(self) -> list[Mapping[str, Any]]:
        """Return the keys that the service publishes."""
        url = f"{self._url}/{TENANT.id}/discovery/v2.0/keys"
        async with self._session.get(url) as answered:
            document = await answered.json(content_type=None)
        return list(document["keys"])


def token_form(client_id: str, assertion: str, **changes: str | None) -> dict[str, str]:
    """Return the form of a token request; None omits a field."""
    fields: dict[str, str | None] = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "scope": f"{VAULT}/.default",
        "client_assertion_type": names.JWT_BEARER,
        "client_assertion": assertion,
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


class PyJwtVerifier:
    """Check tokens with PyJWT and the published keys, which it caches as a resource server does."""

    def __init__(self, client: TokenClient) -> None:
        self._client = client
        self._keys: dict[str, jwt.PyJWK] = {}
        self._lock = asyncio.Lock()
        self.checked = 0

    async def check(self, token: str, client_id: str) -> str:
        """Check a client's token for the vault; return the id of the signing key. Raises Violation."""
        kid = str(jwt.get_unverified_header(token)["kid"])
        async with self._lock:
            if kid not in self._keys:
                published = await self._client.published_keys()
                self._keys = {
                    str(each["kid"]): jwt.PyJWK(dict(each), "RS256") for each in published
                }
        if kid not in self._keys:
            raise Violation(f"a token is signed with key {kid}, which is not published")
        try:
            claims = jwt.decode(token, self._keys[kid], ["RS256"], audience=VAULT)
        except jwt.PyJWTError as exc:
            raise Violation(f"PyJWT rejects an issued token: {exc}") from exc
        if (claims["appid"], claims["tid"]) != (client_id, TENANT.id):
            raise Violation(f"a token for client {client_id} names client {claims['appid']}")
        self.checked += 1
        return kid
