"""What a caller is told where no refusal may say which part was wrong: one answer, on a grid of time.

Entra tells an unknown client from a wrong issuer, audience, subject or key, before it knows who asks; so does
this service unless `uniform_refusals` is set. The log says the cause either way.
"""

import asyncio
import time

from podpass.exchange.errors.catalogue import Refused

# From here on a caller has shown that an issuer or the application itself signed: the rest helps him alone.
HIDDEN = frozenset(
    {"client", "credential", "assertion", "trust", "lifetime", "issuer", "key", "signature"}
)
NUMBER = 70002
# Wider than the difference between looking up a client and checking a signature, keys at hand.
GRID_SECONDS = 0.1


async def told(refused: Refused, began: float) -> Refused:
    """Give what the caller is told of a refusal, and not before the next line of the grid.

    Units:   `began` by `time.perf_counter`.
    """
    if refused.step not in HIDDEN:
        return refused
    await asyncio.sleep(wait(time.perf_counter() - began))
    return Refused(NUMBER)


def wait(elapsed: float) -> float:
    """Say how long it is to the next line of the grid."""
    return GRID_SECONDS - elapsed % GRID_SECONDS
