"""State after a kill -9 of the instance, and after the removal of a signing key."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.instance import Instance, started

pytestmark = pytest.mark.processes


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Instance]:
    with started(tmp_path) as running:
        yield running


def _kill(own: Instance) -> None:
    for pid in own.status["pids"].values():
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(
        Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text()
        for pid in own.status["pids"].values()
    ):
        time.sleep(0.05)


async def test_killed_instance_keeps_objects_keys_secrets_and_valid_tokens(
    own: Instance,
) -> None:
    before = own.core.read_namespaced_service_account("web", "default").metadata
    assertion = own.token("web")
    _kill(own)
    own.up()
    after = own.core.read_namespaced_service_account("web", "default").metadata
    assert (after.uid, after.resource_version) == (before.uid, before.resource_version)
    status, answer = await own.exchange(assertion, correlation_id=str(uuid.uuid4()))
    assert status == 200, answer
    assert own.run_pod("after-kill", "web") == ("Succeeded", "hello\n")


async def test_tokens_of_a_removed_signing_key_are_refused(own: Instance) -> None:
    assertion = own.token("web")
    own.podpass("down")
    for key in (own.data_dir / "keys" / "issuer").iterdir():
        key.unlink()
    own.up()
    correlation_id = str(uuid.uuid4())
    status, answer = await own.exchange(assertion, correlation_id=correlation_id)
    assert (status, answer["error_codes"]) == (401, [7000272])
    assert own.log_lines(correlation_id)
    status, answer = await own.exchange(own.token("web"), correlation_id=str(uuid.uuid4()))
    assert status == 200, answer
