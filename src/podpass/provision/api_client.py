"""JSON requests with a bearer token to one API: error texts, pages, long-running operations, propagation."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from podpass.directory.claims_expression import LANGUAGE_VERSION
from podpass.directory.model import FederatedCredential
from podpass.http.client import HttpResponse
from podpass.provision.connection import AzureConnection, header, parse_retry_after
from podpass.provision.errors import ApiError, sanitize
from podpass.provision.sign_in import TokenSource

Object = dict[str, Any]
Params = Mapping[str, str]
Found = TypeVar("Found")

_MAX_PAGES = 200
_MAX_COLLECTION_BYTES = 16 * 1024 * 1024
_MAX_OPERATION_SECONDS = 1800.0
_MIN_POLL_SECONDS, _POLL_SECONDS, _MAX_POLL_SECONDS = 1.0, 5.0, 60.0
_RUNNING = frozenset({"accepted", "running", "inprogress", "creating", "updating", "deleting"})
# New objects are visible to all servers of Entra after seconds, in rare cases after minutes.
PROPAGATION_SECONDS = (1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0)


def quote_literal(text: str) -> str:
    """Return a text as a string literal of OData: quotes are doubled."""
    return "'" + text.replace("'", "''") + "'"


def quote_segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="=@()")


def required(found: Object, name: str) -> str:
    """Return a member without which an object cannot be used.

    Raises ApiError, also for an empty object, which a request without a response body returns.
    """
    value = found.get(name)
    if not value:
        raise ApiError(f"the API returned an object without '{name}'")
    return str(value)


def text_of(found: Mapping[str, Any], name: str) -> str:
    """Return a member as text, empty if there is none."""
    return str(found.get(name) or "")


def texts_of(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the texts of a list, none if the member is not a list."""
    value = found.get(name)
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def member_of(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in an object, an empty one if there is none."""
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def members_of(found: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list in an object."""
    value = found.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def parse_credential(found: Mapping[str, Any]) -> FederatedCredential:
    """Return a federated credential of Graph, or of Resource Manager, which has it in `properties`."""
    about = member_of(found, "properties") or found
    return FederatedCredential(
        id=text_of(found, "id") or text_of(found, "name"),
        name=text_of(found, "name"),
        issuer=text_of(about, "issuer"),
        subject=text_of(about, "subject"),
        audiences=texts_of(about, "audiences"),
        expression=text_of(member_of(about, "claimsMatchingExpression"), "value"),
    )


def trust_members(credential: FederatedCredential) -> Object:
    """Return the members of a credential that Graph and Resource Manager have in common."""
    found: Object = {"issuer": credential.issuer, "audiences": list(credential.audiences)}
    if not credential.expression:
        return found | {"subject": credential.subject}
    expression = {"value": credential.expression, "languageVersion": LANGUAGE_VERSION}
    return found | {"claimsMatchingExpression": expression}


class ApiClient:
    """Requests to one API, with the tokens of a sign-in.

    `origin` is an https origin; `resource` is that of the tokens; paths begin with a slash.
    """

    def __init__(
        self,
        service: str,
        *,
        origin: str,
        resource: str,
        tokens: TokenSource,
        connection: AzureConnection,
    ) -> None:
        self.service = service
        self.connection = connection
        self._origin = origin
        self._resource = resource
        self._tokens = tokens

    async def get(self, path: str, params: Params | None = None) -> Object:
        """Read an object. Raises ApiError."""
        return _object(await self._send("GET", self._url(path, params)), self.service)

    async def find(self, path: str, params: Params | None = None) -> Object | None:
        """Read an object; None if there is none. Raises ApiError."""
        try:
            return await self.get(path, params)
        except ApiError as exc:
            if exc.api_status == 404:
                return None
            raise

    async def list(self, path: str, params: Params | None = None) -> list[Object]:
        """Read a collection, page by page. Raises ApiError."""
        url, found, size = self._url(path, params), list[Object](), 0
        for _ in range(_MAX_PAGES):
            response = await self._send("GET", url)
            size += len(response.body)
            if size > _MAX_COLLECTION_BYTES:
                limit = f"{_MAX_COLLECTION_BYTES} bytes"
                raise ApiError(f"{self.service} returned more than {limit} for {path}")
            page = _object(response, self.service)
            found += _items(page, self.service)
            following = page.get("@odata.nextLink") or page.get("nextLink")
            if not following:
                return found
            url = self._own_url(str(following))
        raise ApiError(f"{self.service} returned more than {_MAX_PAGES} pages for {path}")

    async def send(
        self, method: str, path: str, body: Object | None = None, params: Params | None = None
    ) -> Object:
        """Send a request and wait for its long-running operation; return the object, or an empty one.

        Raises ApiError.
        """
        response = await self._send(method, self._url(path, params), body)
        operation = header(response, "azure-asyncoperation")
        location = header(response, "location")
        if response.status in (200, 201, 202) and (
            operation or (response.status == 202 and location)
        ):
            await self._wait_for_operation(method, path, response, operation or location)
            return await self.find(path, params) or {} if method != "DELETE" else {}
        return _object(response, self.service) if response.body.strip() else {}

    async def until(
        self,
        attempt: Callable[[], Awaitable[Found | None]],
        *,
        reason: str,
        retry: Callable[[ApiError], bool] = lambda _: False,
    ) -> Found:
        """Repeat an attempt while a new object is not visible to all servers yet.

        The attempt returns None, or raises an error for which `retry` is true, to be repeated. Raises
        ApiError of the last attempt.
        """
        for seconds in (*PROPAGATION_SECONDS, None):
            try:
                found = await attempt()
                failure = ApiError(f"{self.service}: {reason} took more than two minutes")
            except ApiError as exc:
                if not retry(exc):
                    raise
                found, failure = None, exc
            if found is not None:
                return found
            if seconds is not None:
                self.connection.report(f"{reason}; trying again in {seconds:.0f} seconds")
                await self.connection.sleep(seconds)
        raise failure

    async def _wait_for_operation(
        self, method: str, path: str, response: HttpResponse, address: str
    ) -> None:
        url = self._own_url(address)
        waited = 0.0
        while waited < _MAX_OPERATION_SECONDS:
            seconds = parse_retry_after(header(response, "retry-after"), _POLL_SECONDS)
            seconds = min(max(seconds, _MIN_POLL_SECONDS), _MAX_POLL_SECONDS)
            waited += seconds
            self.connection.report(f"{self.service}: {method} {path} is in progress")
            await self.connection.sleep(seconds)
            response = await self._send("GET", url)
            answer = _object(response, self.service) if response.body.strip() else {}
            status = str(answer.get("status") or "").lower()
            if status in ("failed", "canceled"):
                error = answer.get("error")
                code, message = _error_of(answer if isinstance(error, dict) else {"error": {}})
                raise ApiError(
                    f"{self.service}: {method} {path} {status}: {code} {message}".rstrip(),
                    api_status=409,
                    api_code=code,
                )
            if response.status != 202 and status not in _RUNNING:
                return
        raise ApiError(f"{self.service}: {method} {path} did not complete in half an hour")

    async def _send(self, method: str, url: str, body: Object | None = None) -> HttpResponse:
        data = b"" if body is None else json.dumps(body).encode()
        for is_last in (False, True):
            token = await self._tokens.get_token(self._resource)
            headers = {"Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            response = await self.connection.send(method, url, headers=headers, body=data)
            if response.status != 401 or is_last:
                break
            self._tokens.forget(self._resource)  # it may have been revoked
        if response.status >= 300:
            raise self._refusal(method, url, response)
        return response

    def _refusal(self, method: str, url: str, response: HttpResponse) -> ApiError:
        try:
            code, message = _error_of(json.loads(response.body))
        except (ValueError, RecursionError):
            code, message = "", ""
        reason = ": ".join(each for each in (code, message) if each)
        return ApiError(
            f"{self.service} refused {method} {urlsplit(url).path} with status {response.status}"
            + (f": {reason}" if reason else ""),
            api_status=response.status,
            api_code=code,
        )

    def _url(self, path: str, params: Params | None) -> str:
        query = f"?{urlencode(params, quote_via=quote)}" if params else ""
        return f"{self._origin}{path}{query}"

    def _own_url(self, url: str) -> str:
        """Return a URL that the API returned, if it is one of the API: a token must reach no other host.

        Raises ApiError.
        """
        try:
            parts = urlsplit(url)
        except ValueError as exc:
            raise ApiError(f"{self.service} returned an address that is not a URL") from exc
        if f"{parts.scheme}://{parts.netloc}".lower() != self._origin.lower():
            raise ApiError(f"{self.service} returned an address of another host")
        return url


def _object(response: HttpResponse, service: str) -> Object:
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError) as exc:
        raise ApiError(f"the response of {service} is not JSON") from exc
    if not isinstance(value, dict):
        raise ApiError(f"the response of {service} is not an object")
    return value


def _items(page: Object, service: str) -> list[Object]:
    """Return the objects of a page of a collection."""
    items = page.get("value") or []
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise ApiError(f"the response of {service} is not a list of objects")
    return items


def _error_of(body: Any) -> tuple[str, str]:
    """Return code and message of an error body of Graph or Resource Manager."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", ""
    return sanitize(error.get("code") or ""), sanitize(error.get("message") or "")
