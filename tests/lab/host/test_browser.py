"""The browser of `podpass cloud browser`: its profile, its command line, and how it is started.

`tests/browser/test_cloud_browser.py` starts a real one, `tests/node/test_cloud_host.py` signs in with it.
"""

import json
import os
import platform
import shutil
import stat
import sys
from pathlib import Path

import pytest
import trustme

from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir
from podpass.lab.host import browser
from podpass.lab.host.browser import BrowserFailed, BrowserNotFound
from tests.run_program import run_text

_PATH = os.environ.get("PATH", os.defpath)
needs_certutil = pytest.mark.skipif(
    shutil.which("certutil") is None,
    reason="certutil is not on this machine: apt-get install libnss3-tools",
)


def write_ca(data_dir: DataDir) -> str:
    """Write a new CA; return it as PEM."""
    ca = trustme.CA().cert_pem.bytes()
    data_dir.ca_file.parent.mkdir(parents=True, exist_ok=True)
    data_dir.ca_file.write_bytes(ca)
    return ca.decode()


def trusted(folder: Path) -> list[str]:
    """Return the CAs that the profile trusts for servers, as PEM."""
    database = ["certutil", "-d", f"sql:{folder / '.pki' / 'nssdb'}", "-L"]

    def run(*arguments: str) -> str:
        return run_text([*database, *arguments], check=True).stdout

    names = [line.split()[0] for line in run().splitlines() if line.rstrip().endswith("C,,")]
    return [run("-n", name, "-a").replace("\r", "") for name in names]


@needs_certutil
def test_profile_trusts_the_ca_of_the_cloud_and_is_private(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    ca = write_ca(data_dir)
    folder = browser.prepare_profile(data_dir, _PATH)
    assert trusted(folder) == [ca]
    assert folder.parent == tmp_path
    for each in ("key4.db", "cert9.db"):
        assert stat.S_IMODE((folder / ".pki" / "nssdb" / each).stat().st_mode) == 0o600


@needs_certutil
def test_profile_of_an_earlier_installation_is_deleted(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    write_ca(data_dir)
    cookies = browser.prepare_profile(data_dir, _PATH) / "profile" / "Cookies"
    cookies.parent.mkdir()
    cookies.write_text("of the first")
    browser.prepare_profile(data_dir, _PATH)
    assert cookies.exists()
    second = write_ca(data_dir)
    assert trusted(browser.prepare_profile(data_dir, _PATH)) == [second]
    assert not cookies.exists()


@needs_certutil
def test_file_that_is_not_a_certificate_is_refused_and_the_profile_is_created_again(
    tmp_path: Path,
) -> None:
    data_dir = DataDir(tmp_path)
    write_ca(data_dir)
    data_dir.ca_file.write_text("no certificate")
    with pytest.raises(BrowserFailed, match="certutil failed: "):
        browser.prepare_profile(data_dir, _PATH)
    ca = write_ca(data_dir)
    assert trusted(browser.prepare_profile(data_dir, _PATH)) == [ca]


def test_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    write_ca(data_dir)
    with pytest.raises(BrowserNotFound, match="certutil is not on PATH") as missing:
        browser.prepare_profile(data_dir, str(tmp_path))
    assert "apt-get install libnss3-tools" in missing.value.hint
    with pytest.raises(BrowserNotFound, match="no browser is on PATH: chromium, "):
        browser.find_program(None, str(tmp_path))
    with pytest.raises(BrowserNotFound, match="the browser no-such-browser is not a program"):
        browser.find_program("no-such-browser", _PATH)


def test_snap_is_not_used(tmp_path: Path) -> None:
    snap, folder, other = tmp_path / "snap", tmp_path / "first", tmp_path / "second"
    snap.write_text("")
    snap.chmod(0o755)
    for each in (folder, other):
        each.mkdir()
    (folder / "chromium").symlink_to(snap)
    script = folder / "chromium-browser"
    script.write_text('#!/bin/sh\nexec /snap/bin/chromium "$@"\n')
    script.chmod(0o755)
    for name in (None, "chromium", str(script)):
        with pytest.raises(BrowserNotFound, match="is a Snap, which does not read the") as refused:
            browser.find_program(name, str(folder))
        assert "as a package of the distribution" in refused.value.hint
    chrome = Path(write_program(other, "")).rename(other / "google-chrome")
    assert browser.find_program(None, f"{folder}:{other}") == str(chrome)


def test_other_operating_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers of macOS would show a warning that cannot be accepted."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(BrowserNotFound, match="on Linux only, not on Darwin") as refused:
        browser.find_program(None, _PATH)
    assert "`podpass cloud env`" in refused.value.hint


@pytest.mark.parametrize(
    "url",
    [
        *("--headless", "file:///etc/passwd", "javascript:alert(1)", "login", "", "https://"),
        *("http://[", "//]"),
    ],
)
def test_address_that_is_not_a_page_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a page"):
        browser.check_url(url)


def write_program(folder: Path, text: str) -> str:
    program = folder / "chromium"
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    return str(program)


def test_browser_has_its_own_home_folder_and_the_proxy_of_the_cloud(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    program = write_program(
        tmp_path,
        f"import json, os, sys\nfrom pathlib import Path\n"
        f"Path({str(shown)!r}).write_text(json.dumps([sys.argv[1:], dict(os.environ), os.getsid(0)]))",
    )
    url = "https://login.microsoftonline.com/"
    assert browser.find_program(None, str(tmp_path)) == program
    command = browser.build_command(program, tmp_path, 4242, url)
    browser.start(command, tmp_path, {"HOME": "/home/user", "DISPLAY": ":7"})
    arguments, environ, session = json.loads(shown.read_text())
    assert arguments[-1] == url
    assert f"--user-data-dir={tmp_path / 'profile'}" in arguments
    assert "--proxy-server=http://127.0.0.1:4242" in arguments
    assert environ["HOME"] == str(tmp_path)
    assert (environ["XAUTHORITY"], environ["DISPLAY"]) == ("/home/user/.Xauthority", ":7")
    assert session != os.getsid(0)


def test_browser_that_ends_with_an_error_is_reported(tmp_path: Path) -> None:
    program = write_program(tmp_path, "raise SystemExit('no display')")
    with pytest.raises(BrowserFailed, match="chromium exited with 1") as failed:
        browser.start([program], tmp_path, {})
    log = tmp_path / "browser.log"
    assert failed.value.hint == f"its messages are in {log}"
    assert log.read_text() == "no display\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
