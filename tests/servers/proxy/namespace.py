"""A network namespace for one test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.run_program import Done, run_text

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def _why_not() -> str:
    if os.geteuid() != 0:
        return "a network namespace with iptables needs root"
    missing = [name for name in ("iptables", "ip", "unshare", "nsenter") if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Namespace:
    """A network namespace, which ends with the process that holds it."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.environ = {**os.environ, **POD}
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self.holder.pid}/ns/net").readlink() == own:
            assert self.holder.poll() is None, "unshare failed"
        # As in a pod.
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command: str, **environ: str) -> Done:
        """Run a command in the namespace."""
        return run_text(
            ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command],
            env={**self.environ, **environ},
        )

    def podpass(self, *arguments: str, **environ: str) -> Done:
        return self.run(sys.executable, "-m", "podpass.cli", *arguments, **environ)

    @contextmanager
    def start(self, *arguments: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a Python program in the namespace in the background."""
        command = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", sys.executable, *arguments]
        child = subprocess.Popen(
            command, env={**self.environ, **environ}, stdout=subprocess.PIPE, text=True
        )
        try:
            yield child
        finally:
            child.kill()
            child.communicate()

    def rules(self) -> list[str]:
        return self.run("iptables", "-t", "nat", "-S").stdout.splitlines()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if reason := _why_not():
        pytest.skip(reason)
    made = Namespace()
    yield made
    made.holder.kill()
    made.holder.wait()
