"""Sign a user in on the page that a running Chromium shows, in the network of the node.

Arguments: the folder of the browser's profile, the name of the user; the password is read from the input.
"""

import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

_PATIENCE_MS = 120_000


def main(profile: Path, name: str, password: str) -> None:
    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while not (port_file.exists() and port_file.read_text()):
        assert time.monotonic() < deadline, f"{port_file} does not exist"
        time.sleep(0.1)
    port = port_file.read_text().splitlines()[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
        context = browser.contexts[0]
        context.set_default_timeout(_PATIENCE_MS)
        page = context.pages[0] if context.pages else context.wait_for_event("page")
        page.wait_for_selector("#username")
        shown = urlsplit(page.url)
        page.fill("#username", name)
        page.fill("#password", password)
        page.click("button[value=sign-in]")
        page.wait_for_url("http://localhost:*/**")
        found = {"origin": f"{shown.scheme}://{shown.netloc}", "text": page.inner_text("body")}
        print(json.dumps(found))
        browser.new_browser_cdp_session().send("Browser.close")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.stdin.readline().strip())
