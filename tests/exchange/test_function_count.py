"""How many functions of podpass a token request enters: layers that only pass arguments on cost time."""

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.exchange.world import TOKEN_PATH, World
from tests.function_count import FunctionCounter, counting

# A background task, such as the refresh of signing keys, may enter ten more. Lower these when they fall.
LIMIT = 125
LIMIT_OF_A_NEW_IDENTITY = 138


@pytest.fixture
def counter() -> Iterator[FunctionCounter]:
    """Count functions; before `world`, so that it counts in the threads that the world starts."""
    with counting() as counter:
        yield counter


@pytest.mark.parametrize("is_new", [False, True])
async def test_exchange_enters_few_functions(
    counter: FunctionCounter, world: World, is_new: bool
) -> None:
    assert (await world.request_token()).status == 200
    client = world.APPLICATION if is_new else world.CLIENT
    body = urlencode(world.form(client_id=client))
    with counter.active():
        answer = await world.send(TOKEN_PATH, body=body)
    assert answer.status == 200
    limit = LIMIT_OF_A_NEW_IDENTITY if is_new else LIMIT
    print(f"one exchange, {is_new=}: {len(counter.entered)} functions, limit {limit}")
    assert len(counter.entered) <= limit
