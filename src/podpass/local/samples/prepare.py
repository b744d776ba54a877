"""Build a sample once, into the cache: with its language's own tool, from that language's own registry."""

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from podpass.errors import Error
from podpass.files import private_folder
from podpass.local.samples import ready
from podpass.local.samples.cache import COMPLETE, SampleCache, source_files, sources
from podpass.local.samples.model import Sample, Step

Say = Callable[[str], None]

_STEP_SECONDS = 900
_TAIL = 4
# The words of pip, npm, Go, Maven and NuGet for a network that is not there.
_NOBODY = re.compile(
    r"NewConnectionError|ProxyError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError"
    r"|Network is unreachable|[Nn]o such host|[Cc]onnection refused|i/o timeout|TLS handshake timeout"
    r"|\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)\b"
    r"|UnknownHostException|Unknown host|Temporary failure in name resolution|[Cc]onnect timed out"
    r"|\bNU1301\b|proxyconnect tcp|server misbehaving"
)


class ToolsMissing(Error):
    """What builds a sample is not on this machine."""

    code = "tools_missing"


class RegistryUnreachable(Error):
    """A sample's packages could not be fetched, because nobody answered."""

    code = "registry_unreachable"
    hint = (
        "preparing needs the network, once: check it and the proxy's settings, then run this again"
    )


class BuildFailed(Error):
    """A step of a build ended with an error."""

    code = "build_failed"


def prepare(
    sample: Sample, cache: SampleCache, environ: Mapping[str, str], say: Say, *, again: bool = False
) -> Path:
    """Build a sample unless it is built; give its folder.

    Shapes:  `again` builds it anew.
    Errors:  ToolsMissing, RegistryUnreachable, BuildFailed, ExamplesMissing.
    """
    place = cache.place(sample)
    if (place / COMPLETE).exists() and not again:
        say(f"{sample.name}: prepared already, in {place}")
        return place
    _check_tools(sample, cache)
    private_folder(cache.root)
    # Built beside its place and renamed: whoever looks there sees all of it or nothing.
    work = Path(tempfile.mkdtemp(prefix=f".{sample.name}-", dir=cache.root))
    try:
        _copy(sources(sample), work)
        for step in sample.steps:
            say(f"{sample.name}: {step.says}")
            began = time.monotonic()
            _run(sample, step, [_located(step.argv[0], work, cache), *step.argv[1:]], work, environ)
            say(f"{sample.name}: done in {time.monotonic() - began:.1f} s")
        (work / COMPLETE).touch()
        _put(work, place, cache)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{sample.name}: ready; pods with the image {sample.image} run it")
    return place


def _check_tools(sample: Sample, cache: SampleCache) -> None:
    lacking = ready.missing(sample, cache.has)
    if lacking:
        names = " and ".join(tool.program for tool in lacking)
        raise ToolsMissing(
            f"{sample.name} cannot be built here: {names} not found on the PATH",
            hint=f"{', '.join(tool.get for tool in lacking)}; then run this again",
        )


def _copy(folder: Path, work: Path) -> None:
    for path in source_files(folder):
        target = work / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _located(program: str, work: Path, cache: SampleCache) -> str:
    """Find a step's program: one the build has made itself, or a tool of the machine."""
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
            f"{step.argv[0]} did not end within {_STEP_SECONDS} s", hint=f"look into {log}"
        ) from exc
    if done.returncode != 0:
        raise _failure(sample, step, log)


def unreachable(said: str) -> bool:
    """Tell from what a package client said whether nobody answered it."""
    return _NOBODY.search(said) is not None


def _failure(sample: Sample, step: Step, log: Path) -> Error:
    said = log.read_text("utf-8", "replace")
    program = Path(step.argv[0]).name
    if unreachable(said):
        return RegistryUnreachable(
            f"{sample.name}: {program} reached no registry; what it said is in {log}"
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = " / ".join(lines[-_TAIL:]) or "nothing"
    shown = "".join(sign if sign.isprintable() else " " for sign in telling)[:400]
    return BuildFailed(
        f"{sample.name}: {program} failed and said: {shown}", hint=f"all of it is in {log}"
    )


def _put(work: Path, place: Path, cache: SampleCache) -> None:
    """Move a finished build to its place, over an unfinished or an older one."""
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=cache.root))
    with contextlib.suppress(FileNotFoundError):
        place.rename(old / "was")
    with contextlib.suppress(OSError):  # another process was quicker: its build is as good
        work.rename(place)
    shutil.rmtree(old, ignore_errors=True)
