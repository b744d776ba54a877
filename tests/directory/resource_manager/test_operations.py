"""IDs and states of asynchronous operations; an ID is valid after a restart."""

import asyncio
import uuid

import pytest

from podpass.directory.resource_manager import wire
from podpass.directory.resource_manager.async_operations import AsyncOperations, OperationStatus
from podpass.errors import Error
from tests.directory.resource_manager.harness import SUBSCRIPTION

NOW = 1_700_000_000.25


def _status(operations: AsyncOperations, name: str, now: float = NOW) -> OperationStatus:
    found = operations.find(name, now)
    assert found is not None
    return found.status


def test_operation_id_is_valid_after_a_restart() -> None:
    """Fails if az reports a failure for a completed operation because the instance was restarted."""
    name = AsyncOperations(SUBSCRIPTION).complete(NOW)
    found = AsyncOperations(SUBSCRIPTION).find(name.upper(), NOW)
    assert found is not None
    assert found.status is OperationStatus.SUCCEEDED
    assert wire.format_time(found.time).startswith("2023-11-14T22:13:20.25")


def test_operations_at_the_same_time_have_different_ids() -> None:
    operations = AsyncOperations(SUBSCRIPTION)
    assert operations.complete(1.0) != operations.complete(1.0)


@pytest.mark.parametrize("name", ["", "x", "30832776-c5f0-45a1-b721-062b9b3d9abf", "0" * 32])
def test_operation_id_that_was_never_issued_is_unknown(name: str) -> None:
    assert AsyncOperations(SUBSCRIPTION).find(name, NOW) is None
    other_subscription = AsyncOperations(str(uuid.uuid4())).complete(1.0)
    assert AsyncOperations(SUBSCRIPTION).find(other_subscription, NOW) is None


def test_operation_that_completes_later_is_in_progress_until_then() -> None:
    """Fails if the state is lost at a restart, or if a clock that was set back keeps it in progress."""
    name = AsyncOperations(SUBSCRIPTION).complete(NOW + 6)
    for operations in (AsyncOperations(SUBSCRIPTION), AsyncOperations(SUBSCRIPTION)):
        assert _status(operations, name) is OperationStatus.IN_PROGRESS
        assert _status(operations, name, NOW + 6) is OperationStatus.SUCCEEDED
        assert _status(operations, name, NOW - 86400) is OperationStatus.SUCCEEDED


async def test_operation_in_the_background_holds_the_lock_until_it_ends() -> None:
    operations, done = AsyncOperations(SUBSCRIPTION), asyncio.Event()

    async def work() -> None:
        await done.wait()

    assert operations.try_lock("cluster")
    name = operations.start(work(), "cluster", NOW)
    await asyncio.sleep(0)
    assert _status(operations, name) is OperationStatus.IN_PROGRESS
    assert not operations.try_lock("cluster")
    done.set()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    await asyncio.sleep(0)
    assert _status(operations, name) is OperationStatus.SUCCEEDED
    assert operations.try_lock("cluster")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (Error("the disk is full"), "the disk is full"),
        (ValueError("secret"), "an unexpected error"),
    ],
)
async def test_failed_operation_shows_only_messages_for_users(
    failure: Exception, message: str
) -> None:
    operations = AsyncOperations(SUBSCRIPTION)

    async def work() -> None:
        raise failure

    operations.try_lock("cluster")
    name = operations.start(work(), "cluster", NOW)
    for _ in range(3):
        await asyncio.sleep(0)
    found = operations.find(name, NOW)
    assert found is not None
    assert (found.status, found.message) == (OperationStatus.FAILED, message)
    assert operations.try_lock("cluster")
