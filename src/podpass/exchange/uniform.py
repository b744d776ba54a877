"""Uniform refusals: with `uniform_refusals`, every authentication failure has the same error and duration.

Without it, this service distinguishes an unknown client, a wrong issuer, audience, subject and key before the
client is authenticated, as Entra does. The log has the cause in both cases.
"""

import asyncio
import time

from podpass.exchange.errors.catalogue import AadstsError

# The steps whose errors are hidden. After these steps the caller is authenticated, so later errors disclose
# nothing to other callers.
HIDDEN_STEPS = frozenset(
    {"client", "credential", "assertion", "trust", "lifetime", "issuer", "key", "signature"}
)
UNIFORM_NUMBER = 70002
# Longer than the time difference between looking up a client and verifying a signature with cached keys.
GRID_SECONDS = 0.1


async def as_uniform_error(refused: AadstsError, began: float) -> AadstsError:
    """Return the uniform error for the caller, delayed to the next point of the time grid.

    Units: `began` by `time.perf_counter`.
    """
    if refused.step not in HIDDEN_STEPS:
        return refused
    await asyncio.sleep(seconds_to_grid(time.perf_counter() - began))
    return AadstsError(UNIFORM_NUMBER)


def seconds_to_grid(elapsed: float) -> float:
    """Return the seconds until the next point of the time grid."""
    return GRID_SECONDS - elapsed % GRID_SECONDS
