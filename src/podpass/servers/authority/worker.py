"""One worker: the token service in a loop and a process of its own, on a socket shared with the others."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.crypto.multibuffer import library as multibuffer
from podpass.database import DatabaseFailed
from podpass.errors import Error
from podpass.exchange.app import create_app
from podpass.exchange.metrics import Meter
from podpass.exchange.rate_limits import Gate, Rate, Rules
from podpass.exchange.sign_in.codes import DEVICE_SECONDS
from podpass.exchange.signing import schedule
from podpass.exchange.signing.signer import Signer
from podpass.http.fetcher import Fetcher
from podpass.http.proxy_headers import Network, is_trusted
from podpass.http.server import Drain, Limits, Serving, serving
from podpass.http.tls import ReloadingTls
from podpass.servers.authority import metrics, resources
from podpass.servers.authority.resources import Parts, Settings
from podpass.servers.authority.shared_status import Board, Row, State
from podpass.servers.authority.supervisor import UNUSABLE
from podpass.servers.authority.worker_status import Life
from podpass.servers.file_limits import affordable
from podpass.settings import AuthorityProcessSettings
from podpass.settings.authority_process import ANY_MULTIBUFFER, NO_MULTIBUFFER
from podpass.tasks import beside

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_LINGER_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which worker this is, and what it was given."""

    number: int
    sock: socket.socket
    board: Board
    settings: Settings


Start = Callable[[contextlib.AsyncExitStack, Life], Coroutine[Any, Any, None]]


async def work(place: Place, lifeline: int, clock: Clock = system) -> int:
    """Serve until told to stop, and give the exit code."""
    return await live(place, lifeline, lambda stack, life: _start(stack, place, life, clock))


async def live(place: Place, lifeline: int, start: Start) -> int:
    """Start, serve until told to stop, and give the exit code; why it was not to be is on the board."""
    life = Life(place.board, place.number)
    with life.beating(lifeline):
        try:
            async with contextlib.AsyncExitStack() as stack:
                await _until_stopped(life, start(stack, life))
                life.tell(State.DRAINING)
        except Error as exc:
            # Whatever may pass was waited for.
            life.tell(reason=f"{exc.message}; {exc.hint}" if exc.hint else exc.message)
            return UNUSABLE
    return 0


async def _until_stopped(life: Life, starting: Coroutine[Any, Any, None]) -> None:
    """Start, then wait for the end; an end that comes while starting is heeded."""
    start = asyncio.ensure_future(starting)
    stop = asyncio.ensure_future(life.stop.wait())
    await asyncio.wait((start, stop), return_when=asyncio.FIRST_COMPLETED)
    if not start.done():
        start.cancel()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await start
            await stop
    finally:
        stop.cancel()


async def _start(stack: contextlib.AsyncExitStack, place: Place, life: Life, clock: Clock) -> None:
    settings = place.settings
    process = settings.process
    registry = metrics.registry(f"worker{place.number}")
    meter, gauges = Meter(registry), metrics.OwnGauges(registry)
    tls = ReloadingTls(process.tls_certificate, process.tls_key, clock)
    metrics.Certificate(registry, tls)
    await stack.enter_async_context(tls.watching(process.tls_poll_seconds))
    life.reload = tls.reload

    def waiting(why: str) -> None:
        life.tell(State.STARTING, why)

    found = await stack.enter_async_context(
        resources.opened(settings, clock, waiting, life.stop.set)
    )
    networks = tuple(ip_network(text) for text in process.trusted_proxies)
    gate = gate_of(process, clock=asyncio.get_running_loop().time)
    app = create_app(
        settings.exchange,
        found.directory,
        Counted(resources.fetcher(settings), meter),
        found.keys,
        clock,
        gate=gate,
        observe=meter,
        signer=Signer(
            opened_multibuffer(process.multibuffer, await found.keys.current(), life), meter
        ),
    )
    server = await stack.enter_async_context(
        serving(
            app,
            place.sock,
            tls.context,
            limits=Limits(connections=affordable(share(process.connections, process.workers))),
            proxies=networks,
            door=AddressDoor(gate, networks, meter),
            drain=drain_of(process),
        )
    )
    life.measure = lambda row: _measured(row, server)
    life.tell_database(answers=True)  # its keys were read there
    await stack.enter_async_context(_looking(life, found, gauges, clock))
    life.tell(State.READY)


def opened_multibuffer(wanted: str, key: jose.SigningKey, life: Life) -> multibuffer.Library | None:
    """Open the library that signs several tokens at once, if it is wanted and there is one, and try it.

    Errors:  multibuffer.Unusable, WrongSignature, for a file that was named.
    """
    if wanted == NO_MULTIBUFFER:
        return None
    # Seen only where this process ends in it: the library is compiled code, and may be damaged.
    life.tell(reason="it opened the multi-buffer library; `--multibuffer none` does without")
    named = wanted != ANY_MULTIBUFFER
    try:
        library = multibuffer.open_file(wanted) if named else multibuffer.find()
        library.load(key.key).sign([b"a trial"] * multibuffer.LANES)
    except (multibuffer.Unusable, multibuffer.WrongSignature) as exc:
        if named:
            raise
        _log.info("multibuffer_not_used", extra={"reason": exc.message})
        return None
    finally:
        life.tell()
    _log.info("multibuffer_used", extra={"library": library.file})
    return library


def drain_of(process: AuthorityProcessSettings) -> Drain:
    """Say how long a stop may take, in parts."""
    linger = min(_LINGER_SECONDS, process.drain_seconds / 4)
    return Drain(linger=linger, patience=max(process.drain_seconds - linger - 0.5, 0.1))


def gate_of(process: AuthorityProcessSettings, clock: Clock) -> Gate:
    """Make this worker's gate: each has an equal part of what all may let pass."""
    workers = process.workers

    def rate(per_second: float, burst: float) -> Rate:
        return Rate(per_second=per_second / workers, burst=max(burst / workers, 1))

    rules = Rules(
        client=rate(process.client_rate, process.client_burst),
        source=rate(process.source_rate, process.source_burst),
        refused=rate(process.refused_rate, process.refused_burst),
        devices=rate(process.source_device_codes / DEVICE_SECONDS, process.source_device_codes),
        penalty_seconds=process.penalty_seconds if process.refused_rate else 0,
        connections=share(process.source_connections, workers),
    )
    return Gate(rules, clock, penalised=_tell_penalised)


def share(of_all: int, workers: int) -> int:
    """Give one worker's part, rounded up; 0 stays 0."""
    return -(-of_all // workers)


class AddressDoor:
    """The gate, before TLS: it judges peers, and leaves those alone that only pass requests on."""

    def __init__(self, gate: Gate, proxies: Sequence[Network], meter: Meter) -> None:
        self._gate = gate
        self._proxies = proxies
        self._meter = meter
        self.opened = gate.opened
        self.closed = gate.closed

    def accepts(self, source: str) -> bool:
        if self._gate.accepts(source) or is_trusted(source, self._proxies):
            return True
        self._meter.dropped()
        return False

    def hears(self, source: str) -> bool:
        if self._gate.hears(source) or is_trusted(source, self._proxies):
            return True
        self._meter.dropped()
        return False

    def wasted(self, source: str) -> None:
        """Count a handshake for nothing as a refused request: it costs as much as an exchange."""
        if not is_trusted(source, self._proxies):
            self._gate.refused(source)


class Counted:
    """A fetcher whose fetches are counted."""

    def __init__(self, fetcher: Fetcher, meter: Meter) -> None:
        self._fetcher = fetcher
        self._meter = meter

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object, and count what became of it."""
        try:
            document = await self._fetcher.get_json(url)
        except Error:
            self._meter.fetched("failed")
            raise
        self._meter.fetched("ok")
        return document


@contextlib.asynccontextmanager
async def _looking(
    life: Life, found: Parts, gauges: metrics.OwnGauges, clock: Clock
) -> AsyncIterator[None]:
    """Ask the database every other moment whether it is there, and tell how old keys are."""

    async def look() -> None:
        fault: DatabaseFailed | None = None
        while True:
            before, fault = fault, await _fault(found)
            if fault is not None and before is None:
                _log.warning("database_does_not_answer", extra=fault.facts)
            elif fault is None and before is not None:
                _log.info("database_answers")
            life.tell_database(answers=fault is None)
            since, until = _signing(found, clock())
            gauges.key_age.set(since)
            gauges.damaged.set(len(found.keys.damaged))
            gauges.next_rotation.set(until)
            await asyncio.sleep(_LOOK_SECONDS)

    async with beside(look(), "database looks"):
        yield


async def _fault(found: Parts) -> DatabaseFailed | None:
    try:
        await found.database.look()
    except DatabaseFailed as exc:
        return exc
    return None


def _signing(found: Parts, now: float) -> tuple[float, float]:
    """Give the age of the key that signs, and when the next one does."""
    if not (slots := found.keys.slots):
        return 0.0, 0.0
    signs, after = schedule.active(slots, now), schedule.coming(slots, now)
    return max(now - signs.activates, 0.0), 0.0 if after is None else after.activates


def _measured(row: Row, server: Serving) -> Row:
    return replace(row, connections=server.connections, under_way=server.under_way)


def _tell_penalised(network: str) -> None:
    _log.warning("source_penalised", extra={"source": network})
