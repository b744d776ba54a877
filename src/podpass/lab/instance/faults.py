"""Faults of services: no response, a slow response, an AADSTS error, an HTTP status."""

import asyncio
import string
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson

from podpass.clock import Clock
from podpass.errors import UsageError
from podpass.exchange import token_request
from podpass.exchange.errors.catalogue import TABLE, AadstsError
from podpass.http.server import JSON, App, Receive, Reply, Scope, Send, read_body, respond

AWAY, SLOW, AADSTS, STATUS = KINDS = ("away", "slow", "aadsts", "status")
SERVICES = ("authority", "azure", "issuer", "kubernetes", "storage", "vault", "webhook")
MAX_SECONDS = 300.0
MAX_FAULTS = 100
_MAX_FORM = 64 * 1024
_NO_STORE = (b"cache-control", b"no-store, no-cache")


@dataclass(slots=True, kw_only=True)
class InjectedFault:
    """A fault of one service.

    `times` is the number of requests that still get it, None for all; `client_id` limits it to token requests
    of one client.
    """

    id: int
    service: str
    kind: str
    seconds: float = 0.0
    number: int = 0
    status: int = 503
    retry_after: int | None = None
    client_id: str = ""
    times: int | None = None


class FaultInjector:
    """The active faults of an instance, in the order in which they were added."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults: list[InjectedFault] = []
        self._last_id = 0
        self._cleared = asyncio.Event()

    def add(self, given: dict[str, Any]) -> InjectedFault:
        """Add a fault. Raises UsageError."""
        if problem := _problem(given):
            raise UsageError(problem, hint="see docs/develop/pytest.md, Faults")
        if len(self._faults) >= MAX_FAULTS:
            raise UsageError(f"an instance has at most {MAX_FAULTS} faults", hint="remove some")
        self._last_id += 1
        fault = InjectedFault(id=self._last_id, **given)
        self._faults.append(fault)
        return fault

    def remove(self, fault_id: int) -> None:
        """Remove a fault; waiting requests continue."""
        self._faults = [each for each in self._faults if each.id != fault_id]
        self._wake()

    def clear(self) -> None:
        """Remove all faults; waiting requests continue."""
        self._faults.clear()
        self._wake()

    def wrap(self, service: str, app: App) -> App:
        """Return the application of a service, with its faults."""
        return _FaultyApp(self, service, app) if service in SERVICES else app

    def has_faults(self, service: str) -> bool:
        """Return whether a request to a service may get a fault."""
        return any(each.service == service for each in self._faults)

    def select(self, service: str, form: dict[str, list[str]] | None) -> list[InjectedFault]:
        """Return the faults that a request gets, and count it.

        `form` is the form of a token request, None for another request.
        """
        found = [each for each in self._faults if each.service == service and _fits(each, form)]
        for fault in found:
            if fault.times is not None:
                fault.times -= 1
        self._faults = [each for each in self._faults if each.times is None or each.times > 0]
        return found

    async def delay(self, seconds: float) -> None:
        """Wait, but not longer than the faults are active."""
        cleared = self._cleared
        try:
            async with asyncio.timeout(seconds):
                await cleared.wait()
        except TimeoutError:
            pass

    def reply(self, fault: InjectedFault, scope: Scope) -> Reply:
        """Return the response of a fault."""
        retry = () if fault.retry_after is None else ((b"retry-after", b"%d" % fault.retry_after),)
        if fault.kind == STATUS:
            error = {"code": "FaultInjected", "message": "A test has injected this response."}
            return Reply(fault.status, (JSON, *retry), orjson.dumps({"error": error}))
        correlation = token_request.correlation_id(scope["headers"], scope["query_string"])
        body = token_request.error_body(
            refused := _aadsts_error(fault.number),
            login="https://login.microsoftonline.com",
            trace_id=token_request.new_id(),
            correlation_id=correlation,
            now=self._clock(),
        )
        return Reply(refused.status, (JSON, _NO_STORE, *retry), body)

    def _wake(self) -> None:
        self._cleared.set()
        self._cleared = asyncio.Event()


class _FaultyApp:
    """An application behind the faults of its service; without faults, it costs one comparison."""

    def __init__(self, faults: FaultInjector, service: str, app: App) -> None:
        self._faults, self._service, self._app = faults, service, app
        self._fast_path = getattr(app, "fast_path", None)

    def fast_path(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        """Handle a request on the fast path; decline while the service has faults."""
        if self._fast_path is None or self._faults.has_faults(self._service):
            return None
        return self._fast_path(scope, body)  # type: ignore[no-any-return]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._faults.has_faults(self._service):
            await self._app(scope, receive, send)
            return
        form = None
        if _is_token_request(self._service, scope):
            body = await read_body(receive, _MAX_FORM)
            form, receive = parse_qs(body.decode("latin-1")), _replay(body, receive)
        for fault in self._faults.select(self._service, form):
            if fault.kind == SLOW:
                await self._faults.delay(fault.seconds)
            elif fault.kind == AWAY:
                _abort(send)
                return
            else:
                reply = self._faults.reply(fault, scope)
                await respond(send, reply.status, reply.body, reply.headers)
                return
        await self._app(scope, receive, send)


def _problem(given: dict[str, Any]) -> str:
    """Return what is wrong with the description of a fault, or an empty text."""
    checks: dict[str, Callable[[Any], bool]] = {
        "service": lambda value: value in SERVICES,
        "kind": lambda value: value in KINDS,
        "seconds": lambda value: _is_number(value) and 0 <= value <= MAX_SECONDS,
        "number": lambda value: value in TABLE,
        "status": lambda value: type(value) is int and 400 <= value <= 599,
        "retry_after": lambda value: value is None or (type(value) is int and 0 <= value <= 3600),
        "client_id": lambda value: isinstance(value, str),
        "times": lambda value: value is None or (type(value) is int and value > 0),
    }
    if unknown := sorted(given.keys() - checks.keys()):
        return f"a fault has no field {unknown[0]!r}"
    if missing := sorted({"service", "kind"} - given.keys()):
        return f"a fault needs the field {missing[0]!r}"
    wrong = [name for name, value in given.items() if not checks[name](value)]
    if wrong:
        return f"the fault's {wrong[0]} cannot be {given[wrong[0]]!r}"
    if given["kind"] == AADSTS and (given["service"] != "authority" or "number" not in given):
        return "an AADSTS fault needs the service 'authority' and a number"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(fault: InjectedFault, form: dict[str, list[str]] | None) -> bool:
    if fault.kind == AADSTS and form is None:
        return False
    return not fault.client_id or (form or {}).get("client_id") == [fault.client_id]


def _is_token_request(service: str, scope: Scope) -> bool:
    path = scope["path"].lower()
    return service == "authority" and path.endswith(("/oauth2/v2.0/token", "/oauth2/token"))


def _aadsts_error(number: int) -> AadstsError:
    fields = (name for _, name, _, _ in string.Formatter().parse(TABLE[number].text) if name)
    return AadstsError(number, **dict.fromkeys(fields, "injected"))


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which was read already, then the connection's messages."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replayed


def _abort(send: Send) -> None:
    """Reset the connection of a request: the client gets no response."""
    cycle: Any = getattr(send, "__self__", None)
    if cycle is None:  # the server drains: its `send` is wrapped
        raise asyncio.CancelledError
    cycle.transport.abort()
