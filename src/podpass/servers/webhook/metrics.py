"""Serve `/metrics`: the counters of the webhook, and the current state of the process."""

import asyncio
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from podpass import names
from podpass.admission import prometheus_text
from podpass.admission.certificate_files import ServingCertificate
from podpass.admission.metrics import AdmissionMetrics
from podpass.admission.service_accounts import ServiceAccountCache
from podpass.http.server import App, Receive, Scope, Send, respond
from podpass.servers.webhook.loop_latency import LoopLag

_TYPE = (b"content-type", prometheus_text.CONTENT_TYPE.encode())
# Rendering this many characters takes a few milliseconds; then the event loop can handle reviews.
_CHUNK_CHARS = 64 * 1024
_TICKS, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSources:
    """The sources of the metrics; `in_flight` returns the number of requests in flight."""

    admission: AdmissionMetrics
    accounts: ServiceAccountCache
    certificate: ServingCertificate
    loop_lag: LoopLag
    in_flight: Callable[[], int]
    ready: Callable[[], bool]


def render_metrics(sources: MetricsSources) -> Iterator[str]:
    """Yield every metric in Prometheus text format."""
    yield from sources.admission.render()
    yield from prometheus_text.render_gauge(
        "controller_runtime_webhook_requests_in_flight",
        "Current number of admission requests being served.",
        [({"webhook": names.WEBHOOK_PATH}, sources.in_flight())],
    )
    yield from prometheus_text.render_gauge(
        "podpass_admission_accounts", "ServiceAccounts in the cache", [({}, sources.accounts.count)]
    )
    yield from prometheus_text.render_gauge(
        "podpass_admission_ready", "Whether /readyz succeeds", [({}, sources.ready())]
    )
    yield from _render_certificate(sources.certificate)
    yield from prometheus_text.render_gauge(
        "podpass_admission_event_loop_lag_seconds",
        "Longest event-loop delay of the last one to two minutes: from any cause (total), and the part in"
        " which this process used the CPU (process)",
        [
            ({"part": "total"}, sources.loop_lag.total.value),
            ({"part": "process"}, sources.loop_lag.process.value),
        ],
    )
    yield from _render_process()


def _render_certificate(certificate: ServingCertificate) -> Iterator[str]:
    expiry = {"serving": certificate.not_after, "ca": certificate.ca_not_after}
    yield from prometheus_text.render_gauge(
        "podpass_certificate_expiry_seconds",
        "When a certificate expires, in seconds since the epoch",
        [({"which": which}, when) for which, when in expiry.items() if when],
    )
    yield from prometheus_text.render_counter(
        "podpass_certificate_rotations",
        "Certificates loaded since the start",
        [({}, certificate.rotations)],
    )
    yield from prometheus_text.render_gauge(
        "podpass_certificate_rotation_failing",
        "Whether the renewal of the certificate fails",
        [({}, certificate.is_degraded)],
    )


def _render_process() -> Iterator[str]:
    """Yield the usual process metrics of Prometheus clients, if /proc exists."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return
    fields = stat.read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / _TICKS
    yield from prometheus_text.render_counter(
        "process_cpu_seconds", "Processor time used, in seconds", [({}, used)]
    )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name, meaning, value in (
        (
            "start_time_seconds",
            "Start time since the epoch, in seconds",
            _read_boot_time() + int(fields[19]) / _TICKS,
        ),
        ("virtual_memory_bytes", "Virtual memory", int(fields[20])),
        ("resident_memory_bytes", "Resident memory", int(fields[21]) * _PAGE_BYTES),
        ("open_fds", "Open file descriptors", len(os.listdir("/proc/self/fd")) - 1),  # noqa: PTH208 counts only
        ("max_fds", "Maximum number of open file descriptors", files),
    ):
        yield from prometheus_text.render_gauge(f"process_{name}", meaning, [({}, value)])


def _read_boot_time() -> int:
    """Return when the machine booted, in seconds since the epoch; process start times are relative to it."""
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("btime ")).split()[1])


def create_app(sources: MetricsSources) -> App:
    """Create the application that serves `/metrics`."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] != "/metrics":
            await respond(send, 404, b"not found\n", ((b"content-type", b"text/plain"),))
        elif scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"", ((b"allow", b"GET, HEAD"),))
        else:
            await _stream(send, render_metrics(sources))

    return app


async def _stream(send: Send, texts: Iterator[str]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_TYPE]})
    chunk, size = list[str](), 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= _CHUNK_CHARS:
            await _write(send, chunk, more=True)
            chunk, size = [], 0
            await asyncio.sleep(0)
    await _write(send, chunk, more=False)


async def _write(send: Send, chunk: list[str], *, more: bool) -> None:
    body = "".join(chunk).encode()
    await send({"type": "http.response.body", "body": body, "more_body": more})
