"""`podpass authority` as a process of its own: started, killed, drained."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.soak.sampling import tree
from tests.soak.wrong import Wrong

START_SECONDS = 30
DRAIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all replicas share: the database, the key that seals, certificates, the issuer's CA."""

    folder: Path
    database: str
    origins: Sequence[str] = ("https://localhost",)
    flags: Sequence[str] = ()

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def sealing_key(self) -> Path:
        return self.folder / "sealing.key"

    def stored(self) -> list[str]:
        """Give the flags that lead a command to the database."""
        return ["--database", self.database, "--sealing-key-file", str(self.sealing_key)]


def podpass(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end.

    Errors:  Wrong, with what it said.
    """
    command = [sys.executable, "-m", "podpass.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise Wrong(f"podpass {' '.join(arguments[:2])} failed: {done.stderr.strip()[-500:]}")
    return done


class Replica:
    """One process with its workers.

    Shapes:  a port that was free is kept for the next start, as an address of a pod is not.
    Units:   `started_seconds` from the start of the process to its ready line.
    """

    def __init__(self, name: str, place: Place, *, workers: int = 1) -> None:
        self.name = name
        self._place = place
        self._workers = workers
        self._process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}
        self.started_seconds = 0.0

    @property
    def url(self) -> str:
        return str(self.ready["service"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and wait until it is ready.

        Errors:  Wrong.
        """
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**os.environ, "SSL_CERT_FILE": str(self._place.ca_file)},
            )
        self.ready = json.loads(self._first_line())
        self.started_seconds = time.perf_counter() - began

    @property
    def _log(self) -> Path:
        return self._place.folder / f"{self.name}.log"

    def _first_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            said = self._log.read_text()[-800:]
            raise Wrong(f"{self.name} is not ready within {START_SECONDS} seconds: {said}")
        return line

    def _command(self) -> list[str]:
        place, certificate = self._place, str(self._place.folder / "localhost.pem")
        origins = [part for each in place.origins for part in ("--origin", each)]
        return [
            *(sys.executable, "-m", "podpass.cli", "authority", "-o", "json"),
            *place.stored(),
            *("--tls-certificate", certificate, "--tls-key", certificate),
            *("--issuer-ca-file", str(place.ca_file), "--private-issuer", "127.0.0.0/8"),
            *("--workers", str(self._workers)),
            *("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"),
            *origins,
            *place.flags,
        ]

    def kill(self) -> None:
        """Kill master and workers at once."""
        if self._process is None:
            return
        for pid in tree(self._process.pid):
            send(pid, signal.SIGKILL)
        self._process.communicate()
        self._process = None

    def drain(self) -> float:
        """Ask it to end, and wait until it has; give the seconds.

        Errors:  Wrong.
        """
        assert self._process is not None
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Wrong(f"{self.name} does not end {DRAIN_SECONDS} s after SIGTERM") from None
        code, self._process = self._process.returncode, None
        if code != 0:
            raise Wrong(f"{self.name} was asked to end and ended with {code}")
        return time.perf_counter() - began


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
