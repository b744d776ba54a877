"""Released versions of `az`, each installed once into an environment of its own."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from podpass.errors import Error, UsageError
from podpass.files import private_folder
from podpass.tools.local.samples.cache import cache_folder
from podpass.tools.local.samples.prepare import RegistryUnreachable, unreachable

Say = Callable[[str], None]

# The documentation's minimum; pip still installs it.
OLDEST = "2.47.0"
NEWEST = "newest"
_COMPLETE = ".complete"
# A later release of what 2.47.0 takes for one command group has no place for it: every command would say so.
_BESIDE = {OLDEST: ("azure-mgmt-rdbms==10.2.0b7",)}
_SECONDS = 1200


class NotInstalled(Error):
    """pip could not install a version of the Azure CLI."""

    code = "azure_cli_not_installed"


def named(which: str, now: datetime) -> tuple[str, tuple[str, ...]]:
    """Give the folder's name and pip's requirements for `newest`, `oldest` or a version.

    Shapes:  the newest of this week is not the newest of the next.
    Errors:  UsageError.
    """
    if which == NEWEST:
        year, week, _ = now.isocalendar()
        return f"newest-{year}-{week:02}", ("azure-cli",)
    version = OLDEST if which == "oldest" else which
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise UsageError(f"{which!r} is no version of az", hint="newest, oldest, or as in 2.47.0")
    return version, (f"azure-cli=={version}", *_BESIDE.get(version, ()))


def install(which: str, environ: Mapping[str, str], now: datetime, say: Say) -> Path:
    """Install the Azure CLI unless it is there; give the Python that has it.

    Errors:  UsageError, RegistryUnreachable, NotInstalled.
    """
    name, requirements = named(which, now)
    root = cache_folder(environ).parent / "az"
    place = root / name
    if not (place / _COMPLETE).exists():
        say(f"installing {requirements[0]} into {place} (a minute or two, and 1 GB, once)")
        private_folder(root)
        shutil.rmtree(place, ignore_errors=True)
        _install(requirements, place, environ)
        (place / _COMPLETE).touch()
    return place / "bin" / "python"


def _install(requirements: Sequence[str], place: Path, environ: Mapping[str, str]) -> None:
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        for command in (
            [sys.executable, "-m", "venv", str(place)],
            [*pip, "--disable-pip-version-check", *requirements],
        ):
            done = subprocess.run(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_SECONDS,
            )
            if done.returncode != 0:
                output.seek(0)
                raise _failure(requirements[0], output.read())


def _failure(requirement: str, said: str) -> Error:
    if unreachable(said):
        return RegistryUnreachable(f"pip reached no package index for {requirement}")
    last = (said.strip().splitlines() or ["nothing"])[-1]
    shown = "".join(sign if sign.isprintable() else " " for sign in last)[:300]
    return NotInstalled(
        f"pip cannot install {requirement}: {shown}", hint="name another version with --az"
    )
