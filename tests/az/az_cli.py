"""The released `az`, installed once for each version, run as after `eval "$(podpass env)"`.

Commands in forked processes trust the instance's CA only.
"""

import contextlib
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
from podpass.lab.cluster.samples.prepare import RegistryUnreachable
from podpass.lab.tutorial import azure_cli
from tests.journey.instance import Instance
from tests.lab.instance import preloaded

VERSIONS = (azure_cli.NEWEST, "oldest")


@dataclass(frozen=True, kw_only=True)
class AzCli:
    """One version of `az` with an environment; a call runs a command line and returns its output."""

    version: str
    python: Path
    environ: Mapping[str, str]
    # The environment of the signed-in user, which most commands have.
    usual_environ: Mapping[str, str]

    def __call__(self, line: str, *words: str) -> Any:
        """Run a command that must succeed; return its JSON, or None if it prints nothing."""
        done = self.run(line, *words)
        assert done.returncode == 0, f"az {line} {shlex.join(words)}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, line: str, *words: str) -> str:
        """Run a command that must fail without a traceback; return its message."""
        done = self.run(line, *words)
        assert done.returncode in (1, 2, 3), (
            f"az {line} ended with {done.returncode}\n{done.stdout}"
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr

    def run(self, line: str, *words: str) -> subprocess.CompletedProcess[str]:
        return preloaded.run(
            [*shlex.split(line), *words],
            _only_ca_of_instance(self.environ),
            program=preloaded.AZ,
            python=str(self.python),
            usual_environ=_only_ca_of_instance(self.usual_environ),
        )

    def command(self, line: str, *words: str) -> list[str]:
        return [str(self.python), "-m", "azure.cli", *shlex.split(line), *words]

    def each(self, *lines: str) -> list[Any]:
        """Run independent commands, two at a time; return their results in order."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self, lines))

    def signed_out(self, folder: Path) -> "AzCli":
        """Return the same `az` with a new configuration, in which no user is signed in."""
        folder.mkdir(parents=True, exist_ok=True)
        # Without its list of commands, an older release imports all modules of all commands to write it.
        for name in ("config", "commandIndex.json"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(Path(self.environ["AZURE_CONFIG_DIR"]) / name, folder)
        return replace(self, environ={**self.environ, "AZURE_CONFIG_DIR": str(folder)})


def _only_ca_of_instance(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return an environment that trusts no other CA: `az` parses all CAs of a bundle for each connection.

    Commands that are started in another way use the bundle that `podpass env` prints.
    """
    return {**environ, "REQUESTS_CA_BUNDLE": environ["NODE_EXTRA_CA_CERTS"]}


def install_az(version: str) -> Path:
    """Return the Python that has a version of `az`; skip if the package index is unreachable.

    An error response of the package index is a failure.
    """
    try:
        return azure_cli.install(version, os.environ, datetime.now(UTC), print)
    except RegistryUnreachable as exc:
        pytest.skip(f"az {version} is not installed: {exc}")
    except Error as exc:
        pytest.fail(f"az {version} cannot be installed: {exc}")


def signed_in_cli(version: str, instance: Instance, home: Path) -> AzCli:
    """Return the environment that `podpass env` prints, with a separate home directory.

    Two versions of `az` cannot share a configuration: the older one fails with the cache of the newer.
    """
    home.mkdir(parents=True, exist_ok=True)
    printed = json.loads(instance.podpass("env", "-o", "json").stdout)
    if version != azure_cli.NEWEST:
        shutil.copytree(printed["AZURE_CONFIG_DIR"], home / ".azure")
        (home / ".azure" / "msal_http_cache.bin").unlink(missing_ok=True)
        printed["AZURE_CONFIG_DIR"] = str(home / ".azure")
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **printed}
    return AzCli(
        version=version, python=install_az(version), environ=environ, usual_environ=environ
    )


def wait_for_result(look: Callable[[], Any], *, seconds: float = 20) -> Any:
    """Repeat a call until it returns a result."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "there is no result"
        time.sleep(0.2)
    return found


def names(listed: Sequence[Mapping[str, Any]]) -> set[str]:
    return {each["name"] for each in listed}
