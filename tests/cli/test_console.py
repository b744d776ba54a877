"""`podpass console` on a running instance: the link, the address, and pages with the instance's data."""

import http.client
import json
import re
import sys
import webbrowser
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from podpass.cli import console
from tests.lab.instance.instances import CLIENT, Podpass
from tests.run_program import run_text


def get(url: str, cookie: str = "") -> tuple[int, str, str]:
    """Return status, body and cookie of a page."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    try:
        connection.request("GET", address.path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        set_cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        return answer.status, answer.read().decode(), set_cookie
    finally:
        connection.close()


def test_link_opens_the_console_once(running: Podpass) -> None:
    link = running("console").stdout.strip()
    origin = running.status()["console"]
    assert link.startswith(f"{origin}/open/")
    status, page, cookie = get(link)
    assert status == 200
    target = re.search(r"url=([^\"]+)", page)
    assert target
    for view, text in (
        ("", "The path of a token"),
        ("identities", CLIENT),
        ("audit", "tools-vault"),
        ("pods", "Pods"),
        ("graph", "system:serviceaccount:default:web"),
    ):
        status, page, _ = get(f"{origin}{target[1]}{view}", cookie)
        assert status == 200, view
        assert text in page, view
    assert get(link)[0] == 403
    assert get(origin + target[1])[0] == 401


def test_console_link_is_printed_as_json_and_by_a_second_up(running: Podpass) -> None:
    link = json.loads(running("console", "-o", "json").stdout)["link"]
    again = json.loads(running("up", "-o", "json").stdout)
    assert again["console_link"] != link
    assert again["console_link"].startswith(again["console"])


def test_open_passes_the_link_in_a_private_file(
    running: Podpass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user can read the arguments of the browser's process."""
    opened: list[str] = []

    def record(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", record)
    done = CliRunner().invoke(
        console.command, ["--open", "--data-dir", str(running.data_dir)], catch_exceptions=False
    )
    assert done.exit_code == 0
    file = running.data_dir / "console.html"
    assert opened == [file.as_uri()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert done.stdout.strip() in file.read_text()


def test_machine_without_a_browser_is_reported(
    running: Podpass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    done = CliRunner().invoke(console.command, ["--open", "--data-dir", str(running.data_dir)])
    assert done.exit_code != 0
    assert "/open/" in done.stdout
    assert "no browser" in str(done.exception)


def test_console_without_an_instance_says_how_to_start_one(podpass: Podpass) -> None:
    done = podpass("console")
    assert done.returncode == 1
    assert "podpass up --detach" in done.stderr


def test_templates_are_not_imported_before_the_first_request() -> None:
    """Most consoles are never opened: the start and the memory of an instance must not grow."""
    code = "import sys, podpass.lab.instance.console; print('jinja2' in sys.modules)"
    done = run_text([sys.executable, "-c", code], check=True)
    assert done.stdout == "False\n"
