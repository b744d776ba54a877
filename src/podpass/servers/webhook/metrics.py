"""`/metrics`: what the webhook counted, and what the process itself is like at the moment it is asked."""

import asyncio
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from podpass import names
from podpass.admission import prometheus_text
from podpass.admission.certificate_files import Serving
from podpass.admission.metrics import Meter
from podpass.admission.service_accounts import ClusterAccounts
from podpass.http.server import App, Receive, Scope, Send, respond
from podpass.servers.webhook.loop_latency import Stalls

_TYPE = (b"content-type", prometheus_text.CONTENT_TYPE.encode())
# So much is written in a few milliseconds; then reviews have their turn.
_PIECE_CHARS = 64 * 1024
_TICKS, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the figures come from; `in_flight` counts requests under way."""

    meter: Meter
    accounts: ClusterAccounts
    certificate: Serving
    stalls: Stalls
    in_flight: Callable[[], int]
    ready: Callable[[], bool]


def lines(sources: Sources) -> Iterator[str]:
    """Write every metric."""
    yield from sources.meter.exposition()
    yield from prometheus_text.gauge(
        "controller_runtime_webhook_requests_in_flight",
        "Current number of admission requests being served.",
        [({"webhook": names.WEBHOOK_PATH}, sources.in_flight())],
    )
    yield from prometheus_text.gauge(
        "podpass_admission_accounts",
        "ServiceAccounts in the cache",
        [({}, sources.accounts.count)],
    )
    yield from prometheus_text.gauge(
        "podpass_admission_ready",
        "Whether pods may be sent here",
        [({}, sources.ready())],
    )
    yield from _certificate(sources.certificate)
    yield from prometheus_text.gauge(
        "podpass_admission_loop_stall_seconds",
        "The longest time of the last minute or two in which nobody was answered: whoever was to blame"
        " (late), and what of it this process was computing (own)",
        [
            ({"of": "late"}, sources.stalls.late.value),
            ({"of": "own"}, sources.stalls.own.value),
        ],
    )
    yield from _process()


def _certificate(certificate: Serving) -> Iterator[str]:
    expiry = {"serving": certificate.not_after, "authority": certificate.ca_not_after}
    yield from prometheus_text.gauge(
        "podpass_certificate_expiry_seconds",
        "When a certificate expires, in seconds since the epoch",
        [({"which": which}, when) for which, when in expiry.items() if when],
    )
    yield from prometheus_text.counter(
        "podpass_certificate_rotations",
        "Certificates taken since the start",
        [({}, certificate.rotations)],
    )
    yield from prometheus_text.gauge(
        "podpass_certificate_hindered",
        "Whether something is in the way of the certificate's renewal",
        [({}, certificate.is_hindered)],
    )


def _process() -> Iterator[str]:
    """Write what every Prometheus client tells of its process, on systems that tell."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return
    fields = stat.read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / _TICKS
    yield from prometheus_text.counter(
        "process_cpu_seconds", "Processor time used, in seconds", [({}, used)]
    )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name, meaning, value in (
        (
            "start_time_seconds",
            "When it began, since the epoch",
            _boot() + int(fields[19]) / _TICKS,
        ),
        ("virtual_memory_bytes", "Virtual memory", int(fields[20])),
        ("resident_memory_bytes", "Resident memory", int(fields[21]) * _PAGE_BYTES),
        ("open_fds", "Open file descriptors", len(os.listdir("/proc/self/fd")) - 1),  # noqa: PTH208 counts only
        ("max_fds", "File descriptors that may be open", files),
    ):
        yield from prometheus_text.gauge(f"process_{name}", meaning, [({}, value)])


def _boot() -> int:
    """Read when the machine began, in seconds since the epoch: starts of processes are counted from it."""
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("btime ")).split()[1])


def create_app(sources: Sources) -> App:
    """Make the application that answers `/metrics`."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] != "/metrics":
            await respond(send, 404, b"not found\n", ((b"content-type", b"text/plain"),))
        elif scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"", ((b"allow", b"GET, HEAD"),))
        else:
            await _stream(send, lines(sources))

    return app


async def _stream(send: Send, texts: Iterator[str]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_TYPE]})
    piece, size = list[str](), 0
    for text in texts:
        piece.append(text)
        size += len(text)
        if size >= _PIECE_CHARS:
            await _write(send, piece, more=True)
            piece, size = [], 0
            await asyncio.sleep(0)
    await _write(send, piece, more=False)


async def _write(send: Send, piece: list[str], *, more: bool) -> None:
    body = "".join(piece).encode()
    await send({"type": "http.response.body", "body": body, "more_body": more})
