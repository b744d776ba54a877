"""IDs of asynchronous operations: stateless, so that they are valid after a restart."""

import uuid

import pytest

from podpass.directory.resource_manager import wire
from podpass.directory.resource_manager.async_operations import AsyncOperations
from tests.directory.resource_manager.harness import SUBSCRIPTION


def test_operation_id_is_valid_after_a_restart() -> None:
    """Fails if az reports a failure for a completed operation because the instance was restarted."""
    name = AsyncOperations(SUBSCRIPTION).complete(1_700_000_000.25)
    found = AsyncOperations(SUBSCRIPTION).completed_at(name.upper())
    assert found is not None
    assert wire.format_time(found).startswith("2023-11-14T22:13:20.25")


def test_operations_at_the_same_time_have_different_ids() -> None:
    operations = AsyncOperations(SUBSCRIPTION)
    assert operations.complete(1.0) != operations.complete(1.0)


@pytest.mark.parametrize("name", ["", "x", "30832776-c5f0-45a1-b721-062b9b3d9abf", "0" * 32])
def test_operation_id_that_was_never_issued_is_unknown(name: str) -> None:
    assert AsyncOperations(SUBSCRIPTION).completed_at(name) is None
    other_subscription = AsyncOperations(str(uuid.uuid4())).complete(1.0)
    assert AsyncOperations(SUBSCRIPTION).completed_at(other_subscription) is None
