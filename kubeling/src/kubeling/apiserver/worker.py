"""Run the pure steps of large requests in a thread, so that other requests do not wait for them.

The largest object that a request may have takes seconds to decode, default and validate. The token service
answers in the same event loop. The thread runs one step at a time, and Python switches between it and the
event loop every few milliseconds.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import orjson

# A step takes about 15 ms for this many bytes of short values.
SMALL_BYTES = 16 * 1024

Params = ParamSpec("Params")
Result = TypeVar("Result")


async def run(
    size: int, step: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
) -> Result:
    """Run a step of a request directly, or in the thread if its data is large.

    The step must be pure apart from its own arguments: it must not use the store or the event loop. `size` is
    in bytes of JSON.
    """
    if size <= SMALL_BYTES:
        return step(*args, **kwargs)
    work = functools.partial(step, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread(), work)


def size_of(obj: Any) -> int:
    """Return the size of an object in bytes of JSON."""
    return len(orjson.dumps(obj))


@functools.cache
def _thread() -> ThreadPoolExecutor:
    """Start the thread at the first large request."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="kubernetes-objects")
