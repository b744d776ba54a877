"""The seed of the random choices of a soak test."""

import os
import secrets


def choose_seed() -> int:
    """Return SOAK_SEED if it is set, a fixed seed in CI, and a random seed otherwise."""
    if given := os.environ.get("SOAK_SEED"):
        return int(given)
    return 1 if os.environ.get("CI") == "true" else secrets.randbelow(1 << 24)
