"""The released `az`, installed once a version, run as a user runs it after `eval "$(podpass env)"`."""

import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from podpass.errors import Error
from podpass.local.samples.prepare import RegistryUnreachable
from podpass.local.tutorial import azure_cli
from tests.journey.instance import Instance

VERSIONS = (azure_cli.NEWEST, "oldest")


@dataclass(frozen=True, kw_only=True)
class Az:
    """One version of `az` with an environment; called with a command line it gives what was printed."""

    version: str
    python: Path
    environ: Mapping[str, str]

    def __call__(self, line: str, *words: str) -> Any:
        """Run a command that must succeed; give its JSON, None where it prints nothing."""
        done = self.run(line, *words)
        assert done.returncode == 0, f"az {line} {shlex.join(words)}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, line: str, *words: str) -> str:
        """Run a command that must fail in good order; give what it says."""
        done = self.run(line, *words)
        assert done.returncode in (1, 2, 3), (
            f"az {line} ended with {done.returncode}\n{done.stdout}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def run(self, line: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(line, *words),
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def command(self, line: str, *words: str) -> list[str]:
        return [str(self.python), "-m", "azure.cli", *shlex.split(line), *words]

    def each(self, *lines: str) -> list[Any]:
        """Run commands that do not need one another, two at a time; give their answers in order."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self, lines))

    def signed_out(self, folder: Path) -> "Az":
        """Give the same `az` with a configuration of its own, in which nobody is signed in."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(self.environ["AZURE_CONFIG_DIR"]) / "config", folder)
        return replace(self, environ={**self.environ, "AZURE_CONFIG_DIR": str(folder)})


def installed(version: str) -> Path:
    """Give the Python that has a version of `az`; skip where no registry can be reached.

    A registry that answers with a no is a failure.
    """
    try:
        return azure_cli.install(version, os.environ, datetime.now(UTC), print)
    except RegistryUnreachable as exc:
        pytest.skip(f"az {version} is not installed: {exc}")
    except Error as exc:
        pytest.fail(f"az {version} cannot be installed: {exc}")


def started_for(version: str, instance: Instance, home: Path) -> Az:
    """Make the environment that `podpass env` prints, in a home of its own.

    Two versions of `az` cannot share a configuration: the older one ends at what the newer has cached.
    """
    home.mkdir(parents=True, exist_ok=True)
    printed = json.loads(instance.podpass("env", "-o", "json").stdout)
    if version != azure_cli.NEWEST:
        shutil.copytree(printed["AZURE_CONFIG_DIR"], home / ".azure")
        (home / ".azure" / "msal_http_cache.bin").unlink(missing_ok=True)
        printed["AZURE_CONFIG_DIR"] = str(home / ".azure")
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **printed}
    return Az(version=version, python=installed(version), environ=environ)


def until(look: Callable[[], Any], *, seconds: float = 20) -> Any:
    """Ask again until there is an answer."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return found


def names(listed: Sequence[Mapping[str, Any]]) -> set[str]:
    return {each["name"] for each in listed}
