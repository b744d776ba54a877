"""The token file of a program on the host is replaced in time, until the program ends."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kubeling.kubelet.token_manager import IssuedToken
from kubeling.secret import Secret

from podpass.kubernetes.client import KubeUnreachable
from podpass.lab.host import host_token
from tests.lab.instance.instances import Podpass
from tests.run_program import run_text

REFUSED = KubeUnreachable("https://127.0.0.1", "refused")


def issued(text: str, at: float, seconds: float = 3600) -> IssuedToken:
    return IssuedToken(token=Secret(text), issued_at=at, expires_at=at + seconds)


class Simulation:
    """A program that runs for some seconds of simulated time."""

    def __init__(
        self,
        file: Path,
        seconds: float,
        *,
        unreachable: Callable[[float], bool],
        error: Exception = REFUSED,
    ) -> None:
        self.file, self.seconds, self.now = file, seconds, 0.0
        self.unreachable, self.error = unreachable, error
        self.requested: list[float] = []

    async def request(self) -> IssuedToken:
        self.requested.append(self.now)
        if self.unreachable(self.now):
            raise self.error
        return issued(f"token of {self.now:.0f}", self.now)

    async def wait(self, seconds: float) -> None:
        self.now += seconds

    async def run(self) -> None:
        await host_token.refresh(
            issued("first", 0),
            self.file,
            self.request,
            lambda: self.now < self.seconds,
            clock=lambda: self.now,
            wait=self.wait,
        )


async def test_token_is_replaced_at_80_percent_of_its_lifetime(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path / "token", 6000, unreachable=lambda _: False)
    await simulation.run()
    assert simulation.requested == [2880, 5760]
    assert simulation.file.read_text() == "token of 5760"
    assert simulation.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "error", [REFUSED, OSError(), KeyError("status")], ids=["refused", "disk", "malformed"]
)
async def test_failed_request_is_retried_until_the_api_server_responds(
    tmp_path: Path, error: Exception
) -> None:
    simulation = Simulation(
        tmp_path / "token", 3000, unreachable=lambda now: now < 2895, error=error
    )
    await simulation.run()
    assert simulation.requested == [2880, 2890, 2900]
    assert simulation.file.read_text() == "token of 2900"


async def test_nothing_is_requested_after_the_end_of_the_program(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path / "token", 2880, unreachable=lambda _: False)
    await simulation.run()
    assert simulation.requested == []


PROGRAM = """
import os, sys, time
from pathlib import Path
from podpass.cli.main import run
from kubeling.kubelet.token_manager import IssuedToken
from podpass.lab.host import host_token

# A token of one hour that was issued 50 minutes ago.
real = host_token.start_refresher
def old(folder, issued, token_file, request):
    aged = IssuedToken(token=issued.token, issued_at=time.time() - 3000, expires_at=time.time() + 600)
    # The refresher may replace the token before the program has read it.
    token_file.with_suffix(".first").write_text(issued.token.reveal())
    real(folder, aged, token_file, request)
host_token.start_refresher = old
wait = 'while [ "$a" = "$(cat $f)" ]; do sleep 0.1; done'
show = f'f=$AZURE_FEDERATED_TOKEN_FILE; a=$(cat $f.first); {wait}; echo $a; cat $f'
run(["run", "--as", "default", "--", "sh", "-c", show])
"""


@pytest.mark.processes
def test_real_token_is_replaced_while_a_real_program_runs(running: Podpass) -> None:
    done = run_text([sys.executable, "-c", PROGRAM], env=running.environ, check=True, timeout=60)
    first, second = done.stdout.split()
    assert first != second
    for token in (first, second):
        found = json.loads(running("token", "inspect", token, "-o", "json").stdout)
        assert found["signature"] == "valid"
        assert found["claims"]["sub"] == "system:serviceaccount:default:default"


@pytest.mark.processes
def test_token_is_deleted_and_no_process_remains_after_the_program(running: Podpass) -> None:
    done = running("run", "--as", "default", "--", "sh", "-c", "echo $$")
    folder = running.data_dir / "run" / done.stdout.strip()
    # The background process deletes the folder as its last action.
    while folder.exists():
        running("status")
