"""The lives of a real control plane: kills, restarts, a stop, and keys of the issuer that change."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from podpass.assertion.keys import KeyRing
from podpass.crypto import jose
from tests.control_plane.conftest import REAL
from tests.journey.instance import Instance, started

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]
_PATIENCE_SECONDS = 60


@pytest.fixture
def own(assets: None, tmp_path: Path) -> Iterator[Instance]:
    assert assets is None
    with started(tmp_path, *REAL) as running:
        yield running


def _until(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_a_kill_of_podpass_leaves_no_program_behind_and_loses_nothing(own: Instance) -> None:
    before = own.core.read_namespaced_service_account("web", "default").metadata
    pids = own.status["pids"]
    os.kill(pids["podpass"], signal.SIGKILL)
    _until(lambda: not any(_lives(pid) for pid in pids.values()))
    own.up(*REAL)
    after = own.core.read_namespaced_service_account("web", "default").metadata
    assert (after.uid, after.resource_version) == (before.uid, before.resource_version)
    assert own.run_pod("after-kill", "web") == ("Succeeded", "hello\n")


def test_down_ends_every_program(own: Instance) -> None:
    pids = own.status["pids"]
    own.podpass("down")
    assert not any(_lives(pid) for pid in pids.values())


@pytest.mark.parametrize("name", ["kube-apiserver", "etcd"])
def test_a_program_that_is_killed_is_started_again(own: Instance, name: str) -> None:
    os.kill(own.status["pids"][name], signal.SIGKILL)

    def works() -> bool:
        try:
            return own.run_pod(f"again-{time.monotonic_ns()}", "web") == ("Succeeded", "hello\n")
        except Exception:  # noqa: BLE001 it is away for a moment, and says so in many ways
            return False

    _until(works)
    status = json.loads(own.podpass("status", "-o", "json").stdout)
    assert _lives(status["pids"][name])
    assert '"control_plane_program_ended"' in (own.data_dir / "podpass.log").read_text()


def test_after_a_restart_a_new_key_signs_and_tokens_of_the_old_one_are_good(own: Instance) -> None:
    old = own.token("web", "https://kubernetes.default.svc")
    own.podpass("down")
    ring = KeyRing.open(own.data_dir / "keys" / "issuer")
    new = ring.rotate()
    own.up(*REAL)
    assert jose.parse(own.token("web")).kid == new.kid
    assert jose.parse(old).kid != new.kid
    body = {"spec": {"token": old}}
    reviews: Any = client.AuthenticationV1Api(own.kubernetes)
    status = reviews.create_token_review(body).status
    assert status.authenticated is True
    assert status.user.username == "system:serviceaccount:default:web"
    assert own.run_pod("after-rotation", "web") == ("Succeeded", "hello\n")
