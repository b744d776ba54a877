"""Being woken when one object changes: a watch on its name, which rights on that one name allow."""

import logging
from collections.abc import Callable
from contextlib import aclosing

from podpass.kube import BackOff, KubeClient, KubeError

_log = logging.getLogger(__name__)
_SECONDS = 300
_LAST_WAIT_SECONDS = 5.0


async def heed(client: KubeClient, collection: str, name: str, wake: Callable[[], None]) -> None:
    """Call `wake` whenever an object of this name changes, for as long as the task lives.

    What changed is read by whoever was woken. Without a list before it, so that the right to list is not
    needed; a server that refuses the watch is said once, and looks at intervals go on without it.
    """
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "timeoutSeconds": str(_SECONDS),
    }
    back_off, told = BackOff(last=_LAST_WAIT_SECONDS), False
    while True:
        try:
            stream = client.stream(collection, query, _SECONDS + 30)
            async with aclosing(stream) as events:  # type: ignore[type-var]  # an async generator
                async for _ in events:
                    back_off.reset()
                    wake()
        except KubeError as exc:
            if exc.status == 403 and not told:
                told = True
                _log.warning("watch_forbidden", extra={"object": name, "cause": exc.message})
        await back_off.wait()
