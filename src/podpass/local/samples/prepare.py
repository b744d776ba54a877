"""Build a sample into the cache, with the tool and the package registry of its language."""

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from podpass.errors import Error
from podpass.files import create_private_folder
from podpass.local.samples import ready
from podpass.local.samples.cache import COMPLETE, SampleCache, source_files, source_folder
from podpass.local.samples.model import Sample, Step

Echo = Callable[[str], None]

_STEP_SECONDS = 900
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


def prepare(
    sample: Sample,
    cache: SampleCache,
    environ: Mapping[str, str],
    echo: Echo,
    *,
    again: bool = False,
) -> Path:
    """Build a sample, unless it is built already; return its folder.

    Shapes:  `again` builds it in any case.
    Errors:  ToolsMissing, RegistryUnreachable, BuildFailed, ExamplesMissing.
    """
    place = cache.build_folder(sample)
    if (place / COMPLETE).exists() and not again:
        echo(f"{sample.name}: already built, in {place}")
        return place
    _check_tools(sample, cache)
    create_private_folder(cache.root)
    # Build in a temporary folder and rename it, so that readers see only complete builds.
    work = Path(tempfile.mkdtemp(prefix=f".{sample.name}-", dir=cache.root))
    try:
        _copy(source_folder(sample), work)
        for step in sample.steps:
            echo(f"{sample.name}: {step.message}")
            began = time.monotonic()
            _run(
                sample,
                step,
                [_resolve_program(step.argv[0], work, cache), *step.argv[1:]],
                work,
                environ,
            )
            echo(f"{sample.name}: done in {time.monotonic() - began:.1f} s")
        (work / COMPLETE).touch()
        _publish(work, place, cache)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    echo(f"{sample.name}: built; containers with the image {sample.image} run it")
    return place


def _check_tools(sample: Sample, cache: SampleCache) -> None:
    lacking = ready.missing_tools(sample, cache.has)
    if lacking:
        names = " and ".join(tool.program for tool in lacking)
        raise ToolsMissing(
            f"{sample.name} cannot be built here: {names} not found on the PATH",
            hint=f"{', '.join(tool.get for tool in lacking)}; then run it again",
        )


def _copy(folder: Path, work: Path) -> None:
    for path in source_files(folder):
        target = work / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _resolve_program(program: str, work: Path, cache: SampleCache) -> str:
    """Return the path of a step's program: a result of the build, or a tool on the PATH."""
    return str(work / program) if "/" in program else cache.find(program) or program


def _run(
    sample: Sample, step: Step, argv: list[str], work: Path, environ: Mapping[str, str]
) -> None:
    log = work.parent / f"{sample.name}.log"
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                argv,
                cwd=work,
                env={**environ, **dict(step.settings)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_STEP_SECONDS,
            )
    except subprocess.TimeoutExpired as exc:
        raise BuildFailed(
            f"{step.argv[0]} did not end within {_STEP_SECONDS} seconds", hint=f"check {log}"
        ) from exc
    if done.returncode != 0:
        raise _failure(sample, step, log)


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
