"""A simulated machine: a PATH with only the tools of a test, and an empty cache."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from podpass.lab.cluster.samples.cache import SampleCache


@dataclass(frozen=True, slots=True)
class Machine:
    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def cache(self) -> SampleCache:
        return SampleCache(self.folder / "cache", str(self.bin))

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:/usr/bin:/bin"}

    def tool(self, name: str, script: str = "exit 0") -> None:
        """Add a program to the PATH."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    return Machine(tmp_path)
