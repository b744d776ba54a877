"""How many functions of podpass a request to the vault enters."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.function_count import FunctionCounter, counting

# A task in the background may enter ten more. Lower this when it falls.
LIMIT = 128
SECRET = "/secrets/greeting?api-version=7.4"


@pytest.fixture
def counter() -> Iterator[FunctionCounter]:
    """Count functions; before `world`, so that it counts in the threads that the world starts."""
    with counting() as counter:
        yield counter


async def test_get_secret_enters_few_functions(
    counter: FunctionCounter, world: Any, token: str
) -> None:
    await world.send("PUT", SECRET, token=token, body={"value": "v"})
    with counter.active():
        status, _, _ = await world.send("GET", SECRET, token=token)
    assert status == 200
    print(f"GET secret: {len(counter.entered)} functions, limit {LIMIT}")
    assert len(counter.entered) <= LIMIT
