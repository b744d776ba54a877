"""Build, before the tests, what `make test-kubernetes` needs: each test has minutes, and this takes more.

What cannot be built is told, and its tests skip.
"""

import sys
from collections.abc import Callable

from bench.peers.build import CannotBuild, built
from bench.peers.kubernetes import environ


def main() -> None:
    """Build helm, the reference's webhook and a control plane, if they are not there yet."""
    _try("helm", lambda: built("helm"))
    _try("the reference's webhook", lambda: built("azwi-webhook"))
    _try("a real control plane", environ)


def _try(what: str, build: Callable[[], object]) -> None:
    try:
        build()
    except CannotBuild as exc:
        print(f"SKIPPED: {what}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main()
