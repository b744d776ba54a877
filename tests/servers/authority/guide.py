"""Runs the commands of the guide for the token service on a cluster; only the ports differ."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.run_program import run_text

PAGE = Path(__file__).parents[3] / "docs/operate/self-host.md"
BLOCK = re.compile(r"<!-- run(?:: (\w+))? -->\n```sh\n(.*?)```", re.DOTALL)
PORTS = ("8443", "8444", "8095")


@dataclass
class GuideRunner:
    """Runs the commands of the page in one directory; later blocks can use the variables."""

    folder: Path
    environ: dict[str, str]
    behind: subprocess.Popen[bytes] | None = None

    def follow(self) -> str:
        """Run every block of the page. Return what they print."""
        printed = ""
        blocks = _blocks()
        assert len(blocks) >= 11
        for how, block in blocks:
            if how == "background":
                self.leave_running(block)
            elif how == "until":
                self.type_until(block)
            else:
                printed += self.type(block)
        return printed

    def type(self, block: str) -> str:
        """Run a block with the variables of the blocks before it."""
        done = self._run(f"{block}\ndeclare -p HOME {_variables(block)} >> {self._variables}")
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def _variables(self) -> Path:
        return self.folder.with_name("variables")

    def _script(self, block: str) -> list[str]:
        self._variables.touch()
        return ["bash", "-c", f"set -euo pipefail\nsource {self._variables}\n{block}"]

    def _run(self, block: str) -> subprocess.CompletedProcess[str]:
        return run_text(self._script(block), cwd=self.folder, env=self.environ, timeout=120)

    def leave_running(self, block: str) -> None:
        with (self.folder / "stderr").open("w") as errors:
            self.behind = subprocess.Popen(
                self._script("exec " + block), cwd=self.folder, env=self.environ, stderr=errors
            )

    def type_until(self, block: str) -> None:
        deadline = time.monotonic() + 60
        while self._run(block).returncode != 0:
            if time.monotonic() > deadline:
                pytest.fail((self.folder / "stderr").read_text())
            time.sleep(0.1)

    def leave(self) -> None:
        """Stop the processes that still run."""
        if self.behind is not None:
            self.behind.send_signal(signal.SIGTERM)
            assert self.behind.wait(60) == 0
            self.behind = None


def _variables(block: str) -> str:
    return " ".join(re.findall(r"^(?:export )?([A-Z_]+)=", block, re.MULTILINE))


def _blocks() -> list[tuple[str, str]]:
    text = PAGE.read_text()
    for port in PORTS:
        text = text.replace(f":{port}", f":{free_port()}")
    return BLOCK.findall(text)


@contextmanager
def reading(folder: Path, kubeconfig: Path) -> Iterator[GuideRunner]:
    """Provide a reader with a kubectl for one cluster."""
    for program in ("curl", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")
    place = folder / "try"
    place.mkdir()
    reader = GuideRunner(
        folder=place,
        environ={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "PODPASS_DATA_DIR": str(folder / "no-instance"),
        },
    )
    try:
        yield reader
    finally:
        reader.leave()


def check_result(reader: GuideRunner, printed: str) -> None:
    """Check what the commands of the page have created and printed."""
    assert "identity web created" in printed
    assert "administrator ops created" in printed
    assert "admitted 77777777-8888-4999-8aaa-bbbbbbbbbbbb" in printed
    assert '"orders"' in (reader.folder / "applications.json").read_text()
    assert (reader.folder / "authority.backup").stat().st_size > 1000
