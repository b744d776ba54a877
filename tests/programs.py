"""Released programs that tests run, built once for all checkouts of a machine."""

from pathlib import Path

import pytest

from bench.peers.build import CannotBuild, build_program


def built(name: str) -> Path:
    """Return the path of a program, or skip the test where it cannot be built."""
    try:
        return build_program(name)
    except CannotBuild as exc:
        pytest.skip(f"{name}: {exc}")
