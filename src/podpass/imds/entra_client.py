"""Exchange the pod's projected token for access tokens at the authority.

With an identity binding (AZURE_KUBERNETES_TOKEN_PROXY), the request goes to the cluster's own endpoint: with
its address, its server name and its CA.
"""

import asyncio
import json
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from podpass import names
from podpass.clock import Clock
from podpass.errors import Error, SettingsError
from podpass.imds.limited_read import read_limited
from podpass.imds.token_cache import AccessToken

MAX_RESPONSE_BYTES = 256 * 1024
MAX_TOKEN_FILE_BYTES = 64 * 1024
_SECONDS = 30.0
_CONCURRENT = 16
_AADSTS = re.compile(r"AADSTS[0-9]{4,8}: ?[^\r\n]{0,500}")
_LIFETIME_SECONDS = 86_400 * 2


class TokenNotAcquired(Error):
    """The authority returned no token; `number` is the AADSTS code of a refusal, or empty.

    Shapes:  `status` is the authority's status, 502 if it returned no usable response.
    """

    code = "token_not_acquired"
    status = 502

    def __init__(self, message: str, *, number: str = "", status: int = 502) -> None:
        super().__init__(message)
        self.number = number
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The endpoint of an identity binding.

    Shapes:  `sni` is empty for the host of `url`; at most one of `ca_file` and `ca_data` is set.
    """

    url: str
    sni: str = ""
    ca_file: str = ""
    ca_data: str = ""

    def check(self) -> None:
        """Check the endpoint as the Azure SDKs do.

        Errors:  SettingsError.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname:
            problem = "must be an https URL"
        elif parts.username or parts.password or parts.query or parts.fragment:
            problem = "must not contain a user, a query or a fragment"
        elif self.ca_file and self.ca_data:
            problem = f"needs {names.ENV_CA_FILE} or AZURE_KUBERNETES_CA_DATA, not both"
        else:
            return
        raise SettingsError([f"{names.ENV_TOKEN_PROXY} {problem}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The token endpoint, and the file with the pod's projected token."""

    host: str
    tenant_id: str
    token_file: Path
    binding: Binding | None = None

    @property
    def token_url(self) -> str:
        """Return the address of the token endpoint."""
        path = f"{self.tenant_id}/oauth2/v2.0/token"
        return f"{(self.binding.url if self.binding else self.host).rstrip('/')}/{path}"


class EntraClient:
    """Requests access tokens; use it as a context."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def request_token(self, client_id: str, scope: str) -> AccessToken:
        """Request one access token.

        Errors:  TokenNotAcquired.
        """
        form = {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": client_id,
            "scope": scope,
            "client_assertion_type": names.JWT_BEARER,
            "client_assertion": _read_token(self._authority.token_file),
        }
        now = self._clock()
        try:
            async with self._slots, asyncio.timeout(_SECONDS):
                status, body = await self._post(form)
        except TimeoutError as exc:
            raise TokenNotAcquired(
                f"{self._authority.token_url} did not answer within {_SECONDS:.0f} seconds"
            ) from exc
        except (aiohttp.ClientError, ssl.SSLError, OSError) as exc:
            raise TokenNotAcquired(
                f"{self._authority.token_url} cannot be reached: {type(exc).__name__}: {exc}"
            ) from exc
        return _parse_response(status, body, now)

    async def _post(self, form: dict[str, str]) -> tuple[int, bytes]:
        binding = self._authority.binding
        if self._session is None:
            # The environment of the pod names the proxy and the CAs, as for every Azure SDK.
            self._session = aiohttp.ClientSession(trust_env=binding is None)
        more: dict[str, Any] = {}
        if binding is not None:
            # The CA is read for each request: the cluster rotates it while the sidecar runs.
            more = {"ssl": _binding_tls(binding), "server_hostname": binding.sni or None}
        async with self._session.post(
            self._authority.token_url, data=form, allow_redirects=False, **more
        ) as response:
            return response.status, await read_limited(response.content, MAX_RESPONSE_BYTES + 1)


def _binding_tls(binding: Binding) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(
            cafile=binding.ca_file or None, cadata=binding.ca_data or None
        )
    except (OSError, ssl.SSLError) as exc:
        raise TokenNotAcquired(f"the CA of {binding.url} cannot be read: {exc}") from exc


def _read_token(path: Path) -> str:
    """Read the projected token, each time: the kubelet replaces the file while the sidecar runs."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOKEN_FILE_BYTES + 1)
        text = data.decode("ascii").strip()
    except OSError as exc:
        raise TokenNotAcquired(f"the token file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise TokenNotAcquired(f"the token file {path} does not contain a token") from exc
    if not text or len(data) > MAX_TOKEN_FILE_BYTES:
        raise TokenNotAcquired(f"the token file {path} does not contain a token")
    return text


def _parse_response(status: int, body: bytes, now: float) -> AccessToken:
    """Parse the response of a token endpoint; errors contain only the AADSTS sentence of its body."""
    if len(body) > MAX_RESPONSE_BYTES:
        raise TokenNotAcquired(
            f"the authority's response is longer than {MAX_RESPONSE_BYTES} bytes"
        )
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise TokenNotAcquired(f"the authority's response is not JSON (status {status})")
    if status != 200:
        said = _AADSTS.search(str(values.get("error_description", "")))
        kind = str(values.get("error", ""))[:64]
        message = said[0] if said else f"the authority refused the request: {kind} ({status})"
        number = message.partition(":")[0] if said else ""
        raise TokenNotAcquired(message, number=number, status=status)
    token, seconds = values.get("access_token"), _parse_lifetime(values.get("expires_in"))
    if not isinstance(token, str) or not token.isascii() or not token or seconds is None:
        raise TokenNotAcquired("the authority's response contains no access token")
    return AccessToken(token=token, obtained=now, expires=now + seconds)


def _parse_lifetime(value: object) -> int | None:
    """Return a lifetime; some authorities write it as text."""
    try:
        seconds = int(str(value))
    except ValueError:
        return None
    return seconds if 0 < seconds <= _LIFETIME_SECONDS else None
