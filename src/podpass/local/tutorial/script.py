"""The tutorial's script in a shell of its own, and what it tells while it runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from podpass.local import examples
from podpass.local.tutorial.model import Answered, Asked, tellings

_CHUNK = 65536
_PLAY = '. "$1"; . "$2"'


class Script:
    """One run of tutorial.sh in the folder of a run; `problems` are known when it has ended."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder, self._environ = folder, environ
        self._path = examples.find("tutorial") / "tutorial.sh"
        self.problems: list[str] = []

    @property
    def text(self) -> str:
        return self._path.read_text()

    def play(self) -> Generator[Asked | Answered]:
        """Run it and pass on what it tells, with the time each command took."""
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
                yield from _timed(tellings(_texts(stream)))
                code = child.wait()
            finally:
                _end(child)
        if code != 0:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            self.problems = [f"the script ended with {code}: {''.join(last) or 'no word'}"]

    def _command(self, descriptor: int) -> list[str]:
        # A kubeconfig of the run's own: what kubectl knows then came from `az aks get-credentials`.
        return [
            *(sys.executable, "-m", "podpass.cli", "run"),
            *("--data-dir", str(self._folder / "data")),
            *("--", "env", f"KUBECONFIG={self._folder / 'kubeconfig'}"),
            *("bash", "-c", f"exec 3>&{descriptor} {descriptor}>&-; {_PLAY}", "tutorial"),
            *(str(self._path.with_name("told.sh")), str(self._path)),
        ]


def _timed(told: Iterator[Asked | Answered]) -> Iterator[Asked | Answered]:
    began = time.monotonic()
    for telling in told:
        if isinstance(telling, Answered):
            yield replace(telling, seconds=time.monotonic() - began)
        else:
            began = time.monotonic()
            yield telling


def _texts(stream: BinaryIO) -> Iterator[str]:
    """Part what the script writes at its NULs."""
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        for text in whole:
            yield text.decode("utf-8", "replace")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the script and what it started, if it has not ended by itself."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()
