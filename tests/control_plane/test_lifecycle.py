"""The lifecycle of a real control plane: kills, restarts, a stop, and rotated issuer keys."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from podpass.assertion.keys import KeyRing
from podpass.crypto import jose
from tests.control_plane.conftest import REAL
from tests.journey.instance import Instance, started
from tests.waiting import wait_until

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def own_instance(assets: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that each test leaves running, except for the last one."""
    assert assets is None
    with started(tmp_path_factory.mktemp("lifecycle"), *REAL) as running:
        yield running


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_kill_9_of_podpass_ends_all_programs_and_loses_no_object(own_instance: Instance) -> None:
    before = own_instance.core.read_namespaced_service_account("web", "default").metadata
    pids = own_instance.status["pids"]
    os.kill(pids["podpass"], signal.SIGKILL)
    wait_until(lambda: not any(_is_alive(pid) for pid in pids.values()))
    own_instance.up(*REAL)
    after = own_instance.core.read_namespaced_service_account("web", "default").metadata
    assert (after.uid, after.resource_version) == (before.uid, before.resource_version)
    assert own_instance.run_pod("after-kill", "web") == ("Succeeded", "hello\n")


def _pids(instance: Instance) -> dict[str, int]:
    found: dict[str, int] = json.loads(instance.podpass("status", "-o", "json").stdout)["pids"]
    return found


@pytest.mark.parametrize("name", ["kube-apiserver", "etcd"])
def test_killed_program_is_restarted(own_instance: Instance, name: str) -> None:
    before = _pids(own_instance)[name]
    os.kill(before, signal.SIGKILL)

    def works() -> bool:
        try:
            if _pids(own_instance).get(name, before) == before:
                return False
            return own_instance.run_pod(f"again-{time.monotonic_ns()}", "web") == (
                "Succeeded",
                "hello\n",
            )
        except Exception:  # noqa: BLE001 while it restarts, requests fail with different exceptions
            return False

    wait_until(works)
    assert _is_alive(_pids(own_instance)[name])
    lines = map(json.loads, (own_instance.data_dir / "podpass.log").read_text().splitlines())
    exited = [line for line in lines if line["event"] == "control_plane_program_exited"]
    assert name in {line["program"] for line in exited}


def test_new_key_signs_and_old_tokens_stay_valid_after_a_restart(own_instance: Instance) -> None:
    old = own_instance.token("web", "https://kubernetes.default.svc")
    own_instance.podpass("down")
    ring = KeyRing.open(own_instance.data_dir / "keys" / "issuer")
    new = ring.rotate()
    own_instance.up(*REAL)
    assert jose.parse(own_instance.token("web")).kid == new.kid
    assert jose.parse(old).kid != new.kid
    body = {"spec": {"token": old}}
    reviews: Any = client.AuthenticationV1Api(own_instance.kubernetes)
    status = reviews.create_token_review(body).status
    assert status.authenticated is True
    assert status.user.username == "system:serviceaccount:default:web"
    assert own_instance.run_pod("after-rotation", "web") == ("Succeeded", "hello\n")


def test_down_ends_every_program(own_instance: Instance) -> None:
    pids = _pids(own_instance)
    own_instance.podpass("down")
    assert not any(_is_alive(pid) for pid in pids.values())
