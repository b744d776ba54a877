"""Run specs in several processes of e2e.test, each with its share of the specs."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.instance import kubectl
from tests.conformance.report import SpecResult, read_report

# Pods share /tmp, and without networks of their own the machine's ports, so specs that use the same port or
# file run one after another.
_SHARED = (
    ("[sig-api-machinery] AdmissionWebhook ",),  # 8444
    (  # 8080
        "[sig-network] Services ",
        "[sig-node] Container Lifecycle Hook ",
        "[sig-node] Probing container should *not* be restarted with a tcp:8080 ",
        "[sig-node] Probing container should be restarted with a /healthz ",
        "[sig-node] Probing container should have monotonically ",
    ),
    (  # port 80
        "[sig-apps] StatefulSet ",
        "[sig-node] Probing container should *not* be restarted with a /healthz ",
        "[sig-node] Probing container with readiness probe ",
    ),
    (  # /tmp/health
        '[sig-node] Probing container should *not* be restarted with a exec "cat /tmp/health" ',
        "[sig-node] Probing container should be ready immediately ",
        '[sig-node] Probing container should be restarted with a exec "cat /tmp/health" ',
    ),
)
_SECONDS_PER_SPEC = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class E2eTest:
    """The program of the specs, the cluster and the folder of logs and reports."""

    program: Path
    kubeconfig: Path
    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def run(self, specs: Sequence[str], jobs: int) -> dict[str, SpecResult]:
        """Run specs in several processes; with one job, one after another."""
        # An empty share would have an empty pattern, which every spec matches.
        alone = [list(specs)] if specs else []
        return self._run_shares(divide(specs, jobs) if jobs > 1 else alone)

    def stop(self) -> None:
        """Kill the processes that run specs."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _run_shares(self, shares: Sequence[Sequence[str]]) -> dict[str, SpecResult]:
        started = [self._start(share) for share in shares]
        results: dict[str, SpecResult] = {}
        for process, report in started:
            process.wait()
            results |= read_report(report)
        return results

    def _start(self, specs: Sequence[str]) -> tuple["subprocess.Popen[bytes]", Path]:
        number = len(list(self.folder.glob("specs-*.log")))
        report = self.folder / f"specs-{number}.json"
        # Ginkgo matches the name behind the name of the suite; a few names end with a space. Go knows no
        # escaped spaces.
        focus = "|".join(f" {re.escape(spec)} *$".replace("\\ ", " ") for spec in specs)
        command = [
            str(self.program),
            f"--kubeconfig={self.kubeconfig}",
            f"--kubectl-path={kubectl()}",
            "--provider=skeleton",
            "--num-nodes=1",
            "--minStartupPods=0",
            "--disable-log-dump",
            "--dump-logs-on-failure=false",
            f"--ginkgo.focus={focus}",
            f"--ginkgo.json-report={report}",
            f"--ginkgo.timeout={_SECONDS_PER_SPEC * len(specs)}s",
            "--ginkgo.no-color",
            "--ginkgo.v",
        ]
        with (self.folder / f"specs-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        self.processes.append(process)
        return process, report


def divide(specs: Sequence[str], jobs: int) -> list[list[str]]:
    """Divide specs into the shares of processes: those of each port or file, and the others evenly."""
    together = [[spec for spec in specs if spec.startswith(shared)] for shared in _SHARED]
    named = {spec for share in together for spec in share}
    others = [spec for spec in specs if spec not in named]
    return [share for share in (*together, *(others[at::jobs] for at in range(jobs))) if share]
