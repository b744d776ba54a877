"""Runs command line clients of a cluster."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.run_program import run_text

_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Output:
    """The output of a finished command."""

    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """The beginning of a command line; a call runs it with more words."""

    words: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)

    def __call__(self, *words: object, given: str = "", code: int = 0) -> Output:
        """Run it with `given` as stdin; check its exit code."""
        line = [*self.words, *map(str, words)]
        done = run_text(line, input=given, env=self.environ, timeout=_SECONDS)
        assert done.returncode == code, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        return Output(out=done.stdout, err=done.stderr)

    @contextmanager
    def running(self, log: Path, *words: object) -> Iterator[Callable[[], list[str]]]:
        """Run it in the background; yield a function that returns the lines of its stdout up to now."""
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*self.words, *map(str, words)], env=self.environ, stdout=file
            )
        try:
            yield lambda: log.read_text().splitlines()
        finally:
            process.kill()
            process.wait()

    def start(self, *words: object) -> "subprocess.Popen[str]":
        """Start it; the caller ends it."""
        return subprocess.Popen(
            [*self.words, *map(str, words)],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until a check returns a true value; return the value."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"it does not hold after {seconds:g} seconds"
        time.sleep(0.1)
    return found


def link(binary: Path, folder: Path, name: str = "") -> None:
    """Make a binary available in a folder, by the name that an image gives it."""
    place = folder / (name or binary.name)
    if not place.exists():
        place.symlink_to(binary)
