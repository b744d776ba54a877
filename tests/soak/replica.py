"""`podpass authority` as a separate process: started, killed and drained."""

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

from tests.soak.report import Violation
from tests.soak.sampling import process_tree

START_SECONDS = 30
DRAIN_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """Shared configuration of all replicas: database, sealing key, certificates and the issuer's CA."""

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

    def database_flags(self) -> list[str]:
        """Return the flags for the database and its sealing key."""
        return ["--database", self.database, "--sealing-key-file", str(self.sealing_key)]


def run_podpass(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a podpass command and return the result.

    Raises Violation, with the command's stderr, if it fails.
    """
    command = [sys.executable, "-m", "podpass.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise Violation(f"podpass {' '.join(arguments[:2])} failed: {done.stderr.strip()[-500:]}")
    return done


class AuthorityReplica:
    """One replica: a supervisor process and its workers.

    Units: `started_seconds` is the time from the start of the process to its ready line.
    """

    def __init__(self, name: str, config: ReplicaConfig, *, workers: int = 1) -> None:
        self.name = name
        self._config = config
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
        """Start the replica and wait until it is ready. Raises Violation."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**os.environ, "SSL_CERT_FILE": str(self._config.ca_file)},
            )
        self.ready = json.loads(self._first_line())
        self.started_seconds = time.perf_counter() - began

    @property
    def _log(self) -> Path:
        return self._config.folder / f"{self.name}.log"

    def _first_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            said = self._log.read_text()[-800:]
            raise Violation(f"{self.name} is not ready within {START_SECONDS} seconds: {said}")
        return line

    def _command(self) -> list[str]:
        config, certificate = self._config, str(self._config.folder / "localhost.pem")
        origins = [part for each in config.origins for part in ("--origin", each)]
        return [
            *(sys.executable, "-m", "podpass.cli", "authority", "-o", "json"),
            *config.database_flags(),
            *("--tls-certificate", certificate, "--tls-key", certificate),
            *("--issuer-ca-file", str(config.ca_file), "--private-issuer", "127.0.0.0/8"),
            *("--workers", str(self._workers)),
            *("--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"),
            *origins,
            *config.flags,
        ]

    def kill(self) -> None:
        """Send SIGKILL to the supervisor and its workers."""
        if self._process is None:
            return
        for pid in process_tree(self._process.pid):
            send_signal(pid, signal.SIGKILL)
        self._process.communicate()
        self._process = None

    def drain(self) -> float:
        """Send SIGTERM, wait until the replica has exited, and return the seconds that it took.

        Raises Violation.
        """
        assert self._process is not None
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Violation(f"{self.name} has not exited {DRAIN_SECONDS} s after SIGTERM") from None
        code, self._process = self._process.returncode, None
        if code != 0:
            raise Violation(f"{self.name} exited with {code} after SIGTERM")
        return time.perf_counter() - began


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
