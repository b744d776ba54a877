"""Run the tutorial script in a shell, and read its events."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from podpass.lab.cluster.samples import examples
from podpass.lab.tutorial.model import CommandEnded, CommandStarted, parse_events

_CHUNK = 65536
_SCRIPT_COMMAND = '. "$1"; . "$2"'


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
