"""A browser of this machine with a profile of its own, which uses a cloud in a cluster.

Chromium on Linux reads additional CAs from the NSS database of its home folder. So the browser has a home
folder of its own: the profile of the user is unchanged, and no other program trusts the cloud.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from podpass.errors import Error, UsageError
from podpass.files import create_private_folder, open_private, write_private
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.ports import LOOPBACK

PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "brave-browser",
)
_KNOWN = ", ".join(PROGRAMS)
_FOLDER = "browser"
_NICKNAME = "podpass"
# A browser that cannot start ends at once; one that runs already opens the page and ends with 0.
_START_SECONDS = 2.0
_CERTUTIL_SECONDS = 60.0
_DATABASE_HINT = (
    "check that the disk has space, and that XDG_STATE_HOME is a folder that you can write to; then"
    " try again: an incomplete profile is created again"
)
_SCRIPT_BYTES = 4096
_BROWSER_HINT = (
    "install Chromium or Google Chrome as a package of the distribution, or pass --program PATH"
)
_CERTUTIL_HINT = (
    "install it: apt-get install libnss3-tools (Debian, Ubuntu), dnf install nss-tools (Fedora)"
)


class BrowserNotFound(Error):
    """A program that is needed is not installed."""

    code = "browser_not_found"


class BrowserFailed(Error):
    """The browser, or its certificate database, cannot be used."""

    code = "browser_failed"


def find_program(name: str | None, path: str) -> str:
    """Return the browser: the given one, or the first of PROGRAMS. Raises BrowserNotFound."""
    if platform.system() != "Linux":
        raise BrowserNotFound(
            f"browsers read a CA of a certificate database on Linux only, not on {platform.system()}",
            hint="use a profile of your browser with the proxy and the CA file of `podpass cloud env`",
        )
    snap = None
    for each in (name,) if name else PROGRAMS:
        if found := shutil.which(each, path=path):
            program = Path(found).absolute()
            if not _is_snap(program):
                return str(program)
            snap = snap or program
    fault = f"the browser {name} is not a program" if name else f"no browser is on PATH: {_KNOWN}"
    if snap is not None:
        fault = f"the browser {snap} is a Snap, which does not read the certificate database"
    raise BrowserNotFound(fault, hint=_BROWSER_HINT)


def _is_snap(program: Path) -> bool:
    """Return whether a program is a Snap, or the script of Ubuntu's package that starts one."""
    if program.resolve().name == "snap":
        return True
    try:
        with program.open("rb") as file:
            start = file.read(_SCRIPT_BYTES)
    except OSError:
        return False
    return start.startswith(b"#!") and b"/snap/bin/" in start


def check_url(url: str) -> None:
    """Refuse an address that the browser could take as an option or a file. Raises UsageError."""
    try:
        parts = urlsplit(url)
        is_page = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # such as an IPv6 address without its second bracket
        is_page = False
    if not is_page:
        raise UsageError(f"{url!r} is not the address of a page", hint="pass https://HOST/PATH")


def prepare_profile(data_dir: DataDir, path: str) -> Path:
    """Create the home folder of the browser, which trusts the CA of the cloud; return it.

    Another CA is that of another installation: the profile, with its cookies, is created again.

    Raises BrowserNotFound, BrowserFailed; OSError.
    """
    folder, ca = data_dir.path(_FOLDER), data_dir.ca_file.read_bytes()
    trusted = folder / "ca.pem"
    with suppress(OSError):
        if trusted.read_bytes() == ca:
            return folder
    certutil = shutil.which("certutil", path=path)
    if certutil is None:
        raise BrowserNotFound(
            "certutil is not on PATH; it writes the certificate database of the browser",
            hint=_CERTUTIL_HINT,
        )
    if folder.exists():
        shutil.rmtree(folder)
    database = folder / ".pki" / "nssdb"
    create_private_folder(database)
    _run([certutil, "-d", f"sql:{database}", "-N", "--empty-password"])
    about = ["-A", "-t", "C,,", "-n", _NICKNAME, "-i", str(data_dir.ca_file)]
    _run([certutil, "-d", f"sql:{database}", *about])
    write_private(trusted, ca)  # last: an incomplete profile is created again
    return folder


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_CERTUTIL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BrowserFailed(
            f"{command[0]} cannot be executed, or did not end within {_CERTUTIL_SECONDS:.0f} seconds",
            hint=_DATABASE_HINT,
        ) from exc
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()
        raise BrowserFailed(
            f"{command[0]} failed: {reason[-1] if reason else f'exit code {done.returncode}'}",
            hint=_DATABASE_HINT,
        )


def build_command(program: str, folder: Path, port: int, url: str | None) -> list[str]:
    """Return the command line of the browser; Chromium bypasses the proxy for localhost."""
    return [
        program,
        f"--user-data-dir={folder / 'profile'}",
        f"--proxy-server=http://{LOOPBACK}:{port}",
        "--no-first-run",
        "--no-default-browser-check",
        *([] if url is None else [url]),
    ]


def start(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
    """Start the browser, which continues when this process has ended.

    Raises BrowserFailed if it ends at once with an error; OSError.
    """
    # A display of X11 needs a file of the user's home folder.
    display = {"XAUTHORITY": str(Path(environ.get("HOME", os.sep), ".Xauthority"))}
    log = folder / "browser.log"
    log.unlink(missing_ok=True)
    with open_private(log) as output:
        try:
            process = subprocess.Popen(
                command,
                env={**display, **environ, "HOME": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=os.sep,
                start_new_session=True,
            )
        except OSError as exc:
            raise BrowserFailed(
                f"cannot start {command[0]}: {exc.strerror}", hint=_BROWSER_HINT
            ) from exc
    try:
        code = process.wait(_START_SECONDS)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it keeps running; nothing waits for it
        return
    if code != 0:
        raise BrowserFailed(f"{command[0]} exited with {code}", hint=f"its messages are in {log}")
