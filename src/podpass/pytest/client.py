"""HTTPS connections to the instance: kept open, without a proxy, trusting the CA of the instance only."""

import http.client
import json
import ssl
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from podpass.errors import Error

_SECONDS = 30.0


class InstanceRequestFailed(Error):
    """The instance refused a request; `status` is the HTTP status, `body` the response."""

    code = "instance_request_failed"

    def __init__(self, status: int, message: str, body: Mapping[str, Any], hint: str = "") -> None:
        super().__init__(message, hint=hint or None)
        if hint:
            self.add_note(hint)  # pytest prints notes
        self.status = status
        self.body = body


class InstanceNotResponding(Error):
    """The instance does not respond: it was stopped, or it is blocked."""

    code = "instance_not_responding"
    hint = "check podpass.log in the data directory of the instance, below the folder of --basetemp"


class ServiceConnection:
    """A connection to one service of the instance, opened again after the service closed it."""

    def __init__(
        self, port: int, ca_file: Path, client: tuple[Path, Path] | None = None, *, token: str = ""
    ) -> None:
        context = ssl.create_default_context(cafile=str(ca_file))
        if client is not None:
            context.load_cert_chain(*client)
        self._http = http.client.HTTPSConnection(
            "localhost", port, timeout=_SECONDS, context=context
        )
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __repr__(self) -> str:
        return "ServiceConnection()"

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Any:
        """Send a request; return the decoded JSON of the response, or its text.

        `body` is sent as it is if it is bytes, otherwise as JSON. Raises InstanceRequestFailed,
        InstanceNotResponding.
        """
        response = self._send(method, path, body, content_type)
        return _decode(response, response.read())

    def lines(self, path: str) -> Generator[Any]:
        """Send a GET request; yield the decoded JSON of each line of the response while it arrives.

        Raises InstanceRequestFailed, InstanceNotResponding; TimeoutError if no line arrives for 30 seconds.
        """
        response = self._send("GET", path, None, "")
        if response.status >= http.client.BAD_REQUEST:
            _decode(response, response.read())
        try:
            while line := response.readline():
                yield json.loads(line)
        finally:
            self.close()  # the response may continue

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._http.close()

    def _send(
        self, method: str, path: str, body: object, content_type: str
    ) -> http.client.HTTPResponse:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {**self._headers, **({"Content-Type": content_type} if data is not None else {})}
        try:
            if self._http.sock is not None:
                try:
                    return self._exchange(method, path, data, headers)
                except (http.client.HTTPException, ConnectionError, ssl.SSLEOFError):
                    self.close()  # the service closes idle connections
            return self._exchange(method, path, data, headers)
        except (http.client.HTTPException, OSError) as exc:
            self.close()
            raise InstanceNotResponding(
                f"the instance does not respond to {method} {path.partition('?')[0]}:"
                f" {type(exc).__name__}"
            ) from exc

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self._http.request(method, path, body=data, headers=dict(headers))
        return self._http.getresponse()


def _decode(response: http.client.HTTPResponse, body: bytes) -> Any:
    text = body.decode()
    try:
        value: Any = json.loads(text or "null")
    except ValueError:
        value = text
    if response.status < http.client.BAD_REQUEST:
        return value
    found = value if isinstance(value, dict) else {}
    error = found.get("error")
    fields = error if isinstance(error, dict) else found
    message = fields.get("message") or found.get("error_description") or f"status {response.status}"
    raise InstanceRequestFailed(response.status, str(message), found, str(fields.get("hint") or ""))
