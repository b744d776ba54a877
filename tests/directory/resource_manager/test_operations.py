"""Ids of operations: understood by whoever stands for the subscription, also after a restart."""

import uuid

import pytest

from podpass.directory.resource_manager.operations import Operations
from tests.directory.resource_manager.world import SUBSCRIPTION


def test_an_id_is_understood_after_a_restart() -> None:
    """Without it az reports a failure for what is done, when the instance was started anew meanwhile."""
    name = Operations(SUBSCRIPTION).done(1_700_000_000.25)
    found = Operations(SUBSCRIPTION).find(name.upper())
    assert found is not None
    assert found["startTime"].startswith("2023-11-14T22:13:20.25")


def test_two_at_one_moment_have_two_ids() -> None:
    operations = Operations(SUBSCRIPTION)
    assert operations.done(1.0) != operations.done(1.0)


@pytest.mark.parametrize("name", ["", "x", "30832776-c5f0-45a1-b721-062b9b3d9abf", "0" * 32])
def test_an_id_that_was_never_given_is_unknown(name: str) -> None:
    assert Operations(SUBSCRIPTION).find(name) is None
    elsewhere = Operations(str(uuid.uuid4())).done(1.0)
    assert Operations(SUBSCRIPTION).find(elsewhere) is None
