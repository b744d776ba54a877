"""Build a sample into the cache, with the tool and the package registry of its language.

One build runs at a time on this machine, because each uses all cores and most of the memory of a small one.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from podpass.errors import Error
from podpass.files import create_private_folder
from podpass.lab.cluster.samples import progress, ready
from podpass.lab.cluster.samples.cache import COMPLETE, SampleCache, source_files, source_folder
from podpass.lab.cluster.samples.model import Sample, Step
from podpass.lab.cluster.samples.progress import BuildProgress
from podpass.lab.data.lock import Lock

Echo = Callable[[str], None]

_STEP_SECONDS = 900
_POLL_SECONDS = 0.1
_TAIL = 4
# Network errors in the output of pip, npm, Go, Maven and NuGet.
_NETWORK_ERRORS = re.compile(
    r"NewConnectionError|ProxyError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError"
    r"|Network is unreachable|[Nn]o such host|[Cc]onnection refused|i/o timeout|TLS handshake timeout"
    r"|\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)\b"
    r"|UnknownHostException|Unknown host|Temporary failure in name resolution|[Cc]onnect timed out"
    r"|\bNU1301\b|proxyconnect tcp|server misbehaving"
)


class ToolsMissing(Error):
    """A build tool is not installed."""

    code = "tools_missing"


class RegistryUnreachable(Error):
    """The packages of a sample cannot be downloaded."""

    code = "registry_unreachable"
    hint = (
        "the build needs the network: check the network and the proxy settings, then run it again"
    )


class BuildFailed(Error):
    """A build step failed."""

    code = "build_failed"


class BuildStopped(Error):
    """A build was stopped because the instance stops."""

    code = "build_stopped"


def prepare(
    sample: Sample,
    cache: SampleCache,
    environ: Mapping[str, str],
    echo: Echo,
    *,
    again: bool = False,
    on_start: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
) -> Path:
    """Build a sample, unless it is built already; return its folder.

    `again` builds it in any case; `on_start` is called when no other build runs any more; another thread sets
    `stop` to stop the build. Raises ToolsMissing, RegistryUnreachable, BuildFailed, BuildStopped,
    ExamplesMissing.
    """
    place = cache.build_folder(sample)
    if (place / COMPLETE).exists() and not again:
        echo(f"{sample.name}: already built, in {place}")
        return place
    lacking = ready.missing_tools(sample, cache.has)
    if lacking:
        names = " and ".join(tool.program for tool in lacking)
        raise ToolsMissing(
            f"{sample.name} cannot be built here: {names} not found on the PATH",
            hint=f"{', '.join(tool.get for tool in lacking)}; then run it again",
        )
    create_private_folder(cache.root)
    stop = stop or threading.Event()
    with _build_lock(sample, cache.root, echo, stop):
        on_start()
        if again or not (place / COMPLETE).exists():
            _build(sample, cache, place, environ, echo, stop)
    echo(f"{sample.name}: built; containers with the image {sample.image} run it")
    return place


@contextlib.contextmanager
def _build_lock(sample: Sample, root: Path, echo: Echo, stop: threading.Event) -> Iterator[None]:
    """Wait until no other process and no other thread builds a sample."""
    lock, said = Lock(root / progress.LOCK_FILE), False
    while not lock.acquire():
        if not said:
            echo(f"{sample.name}: waiting for another build")
        said = True
        if stop.wait(_POLL_SECONDS):
            raise _stopped_error(sample)
    try:
        yield
    finally:
        lock.release()


def _build(
    sample: Sample,
    cache: SampleCache,
    place: Path,
    environ: Mapping[str, str],
    echo: Echo,
    stop: threading.Event,
) -> None:
    # A killed build may have left folders; no other build runs now.
    for left in (*cache.root.glob(f".{sample.name}-*"), *cache.root.glob(".old-*")):
        shutil.rmtree(left, ignore_errors=True)
    # Build in a temporary folder and rename it, so that readers see only complete builds.
    work = Path(tempfile.mkdtemp(prefix=f".{sample.name}-", dir=cache.root))
    log, start = cache.root / f"{sample.name}.log", time.time()
    try:
        _copy(source_folder(sample), work)
        for number, step in enumerate(sample.steps, 1):
            log.write_bytes(b"")
            current = BuildProgress(
                sample=sample.name,
                step=number,
                steps=len(sample.steps),
                message=step.message,
                began=start,
                log=str(log),
            )
            progress.write_progress(cache.root, current)
            echo(f"{sample.name}: {step.message}")
            began = time.monotonic()
            program = _resolve_program(step.argv[0], work, cache)
            _run(sample, step, [program, *step.argv[1:]], work, environ, stop)
            echo(f"{sample.name}: done in {time.monotonic() - began:.1f} s")
        (work / COMPLETE).touch()
        _publish(work, place, cache)
    finally:
        progress.clear_progress(cache.root)
        shutil.rmtree(work, ignore_errors=True)


def _copy(folder: Path, work: Path) -> None:
    for path in source_files(folder):
        target = work / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _resolve_program(program: str, work: Path, cache: SampleCache) -> str:
    """Return the path of a step's program: a result of the build, or a tool on the PATH."""
    return str(work / program) if "/" in program else cache.find(program) or program


def _run(
    sample: Sample,
    step: Step,
    argv: list[str],
    work: Path,
    environ: Mapping[str, str],
    stop: threading.Event,
) -> None:
    log = work.parent / f"{sample.name}.log"
    with log.open("wb") as output:
        # The tool runs in a session of its own, so that a stop also ends the compilers that it starts.
        process = subprocess.Popen(
            argv,
            cwd=work,
            env={**environ, **dict(step.settings)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _STEP_SECONDS
    try:
        while process.poll() is None:
            if stop.wait(_POLL_SECONDS):
                raise _stopped_error(sample)
            if time.monotonic() > deadline:
                raise BuildFailed(
                    f"{step.argv[0]} did not end within {_STEP_SECONDS} seconds",
                    hint=f"check {log}",
                )
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise _failure(sample, step, log)


def _stopped_error(sample: Sample) -> BuildStopped:
    return BuildStopped(f"the build of {sample.name} was stopped", hint="start the build again")


def is_network_error(output: str) -> bool:
    """Return whether the output of a package client contains a network error."""
    return _NETWORK_ERRORS.search(output) is not None


def _failure(sample: Sample, step: Step, log: Path) -> Error:
    output = log.read_text("utf-8", "replace")
    program = Path(step.argv[0]).name
    if is_network_error(output):
        return RegistryUnreachable(
            f"{sample.name}: {program} cannot reach its package registry; its output is in {log}"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    summary = " / ".join(lines[-_TAIL:]) or "no output"
    shown = "".join(char if char.isprintable() else " " for char in summary)[:400]
    return BuildFailed(
        f"{sample.name}: {program} failed: {shown}", hint=f"the complete output is in {log}"
    )


def _publish(work: Path, place: Path, cache: SampleCache) -> None:
    """Move a finished build to its folder, and replace an unfinished or older build."""
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=cache.root))
    with contextlib.suppress(FileNotFoundError):
        place.rename(old / "replaced")
    with contextlib.suppress(OSError):  # another process has finished the same build first
        work.rename(place)
    shutil.rmtree(old, ignore_errors=True)
