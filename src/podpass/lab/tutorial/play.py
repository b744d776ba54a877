"""Run a tutorial: start an instance, run its script, and print each command with its output."""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from podpass.errors import Error
from podpass.lab.cluster.samples import catalogue, examples, prepare
from podpass.lab.cluster.samples.cache import SampleCache, cache_folder
from podpass.lab.tutorial import azure_cli, program
from podpass.lab.tutorial.model import (
    TUTORIAL,
    CommandEnded,
    CommandStarted,
    Headings,
    find_problems,
    parse_events,
)

Echo = Callable[[str], None]

_SHOWN_LINES = 6
# The tutorial's image first; the second image needs no toolchain.
_SAMPLES = ("msal-go", "msal-python")
_CHUNK = 65536
_SCRIPT_COMMAND = '. "$1"; . "$2"'


class TutorialFailed(Error):
    """The tutorial failed or had another result than its page describes."""

    code = "tutorial_failed"
    hint = "run it again with --keep and check podpass.log in the directory that it prints"


@dataclass(frozen=True, slots=True, kw_only=True)
class TutorialOptions:
    """Options of a run: the script, the version of `az`, complete output, keep the directory."""

    script: str = TUTORIAL
    az: str = azure_cli.NEWEST
    full: bool = False
    keep: bool = False


def run_tutorial(
    options: TutorialOptions, environ: Mapping[str, str], now: datetime, echo: Echo
) -> None:
    """Run the tutorial in a temporary directory, and clean up at the end.

    Raises TutorialFailed, UsageError, RegistryUnreachable, NotInstalled, BuildFailed.
    """
    _check_programs(environ)
    python = azure_cli.install(options.az, environ, now, echo)
    echo(f"az {azure_cli.version(python)}")
    image = _image(environ, echo) if options.script == TUTORIAL else "python"
    folder = Path(tempfile.mkdtemp(prefix="podpass-tutorial-"))
    stopped = False
    try:
        _start_instance(folder, echo)
        try:
            _run_script(options, folder, _script_environment(folder, python, image, environ), echo)
        finally:
            asyncio.run(program.run_podpass(folder / "data", "down", failed=TutorialFailed))
            stopped = True
    finally:
        # `podpass down` needs the directory of an instance that is still running.
        if options.keep or not stopped:
            echo(f"data dir   {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _check_programs(environ: Mapping[str, str]) -> None:
    path = _path(environ)
    missing = [name for name in ("bash", "kubectl") if shutil.which(name, path=path) is None]
    if missing:
        names = " and ".join(missing)
        raise TutorialFailed(
            f"the tutorial needs {names}", hint=f"install {names}, then run it again"
        )


def _path(environ: Mapping[str, str]) -> str:
    """Return the PATH with the folder of this Python last, which may contain a kubectl."""
    return os.pathsep.join([environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


def _image(environ: Mapping[str, str], echo: Echo) -> str:
    """Choose and build the image of the second pod: the tutorial's image if Go is installed."""
    cache = SampleCache(cache_folder(environ), environ.get("PATH", os.defpath))
    for name in _SAMPLES:
        sample = catalogue.find_by_name(name)
        assert sample is not None
        try:
            if not cache.readiness(sample).ready:
                prepare.prepare(sample, cache, environ, echo)
        except prepare.ToolsMissing as exc:
            echo(f"{exc.message}; the second pod runs another sample")
        else:
            return sample.image
    raise TutorialFailed(
        "no sample can be built here", hint="check the reasons in `podpass image list`"
    )


def _start_instance(folder: Path, echo: Echo) -> None:
    began = time.monotonic()
    start = ("up", "--detach", "--port-base", "0")
    asyncio.run(program.run_podpass(folder / "data", *start, failed=TutorialFailed))
    echo(f"instance in a temporary directory, ready in {time.monotonic() - began:.1f} s")


def _script_environment(
    folder: Path, python: Path, image: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of the script: this `az` on the PATH, and a separate home directory."""
    for name in ("home", "bin"):
        (folder / name).mkdir()
    az = folder / "bin" / "az"
    az.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m azure.cli "$@"\n')
    az.chmod(0o755)
    inherited = {name: value for name, value in environ.items() if not name.startswith("AZURE_")}
    return {
        **inherited,
        "PATH": os.pathsep.join([str(folder / "bin"), _path(environ)]),
        "HOME": str(folder / "home"),
        "SAMPLE_IMAGE": image,
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
    }


def _run_script(
    options: TutorialOptions, folder: Path, environ: Mapping[str, str], echo: Echo
) -> None:
    began = time.monotonic()
    results: list[CommandEnded] = []
    script = Script(options.script, folder, environ)
    headings = Headings(script.text)
    step = ""
    # closing() ends the script also after an interrupt.
    with contextlib.closing(script.run()) as events:
        for event in events:
            if isinstance(event, CommandStarted):
                # A function above the first heading belongs to the step that calls it.
                if (heading := headings.heading_of(event.line)) not in ("", step):
                    step = heading
                    echo(f"\n# {step}")
                echo(f"$ {event}")
            else:
                results.append(event)
                echo(_format_output(event, options.full))
    if found := find_problems(results, options.script) or script.problems:
        raise TutorialFailed("; ".join(found))
    took = time.monotonic() - began
    echo(f"\nThe tutorial succeeded: {len(results)} commands in {took:.0f} s.")


def _format_output(result: CommandEnded, full: bool) -> str:
    lines = [*result.err.splitlines(), *result.out.splitlines()]
    limit = len(lines) if full or result.code != 0 else _SHOWN_LINES
    shown = [f"  {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  ... {len(lines) - limit} more lines")
    code = f", exit code {result.code}" if result.code else ""
    silent = "" if lines else "nothing printed, "
    return "\n".join([*shown, f"  ({silent}{result.seconds:.1f} s{code})"])


class Script:
    """One run of a script, `tutorial` or `migrate`; `problems` is set when it has ended."""

    def __init__(self, name: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder, self._environ = folder, environ
        self._path = examples.find_example(name) / f"{name}.sh"
        self._recorder = examples.find_example("tutorial") / "record.sh"
        self.problems: list[str] = []

    @property
    def text(self) -> str:
        return self._path.read_text()

    def run(self) -> Generator[CommandStarted | CommandEnded]:
        """Run the script and yield its events, with the duration of each command."""
        reading, writing = os.pipe()
        log = self._folder / "script.log"
        with log.open("wb") as output, os.fdopen(reading, "rb", 0) as stream:
            child = subprocess.Popen(
                self._command(writing),
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
            )
            os.close(writing)
            try:
                yield from _add_durations(parse_events(_read_texts(stream)))
                code = child.wait()
            finally:
                _terminate(child)
        if code != 0:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            self.problems = [f"the script exited with {code}: {''.join(last) or 'no output'}"]

    def _command(self, descriptor: int) -> list[str]:
        # A separate kubeconfig, which only `az aks get-credentials` fills.
        return [
            *(sys.executable, "-m", "podpass.cli", "run"),
            *("--data-dir", str(self._folder / "data"), "--as", "admin", "--quiet"),
            *("--", "env", f"KUBECONFIG={self._folder / 'kubeconfig'}"),
            *("bash", "-c", f"exec 3>&{descriptor} {descriptor}>&-; {_SCRIPT_COMMAND}", "tutorial"),
            *(str(self._recorder), str(self._path)),
        ]


def _add_durations(
    events: Iterator[CommandStarted | CommandEnded],
) -> Iterator[CommandStarted | CommandEnded]:
    began = time.monotonic()
    for event in events:
        if isinstance(event, CommandEnded):
            yield replace(event, seconds=time.monotonic() - began)
        else:
            began = time.monotonic()
            yield event


def _read_texts(stream: BinaryIO) -> Iterator[str]:
    """Split the output of the script at NUL bytes."""
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        for text in whole:
            yield text.decode("utf-8", "replace")


def _terminate(child: "subprocess.Popen[bytes]") -> None:
    """Terminate the script and its children, if the script is still running."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()
