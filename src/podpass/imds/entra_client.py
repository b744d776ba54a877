"""Exchange the pod's projected token for access tokens at the authority."""

import asyncio
import json
import re
import ssl
import uuid
from pathlib import Path
from urllib.parse import urlencode

from podpass import files, names
from podpass.clock import Clock
from podpass.errors import Error
from podpass.http.client import HttpResponse, HttpServer, RequestFailed, send_request
from podpass.imds.authority import Authority, Binding
from podpass.imds.token_cache import AccessToken

MAX_RESPONSE_BYTES = 256 * 1024
MAX_TOKEN_FILE_BYTES = 64 * 1024
_MAX_CA_BYTES = 1024 * 1024
_SECONDS = 30.0
_CONCURRENT = 16
# A request continues if its caller disconnects, so the limit of connections does not limit these.
MAX_WAITING = 256
# The system's CAs are read again after this time: an operator may replace the file.
_CA_SECONDS = 600.0
_AADSTS = re.compile(r"AADSTS[0-9]{4,8}: ?[^\r\n]{0,500}")
_JWT = re.compile(r"eyJ[\w.-]*")
_KIND = re.compile(r"[\w.-]{1,64}")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,40}")
_LIFETIME_SECONDS = 86_400 * 2
_HEADERS = (
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"accept", b"application/json"),
)


class TokenNotAcquired(Error):
    """The authority returned no token; `number` is the AADSTS code of a refusal, or empty.

    `status` is the authority's status, 502 if it returned no usable response. `request_id` is empty if there
    was no response.
    """

    code = "token_not_acquired"
    status = 502

    def __init__(
        self, message: str, *, number: str = "", status: int = 502, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.number = number
        self.status = status
        self.request_id = request_id


class EntraClient:
    """Requests access tokens."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._waiting = 0
        self._tls: ssl.SSLContext | None = None
        self._tls_until = 0.0

    async def request_token(self, client_id: str, scope: str) -> AccessToken:
        """Request one access token. Raises TokenNotAcquired."""
        if self._waiting >= MAX_WAITING:
            raise TokenNotAcquired(f"{MAX_WAITING} token requests wait for the authority already")
        self._waiting += 1
        try:
            return await self._request(client_id, scope)
        finally:
            self._waiting -= 1

    async def _request(self, client_id: str, scope: str) -> AccessToken:
        form = {
            "grant_type": names.CLIENT_CREDENTIALS,
            "client_id": client_id,
            "scope": scope,
            "client_assertion_type": names.JWT_BEARER,
            "client_assertion": _read_token(self._authority.token_file),
        }
        now, url = self._clock(), self._authority.token_url
        # The authority logs the exchange with this ID, so that the sidecar's line can be found next to it.
        request_id = str(uuid.uuid4())
        try:
            async with asyncio.timeout(_SECONDS), self._slots:
                response = await self._post(urlencode(form).encode(), request_id)
        except TimeoutError as exc:
            raise TokenNotAcquired(f"{url} did not answer within {_SECONDS:.0f} seconds") from exc
        except RequestFailed as exc:
            raise TokenNotAcquired(f"{url} sent no token: {exc.message}") from exc
        except OSError as exc:
            raise TokenNotAcquired(f"{url} cannot be reached: {_describe(exc)}") from exc
        return _parse_response(response, now, request_id)

    async def _post(self, body: bytes, request_id: str) -> HttpResponse:
        authority = self._authority
        server = HttpServer(
            host=authority.host,
            port=authority.port,
            tls=self._client_tls(),
            server_name=authority.binding.sni if authority.binding else "",
            proxy=authority.proxy,
        )
        headers = (*_HEADERS, (b"client-request-id", request_id.encode()))
        return await send_request(
            server, "POST", authority.path, headers, body, max_bytes=MAX_RESPONSE_BYTES
        )

    def _client_tls(self) -> ssl.SSLContext:
        if self._authority.binding is not None:
            # The CA is read for each request: the cluster rotates it while the sidecar runs.
            return _binding_tls(self._authority.binding)
        now = asyncio.get_running_loop().time()
        if self._tls is None or now >= self._tls_until:
            # SSL_CERT_FILE and SSL_CERT_DIR of the pod name the CAs.
            self._tls, self._tls_until = ssl.create_default_context(), now + _CA_SECONDS
        return self._tls


def _describe(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {error.strerror or error}"


def _binding_tls(binding: Binding) -> ssl.SSLContext:
    data, source = binding.ca_data, binding.ca_file or names.ENV_CA_DATA
    try:
        if binding.ca_file:
            data = files.read_regular(Path(binding.ca_file), _MAX_CA_BYTES).decode("ascii")
            # Without certificates, the context would trust the system's CAs.
            data = data or "empty"
        return ssl.create_default_context(cadata=data or None)
    except (ssl.SSLError, ValueError) as exc:
        raise TokenNotAcquired(f"the CA {source} is not in PEM format") from exc
    except OSError as exc:
        raise TokenNotAcquired(f"the CA {source} cannot be read: {exc.strerror}") from exc


def _read_token(path: Path) -> str:
    """Read the projected token, each time: the kubelet replaces the file while the sidecar runs."""
    try:
        text = files.read_regular(path, MAX_TOKEN_FILE_BYTES).decode("ascii").strip()
    except OSError as exc:
        raise TokenNotAcquired(f"the token file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise TokenNotAcquired(f"the token file {path} does not contain a token") from exc
    if not text:
        raise TokenNotAcquired(f"the token file {path} does not contain a token")
    return text


def _parse_response(response: HttpResponse, now: float, request_id: str = "") -> AccessToken:
    """Parse the response of a token endpoint; errors contain only the AADSTS sentence of its body."""
    status = response.status
    try:
        values = json.loads(response.body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise TokenNotAcquired(
            f"the authority's response is not JSON (status {status}, {_media_type(response)})"
        )
    if status != 200:
        # JSON can contain half of a surrogate pair, which no response can.
        text = str(values.get("error_description", "")).encode("utf-8", "replace").decode()
        description = _AADSTS.search(text)
        kind = _KIND.match(str(values.get("error", "")))
        message = (
            _JWT.sub("[token]", description[0])
            if description
            else f"the authority refused the request: {kind[0] if kind else 'no error code'} ({status})"
        )
        number = message.partition(":")[0] if description else ""
        raise TokenNotAcquired(message, number=number, status=status, request_id=request_id)
    token, seconds = values.get("access_token"), _parse_lifetime(values.get("expires_in"))
    if not isinstance(token, str) or not token.isascii() or not token or seconds is None:
        raise TokenNotAcquired("the authority's response contains no access token")
    return AccessToken(token=token, obtained=now, expires=now + seconds, request_id=request_id)


def _parse_lifetime(value: object) -> int | None:
    """Return a lifetime; some authorities write it as text."""
    try:
        seconds = int(str(value))
    except ValueError:
        return None
    return seconds if 0 < seconds <= _LIFETIME_SECONDS else None


def _media_type(response: HttpResponse) -> str:
    """Return the content type for a message: a login page of a proxy, for example, is text/html."""
    for name, value in response.headers:
        if name.lower() == b"content-type" and (
            found := _MEDIA_TYPE.match(value.decode("latin-1"))
        ):
            return found[0]
    return "no content type"
