"""State after a kill -9 of the instance, and after the removal of a signing key."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.journey.instance import Instance, started

pytestmark = pytest.mark.processes


@pytest.fixture
def own_instance(tmp_path: Path) -> Iterator[Instance]:
    with started(tmp_path) as running:
        yield running


def _kill(own_instance: Instance) -> None:
    for pid in own_instance.status["pids"].values():
        processes.kill(pid)


async def test_killed_instance_keeps_objects_keys_secrets_and_valid_tokens(
    own_instance: Instance,
) -> None:
    before = own_instance.core.read_namespaced_service_account("web", "default").metadata
    assertion = own_instance.token("web")
    _kill(own_instance)
    own_instance.up()
    after = own_instance.core.read_namespaced_service_account("web", "default").metadata
    assert (after.uid, after.resource_version) == (before.uid, before.resource_version)
    status, answer = await own_instance.exchange(assertion, correlation_id=str(uuid.uuid4()))
    assert status == 200, answer
    assert own_instance.run_pod("after-kill", "web") == ("Succeeded", "hello\n")


async def test_tokens_of_a_removed_signing_key_are_refused(own_instance: Instance) -> None:
    assertion = own_instance.token("web")
    own_instance.podpass("down")
    for key in (own_instance.data_dir / "keys" / "issuer").iterdir():
        key.unlink()
    own_instance.up()
    correlation_id = str(uuid.uuid4())
    status, answer = await own_instance.exchange(assertion, correlation_id=correlation_id)
    assert (status, answer["error_codes"]) == (401, [7000272])
    assert own_instance.log_lines(correlation_id)
    status, answer = await own_instance.exchange(
        own_instance.token("web"), correlation_id=str(uuid.uuid4())
    )
    assert status == 200, answer
