"""A minimal browser for signing in: it fills in forms and follows redirects.

`az` starts it as a program with user name, password and URL.
"""

import http.cookiejar
import re
import ssl
import sys
import urllib.parse
import urllib.request
from html import unescape
from typing import Any

_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class SignInBrowser:
    """The cookies and the open page."""

    def __init__(self, ca_file: str | None = None) -> None:
        context = ssl.create_default_context(cafile=ca_file)
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )
        self._address, self.page = "", ""

    def open(self, address: str, form: dict[str, str] | None = None) -> str:
        data = None if form is None else urllib.parse.urlencode(form).encode()
        answer: Any
        with self._opener.open(address, data, timeout=30) as answer:
            self._address, self.page = answer.geturl(), answer.read().decode()
        return self.page

    def fill(self, **values: str) -> str:
        """Submit the page's only form with these values."""
        found = re.search(r'<form[^>]* action="([^"]+)"', self.page)
        assert found is not None, self.page
        hidden = {name: unescape(value) for name, value in _FIELD.findall(self.page)}
        address = urllib.parse.urljoin(self._address, unescape(found[1]))
        return self.open(address, {**hidden, **values})


def main(name: str, password: str, address: str) -> None:
    browser = SignInBrowser()
    browser.open(address)
    browser.fill(username=name, password=password, step="sign-in")
    if "<form" in browser.page:  # the response is a form that a script would submit
        browser.fill()


if __name__ == "__main__":
    main(*sys.argv[1:])
