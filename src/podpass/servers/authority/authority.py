"""`podpass authority` from its settings to its end: sockets, children, the master over them."""

import gc
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass import files, log
from podpass.clock import system
from podpass.database import Database
from podpass.http.server import bind
from podpass.http.tls import read_pair
from podpass.servers.authority import metrics
from podpass.servers.authority.resources import Settings
from podpass.servers.authority.shared_status import Board
from podpass.servers.authority.supervisor import Child, Master, Patience
from podpass.servers.authority.worker_status import Life
from podpass.servers.file_limits import leave_no_core, raise_file_limit
from podpass.settings.reading import parse_address

_log = logging.getLogger(__name__)

Ready = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What every child is made from."""

    settings: Settings
    board: Board
    sockets: Mapping[str, socket.socket]
    folder: Path


def run(settings: Settings, *, ready: Ready) -> None:
    """Run the token service until a signal ends it.

    Shapes:  `ready` is given the addresses and process ids once, when everything serves.
    Errors:  PortInUse, DatabaseUnusable, CertificateUnfit, before anything is started; NeverReady.
    """
    process = settings.process
    # Read here too, so that what is wrong is told at once and by this process.
    Database(process.database)
    read_pair(process.tls_certificate, process.tls_key)
    raise_file_limit()
    leave_no_core()
    with ExitStack() as stack:
        sockets = _bind(settings, stack)
        folder = stack.enter_context(metrics.folder())
        board = Board(process.workers + 2)
        plan = _Plan(settings=settings, board=board, sockets=sockets, folder=folder)
        _import_all(settings)
        log.configure(level=process.log_level)
        for path in (process.sealing_key_file, process.tls_key):
            if files.is_open_to_all(path):
                _log.warning("key_file_open_to_all", extra={"file": str(path)})
        addresses = _addresses(sockets)
        Master(
            _children(plan),
            board,
            Patience(
                start=process.start_seconds + process.stuck_seconds,
                stuck=process.stuck_seconds,
                drain=process.drain_seconds,
                delay=process.shutdown_delay_seconds,
            ),
            ready=lambda pids: ready(_facts(addresses, pids)),
            draining=lambda: _close(sockets, but=""),
        ).run()
        _log.info("authority_stopped")


def _bind(settings: Settings, stack: ExitStack) -> dict[str, socket.socket]:
    process = settings.process
    wanted = {
        "service": ("--listen", process.listen),
        "health": ("--health-listen", process.health_listen),
        "admin": ("--admin-listen", process.admin_listen),
    }
    sockets = {
        name: bind(*parse_address(flag, text), otherwise=f"give another {flag}")
        for name, (flag, text) in wanted.items()
        if text
    }
    stack.callback(_close, sockets, but="")
    return sockets


def _children(plan: _Plan) -> list[Child]:
    workers = plan.settings.process.workers
    children = [
        Child(name=f"worker {number}", run=lambda line, n=number: _worker(plan, n, line))  # type: ignore[misc]
        for number in range(workers)
    ]
    if "admin" in plan.sockets:
        children.append(Child(name="admin", run=lambda line: _admin(plan, workers + 1, line)))
    health = Child(name="health", run=lambda line: _health(plan, workers, line), first=False)
    return [*children[:workers], health, *children[workers:]]


def _worker(plan: _Plan, number: int, lifeline: int) -> int:
    from podpass.servers.authority.worker import Place, work

    sock = _own(plan, "service", {"worker": number})
    place = Place(number=number, sock=sock, board=plan.board, settings=plan.settings)
    return _live(work(place, lifeline))


def _health(plan: _Plan, number: int, lifeline: int) -> int:
    from podpass.servers.authority.health_checks import Judge
    from podpass.servers.authority.health_server import tell

    sock = _own(plan, "health", {"worker": "health"})
    process = plan.settings.process
    judge = Judge(board=plan.board, workers=process.workers, stuck_seconds=process.stuck_seconds)
    return _live(tell(Life(plan.board, number), lifeline, sock, judge, plan.folder))


def _admin(plan: _Plan, number: int, lifeline: int) -> int:
    from podpass.servers.authority.admin import manage
    from podpass.servers.authority.worker import Place

    sock = _own(plan, "admin", {"worker": "admin"})
    place = Place(number=number, sock=sock, board=plan.board, settings=plan.settings)
    return _live(manage(place, lifeline))


def _own(plan: _Plan, name: str, facts: Mapping[str, object]) -> socket.socket:
    """Keep one of the sockets: one held by a process that does not accept would outlive the service."""
    _close(plan.sockets, but=name)
    log.configure(level=plan.settings.process.log_level, always=facts)
    return plan.sockets[name]


def _live(life: Coroutine[Any, Any, int]) -> int:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(life)


def _import_all(settings: Settings) -> None:
    """Import before the first fork what all children need: its memory is then shared by them."""
    import importlib

    names = ["asyncio", "uvloop", "aiohttp", "prometheus_client", "prometheus_client.multiprocess"]
    names += ["podpass.servers.authority.worker", "podpass.servers.authority.health_server"]
    if settings.process.database.startswith("postgresql"):
        names.append("psycopg")
    for name in names:
        importlib.import_module(name)
    # The collector would write into every object it looks at, and un-share its page.
    gc.collect()
    gc.freeze()


def _addresses(sockets: Mapping[str, socket.socket]) -> dict[str, str]:
    found = {}
    for name, sock in sockets.items():
        host, port = sock.getsockname()[:2]
        scheme = "http" if name == "health" else "https"
        found[name] = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    return found


def _facts(addresses: Mapping[str, str], pids: Mapping[str, int]) -> dict[str, Any]:
    workers = [pid for name, pid in pids.items() if name.startswith("worker")]
    others = {name: pid for name, pid in pids.items() if not name.startswith("worker")}
    return {
        "ready": True,
        **addresses,
        "pid": os.getpid(),
        "workers": workers,
        "others": others,
        "started": system(),
    }


def _close(sockets: Mapping[str, socket.socket], *, but: str) -> None:
    for name, sock in sockets.items():
        if name != but:
            sock.close()
